"""String literals and assignments, byte for byte as ``black`` writes them.

The models of the GoLLIE family were trained on prompts in black's format. Therefore a prompt
has the bytes that black (26.10.1, default mode) makes of ``text = <repr of the text>``. Black
takes milliseconds a prompt. These rules give the same bytes, and the tests compare them with
black itself:

- A literal is Python's ``repr`` with double quotes. It has single quotes if double quotes need
  more backslashes. Characters that are not printable are escaped, lone surrogates included.
- A literal is never broken. The statement gets parentheses, with the literal on a line of its
  own, exactly if the one-line form is wider than 88 columns and the literal with an indent of
  four is not.
- Columns are the East Asian display width: wide and fullwidth characters count two, all others
  one. (Before 26.1, black gave combining marks no width.)

``repr`` has the Unicode version of the running Python. Newer characters (than 14.0 for Python
3.11) are escaped.
"""

from __future__ import annotations

import unicodedata
from functools import cache

#: The width of a line in columns. Black exceeds it only if it cannot break the line.
COLUMNS = 88
_INDENT = 4
_SWAP_QUOTES = str.maketrans("'\"", "\"'")

# Wide since Unicode 16, which is newer than the table of Python 3.13: trigrams, digrams of the
# Yijing, hexagrams, Tai Xuan Jing symbols, counting rods.
_NEWLY_WIDE = (
    range(0x2630, 0x2638),
    range(0x268A, 0x2690),
    range(0x4DC0, 0x4E00),
    range(0x1D300, 0x1D357),
    range(0x1D360, 0x1D377),
)
# Skin tones of emoji are wide in Unicode, but black gives them one column.
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def literal(text: str) -> str:
    """The string literal of ``text`` in black's format; it evaluates to ``text``."""
    if '"' not in text:
        python_literal = repr(text)
        return python_literal if python_literal[0] == '"' else f'"{python_literal[1:-1]}"'
    if text.count('"') > text.count("'"):
        return repr(text)
    # repr prefers single quotes. With the quotes swapped before and after, it prefers double ones.
    return repr(text.translate(_SWAP_QUOTES)).translate(_SWAP_QUOTES)


def assignment(name: str, text: str) -> str:
    """The statement ``name = <literal of text>`` in black's format, without a line end.

    >>> print(assignment("text", "Maria o sọ pé 'bẹ́ẹ̀ ni'."))
    text = "Maria o sọ pé 'bẹ́ẹ̀ ni'."
    """
    value = literal(text)
    line = f"{name} = {value}"
    # A character takes one or two columns, so that the length alone decides for most texts.
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
