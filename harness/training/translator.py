"""The trainer of a small translator to English: an M2M100 as NLLB is one, from scratch.

Everything follows from the recipe and the seed; on the same machine, with the same number of
threads, the weights come out bit for bit the same.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.training.causal_tokenizer import shared_words
from harness.training.pairs import PairBatch, PairBatches, PairEncoder, cut, padded, pairs
from harness.training.recipe import TranslatorRecipe
from harness.training.schedule import make_optimizers, set_rates
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

# Held-out pairs by which the training is watched.
_WATCHED = 512


@dataclass(frozen=True, slots=True)
class TranslatorCheck:
    """How a training stands: tokens and seconds so far, loss since the last check, and of held-out
    pairs the loss and the share whose whole English the model would have given, greedily."""

    step: int
    tokens: int
    seconds: float
    loss: float
    held_out_loss: float
    held_out_right: float


def make_tokenizer(recipe: TranslatorRecipe, seed: int) -> Tokenizer:
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


class TranslatorTrainer:
    """A translator in training.

    Attributes:
        model: the ``M2M100ForConditionalGeneration``, in float32.
        tokenizer: its tokenizer.
    """

    def __init__(self, recipe: TranslatorRecipe, seed: int) -> None:
        import torch
        from transformers import M2M100Config, M2M100ForConditionalGeneration

        torch.manual_seed(seed)
        torch.set_num_threads(recipe.training.threads)
        self.recipe, self.seed = recipe, seed
        self.tokenizer = make_tokenizer(recipe, seed)
        shape, end = recipe.model, self.tokenizer.token_to_id(END)
        self.model: Any = M2M100ForConditionalGeneration(
            M2M100Config(
                vocab_size=self.tokenizer.get_vocab_size(),
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
                bos_token_id=self.tokenizer.token_to_id("<s>"),
                pad_token_id=PAD,
                eos_token_id=end,
                decoder_start_token_id=end,
                tie_word_embeddings=True,
            )
        )
        self.step = self.tokens = 0
        self._optimizers = make_optimizers(self.model, recipe.training)
        self._batches = PairBatches(
            pairs(recipe.text, seed),
            PairEncoder(self.tokenizer, spelled=recipe.text.spelled),
            tokens=recipe.training.batch_tokens,
            longest=shape.max_position_embeddings,
            seed=seed,
        )
        self._watched = self._held_out()

    def run(self, *, checked: Callable[[TranslatorCheck], None] = lambda check: None) -> None:
        """Train to the end; ``checked`` is told how it stands every so many steps."""
        import torch

        plan = self.recipe.training
        began, since, loss = time.monotonic(), 0, 0.0
        self.model.train()
        for batch in self._batches:
            set_rates(self._optimizers, plan, self.tokens / plan.tokens)
            value: Any = self._loss(batch)[0]
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
                checked(TranslatorCheck(self.step, self.tokens, seconds, loss / since, *held_out))
                since, loss = 0, 0.0
            if over:
                return

    def watch(self) -> tuple[float, float]:
        """On the held-out pairs: the loss, and the share whose English is right as a whole."""
        import torch

        loss, right = 0.0, 0
        self.model.eval()
        with torch.inference_mode():
            for batch in self._watched:
                value, hits, wanted = self._loss(batch)
                loss += value.item() * len(batch.source)
                misses = (wanted & ~hits).any(1)
                right += len(batch.source) - int(misses.sum())
        self.model.train()
        pairs_ = sum(len(batch.source) for batch in self._watched)
        return loss / pairs_, right / pairs_

    def save(self, folder: Path) -> None:
        """Write a folder as the hub lays one out, in float16, with its CTranslate2 form."""
        import torch
        import transformers
        from ctranslate2.converters import TransformersConverter

        classes: Any = transformers
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        model = copy.deepcopy(self.model).to(torch.float16)
        model.generation_config = classes.GenerationConfig(
            bos_token_id=config.bos_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
            eos_token_id=config.eos_token_id,
            forced_bos_token_id=self.tokenizer.token_to_id(CODES[ENGLISH]),
            max_length=128,
            num_beams=5,
            pad_token_id=config.pad_token_id,
        )
        model.save_pretrained(folder)
        # It is written through a temporary file that nobody else may read.
        (folder / "model.safetensors").chmod(0o644)
        classes.PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            bos_token="<s>",
            eos_token=END,
            pad_token="<pad>",
            unk_token=UNKNOWN,
            mask_token=MASK,
            extra_special_tokens=list(CODES.values()),
            clean_up_tokenization_spaces=False,
            model_max_length=config.max_position_embeddings,
        ).save_pretrained(folder)
        converter = TransformersConverter(str(folder))
        converter.convert(str(folder / "ctranslate2"), quantization="float16", force=True)

    def _held_out(self) -> list[PairBatch]:
        stream = pairs(self.recipe.text, self.seed, held_out=True)
        encoded = PairEncoder(self.tokenizer).encode(
            list(islice(stream, _WATCHED)), random.Random(0)
        )
        return [padded(part) for part in cut(encoded, self.recipe.training.batch_tokens)]

    def _loss(self, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, where the likeliest token is the right one, and where there is one to give.

        Only for these is there a product with the vocabulary.
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
        # The language of the English is given, never guessed.
        labels = target[:, 1:]
        wanted = (labels != PAD).index_fill(1, torch.tensor([0]), False)
        logits = self.model.lm_head(hidden[wanted])
        smoothing = self.recipe.training.label_smoothing if self.model.training else 0.0
        loss = functional.cross_entropy(logits, labels[wanted], label_smoothing=smoothing)
        hits = wanted.clone()
        hits[wanted] = logits.argmax(-1) == labels[wanted]
        return loss, hits, wanted
