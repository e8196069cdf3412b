"""The stream of pairs that a translator is trained on: a text and its English."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.records import Example
from harness.training.recipe import PairText
from harness.training.synthetic.clauses import clauses
from harness.training.synthetic.sentences import sentences

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Pair:
    """A text of a language (the corpus code, ``swa``) and its English."""

    language: str
    text: str
    english: str


def pairs(text: PairText, seed: int, *, held_out: bool = False) -> Iterator[Pair]:
    """An endless stream of pairs, the same for the same seed.

    With ``held_out`` the pairs are unchanged sentences of patterns and names that training never
    draws. Without it, shares of the pairs are composed clauses, names alone, and texts with
    unknown words.
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
    """The names that are the only one of their class in the text and in the English, as pairs."""
    english = example.english_gold or ()
    own_classes = Counter(annotation.type for annotation in example.gold)
    classes = Counter(annotation.type for annotation in english)
    for annotation in example.gold:
        if own_classes[annotation.type] == classes[annotation.type] == 1:
            translated = next(a for a in english if a.type == annotation.type)
            yield Pair(example.language, annotation.span, translated.span)


def with_unknown(example: Example, share: float, rng: random.Random) -> str:
    """The text with a share of the lower-case words outside its names made into nonsense words.

    The English keeps their translation, so that a model learns to guess a word from its context.
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
    """The word with some of its letters replaced, if it is a word in lower case."""
    if len(word) < 3 or not (word.isalpha() and word.islower()):
        return word
    letters = list(word)
    for _ in range(rng.randint(1, len(letters) - 1)):
        letters[rng.randrange(len(letters))] = rng.choice(_LETTERS)
    return "".join(letters)
