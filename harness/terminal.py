"""Text of models, corpora and others' results made fit for a terminal, a CSV, a Markdown table."""

from __future__ import annotations

import re
import unicodedata

# How HTML begins, and how the target of a link does.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINK = re.compile(r"(?<=\])\(")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """``text`` with everything that a terminal would obey written out as an escape.

    Control characters (escape sequences among them), the overrides of writing direction, and
    lone surrogates become ``\\x1b``-like text; newline and tab stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii")
        if c not in "\n\t" and (unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTION)
        else c
        for c in text
    )


def inert(text: str) -> str:
    """``text`` as a cell of a CSV file; behind an apostrophe where a spreadsheet would compute it.

    Source: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def unmarked(text: str) -> str:
    """``text`` as a cell of a Markdown table: on one line, no HTML, no link, no end of the cell."""
    text = _LINK.sub(r"\(", _TAG.sub("&lt;", text))
    return text.replace("|", "\\|").replace("\n", " ")


_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
