"""Samples as batches of token ids, with what each token is to the loss."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.training.batch_stream import Encoder, padded_array
from harness.training.causal_tokenizer import BOS, EOS, PAD
from harness.training.samples import Sample

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a token is to the loss: none, the auxiliary one, the main one.
PROMPT, ENGLISH, ANSWER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample's token ids, and the kind of each: ``PROMPT``, ``ENGLISH`` or ``ANSWER``."""

    ids: list[int]
    kinds: list[int]

    @property
    def sequences(self) -> tuple[list[int]]:
        return (self.ids,)


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Arrays ``[samples, length]``, padded on the right.

    ``size`` is the number of tokens without the padding.
    """

    ids: NDArray[np.int64]
    kinds: NDArray[np.int64]
    size: int


class SampleEncoder(Encoder[Sample, EncodedSample, SampleBatch]):
    """Encodes prompt and answer apart: no token holds the end of one and the start of the other."""

    def __init__(self, tokenizer: Tokenizer, *, spelled: float = 0.0) -> None:
        super().__init__(tokenizer, spelled=spelled)
        vocabulary = tokenizer.get_vocab()
        self._pad, self._bos, self._eos = (vocabulary[token] for token in (PAD, BOS, EOS))

    def encode(self, examples: Sequence[Sample], rng: random.Random) -> list[EncodedSample]:
        """Every sample as ``<s> prompt answer </s>``."""
        prompts = self._tokenizer.encode_batch(
            [sample.prompt for sample in examples], add_special_tokens=False
        )
        answers = self._tokenizer.encode_batch_fast(
            [sample.answer for sample in examples], add_special_tokens=False
        )
        encoded = []
        for sample, prompt, answer in zip(examples, prompts, answers, strict=True):
            ids, kinds = [self._bos], [PROMPT]
            start, end = sample.eng_text or (0, 0)
            for token, (first, last) in zip(prompt.ids, prompt.offsets, strict=True):
                pieces = self._spell(token, rng)
                ids += pieces
                kinds += [ENGLISH if start < last and first < end else PROMPT] * len(pieces)
            ids += [*answer.ids, self._eos]
            kinds += [ANSWER] * (len(answer.ids) + 1)
            encoded.append(EncodedSample(ids, kinds))
        return encoded

    def batch(self, encoded: Sequence[EncodedSample]) -> SampleBatch:
        return SampleBatch(
            padded_array([sample.ids for sample in encoded], self._pad),
            padded_array([sample.kinds for sample in encoded], PROMPT),
            sum(len(sample.ids) for sample in encoded),
        )
