"""String literals and assignments, byte for byte as ``black`` writes them.

The models of the GoLLIE family were trained on prompts that black had formatted, so a prompt
is what black (26.10.1, default mode) makes of ``text = <repr of the text>``. Formatting costs
milliseconds a prompt; these few rules give the same bytes, and the tests hold them against
black itself:

- A literal is Python's ``repr`` (whatever is not printable is escaped, lone surrogates
  included) with double quotes, unless that would need more backslashes than single quotes.
- A literal is never broken. The statement is put in parentheses, the literal on a line of its
  own, exactly when the one-line form is wider than 88 columns and the literal, indented by
  four, is not.
- Columns are East Asian display width: wide and fullwidth characters count two, all others
  one. (Black before 26.1 gave combining marks no width.)

``repr`` follows the running Python's Unicode version: a character that is newer than that
(14.0 for Python 3.11) is escaped.
"""

from __future__ import annotations

import unicodedata
from functools import cache

#: No line is wider than this where black can help it.
COLUMNS = 88
_INDENT = 4
_SWAP_QUOTES = str.maketrans("'\"", "\"'")

# Wide since Unicode 16, which is newer than Python 3.13's own table: trigrams, digrams of the
# Yijing, hexagrams, Tai Xuan Jing symbols, counting rods.
_NEWLY_WIDE = (
    range(0x2630, 0x2638),
    range(0x268A, 0x2690),
    range(0x4DC0, 0x4E00),
    range(0x1D300, 0x1D357),
    range(0x1D360, 0x1D377),
)
# Emoji skin tones are wide in Unicode, but join the emoji before them.
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def literal(text: str) -> str:
    """``text`` as black writes a string literal; evaluates back to ``text``."""
    if '"' not in text:
        written = repr(text)
        return written if written[0] == '"' else f'"{written[1:-1]}"'
    if text.count('"') > text.count("'"):
        return repr(text)
    # repr prefers single quotes; seen in a mirror, it prefers double ones.
    return repr(text.translate(_SWAP_QUOTES)).translate(_SWAP_QUOTES)


def assignment(name: str, text: str) -> str:
    """The statement ``name = <literal of text>`` as black writes it, without a line end.

    >>> print(assignment("text", "Maria o sọ pé 'bẹ́ẹ̀ ni'."))
    text = "Maria o sọ pé 'bẹ́ẹ̀ ni'."
    """
    value = literal(text)
    line = f"{name} = {value}"
    # Every character takes one or two columns: most texts are decided by their length alone.
    if len(value) + _INDENT > COLUMNS or 2 * len(line) <= COLUMNS:
        return line
    if width(line) > COLUMNS >= width(value) + _INDENT:
        return f"{name} = (\n    {value}\n)"
    return line


def width(line: str) -> int:
    """The columns that a line of printable characters takes."""
    return len(line) if line.isascii() else len(line) + sum(map(_is_wide, line))


@cache
def _is_wide(char: str) -> bool:
    """Whether a printable character takes two columns."""
    code = ord(char)
    if any(code in block for block in _NEWLY_WIDE):
        return True
    return (
        unicodedata.east_asian_width(char) in "WF"
        and not unicodedata.category(char).startswith("M")
        and code not in _SKIN_TONES
    )
