"""Answers as JSON: the schema that a server holds them to, and the reader of what comes back.

``format = "json"`` asks for one object, which has the answer lists in order, and before them a
text where the prompt breaks off at one (``eng_text =``)::

    {"result": [{"type": "Person", "span": "Ada Lovelace"}]}

Servers that are not held to the schema answer in many other shapes. What is JSON is read here;
what turns out not to be is left to the reader of Python, which knows loose objects as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.reading.answer_names import match_answer
from harness.reading.brackets import BracketNode, Node, empty_list
from harness.reading.elements import AnnotationBuilder, is_nothing
from harness.reading.json_values import parse_json_tree
from harness.reading.repairs import RepairNotes
from harness.reading.reply import make_prediction, parse_reply
from harness.reading.statements import skip_reasoning
from harness.reading.strings import SPACE
from harness.records import Prediction, Status

_START = re.compile(r'[{\[](?=\s*+(?:["{\[\]}]|\Z))')
_FENCE = re.compile(r"(?:```|~~~)[\w+-]*+")
_BLANK = re.compile(SPACE)


def parse_json_reply(
    text: str,
    answers: Sequence[str] = ("result", "final_result"),
    *,
    fields: Mapping[str, tuple[str, ...]] | None = None,
    finish_reason: str | None = None,
    example_id: str = "",
) -> Prediction:
    """Read a JSON reply; no input raises, and the time is linear in its length.

    Takes and gives what :func:`harness.reading.reply.parse_reply` does. The status is ``ok``
    where the reply is the object that was asked for and nothing else; keys may be in any order,
    and texts beside the lists are passed over. ``truncated`` is also a reply that ends before
    its object does, unless the server says ``stop`` and only closing brackets are missing.
    """
    notes: RepairNotes = {}
    elements = AnnotationBuilder(text, fields, notes, json=True)
    reader = _ObjectReader(text, answers, elements, notes)
    if reader.read():
        cut = reader.cut(finish_reason)
        lists = reader.lists
        return make_prediction(
            text, answers, lists, elements, notes, finish_reason, example_id, cut=cut
        )
    found = parse_reply(
        text, answers, fields=fields, finish_reason=finish_reason, example_id=example_id
    )
    if not found.stages or "json" in found.repairs:
        return found
    status = Status.REPAIRED if found.status is Status.OK else found.status
    return replace(found, status=status, repairs=("python", *found.repairs))


class _ObjectReader:
    """Reads the lists in the JSON of one reply."""

    def __init__(
        self, text: str, answers: Sequence[str], elements: AnnotationBuilder, notes: RepairNotes
    ) -> None:
        self.lists: dict[str, BracketNode] = {}
        self._text = text
        self._answers = tuple(answers)
        self._elements = elements
        self._notes = notes
        # What holds annotations and has none of the answers' names.
        self._loose: list[BracketNode] = []
        # What the text ends inside of.
        self._open: BracketNode | None = None
        # By answer, whether its list is complete and holds annotations.
        self._usable: dict[str, bool] = {}

    def read(self) -> bool:
        """Whether the reply could be read as JSON; ``lists`` then has what was found."""
        text, notes = self._text, self._notes
        blank = _BLANK.match(text)
        position = blank.end() if blank else 0
        if text[position : position + 1] not in ("{", "["):
            position = skip_reasoning(text, notes)
        taken = False
        while found := _START.search(text, position):
            self._pass_over(position, found.start())
            before = len(notes)
            root, is_json = parse_json_tree(text, found.start(), notes)
            position = root.end
            if is_json and not root.closed:
                self._open = root
            ours = self._take_named(root) or self._take_loose(root)
            if ours and not is_json:
                return False
            if ours and taken:
                notes["json"] = None
            taken = taken or ours
            if not ours and root is not self._open:
                while len(notes) > before:
                    notes.popitem()
                notes["prose"] = None
        self._pass_over(position, len(text))
        return (bool(self.lists) or self._place()) or self._open is not None

    def cut(self, finish_reason: str | None) -> bool:
        """Whether more than closing brackets is missing at the end of the text."""
        if self._open is None:
            return False
        if self._open.broken or finish_reason != "stop" or len(self.lists) < len(self._answers):
            return True
        if all(group.closed for group in self.lists.values()):
            self._notes["unclosed_list"] = None
        return False

    def _pass_over(self, start: int, end: int) -> None:
        between, fences = _FENCE.subn("", self._text[start:end])
        if fences:
            self._notes["code_fence"] = None
        blank = _BLANK.match(between)
        if blank is None or blank.end() < len(between):
            self._notes["prose"] = None

    def _take_loose(self, root: BracketNode) -> bool:
        """Takes what holds annotations, or is an empty list; whether it does."""
        if (root.items or root.bracket == "{") and not self._elements.any_annotation(root):
            return False
        self._loose.append(root)
        return True

    def _place(self) -> bool:
        """Gives the lists without a name their places in order; whether that can be done."""
        unnamed = [root for root in self._loose if root.bracket == "["]
        if unnamed:
            if "prose" in self._notes:
                return False  # It may be Python, or say which list is which.
            self._notes["unnamed_list"] = None
            if len(self._loose) > len(self._answers):
                self._notes["extra_list"] = None
            self.lists.update(zip(self._answers, unnamed, strict=False))
        elif self._loose:
            if any(map(self._elements.type_of, self._loose)):
                self._notes["bare_annotation"] = None
            bare = BracketNode("[", self._loose[0].start)
            bare.items.extend((None, root) for root in self._loose)
            bare.end = self._loose[-1].end
            bare.closed = self._loose[-1].closed
            bare.fresh = False
            self.lists[self._answers[0]] = bare
        return bool(self._loose)

    def _take_named(self, root: BracketNode) -> bool:
        """Takes the lists that an object, or one inside it, has by the names of the answers."""
        if root.bracket != "{":
            return False
        taken = others = False
        stack: list[BracketNode] = [root]
        while stack:
            group = stack.pop()
            for key, value in group.items:
                name = match_answer(key or "", self._answers)
                if name is None:
                    if isinstance(value, BracketNode) and value.bracket == "{":
                        stack.append(value)
                    elif isinstance(value, BracketNode):
                        others = True
                    continue
                if not self._assign(name, value):
                    continue
                taken = True
                if name != key:
                    self._notes["name_variant"] = None
                if group is not root:
                    self._notes["json"] = None
        if taken and others:
            self._notes["extra_list"] = None
        return taken

    def _assign(self, name: str, value: Node) -> bool:
        """Gives an answer its list: the last one that is complete and holds annotations."""
        if isinstance(value, str):
            return False
        if not isinstance(value, BracketNode):
            if not is_nothing(self._text, value):
                return False
            self._notes["none_list"] = None
            value = empty_list(value.start)
        usable = value.closed and (not value.items or self._elements.any_annotation(value))
        if name in self.lists:
            self._notes["reassigned"] = None
            if self._usable[name] and not usable:
                return True
        self.lists[name] = value
        self._usable[name] = usable
        return True
