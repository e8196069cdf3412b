"""Pairs of a text and its English as batches of token ids."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.training.batch_stream import Encoder, padded_array
from harness.training.pairs import Pair
from harness.training.translator_tokenizer import CODES, END, ENGLISH, PAD

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """The token ids of a pair.

    ``source`` is ``[code] text </s>``, ``target`` is ``</s> [eng_Latn] english </s>``. The decoder
    reads the target without its last token and predicts it without its first.
    """

    source: list[int]
    target: list[int]

    @property
    def sequences(self) -> tuple[list[int], list[int]]:
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Arrays ``[pairs, length]`` of sources and targets, padded on the right.

    ``size`` is the number of tokens of both without the padding.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    size: int


class PairEncoder(Encoder[Pair, EncodedPair, PairBatch]):
    """Encodes pairs; only sources have spelled words."""

    def __init__(self, tokenizer: Tokenizer, *, spelled: float = 0.0) -> None:
        super().__init__(tokenizer, spelled=spelled)
        vocabulary = tokenizer.get_vocab()
        self._end = vocabulary[END]
        self._codes = {code: vocabulary[token] for code, token in CODES.items()}

    def encode(self, examples: Sequence[Pair], rng: random.Random) -> list[EncodedPair]:
        """Source and target of every pair."""
        encode = self._tokenizer.encode_batch_fast
        texts = encode([pair.text for pair in examples], add_special_tokens=False)
        english = encode([pair.english for pair in examples], add_special_tokens=False)
        encoded = []
        for pair, text, target in zip(examples, texts, english, strict=True):
            pieces = [piece for token in text.ids for piece in self._spell(token, rng)]
            encoded.append(
                EncodedPair(
                    [self._codes[pair.language], *pieces, self._end],
                    [self._end, self._codes[ENGLISH], *target.ids, self._end],
                )
            )
        return encoded

    def batch(self, encoded: Sequence[EncodedPair]) -> PairBatch:
        return PairBatch(
            padded_array([pair.source for pair in encoded], PAD),
            padded_array([pair.target for pair in encoded], PAD),
            sum(len(pair.source) + len(pair.target) for pair in encoded),
        )
