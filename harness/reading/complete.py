"""Whether a reply is complete, which local engines check during generation."""

from __future__ import annotations

import re
from collections.abc import Sequence

# White space and comments. A comment ends at a line end: without one, it may go on.
_BLANK = r"(?:\s|\#[^\r\n]*+[\r\n])*+"
_NAME = r"[^\W\d]\w*+"
_STRING = r"""(?:"(?:[^"\\\r\n]|\\[^\r\n])*+"|'(?:[^'\\\r\n]|\\[^\r\n])*+')"""


def _separated(item: str) -> str:
    """Any number of items with commas between them, and perhaps a comma behind the last."""
    rest = rf"(?:,{_BLANK}{item}{_BLANK})*+"
    return rf"(?:{item}{_BLANK}{rest}(?:,{_BLANK})?+)?+"


_ATOM = rf"(?:{_STRING}|None|True|False|-?\d[\d.]*+)"
_VALUE = rf"(?:{_ATOM}|\[{_BLANK}{_separated(_ATOM)}\])"
_CALL = rf"{_NAME}\({_BLANK}{_separated(rf'(?:{_NAME}{_BLANK}={_BLANK})?+{_VALUE}')}\)"
_LIST = rf"\[{_BLANK}{_separated(_CALL)}\]"
_STATEMENT = re.compile(rf"{_BLANK}(?:(?P<name>{_NAME})[ \t]*+={_BLANK})?+{_LIST}")


def is_complete(text: str, answers: Sequence[str]) -> bool:
    """Whether the last of the expected lists is closed in the beginning of a reply.

    ``True`` is certain, ``False`` is not. Only lists of annotations in the exact format count, from
    the beginning of the reply. A reply of another form is never complete: only the model can end
    it. The time is linear in the length of the text.

    Args:
        text: the reply so far. The prompt ends in ``<answers[0]> =``, so that the first list may
            have no name.
        answers: the names of the lists, in order. Without names the result is ``False``.
    """
    if not answers:
        return False
    position = 0
    while statement := _STATEMENT.match(text, position):
        name = statement["name"] or (answers[0] if position == 0 else None)
        if name is None:
            return False
        if name == answers[-1]:
            return True
        position = statement.end()
    return False
