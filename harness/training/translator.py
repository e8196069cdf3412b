"""The trainer of a small translator to English: an M2M100, which NLLB is too, from scratch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.training.batch_stream import BatchStream, cut_by_length
from harness.training.causal_tokenizer import shared_words
from harness.training.loop import HeldOutScore, Trainer
from harness.training.pair_batches import PairBatch, PairEncoder
from harness.training.pairs import pairs
from harness.training.recipe import TranslatorRecipe
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences
from harness.training.translator_tokenizer import (
    CODES,
    END,
    ENGLISH,
    MASK,
    PAD,
    UNKNOWN,
    train_translator_tokenizer,
)

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

# The number of held-out pairs that are scored on the way.
_HELD_OUT = 512
# The number of pairs that are sorted by length at a time.
_POOL = 4_096


def make_translator_tokenizer(recipe: TranslatorRecipe, seed: int) -> Tokenizer:
    """The recipe's tokenizer, learned from the text and the English of its sentences."""
    text, entry = recipe.text, recipe.tokenizer
    count = round(entry.sentences * text.composed)
    examples = [
        *islice(sentences(seed, text.languages), entry.sentences - count),
        *islice(clauses(seed, text.languages), count),
    ]
    examples += [
        replace(example, text=example.english or "", gold=example.english_gold or ())
        for example in examples
    ]
    return train_translator_tokenizer(
        (example.text for example in examples),
        shared_words(examples, entry.shared_words),
        vocabulary=entry.vocabulary,
    )


class TranslatorTrainer(Trainer[PairBatch]):
    """An ``M2M100ForConditionalGeneration`` in training."""

    def __init__(self, recipe: TranslatorRecipe, seed: int) -> None:
        import torch
        from transformers import M2M100Config, M2M100ForConditionalGeneration

        torch.manual_seed(seed)
        torch.set_num_threads(recipe.training.threads)
        tokenizer = make_translator_tokenizer(recipe, seed)
        shape, end = recipe.model, tokenizer.token_to_id(END)
        model: Any = M2M100ForConditionalGeneration(
            M2M100Config(
                vocab_size=tokenizer.get_vocab_size(),
                d_model=shape.d_model,
                encoder_layers=shape.encoder_layers,
                decoder_layers=shape.decoder_layers,
                encoder_ffn_dim=shape.ffn_dim,
                decoder_ffn_dim=shape.ffn_dim,
                encoder_attention_heads=shape.attention_heads,
                decoder_attention_heads=shape.attention_heads,
                max_position_embeddings=shape.max_position_embeddings,
                dropout=shape.dropout,
                attention_dropout=0.0,
                activation_dropout=0.0,
                encoder_layerdrop=0.0,
                decoder_layerdrop=0.0,
                init_std=shape.d_model**-0.5,
                bos_token_id=tokenizer.token_to_id("<s>"),
                pad_token_id=PAD,
                eos_token_id=end,
                decoder_start_token_id=end,
                tie_word_embeddings=True,
            )
        )
        batches = BatchStream(
            pairs(recipe.text, seed),
            PairEncoder(tokenizer, spelled=recipe.text.spelled),
            tokens=recipe.training.batch_tokens,
            longest=lambda: shape.max_position_embeddings,
            seed=seed,
            pool=_POOL,
        )
        super().__init__(model, tokenizer, batches, recipe.training)
        self.recipe, self.seed = recipe, seed
        self._held_out = self._held_out_batches()

    def evaluate(self) -> HeldOutScore:
        """The loss, and the share of the pairs whose English is all right."""
        import torch

        loss, right = 0.0, 0
        self.model.eval()
        with torch.inference_mode():
            for batch in self._held_out:
                value, hits, wanted = self._predict(batch)
                loss += value.item() * len(batch.source)
                misses = (wanted & ~hits).any(1)
                right += len(batch.source) - int(misses.sum())
        self.model.train()
        count = sum(len(batch.source) for batch in self._held_out)
        return HeldOutScore(loss / count, right / count)

    def generation_settings(self) -> Mapping[str, Any]:
        return {
            "decoder_start_token_id": self.model.config.decoder_start_token_id,
            "forced_bos_token_id": self.tokenizer.token_to_id(CODES[ENGLISH]),
            "max_length": 128,
            "num_beams": 5,
        }

    def tokenizer_settings(self) -> Mapping[str, Any]:
        return {
            "bos_token": "<s>",
            "eos_token": END,
            "pad_token": "<pad>",
            "unk_token": UNKNOWN,
            "mask_token": MASK,
            "extra_special_tokens": list(CODES.values()),
        }

    def loss(self, batch: PairBatch) -> torch.Tensor:
        return self._predict(batch)[0]

    def _predict(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and two masks ``[pairs, target length - 1]`` of the target's tokens.

        The first mask has the tokens that are predicted rightly, the second the tokens that have a
        loss. Only the hidden states of the second are multiplied with the vocabulary.
        """
        import torch
        from torch.nn import functional

        source, target = torch.from_numpy(batch.source), torch.from_numpy(batch.target)
        hidden = self.model.model(
            input_ids=source,
            attention_mask=source != PAD,
            decoder_input_ids=target[:, :-1],
            use_cache=False,
        ).last_hidden_state
        # The token of the target language is given, not predicted.
        labels = target[:, 1:]
        wanted = (labels != PAD).index_fill(1, torch.tensor([0]), False)
        logits = self.model.lm_head(hidden[wanted])
        smoothing = self.recipe.training.label_smoothing if self.model.training else 0.0
        loss = functional.cross_entropy(logits, labels[wanted], label_smoothing=smoothing)
        hits = wanted.clone()
        hits[wanted] = logits.argmax(-1) == labels[wanted]
        return loss, hits, wanted

    def _held_out_batches(self) -> list[PairBatch]:
        stream = pairs(self.recipe.text, self.seed, held_out=True)
        encoder = PairEncoder(self.tokenizer)
        encoded = encoder.encode(list(islice(stream, _HELD_OUT)), random.Random(0))
        parts = cut_by_length(encoded, self.recipe.training.batch_tokens)
        return [encoder.batch(part) for part in parts]
