"""The trainer of a causal language model on prompts and answers of the harness.

The loss is on the answers; at first also on the English of the prompt, where a recipe says so.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.training.batch_stream import BatchStream
from harness.training.causal_tokenizer import (
    BOS,
    EOS,
    PAD,
    scaffold_of,
    shared_words,
    train_tokenizer,
)
from harness.training.loop import HeldOutScore, Trainer
from harness.training.mixture import samples
from harness.training.recipe import CausalRecipe
from harness.training.sample_batches import ANSWER, ENGLISH, SampleBatch, SampleEncoder
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

# The number of held-out samples that are scored on the way.
_HELD_OUT = 256


def make_causal_tokenizer(recipe: CausalRecipe, seed: int) -> Tokenizer:
    """The recipe's tokenizer, learned from the text and the English of its sentences.

    All languages weigh the same there, lest the words of the rare ones come in crumbs.
    """
    text, entry = recipe.text, recipe.tokenizer
    languages = dict.fromkeys(text.languages, 1.0)
    count = round(entry.sentences * text.composed)
    examples = [
        *islice(sentences(seed, languages), entry.sentences - count),
        *islice(clauses(seed, languages), count),
    ]
    templates = [load_template("ner", name) for name in text.strategies]
    return train_tokenizer(
        (part for example in examples for part in (example.text, example.english or "")),
        scaffold_of(load_schema(text.schema_), templates),
        shared_words(examples, entry.shared_words),
        vocabulary=entry.vocabulary,
    )


class CausalTrainer(Trainer[SampleBatch]):
    """A ``LlamaForCausalLM`` in training."""

    def __init__(self, recipe: CausalRecipe, seed: int) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        torch.set_num_threads(recipe.training.threads)
        tokenizer = make_causal_tokenizer(recipe, seed)
        pad, bos, eos = (tokenizer.token_to_id(token) for token in (PAD, BOS, EOS))
        model: Any = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=tokenizer.get_vocab_size(),
                tie_word_embeddings=True,
                pad_token_id=pad,
                bos_token_id=bos,
                eos_token_id=eos,
                **recipe.model.model_dump(exclude={"rope_theta", "embedding_range"}),
                rope_parameters={"rope_type": "default", "rope_theta": recipe.model.rope_theta},
            )
        )
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=recipe.model.embedding_range)
        batches = BatchStream(
            samples(recipe.text, seed),
            SampleEncoder(tokenizer, spelled=recipe.text.spelled),
            tokens=recipe.training.batch_tokens,
            longest=self._longest,
            seed=seed,
        )
        super().__init__(model, tokenizer, batches, recipe.training)
        self.recipe, self.seed = recipe, seed
        self._held_out = self._held_out_batches()

    def evaluate(self) -> HeldOutScore:
        """The loss of the answers, and the share of the answers that are all right."""
        import torch
        from torch.nn import functional

        loss, count, right = 0.0, 0, 0
        self.model.eval()
        with torch.inference_mode():
            for batch in self._held_out:
                logits, targets, rows, _ = self._predict(batch, english=False)
                loss += functional.cross_entropy(logits, targets, reduction="sum").item()
                count += len(targets)
                wrong = set(rows[logits.argmax(-1) != targets].tolist())
                right += len(batch.ids) - len(wrong)
        self.model.train()
        return HeldOutScore(loss / count, right / sum(len(batch.ids) for batch in self._held_out))

    def generation_settings(self) -> Mapping[str, Any]:
        return {}

    def tokenizer_settings(self) -> Mapping[str, Any]:
        return {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "padding_side": "left"}

    def loss(self, batch: SampleBatch) -> torch.Tensor:
        from torch.nn import functional

        auxiliary = self.recipe.training.auxiliary
        english = auxiliary.weight > 0 and self.done < auxiliary.share
        logits, targets, _, kinds = self._predict(batch, english=english)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        answer = kinds == ANSWER
        loss = losses[answer].mean()
        if english and not answer.all():
            loss = loss + auxiliary.weight * losses[~answer].mean()
        return loss

    def _predict(
        self, batch: SampleBatch, *, english: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, targets, rows and kinds of the tokens that have a loss, in order.

        Only their hidden states are multiplied with the vocabulary: for all tokens that would cost
        as much as two layers. The padding is on the right, where no token that counts can see it;
        so attention needs no mask.
        """
        import torch

        ids, kinds = torch.from_numpy(batch.ids), torch.from_numpy(batch.kinds)
        wanted = kinds[:, 1:] >= (ENGLISH if english else ANSWER)
        hidden = self.model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = self.model.lm_head(hidden[wanted])
        rows = wanted.nonzero()[:, 0]
        return logits, ids[:, 1:][wanted], rows, kinds[:, 1:][wanted]

    def _held_out_batches(self) -> list[SampleBatch]:
        stream = samples(self.recipe.text, self.seed, held_out=True)
        encoder = SampleEncoder(self.tokenizer)
        encoded = encoder.encode(list(islice(stream, _HELD_OUT)), random.Random(self.seed))
        encoded.sort(key=lambda sample: len(sample.ids))
        return [encoder.batch(encoded[i : i + 32]) for i in range(0, len(encoded), 32)]

    def _longest(self) -> int:
        """The tokens that a sample may have at this point of the training."""
        training = self.recipe.training
        if self.done < training.short_share:
            return training.shortest
        return self.recipe.model.max_position_embeddings
