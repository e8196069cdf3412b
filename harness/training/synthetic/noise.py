"""English as an imperfect translator writes it, with its names where they then stand.

A model that has only seen clean translations trusts them. At test time the English comes from
a small translator: words are wrong, twice or missing, and a name is lost, misspelt or left as it
is in the text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from harness.records import Annotation, Example
from harness.shapes import SPAN
from harness.training.recipe import Noise

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"\w+|\W+")


def translated_badly(
    example: Example, noise: Noise, rng: random.Random, words: Sequence[str]
) -> Example:
    """The example with its ``english`` and ``english_gold`` changed as ``noise`` says.

    ``words`` are what a wrong word is drawn from.
    """
    if example.english is None or rng.random() >= noise.sentences:
        return example
    word_share, name_share = rng.random() * noise.words, rng.random() * noise.names
    surfaces = _surfaces(example)
    text, gold, end = "", [], 0
    for annotation, surface in zip(example.english_gold or (), surfaces, strict=True):
        assert annotation.offsets is not None, "synthetic text knows its offsets"
        start, next_ = annotation.offsets
        text += _worse_words(example.english[end:start], word_share, rng, words)
        end = next_
        name = annotation.span
        if rng.random() < name_share:
            name = _worse_name(name, surface, rng)
        if name:
            offsets = (len(text), len(text) + len(name))
            gold.append(Annotation(annotation.type, {SPAN: name}, offsets))
            text += name
        else:
            text += rng.choice(words)
    text += _worse_words(example.english[end:], word_share, rng, words)
    return replace(example, english=text, english_gold=tuple(gold))


def _surfaces(example: Example) -> list[str]:
    """The name in the text for each of the English ones, empty where that is not known."""
    surfaces = []
    for annotation in example.english_gold or ():
        same = [a.span for a in example.gold if a.type == annotation.type]
        theirs = [a for a in example.english_gold or () if a.type == annotation.type]
        index = next(i for i, a in enumerate(theirs) if a is annotation)
        surfaces.append(same[index] if len(same) == len(theirs) else "")
    return surfaces


def _worse_name(name: str, surface: str, rng: random.Random) -> str:
    """A name lost (empty), left as in the text, cut, or with some letters wrong."""
    kind = rng.random()
    if kind < 0.2:
        return ""
    if kind < 0.4:
        return surface or name
    if kind < 0.5 and " " in name:
        parts = name.split(" ")
        parts.pop(rng.randrange(len(parts)))
        return " ".join(parts)
    letters = list(name)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(1, len(letters)) if len(letters) > 1 else 0
        if not letters[at].isalpha():
            continue
        change = rng.random()
        if change < 0.4:
            letters[at] = rng.choice(_LOWER)
        elif change < 0.7:
            letters[at] += rng.choice(_LOWER)
        elif len(letters) > 3:
            del letters[at]
    return "".join(letters).strip()


def _worse_words(text: str, share: float, rng: random.Random, words: Sequence[str]) -> str:
    """Words in lower case replaced, left out or doubled."""
    if not share:
        return text
    pieces = []
    for piece in _WORD.findall(text):
        if piece.islower() and piece.isalpha() and rng.random() < share:
            kind = rng.random()
            piece = rng.choice(words) if kind < 0.6 else f"{piece} {piece}" if kind < 0.75 else ""
        pieces.append(piece)
    return re.sub(r"  +", " ", "".join(pieces))
