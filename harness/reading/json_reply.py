"""Replies in JSON read into annotations by stage.

``format = "json"`` asks for one object with the answer lists in order. A text comes before them
if the prompt ends in its assignment (``eng_text =``)::

    {"result": [{"type": "Person", "span": "Ada Lovelace"}]}

Models that no schema constrains reply in many other forms. This module reads the replies that are
JSON. The reader of Python reads the others, because it accepts malformed objects too.
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

    Arguments and result are those of :func:`harness.reading.reply.parse_reply`. The status is
    ``ok`` if the reply is exactly one object with the answer lists. Its keys may be in any order,
    and texts beside the lists are ignored. The status is ``truncated`` also if the reply ends
    inside its object, unless ``finish_reason`` is ``stop`` and only closing brackets are missing.
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
    prediction = parse_reply(
        text, answers, fields=fields, finish_reason=finish_reason, example_id=example_id
    )
    if not prediction.stages or "json" in prediction.repairs:
        return prediction
    status = Status.REPAIRED if prediction.status is Status.OK else prediction.status
    return replace(prediction, status=status, repairs=("python", *prediction.repairs))


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
        # Lists and objects that hold annotations but have no answer's name.
        self._unnamed: list[BracketNode] = []
        # The list or object inside which the text ends.
        self._open_root: BracketNode | None = None
        # By answer: whether its list is complete, and is empty or holds annotations.
        self._usable: dict[str, bool] = {}

    def read(self) -> bool:
        """Reads the reply; whether it is JSON. Its lists are then in ``lists``."""
        text, notes = self._text, self._notes
        blank = _BLANK.match(text)
        position = blank.end() if blank else 0
        if text[position : position + 1] not in ("{", "["):
            position = skip_reasoning(text, notes)
        has_answer = False
        while opening := _START.search(text, position):
            self._pass_over(position, opening.start())
            note_count = len(notes)
            root, is_json = parse_json_tree(text, opening.start(), notes)
            position = root.end
            if is_json and not root.closed:
                self._open_root = root
            is_answer = self._assign_named(root) or self._add_unnamed(root)
            if is_answer and not is_json:
                return False
            if is_answer and has_answer:
                notes["json"] = None
            has_answer = has_answer or is_answer
            if not is_answer and root is not self._open_root:
                while len(notes) > note_count:
                    notes.popitem()
                notes["prose"] = None
        self._pass_over(position, len(text))
        return (bool(self.lists) or self._assign_unnamed()) or self._open_root is not None

    def cut(self, finish_reason: str | None) -> bool:
        """Whether more than closing brackets is missing at the end of the text."""
        if self._open_root is None:
            return False
        if (
            self._open_root.broken
            or finish_reason != "stop"
            or len(self.lists) < len(self._answers)
        ):
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

    def _add_unnamed(self, root: BracketNode) -> bool:
        """Keeps a root that holds annotations or is an empty list; whether it is one."""
        if (root.items or root.bracket == "{") and not self._elements.any_annotation(root):
            return False
        self._unnamed.append(root)
        return True

    def _assign_unnamed(self) -> bool:
        """Assigns the lists without a name to the answers in order; whether that is possible."""
        lists = [root for root in self._unnamed if root.bracket == "["]
        if lists:
            if "prose" in self._notes:
                return False  # It may be Python, or the prose may name the lists.
            self._notes["unnamed_list"] = None
            if len(self._unnamed) > len(self._answers):
                self._notes["extra_list"] = None
            self.lists.update(zip(self._answers, lists, strict=False))
        elif self._unnamed:
            if any(map(self._elements.type_item, self._unnamed)):
                self._notes["bare_annotation"] = None
            group = BracketNode("[", self._unnamed[0].start)
            group.items.extend((None, root) for root in self._unnamed)
            group.end = self._unnamed[-1].end
            group.closed = self._unnamed[-1].closed
            group.fresh = False
            self.lists[self._answers[0]] = group
        return bool(self._unnamed)

    def _assign_named(self, root: BracketNode) -> bool:
        """Assigns the lists that an object or an inner object names; whether there are any."""
        if root.bracket != "{":
            return False
        has_lists = has_others = False
        stack: list[BracketNode] = [root]
        while stack:
            group = stack.pop()
            for key, value in group.items:
                name = match_answer(key or "", self._answers)
                if name is None:
                    if isinstance(value, BracketNode) and value.bracket == "{":
                        stack.append(value)
                    elif isinstance(value, BracketNode):
                        has_others = True
                    continue
                if not self._assign(name, value):
                    continue
                has_lists = True
                if name != key:
                    self._notes["name_variant"] = None
                if group is not root:
                    self._notes["json"] = None
        if has_lists and has_others:
            self._notes["extra_list"] = None
        return has_lists

    def _assign(self, name: str, value: Node) -> bool:
        """Sets the list of an answer; whether the value is a list.

        An unusable list never replaces a usable one.
        """
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
