"""Splitting a line into its sentences, where a corpus packs several into one.

Corpora of tokens have spaces around every mark, others do not; both are split after a full stop,
question or exclamation mark of any script and the closing quotes and brackets after it. A full
stop after a single letter, a number or a short title ends no sentence. In doubt a line is not
split: two sentences translated as one are still translated.
"""

from __future__ import annotations

import re

_TITLES = (
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Lt|Capt|Sgt|Rev|Hon|Sen|Gov|Eng|Alh|No|vs|Jr|Sr"
    r"|Bw|Bi|Mh|Mch|Dkt|Sheikh|etc|approx|Inc|Ltd|Co)\s?\.$"
)
_NO_END = re.compile(rf"(?:^|[\s.(])\w\s?\.$|\d\s?\.$|{_TITLES}", re.IGNORECASE)
# A mark ends a sentence before a space or the end of the line, a full-width one anywhere. Closing
# quotes and brackets belong to the sentence.
_END = re.compile(
    r"""(?:[.!?…؟۔।॥።፧។]+ | [。！？]+)   # the mark
        (?:\s?["”’»)\]』」'])*           # closing quotes and brackets
        (?:(?<=[。！？』」])\s* | \s+ | $)""",
    re.VERBOSE,
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a line, without the space between them; none of a blank line."""
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        # Only the ASCII full stop has other uses.
        mark = text[start : match.start() + 1]
        following = text[match.end() : match.end() + 1]
        lone = match.group().strip() == "."
        if lone and (_NO_END.search(mark) or following.islower()):
            continue
        _add(sentences, text[start : match.end()])
        start = match.end()
    _add(sentences, text[start:])
    return sentences


def _add(sentences: list[str], piece: str) -> None:
    """Add a sentence; marks alone belong to the one before them."""
    piece = piece.strip()
    if sentences and not any(map(str.isalnum, piece)):
        sentences[-1] = f"{sentences[-1]} {piece}".rstrip()
    elif piece:
        sentences.append(piece)
