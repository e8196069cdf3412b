"""From samples to batches of token ids, the same ones each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.training.causal_tokenizer import BOS, EOS, letters_of
from harness.training.samples import Sample

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# So many samples are sorted by length at a time; what is cut from them is shuffled.
_POOL = 2_048

# What a token is to the loss.
PROMPT, ENGLISH, ANSWER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample's token ids, and for each what it is to the loss."""

    ids: list[int]
    kinds: list[int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples side by side, padded on the right: arrays ``[samples, length]``.

    ``size`` is the number of tokens without the padding.
    """

    ids: NDArray[np.int64]
    kinds: NDArray[np.int64]
    size: int


class Encoder:
    """Turns samples into token ids, without the tokens of an answer being seen in a prompt.

    ``spelled`` is the share of the pieces of lower-case words in a prompt that are given as
    single characters, as words are that the vocabulary lacks.
    """

    def __init__(self, tokenizer: Tokenizer, *, spelled: float = 0.0) -> None:
        self._tokenizer = tokenizer
        self._spelled = spelled
        self._bos, self._eos = _id(tokenizer, BOS), _id(tokenizer, EOS)
        self._letters = letters_of(tokenizer)

    def encode(self, samples: list[Sample], rng: random.Random) -> list[Encoded]:
        """Every sample as ``<s> prompt answer </s>``."""
        prompts = self._tokenizer.encode_batch(
            [sample.prompt for sample in samples], add_special_tokens=False
        )
        answers = self._tokenizer.encode_batch_fast(
            [sample.answer for sample in samples], add_special_tokens=False
        )
        encoded = []
        for sample, prompt, answer in zip(samples, prompts, answers, strict=True):
            ids, kinds = [self._bos], [PROMPT]
            start, end = sample.eng_text or (0, 0)
            for token, (first, last) in zip(prompt.ids, prompt.offsets, strict=True):
                kind = ENGLISH if start < last and first < end else PROMPT
                spelled = self._letters.get(token) if self._spelled else None
                if spelled and rng.random() < self._spelled:
                    ids += spelled
                    kinds += [kind] * len(spelled)
                else:
                    ids.append(token)
                    kinds.append(kind)
            ids += [*answer.ids, self._eos]
            kinds += [ANSWER] * (len(answer.ids) + 1)
            encoded.append(Encoded(ids, kinds))
        return encoded


class Batches:
    """Endless batches of at most ``tokens`` tokens with their padding.

    Samples longer than ``longest`` (which may be changed on the way) are left out.
    """

    def __init__(
        self, samples: Iterator[Sample], encoder: Encoder, *, tokens: int, longest: int, seed: int
    ) -> None:
        self.longest = longest
        self._samples = samples
        self._encoder = encoder
        self._tokens = tokens
        self._rng = random.Random(f"batches {seed}")

    def __iter__(self) -> Iterator[Batch]:
        while True:
            pool = self._encoder.encode(list(islice(self._samples, _POOL)), self._rng)
            fitting = [sample for sample in pool if len(sample.ids) <= self.longest]
            fitting.sort(key=lambda sample: len(sample.ids))
            cuts = list(_cut(fitting, self._tokens))
            self._rng.shuffle(cuts)
            yield from (padded(cut) for cut in cuts)


def padded(samples: list[Encoded]) -> Batch:
    """Samples of any length as one batch."""
    shape = (len(samples), max(len(sample.ids) for sample in samples))
    ids, kinds = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = sample.ids
        kinds[row, : len(sample.ids)] = sample.kinds
    return Batch(ids, kinds, sum(len(sample.ids) for sample in samples))


def _cut(samples: list[Encoded], tokens: int) -> Iterator[list[Encoded]]:
    """Runs of neighbours, by length, that fit a batch with their padding."""
    batch: list[Encoded] = []
    for sample in samples:
        if batch and (len(batch) + 1) * len(sample.ids) > tokens:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _id(tokenizer: Tokenizer, token: str) -> int:
    number: int | None = tokenizer.token_to_id(token)
    assert number is not None, f"the tokenizer has {token!r}"
    return number
