"""What a translator is trained on: sentences and their English, as token ids in batches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.records import Example
from harness.training.causal_tokenizer import letters_of
from harness.training.recipe import PairText
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences
from harness.training.translator_tokenizer import CODES, END, ENGLISH, PAD

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# So many pairs are sorted by length at a time; what is cut from them is shuffled.
_POOL = 4_096
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Pair:
    """A text of a language (the corpus code, ``swa``) and its English."""

    language: str
    text: str
    english: str


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Arrays ``[pairs, length]``, padded on the right.

    ``source`` is ``[code] text </s>``, ``target`` is ``</s> [eng_Latn] english </s>``: what the
    decoder reads, less the last, and is to give, less the first. ``size`` counts the tokens of
    both without the padding.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    size: int


def pairs(text: PairText, seed: int, *, held_out: bool = False) -> Iterator[Pair]:
    """Endless pairs, the same for the same seed; ``held_out`` as in ``synthetic.sentences``.

    Held-out pairs are sentences as they are; of the others a share are composed clauses, a share
    names alone, and a share have unknown words in them.
    """
    rng = random.Random(f"pairs {seed} {held_out}")
    whole = sentences(seed, text.languages, held_out=held_out)
    composed = clauses(seed, text.languages)
    while True:
        if held_out:
            example = next(whole)
            yield Pair(example.language, example.text, example.english or "")
            continue
        example = next(composed if rng.random() < text.composed else whole)
        pair = Pair(example.language, example.text, example.english or "")
        if rng.random() < text.unknown_sentences:
            words = with_unknown(example, rng.random() * text.unknown_words, rng)
            pair = Pair(pair.language, words, pair.english)
        yield pair
        if rng.random() < text.names and (names := list(_names(example))):
            yield rng.choice(names)


def _names(example: Example) -> Iterator[Pair]:
    """The example's names with their English: those that are the only one of their class."""
    english = example.english_gold or ()
    own_classes = Counter(annotation.type for annotation in example.gold)
    classes = Counter(annotation.type for annotation in english)
    for annotation in example.gold:
        if own_classes[annotation.type] == classes[annotation.type] == 1:
            theirs = next(a for a in english if a.type == annotation.type)
            yield Pair(example.language, annotation.span, theirs.span)


def with_unknown(example: Example, share: float, rng: random.Random) -> str:
    """The text with lower-case words outside its names made into words that nobody knows.

    The English stays: the model is to guess, from what is around, and to go on.
    """
    pieces, at = [], 0
    for annotation in (*example.gold, None):
        start, end = annotation.offsets or (at, at) if annotation else (len(example.text),) * 2
        words = example.text[at:start].split(" ")
        pieces.append(" ".join(_unknown(w, rng) if rng.random() < share else w for w in words))
        pieces.append(example.text[start:end])
        at = end
    return "".join(pieces)


def _unknown(word: str, rng: random.Random) -> str:
    """The word with some letters others, if it is one in lower case."""
    if len(word) < 3 or not (word.isalpha() and word.islower()):
        return word
    letters = list(word)
    for _ in range(rng.randint(1, len(letters) - 1)):
        letters[rng.randrange(len(letters))] = rng.choice(_LETTERS)
    return "".join(letters)


class PairEncoder:
    """Turns pairs into token ids.

    ``spelled`` is the share of the pieces of lower-case words in a source that are given as
    single characters, as words are that the vocabulary lacks.
    """

    def __init__(self, tokenizer: Tokenizer, *, spelled: float = 0.0) -> None:
        self._tokenizer = tokenizer
        self._spelled = spelled
        vocabulary = tokenizer.get_vocab()
        self._end = vocabulary[END]
        self._codes = {code: vocabulary[token] for code, token in CODES.items()}
        self._letters = letters_of(tokenizer)

    def encode(
        self, batch: Sequence[Pair], rng: random.Random
    ) -> list[tuple[list[int], list[int]]]:
        """Source and target of every pair."""
        encode = self._tokenizer.encode_batch_fast
        texts = encode([pair.text for pair in batch], add_special_tokens=False)
        english = encode([pair.english for pair in batch], add_special_tokens=False)
        return [
            (
                [self._codes[pair.language], *self._spell(text.ids, rng), self._end],
                [self._end, self._codes[ENGLISH], *target.ids, self._end],
            )
            for pair, text, target in zip(batch, texts, english, strict=True)
        ]

    def _spell(self, ids: list[int], rng: random.Random) -> Iterable[int]:
        for token in ids:
            spelled = self._letters.get(token) if self._spelled else None
            if spelled and rng.random() < self._spelled:
                yield from spelled
            else:
                yield token


class PairBatches:
    """Endless batches of at most ``tokens`` tokens, source and target, with their padding."""

    def __init__(
        self,
        stream: Iterator[Pair],
        encoder: PairEncoder,
        *,
        tokens: int,
        longest: int,
        seed: int,
    ) -> None:
        self._stream = stream
        self._encoder = encoder
        self._tokens, self._longest = tokens, longest
        self._rng = random.Random(f"batches {seed}")

    def __iter__(self) -> Iterator[PairBatch]:
        while True:
            pool = self._encoder.encode(list(islice(self._stream, _POOL)), self._rng)
            pool = [both for both in pool if max(map(len, both)) <= self._longest]
            cuts = list(cut(pool, self._tokens))
            self._rng.shuffle(cuts)
            yield from map(padded, cuts)


def cut(
    encoded: list[tuple[list[int], list[int]]], tokens: int
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Neighbours by length, as many as fit a batch with their padding."""
    batch: list[tuple[list[int], list[int]]] = []
    longest = 0
    for both in sorted(encoded, key=lambda both: (len(both[0]) + len(both[1]), len(both[0]))):
        longest = max(longest, *map(len, both))
        if batch and 2 * (len(batch) + 1) * longest > tokens:
            yield batch
            batch, longest = [], max(map(len, both))
        batch.append(both)
    if batch:
        yield batch


def padded(encoded: Sequence[tuple[list[int], list[int]]]) -> PairBatch:
    """Pairs of any length as one batch."""
    arrays = []
    for rows in zip(*encoded, strict=True):
        array = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
        for at, row in enumerate(rows):
            array[at, : len(row)] = row
        arrays.append(array)
    return PairBatch(arrays[0], arrays[1], sum(len(s) + len(t) for s, t in encoded))
