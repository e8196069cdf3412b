"""Flags of suspicious translations, from the texts alone, without knowledge of the language."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: All flags, in the order of results. The engine reports ``truncated``: the sentence or its
#: translation met the length limit.
FLAGS = ("truncated", "empty", "repeating", "wrong_script", "length_ratio")

# No writer repeats a word _WORD_TIMES in a row, nor a phrase of at most _PHRASE words
# _PHRASE_TIMES.
_WORD_TIMES, _PHRASE_TIMES, _PHRASE = 4, 3, 10
# One to eight letters, at least eight times in a row without a space.
_STUTTER = re.compile(r"([^\W\d_]{1,8}?)\1{7,}")
# A text with a larger share of letters in other scripts is not English. A name in its own script
# stays below.
_FOREIGN = 0.3
# The lengths of sentence and translation differ at most by this factor and the bytes of a short
# phrase. They are in UTF-8 bytes, as scripts with a letter for a syllable or a word take more
# bytes a letter.
_FACTOR, _PHRASE_BYTES = 3, 20


def flags_of(text: str, english: str, *, truncated: bool = False) -> tuple[str, ...]:
    """The flags of a translation of ``text``, in the order of :data:`FLAGS`."""
    empty = not english.strip()
    present = {
        "truncated": truncated,
        "empty": empty,
        "repeating": repeats(english) and not repeats(text),
        "wrong_script": not _is_latin(english),
        "length_ratio": not empty and _out_of_range(text, english),
    }
    return tuple(flag for flag in FLAGS if present[flag])


def repeats(text: str) -> bool:
    """Whether a word, a phrase or a syllable is repeated in a row as no writer does."""
    words = text.lower().split()
    for size in range(1, min(_PHRASE, len(words) // _PHRASE_TIMES) + 1):
        times = _WORD_TIMES if size == 1 else _PHRASE_TIMES
        # `run` counts the words in a row that equal the word `size` places before them.
        wanted, run = size * (times - 1), 0
        for word, before in zip(words[size:], words, strict=False):
            run = run + 1 if word == before else 0
            # Dots and dashes in a row occur in tables of contents.
            if run >= wanted and any(map(str.isalnum, word)):
                return True
    return _STUTTER.search(text) is not None


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    foreign = sum(not c.isascii() and not _latin_letter(c) for c in letters)
    return foreign <= _FOREIGN * len(letters)


@lru_cache(maxsize=4096)
def _latin_letter(letter: str) -> bool:
    # Modifier letters (ʻ, ʼ) belong to no script of their own.
    return unicodedata.category(letter) == "Lm" or "LATIN" in unicodedata.name(letter, "")


def _out_of_range(text: str, english: str) -> bool:
    there, here = (len(s.strip().encode("utf-8", "surrogatepass")) for s in (text, english))
    return max(there, here) > _FACTOR * min(there, here) + _PHRASE_BYTES
