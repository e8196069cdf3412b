"""Where mentions lie in a text, after the normalisation of the ``strict`` rule.

Text and mentions are compared in Unicode normalisation form C (UAX #15), with white space
between CJK characters taken out. Positions are code points of the text so normalised;
:meth:`Positions.of` carries offsets of the original text over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

Span = tuple[int, int]

# Han, Kana and Bopomofo by their blocks; the ideographic space U+3000 is white space.
_IDEOGRAPHIC = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
# Scripts of South-East Asia that set no space between words (class SA of UAX #14): Thai and
# Lao, Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Tai Viet, Ahom; and Tibetan beside them.
_OTHERS = (
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"
    "\ua9e0-\ua9ff\uaa60-\uaadf\U00011700-\U0001174f"
)
# Punctuation that comes with CJK text: its own, the dots between the parts of foreign names,
# and the full-width forms of ASCII punctuation.
_CJK_PUNCTUATION = "\u00b7\u2027\u3001-\u3004\u3008-\u3020\u302a-\u3030\u3036\u3037\u303c-\u303f"
_WIDE_PUNCTUATION = "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"

_SPACELESS = re.compile(f"[{_IDEOGRAPHIC}{_OTHERS}]")
_CJK = f"[{_IDEOGRAPHIC}{_CJK_PUNCTUATION}{_WIDE_PUNCTUATION}]"
_CJK_GAP = re.compile(rf"(?<={_CJK})\s+(?={_CJK})")
# No script without spaces lies below this character: a cheap way out for most texts.
_FIRST_SPACELESS = "\u0e01"
# Written inside words by several scripts, though their category is not that of a letter.
_JOINERS = "\u200c\u200d"


def normalise(surface: str) -> str:
    """A mention as it is compared: NFC, no outer white space, none between CJK characters."""
    return _CJK_GAP.sub("", unicodedata.normalize("NFC", surface)).strip()


class Positions:
    """The normalised form of one text, and where things lie in it."""

    __slots__ = ("_composed", "_gaps", "_original", "text")

    def __init__(self, text: str) -> None:
        self._original = text
        self._composed = unicodedata.normalize("NFC", text)
        gaps = [] if text.isascii() else [gap.span() for gap in _CJK_GAP.finditer(self._composed)]
        self._gaps: list[Span] = gaps
        self.text = _CJK_GAP.sub("", self._composed) if gaps else self._composed

    def of(self, offsets: Span) -> Span:
        """Offsets of the original text (code points, end exclusive) in the normalised one.

        A boundary that lies inside a composed character moves outward; outer white space is
        left out of the span.
        """
        start, end = offsets
        while start < end and self._original[start : start + 1].isspace():
            start += 1
        while start < end and self._original[end - 1 : end].isspace():
            end -= 1
        return self._boundary(start, -1), self._boundary(end, 1)

    def _boundary(self, offset: int, outward: int) -> int:
        composed = offset
        if self._composed != self._original:
            # A boundary of the original is one of the composed text exactly where both sides
            # can be composed on their own; the two ends of the text always can.
            while 0 < offset < len(self._original):
                left = unicodedata.normalize("NFC", self._original[:offset])
                right = unicodedata.normalize("NFC", self._original[offset:])
                if left + right == self._composed:
                    break
                offset += outward
            composed = len(unicodedata.normalize("NFC", self._original[:offset]))
        return composed - sum(end - at for at, end in self._gaps if at < composed)

    def occurrences(self, surface: str) -> Iterator[Span]:
        """Where a normalised surface stands at token boundaries: left to right, disjoint."""
        text = self.text
        start = text.find(surface) if surface else -1
        while start >= 0:
            end = start + len(surface)
            if is_boundary(text, start) and is_boundary(text, end):
                yield start, end
                start = text.find(surface, end)
            else:
                start = text.find(surface, start + 1)


def is_boundary(text: str, position: int) -> bool:
    """Whether a token may begin or end before ``text[position]``.

    The ends of the text are boundaries. Before a combining mark there is none: the mark
    belongs to the character before it. Otherwise there is one where a character of a script
    without spaces stands on either side, or where not both neighbours are word characters.
    """
    if not 0 < position < len(text):
        return True
    left, right = text[position - 1], text[position]
    if _is_mark(right):
        return False
    if _is_spaceless(left) or _is_spaceless(right):
        return True
    return not (_is_word(left) and _is_word(right))


def _is_word(character: str) -> bool:
    """Letters, combining marks, numbers (categories L, M, N), ``_`` and the two joiners.

    An apostrophe is punctuation, and so a boundary on both its sides, unless it is the
    modifier letter (U+02BC, U+02BB) that several orthographies use inside words.
    """
    return (
        character.isalnum()
        or character == "_"
        or (not character.isascii() and (_is_mark(character) or character in _JOINERS))
    )


def _is_mark(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character)[0] == "M"


def _is_spaceless(character: str) -> bool:
    return character >= _FIRST_SPACELESS and _SPACELESS.match(character) is not None
