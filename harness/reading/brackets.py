"""The values of a reply (brackets, calls, strings) read into a tree, without recursion."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from harness.reading.repairs import RepairNotes
from harness.reading.strings import ATOM, FOLLOW, NAME, SPACE, TOKEN, UNQUOTED, StringReader, decode

_OPENERS = {")": "(", "]": "[", "}": "{"}
_PLACES = {"(": "p", "[": "l", "{": "d"}
_NEXT_CALL = re.compile(rf"{SPACE},{SPACE}{NAME}{SPACE}\(")


class BareWord:
    """Text that is neither a string nor a bracket; adjacent words are one node.

    ``start`` and ``end`` are offsets in characters, here and in :class:`BracketNode`.
    """

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end


class BracketNode:
    """A pair of brackets and its elements: a list, a dict, a tuple, or with a ``name`` a call.

    ``bracket`` is the opening one. ``items`` pairs each element with its key: a keyword, the key of
    a dict, or ``None``. ``closed`` says that the closing bracket is there. ``broken`` says that
    the last element is cut.
    """

    __slots__ = (
        "bracket",
        "broken",
        "closed",
        "comma",
        "end",
        "fresh",
        "items",
        "key",
        "name",
        "start",
    )

    def __init__(self, bracket: str, start: int, name: str = "") -> None:
        self.bracket = bracket
        self.start = start
        self.end = start
        self.name = name
        self.items: list[KeyedNode] = []
        self.closed = False
        self.broken = False
        self.key: str | None = None  # of the next element
        self.fresh = True  # the last token is the opening bracket or a comma
        self.comma = False  # some comma is there


Node = str | BareWord | BracketNode
KeyedNode = tuple[str | None, Node]


def empty_list(start: int) -> BracketNode:
    """A closed list without elements."""
    group = BracketNode("[", start)
    group.closed = True
    return group


def unwrap(group: BracketNode) -> BracketNode:
    """The brackets inside parentheses that hold nothing else."""
    inner: Node = group
    while isinstance(inner, BracketNode) and inner.bracket == "(" and not inner.name:
        if len(inner.items) != 1 or inner.comma:
            return inner
        inner = inner.items[0][1]
    return inner if isinstance(inner, BracketNode) else group


class BracketReader:
    """Reads the values of one text.

    ``names`` are the names of the answers: their assignment ends all open brackets. ``is_class``
    tells whether a name can be that of a class, ``is_field`` whether a class has a field.
    """

    def __init__(
        self,
        text: str,
        names: Collection[str],
        is_class: Callable[[str], bool],
        is_field: Callable[[str, str], bool],
        notes: RepairNotes,
    ) -> None:
        self.text = text
        self.notes = notes
        self.strings = StringReader(text, notes)
        self._names = names
        self._is_class = is_class
        self._is_field = is_field

    def read(self, start: int) -> BracketNode:
        """The brackets or the call at ``start``; the ``end`` is the position behind them.

        A group that is still open at the end of the text, or at the beginning of another
        statement, is not ``closed``.
        """
        text, notes = self.text, self.notes
        match_token = TOKEN.match
        stack: list[BracketNode] = []
        depth = {"(": 0, "[": 0, "{": 0}
        position = start
        while True:
            token = match_token(text, position)
            assert token is not None, "a token is any character, or the end"
            kind = token.lastgroup
            position = token.end()
            if kind == "comma":
                frame = stack[-1]
                if frame.fresh:
                    notes["extra_comma"] = None
                frame.fresh = frame.comma = True
                continue
            if kind == "double" or kind == "single" or kind == "quote":
                frame = stack[-1]
                place = "k" if frame.name and frame.key is not None else _PLACES[frame.bracket]
                value: str | None
                if kind != "quote" and FOLLOW[place].match(text, position):
                    value = decode(token[kind], token["prefix"], notes)
                else:
                    begin = token.start("prefix")
                    if begin < 0:
                        begin = token.start(kind) - (kind != "quote")
                    value, position = self.strings.read(begin, place)
                if value is None:
                    frame.broken = True
                else:
                    self._add(frame, value)
                continue
            if kind == "key":
                frame = stack[-1]
                name = token["name"]
                if not frame.name or (
                    name in self._names
                    and "\n" in text[token.start() : token.start("name")]
                    and not self._is_field(frame.name, name)
                ):
                    return collapse_stack(self._add, stack, token.start("name"))
                frame.key = name
            elif kind == "call":
                name = token["name"]
                if stack:
                    frame = stack[-1]
                    if frame.name and frame.key is None and frame.items and self._is_class(name):
                        # An annotation among another one's arguments: the closing parenthesis of
                        # the outer one is missing.
                        notes["unclosed_call"] = None
                        if len(stack) == 1:
                            frame.closed = True
                            frame.end = token.start("name")
                            return frame
                        self._pop(stack, depth, token.start("name"))
                stack.append(BracketNode("(", token.start("name"), name))
                depth["("] += 1
            elif kind == "bracket":
                bracket = token["bracket"]
                if bracket in depth:
                    stack.append(BracketNode(bracket, token.start("bracket")))
                    depth[bracket] += 1
                    continue
                self._close(stack, depth, bracket, position)
                if len(stack) == 1 and stack[0].closed:
                    stack[0].end = position
                    return stack[0]
            elif kind == "name" or kind == "other":
                position = self._word(stack[-1], token.start(kind), position, named=kind == "name")
            elif kind == "colon":
                self._colon(stack[-1], position)
            elif kind == "fence":
                return collapse_stack(self._add, stack, token.start("fence"))
            elif kind == "end":
                return collapse_stack(self._add, stack, len(text))

    def _add(self, frame: BracketNode, value: Node) -> None:
        if not frame.fresh and frame.items:
            last = frame.items[-1][1]
            if isinstance(last, BareWord) and isinstance(value, BareWord):
                self.notes["junk"] = None
                last.end = value.end
                return
            self.notes["missing_comma"] = None
        frame.items.append((frame.key, value))
        frame.key = None
        frame.fresh = False

    def _word(self, frame: BracketNode, start: int, end: int, *, named: bool) -> int:
        """Adds a bare word, or in a call a string without quotes; returns its end."""
        if frame.name and (frame.fresh or frame.key is not None):
            unquoted = UNQUOTED.match(self.text, start)
            if unquoted and not ATOM.fullmatch(unquoted["value"].rstrip()):
                self.notes["unquoted_string"] = None
                self._add(frame, unquoted["value"].rstrip())
                return unquoted.end()
        if not named and not ATOM.match(self.text, start):
            self.notes["junk"] = None
        self._add(frame, BareWord(start, end))
        return end

    def _colon(self, frame: BracketNode, end: int) -> None:
        """Makes the last element the key of the next one."""
        if frame.items and not frame.fresh and (frame.name or frame.bracket == "{"):
            key, last = frame.items[-1]
            if key is None and not isinstance(last, BracketNode):
                if frame.name:
                    self.notes["colon_keyword"] = None
                frame.items.pop()
                frame.key = last if isinstance(last, str) else self.text[last.start : last.end]
                frame.fresh = True
                return
        self._add(frame, BareWord(end - 1, end))

    def _close(
        self, stack: list[BracketNode], depth: dict[str, int], bracket: str, end: int
    ) -> None:
        """Closes the innermost group that the bracket can close."""
        frame = stack[-1]
        opener = _OPENERS[bracket]
        if frame.bracket != opener:
            if frame.name and _NEXT_CALL.match(self.text, end):
                self.notes["wrong_bracket"] = None
                opener = "("
            elif not depth[opener]:
                self.notes["stray_bracket"] = None
                return
        while stack[-1].bracket != opener:
            self.notes["unclosed_call" if stack[-1].name else "unclosed_list"] = None
            self._pop(stack, depth, end)
        stack[-1].closed = True
        stack[-1].end = end
        if len(stack) > 1:
            self._pop(stack, depth, end)

    def _pop(self, stack: list[BracketNode], depth: dict[str, int], end: int) -> None:
        """Makes the innermost group an element of the one around it."""
        group = stack.pop()
        group.end = end
        depth[group.bracket] -= 1
        if group.key is not None:
            group.broken = True
        if not group.closed:
            group.closed = not group.broken
        value: Node = group
        if group.bracket == "(" and not group.name and len(group.items) == 1 and not group.comma:
            value = group.items[0][1]
        self._add(stack[-1], value)


def collapse_stack(
    add: Callable[[BracketNode, Node], None], stack: list[BracketNode], end: int
) -> BracketNode:
    """The outermost group of a stack of open groups, which all stay open.

    ``add`` makes a group an element of the group around it. ``end`` is the end of all of them.
    """
    while True:
        group = stack.pop()
        group.end = end
        if group.key is not None:
            group.broken = True
        if not stack:
            return group
        add(stack[-1], group)
