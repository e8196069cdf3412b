"""The trainer of a causal language model on prompts and answers of the harness.

It is the loss on answers, in a loop: samples from a recipe's stream, batches of one length,
one step each. Everything follows from the recipe and the seed; on the same machine, with the
same number of threads, the weights come out bit for bit the same.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.prompting.schema import load_schema
from harness.prompting.templates import find_template
from harness.training.batches import ANSWER, ENGLISH, Batch, Batches, Encoder, padded
from harness.training.causal_tokenizer import (
    BOS,
    EOS,
    PAD,
    scaffold_of,
    shared_words,
    train_tokenizer,
)
from harness.training.mixture import samples
from harness.training.recipe import Recipe
from harness.training.schedule import make_optimizers, set_rates
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

# Held-out samples by which the training is watched.
_WATCHED = 256


@dataclass(frozen=True, slots=True)
class Check:
    """How a training stands: tokens and seconds so far, loss since the last check, and of held-out
    samples the loss and the share whose whole answer the model would have given."""

    step: int
    tokens: int
    seconds: float
    loss: float
    held_out_loss: float
    held_out_right: float


def make_tokenizer(recipe: Recipe, seed: int) -> Tokenizer:
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
    templates = [find_template("ner", name) for name in text.strategies]
    return train_tokenizer(
        (part for example in examples for part in (example.text, example.english or "")),
        scaffold_of(load_schema(text.schema_), templates),
        shared_words(examples, entry.shared_words),
        vocabulary=entry.vocabulary,
    )


class Trainer:
    """A model in training.

    Attributes:
        model: the ``LlamaForCausalLM``, in float32.
        tokenizer: its tokenizer.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        torch.set_num_threads(recipe.training.threads)
        self.recipe, self.seed = recipe, seed
        self.tokenizer = make_tokenizer(recipe, seed)
        pad, bos, eos = (self.tokenizer.token_to_id(token) for token in (PAD, BOS, EOS))
        self.model: Any = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=self.tokenizer.get_vocab_size(),
                tie_word_embeddings=True,
                pad_token_id=pad,
                bos_token_id=bos,
                eos_token_id=eos,
                **recipe.model.model_dump(exclude={"rope_theta", "embedding_range"}),
                rope_parameters={"rope_type": "default", "rope_theta": recipe.model.rope_theta},
            )
        )
        torch.nn.init.normal_(
            self.model.model.embed_tokens.weight, std=recipe.model.embedding_range
        )
        self.step = self.tokens = 0
        self._optimizers = make_optimizers(self.model, recipe.training)
        encoder = Encoder(self.tokenizer, spelled=recipe.text.spelled)
        self._batches = Batches(
            samples(recipe.text, seed),
            encoder,
            tokens=recipe.training.batch_tokens,
            longest=recipe.model.max_position_embeddings,
            seed=seed,
        )
        self._watched = self._held_out()

    def run(
        self,
        *,
        checked: Callable[[Check], None] = lambda check: None,
    ) -> None:
        """Train to the end; ``checked`` is told how it stands every so many steps."""
        import torch

        plan = self.recipe.training
        began, since, loss = time.monotonic(), 0, 0.0
        self._set_length()
        for batch in self._batches:
            set_rates(self._optimizers, plan, self._done())
            value: Any = self._loss(batch)
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), plan.clip)
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self.tokens += batch.size
            since += 1
            loss += value.item()
            over = self.tokens >= plan.tokens
            if over or self.step % plan.check_every == 0:
                held_out = self.watch()
                seconds = time.monotonic() - began
                checked(Check(self.step, self.tokens, seconds, loss / since, *held_out))
                since, loss = 0, 0.0
            if over:
                return
            self._set_length()

    def watch(self) -> tuple[float, float]:
        """On the held-out samples: the loss of answers, and the share of answers all right.

        An answer is all right where each of its tokens is the likeliest after those before it:
        exactly where greedy decoding gives it.
        """
        import torch
        from torch.nn import functional

        loss, count, right = 0.0, 0, 0
        self.model.eval()
        with torch.inference_mode():
            for batch in self._watched:
                logits, targets, rows, _ = self._predict(batch, english=False)
                loss += functional.cross_entropy(logits, targets, reduction="sum").item()
                count += len(targets)
                wrong = set(rows[logits.argmax(-1) != targets].tolist())
                right += len(batch.ids) - len(wrong)
        self.model.train()
        return loss / count, right / sum(len(batch.ids) for batch in self._watched)

    def save(self, folder: Path) -> None:
        """Write a folder as the hub lays one out, in float16, with its CTranslate2 form."""
        import torch
        import transformers
        from ctranslate2.converters import TransformersConverter

        classes: Any = transformers

        folder.mkdir(parents=True, exist_ok=True)
        model = copy.deepcopy(self.model).to(torch.float16)
        config = self.model.config
        model.generation_config = classes.GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )
        model.save_pretrained(folder)
        classes.PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            bos_token=BOS,
            eos_token=EOS,
            pad_token=PAD,
            padding_side="left",
            clean_up_tokenization_spaces=False,
            model_max_length=config.max_position_embeddings,
        ).save_pretrained(folder)
        converter = TransformersConverter(str(folder))
        converter.convert(str(folder / "ctranslate2"), quantization="float16", force=True)
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors are written for their owner only

    def _held_out(self) -> list[Batch]:
        stream = samples(self.recipe.text, self.seed, held_out=True)
        encoder = Encoder(self.tokenizer)
        encoded = encoder.encode(list(islice(stream, _WATCHED)), random.Random(self.seed))
        encoded.sort(key=lambda sample: len(sample.ids))
        return [padded(encoded[i : i + 32]) for i in range(0, len(encoded), 32)]

    def _predict(
        self, batch: Batch, *, english: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, targets, rows and kinds of the tokens that have a loss, in order.

        Only for them is there a product with the vocabulary, which would cost as much as two
        layers. The padding is on the right, where no token that counts can see it, so that
        attention needs no mask.
        """
        import torch

        ids, kinds = torch.from_numpy(batch.ids), torch.from_numpy(batch.kinds)
        wanted = kinds[:, 1:] >= (ENGLISH if english else ANSWER)
        hidden = self.model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = self.model.lm_head(hidden[wanted])
        rows = wanted.nonzero()[:, 0]
        return logits, ids[:, 1:][wanted], rows, kinds[:, 1:][wanted]

    def _loss(self, batch: Batch) -> torch.Tensor:
        from torch.nn import functional

        auxiliary = self.recipe.training.auxiliary
        english = auxiliary.weight > 0 and self._done() < auxiliary.share
        logits, targets, _, kinds = self._predict(batch, english=english)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        answer = kinds == ANSWER
        loss = losses[answer].mean()
        if english and not answer.all():
            loss = loss + auxiliary.weight * losses[~answer].mean()
        return loss

    def _done(self) -> float:
        """How much of the training is done, from 0 to 1."""
        return min(self.tokens / self.recipe.training.tokens, 1.0)

    def _set_length(self) -> None:
        plan, longest = self.recipe.training, self.recipe.model.max_position_embeddings
        if self._done() < plan.short_share:
            longest = plan.shortest
        self._batches.longest = longest
