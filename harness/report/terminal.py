"""Text of models and corpora made fit for a terminal."""

from __future__ import annotations

import unicodedata


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


_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
