"""JSON read into a tree of brackets, up to the first fault or the end of the text.

The standard library's reader returns all or nothing, but a reply that was cut has to return the
elements that are complete. Grammar: RFC 8259. The tree is that of ``brackets.py``.
"""

from __future__ import annotations

import json
import re

from harness.reading.brackets import BareWord, BracketNode, collapse_stack
from harness.reading.repairs import RepairNotes

_TOKEN = re.compile(
    r"""[ \t\r\n]*+(?:
    "(?P<string>[^"\\]*+(?:\\.[^"\\]*+)*+)"
  | (?P<mark>[{}\[\],:])
  | (?P<word>true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)(?![\w.+-])
  | (?P<odd>NaN|-?Infinity|None|True|False)(?![\w.+-])
  | (?P<cut>"|[\w.+-]*+\Z)
  | (?P<other>)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"""\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}|(?P<bad>))""")
_CONTROL = re.compile(r"[\x00-\x1f]")
_HALF = re.compile("[\ud800-\udfff]")
_CLOSERS = {"[": "]", "{": "}"}


def parse_json_tree(text: str, start: int, notes: RepairNotes) -> tuple[BracketNode, bool]:
    """The array or object at ``start``, and whether it is JSON.

    If it is not JSON, or the text ends inside it, the open nodes are not ``closed``. The ``end`` of
    the result is the position of the fault, or the position behind the value. These faults are
    repaired and noted: an extra comma before a bracket, a missing comma before an object, words of
    Python and JavaScript, raw control characters and invalid escapes in strings. There is no
    recursion, and the time is linear in the length of the value.
    """
    stack = [BracketNode(text[start], start)]
    position = start + 1
    while True:
        token = _TOKEN.match(text, position)
        assert token is not None, "a token may be empty"
        kind = token.lastgroup
        frame = stack[-1]
        if kind == "cut":
            frame.broken = position < len(text) and token["cut"] != ""
            return collapse_stack(_add, stack, len(text)), True
        mark = token["mark"]
        # In an object, a key and a colon come first. ``fresh`` says that an element may follow.
        wants_key = frame.bracket == "{" and frame.key is None
        if mark == _CLOSERS[frame.bracket] and frame.key is None:
            if frame.fresh and frame.items:
                notes["extra_comma"] = None
            frame.closed = True
            frame.end = token.end()
            stack.pop()
            if not stack:
                return frame, True
            _add(stack[-1], frame)
        elif mark == "{" and frame.items and not frame.fresh and frame.bracket == "[":
            notes["missing_comma"] = None
            stack.append(BracketNode(mark, token.end() - 1))
        elif mark == "," and not frame.fresh and frame.key is None:
            frame.fresh = True
        elif mark is not None and mark in "[{" and frame.fresh and not wants_key:
            stack.append(BracketNode(mark, token.end() - 1))
        elif kind == "string" and frame.fresh:
            value = _decode(token["string"], notes)
            if wants_key:
                colon = _TOKEN.match(text, token.end())
                assert colon is not None, "a token may be empty"
                frame.key = value
                if colon.lastgroup == "cut":
                    return collapse_stack(_add, stack, len(text)), True
                if colon["mark"] != ":":
                    return collapse_stack(_add, stack, colon.end()), False
                token = colon
            else:
                _add(frame, value)
        elif kind in ("word", "odd") and frame.fresh and not wants_key:
            if kind == "odd":
                notes["json"] = None
            _add(frame, BareWord(token.start(kind), token.end()))
        else:
            return collapse_stack(_add, stack, token.start(kind or 0)), False
        position = token.end()


def _add(frame: BracketNode, value: str | BareWord | BracketNode) -> None:
    frame.items.append((frame.key, value))
    frame.key = None
    frame.fresh = False


def _decode(body: str, notes: RepairNotes) -> str:
    """The characters of a string; invalid escapes and lone surrogates stay as written."""
    if _CONTROL.search(body):
        notes["raw_newline"] = None
    if "\\" not in body:
        return body

    def repair(escape: re.Match[str]) -> str:
        if escape["bad"] is None:
            return escape[0]
        notes["bad_escape"] = None
        return "\\\\"

    value = str(json.loads(f'"{_ESCAPE.sub(repair, body)}"', strict=False))
    if _HALF.search(value) and not _HALF.search(body):
        notes["bad_escape"] = None
        value = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", value)
    return value
