"""Splitting a line into its sentences, where a corpus packs several into one.

Corpora of tokens have spaces around every mark, others do not; both are split after a full stop,
question or exclamation mark of any script, with the quotes and brackets that close behind it. A
full stop after a single letter, a number or a short title ends nothing. It errs on the side of
not splitting: two sentences translated as one are still translated.
"""

from __future__ import annotations

import re

_TITLES = (
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Lt|Capt|Sgt|Rev|Hon|Sen|Gov|Eng|Alh|No|vs|Jr|Sr"
    r"|Bw|Bi|Mh|Mch|Dkt|Sheikh|etc|approx|Inc|Ltd|Co)\s?\.$"
)
_NO_END = re.compile(rf"(?:^|[\s.(])\w\s?\.$|\d\s?\.$|{_TITLES}", re.IGNORECASE)
# Marks that end a sentence before a space or the line's end, and full-width ones that end it
# wherever they stand; then whatever closes.
_END = re.compile(
    r"""(?:[.!?…؟۔।॥።፧។]+ | [。！？]+)   # the mark
        (?:\s?["”’»)\]』」'])*           # closing quotes and brackets
        (?:(?<=[。！？』」])\s* | \s+ | $)""",
    re.VERBOSE,
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a line, without the space between them; none of a blank line."""
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        # An ASCII full stop is the one mark that has other uses.
        mark = text[start : match.start() + 1]
        following = text[match.end() : match.end() + 1]
        lone = match.group().strip() == "."
        if lone and (_NO_END.search(mark) or following.islower()):
            continue
        _add(found, text[start : match.end()])
        start = match.end()
    _add(found, text[start:])
    return found


def _add(found: list[str], piece: str) -> None:
    """Add a sentence; marks alone belong to the one before them."""
    piece = piece.strip()
    if found and not any(map(str.isalnum, piece)):
        found[-1] = f"{found[-1]} {piece}".rstrip()
    elif piece:
        found.append(piece)
