"""From training examples to batches of token ids: encoding, length, order and padding."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.training.causal_tokenizer import letters_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class EncodedExample(Protocol):
    """A training example as one or more sequences of token ids, each a row of its own array."""

    @property
    def sequences(self) -> tuple[list[int], ...]: ...


ExampleT = TypeVar("ExampleT")
EncodedT = TypeVar("EncodedT", bound=EncodedExample)
BatchT = TypeVar("BatchT")


class Encoder(ABC, Generic[ExampleT, EncodedT, BatchT]):
    """Turns training examples into token ids, and these into batches.

    ``spelled`` is the share of the pieces of lower-case words in a text that are given as single
    characters. A word that the vocabulary lacks is encoded so too.
    """

    def __init__(self, tokenizer: Tokenizer, *, spelled: float = 0.0) -> None:
        self._tokenizer = tokenizer
        self._spelled = spelled
        self._letters = letters_of(tokenizer)

    @abstractmethod
    def encode(self, examples: Sequence[ExampleT], rng: random.Random) -> list[EncodedT]:
        """The token ids of every example."""

    @abstractmethod
    def batch(self, encoded: Sequence[EncodedT]) -> BatchT:
        """Examples of any length as one batch, padded on the right."""

    def _spell(self, token: int, rng: random.Random) -> list[int]:
        """The token, or its characters in the share ``spelled`` of the cases."""
        letters = self._letters.get(token) if self._spelled else None
        return letters if letters and rng.random() < self._spelled else [token]


class BatchStream(Generic[ExampleT, EncodedT, BatchT]):
    """Endless batches of at most ``tokens`` tokens with their padding, the same for a seed.

    ``pool`` examples at a time are sorted by length; the batches cut from them are shuffled.
    Examples with a sequence longer than ``longest()`` tokens are left out; ``longest`` is called
    once a pool.
    """

    def __init__(
        self,
        examples: Iterator[ExampleT],
        encoder: Encoder[ExampleT, EncodedT, BatchT],
        *,
        tokens: int,
        longest: Callable[[], int],
        seed: int,
        pool: int = 2_048,
    ) -> None:
        self._examples = examples
        self._encoder = encoder
        self._tokens, self._longest, self._pool = tokens, longest, pool
        self._rng = random.Random(f"batches {seed}")

    def __iter__(self) -> Iterator[BatchT]:
        while True:
            pool = self._encoder.encode(list(islice(self._examples, self._pool)), self._rng)
            longest = self._longest()
            fitting = [example for example in pool if _length(example) <= longest]
            parts = list(cut_by_length(fitting, self._tokens))
            self._rng.shuffle(parts)
            yield from map(self._encoder.batch, parts)


def cut_by_length(examples: Iterable[EncodedT], tokens: int) -> Iterator[list[EncodedT]]:
    """Lists of examples of similar length, each of at most ``tokens`` tokens with its padding.

    An example that is longer than that is a list of its own.
    """
    part: list[EncodedT] = []
    longest = 0
    for example in sorted(examples, key=_size_and_first):
        longest = max(longest, _length(example))
        if part and len(example.sequences) * (len(part) + 1) * longest > tokens:
            yield part
            part, longest = [], _length(example)
        part.append(example)
    if part:
        yield part


def padded_array(rows: Sequence[Sequence[int]], pad: int) -> NDArray[np.int64]:
    """Rows of any length as an array ``[rows, length of the longest]``, padded on the right."""
    array = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array


def _length(example: EncodedExample) -> int:
    """The number of tokens of the longest sequence."""
    return max(map(len, example.sequences))


def _size_and_first(example: EncodedExample) -> tuple[int, int]:
    """The number of tokens of all sequences, and of the first one."""
    return sum(map(len, example.sequences)), len(example.sequences[0])
