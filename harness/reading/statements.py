"""The lists of a reply: the statements of a Python program, with any prose between them.

The reply continues a prompt that ends in ``<first answer> =``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from harness.reading.answer_names import answer_pattern, match_answer
from harness.reading.brackets import BareWord, BracketNode, BracketReader, empty_list, unwrap
from harness.reading.elements import AnnotationBuilder, is_nothing, is_object
from harness.reading.repairs import RepairNotes
from harness.reading.strings import FOLLOW, NAME, QUOTE, SPACE, StringReader

_BLANK = re.compile(r"[\s;\x00\ufeff\u200b-\u200f\u2060]*+")
_LEADING = re.compile(
    # A string that holds a list is no translation.
    rf"{SPACE}(?:(?P<list>[\[{{(])"
    rf"|(?![`´′])(?P<quote>{QUOTE})(?!{SPACE}\[{SPACE}(?:\]|{NAME}{SPACE}\())"
    rf"|(?P<nothing>(?:None|null)\b)[ \t]*+(?:\r?\n|\Z))"
)
_VALUE = re.compile(
    rf"(?:{SPACE}\\\r?\n)?+{SPACE}(?P<fence>```[\w+-]*+{SPACE})?+"
    rf"(?:(?P<open>[\[{{(])|(?P<nothing>(?:None|null)\b)|(?P<call>{NAME}){SPACE}\(|(?P<name>{NAME}))"
)
_NEXT_CALL = re.compile(rf"{SPACE},?+{SPACE}(?P<call>{NAME}){SPACE}\(")
_ALONE = re.compile(r"\n[ \t*`>\-]*+\Z")
_END_OF_STATEMENT = re.compile(r"[ \t]*+(?:\r?\n|\Z|;|\#)")
_REASONING = re.compile(rf"{SPACE}<think>")


@lru_cache(maxsize=64)
def _patterns(answers: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The pattern of a statement, and the pattern of a comment behind a statement.

    The first also matches comments, code fences, docstrings and lines of the prompt.
    """
    names = answer_pattern(answers)
    # A line like ``## Final result`` is a heading, not a comment.
    comment = rf"\#(?!\#[^\n]{{0,80}}?{names})[^\r\n]*+"
    type_hint = rf"(?::[ \t]*+{NAME}(?:\[[^=\n]{{0,80}}\])?[ \t]*+)?+"
    statement = re.compile(
        rf"""
    (?P<comment>^[ \t]*+{comment})
  | (?P<fence>(?:```|~~~)[`~]*+[\w+-]*+)
  | (?P<triple>\"\"\"|''')
  | (?P<prompt>^[ \t]*+(?:@\w|class[ \t]+\w[^\n]*:|from[ \t]+[\w.]+[ \t]+import\b|import[ \t])
      [^\n]*+)
  | (?<![\w.])(?P<answer>{names})(?!\w)(?P<emphasis>["'`*)]{{0,4}}+)[ \t]*+
    (?P<mark>
        (?P<method>\.(?:append|extend)[ \t]*+\(|\+=)
      | (?P<equals>{type_hint}=(?!=))
      | (?::=?|->|=>|：|(?=\r?\n))["'`*]{{0,4}}+
    )
  | ^[ \t]*+(?P<other>(?P<variable>{NAME})[ \t]*+{type_hint}=(?!=){SPACE})(?=[(\[{{]|{QUOTE})
  | (?P<open>\[(?={SPACE}(?:[\]\[{{\#]|{NAME}{SPACE}\())|\{{(?={SPACE}{QUOTE}))
  | ^[ \t]*+(?:(?:[-*•>]|\d+[.)])[ \t]*+)?+["'`]?+
    (?P<call>(?P<callee>{NAME}){SPACE}\((?={SPACE}(?:{NAME}{SPACE}[=:]{SPACE})?+{QUOTE}))
    """,
        re.VERBOSE | re.MULTILINE,
    )
    return statement, re.compile(rf"[ \t;]*+(?:{comment})?+")


class StatementReader:
    """Reads the lists of one reply."""

    def __init__(
        self, text: str, answers: Sequence[str], elements: AnnotationBuilder, notes: RepairNotes
    ) -> None:
        self._lists: dict[str, BracketNode] = {}
        self._text = text
        self._answers = tuple(answers)
        self._statement, self._rest_of_line = _patterns(self._answers)
        self._elements = elements
        self._notes = notes
        self._reader = BracketReader(
            text, self._answers, elements.is_class, elements.is_field, notes
        )
        # The list of the annotations that stand without brackets; more may follow.
        self._bare_list: BracketNode | None = None
        # The first list under another name. It counts only if there is no other list.
        self._other_list: BracketNode | None = None
        # Whether a string came first: the prompt then ended before the translation.
        self._has_translation = False
        # Whether another example has begun: the rest of the reply is ignored.
        self._has_ended = False
        # By answer: whether its list is complete, and is empty or holds annotations.
        self._usable: dict[str, bool] = {}
        # Strings outside the lists are skipped: their faults are not noted as repairs.
        self._skipped_strings = StringReader(text, {})

    def read(self) -> dict[str, BracketNode]:
        """The lists of the reply, by the names of the answers."""
        self._read()
        if not self._lists and self._other_list is not None and len(self._answers) == 1:
            self._notes["other_name"] = None
            self._lists[self._answers[0]] = self._other_list
        return self._lists

    def _read(self) -> None:
        """Reads statement by statement; text between them is noted as prose."""
        # A handler returns the end of its statement, or None if the text is no such statement.
        handlers = {
            "comment": self._comment,
            "fence": self._fence,
            "triple": self._docstring,
            "prompt": self._prompt,
            "mark": self._answer,
            "other": self._variable,
            "open": self._unnamed,
            "call": self._bare,
        }
        text = self._text
        search = self._statement.search
        position = self._leading(skip_reasoning(text, self._notes))
        while statement := search(text, position):
            assert statement.lastgroup is not None, "each alternative has a group around it"
            self._pass_over(position, statement.start())
            end = handlers[statement.lastgroup](statement)
            if self._has_ended:
                return
            if end is None:  # It only looked like a statement.
                self._pass_over(statement.start(), statement.end())
            position = statement.end() if end is None else end
        self._pass_over(position, len(text))

    def _pass_over(self, start: int, end: int) -> None:
        blank = _BLANK.match(self._text, start, end)
        if blank is None or blank.end() < end:
            self._notes["prose"] = None

    def _leading(self, start: int) -> int:
        """Reads the value at the beginning, which the prompt assigns; returns its end."""
        beginning = _LEADING.match(self._text, start)
        if beginning is None:
            return start
        first = self._answers[0]
        if beginning["nothing"]:
            self._notes["none_list"] = None
            self._assign(first, empty_list(beginning.start("nothing")))
            return beginning.end("nothing")
        if beginning["quote"]:
            end = self._string(beginning.start("quote"))
            return start if end is None else end
        note_count = len(self._notes)
        group = self._reader.read(beginning.start("list"))
        if group.bracket == "(" and len(group.items) == 1 and isinstance(group.items[0][1], str):
            self._has_translation = True
        elif not self._object(group):
            # Square brackets are always a list. Other brackets may begin a remark.
            if group.bracket != "[" and not self._elements.any_annotation(group):
                self._forget(note_count)
                self._notes["prose"] = None
            else:
                self._assign(first, unwrap(group))
        return self._line(group.end)

    def _string(self, start: int) -> int | None:
        """Skips a string that is a statement or its value; ``None`` if it is neither."""
        value, end = self._skipped_strings.read(start, "s")
        if value is None or not FOLLOW["s"].match(self._text, end):
            return None
        if "\n" in self._text[start:end].strip("'\""):
            return None
        self._has_translation = True
        return self._line(end)

    def _forget(self, note_count: int) -> None:
        """Removes the notes behind the first ``note_count``: what they repaired is no list."""
        while len(self._notes) > note_count:
            self._notes.popitem()

    def _line(self, end: int) -> int:
        """The position behind any comment on the same line."""
        rest = self._rest_of_line.match(self._text, end)
        return rest.end() if rest else end

    def _comment(self, statement: re.Match[str]) -> int:
        return statement.end()

    def _fence(self, statement: re.Match[str]) -> int:
        self._notes["code_fence"] = None
        return statement.end()

    def _docstring(self, statement: re.Match[str]) -> int | None:
        """Skips the docstring of a class that the reply repeats from the prompt.

        Elsewhere triple quotes mean nothing.
        """
        if "restated_prompt" not in self._notes:
            return None
        closing = self._text.find(statement["triple"], statement.end())
        return closing + 3 if closing >= 0 else None

    def _prompt(self, statement: re.Match[str]) -> int:
        """A line of the prompt: a repetition before the answer, another example behind it."""
        self._has_ended = any(self._usable.values())
        self._notes["run_on" if self._has_ended else "restated_prompt"] = None
        return statement.end()

    def _answer(self, statement: re.Match[str]) -> int | None:
        """A list under the name of its answer: an assignment, ``append``, a heading, a key."""
        text = self._text
        value = _VALUE.match(text, statement.end())
        if value is None:
            return None
        is_assignment = statement["equals"] is not None and not statement["emphasis"]
        name = match_answer(statement["answer"], self._answers) or self._answers[0]
        group: BracketNode
        is_bare = False
        if value["open"]:
            if value["open"] == "(" and not statement["equals"]:
                return None
            group = self._reader.read(value.start("open"))
            end = group.end
            group = unwrap(group)
        elif value["nothing"]:
            if not _END_OF_STATEMENT.match(text, value.end()):
                return None
            self._notes["none_list"] = None
            group = empty_list(value.start("nothing"))
            end = value.end("nothing")
        elif value["call"]:
            if not self._elements.is_class(value["call"]):
                return None
            group, end = self._annotations(value.start("call"))
            is_bare = statement["method"] is None
        else:
            other = value["name"]
            end = value.end("name")
            if (
                statement["method"]
                or other not in self._lists
                or not _END_OF_STATEMENT.match(text, end)
            ):
                return None
            self._notes["alias"] = None
            group = self._lists[other]
        if value["fence"]:
            self._notes["code_fence"] = None
        if name != statement["answer"]:
            self._notes["name_variant"] = None
        if statement["method"]:
            return self._append(name, group, end)
        if not is_assignment:
            self._notes["loose_assignment"] = None
        elif name == self._answers[0] and name not in self._lists and not self._has_translation:
            self._notes["restated"] = None
        self._assign(name, group)
        self._bare_list = group if is_bare else None
        return self._line(end)

    def _append(self, name: str, group: BracketNode, end: int) -> int:
        """Appends the elements to the list of an answer, or starts one."""
        self._notes["appended"] = None
        if name in self._lists:
            answer_list = self._lists[name]
            answer_list.items.extend(group.items)
            answer_list.closed = answer_list.closed and group.closed
            answer_list.end = group.end
        else:
            self._assign(name, group)
        while self._text[end : end + 1] == ")":
            end += 1
        return self._line(end)

    def _variable(self, statement: re.Match[str]) -> int | None:
        """An assignment to a name of no answer: of a text, or of a list under another name."""
        if statement["variable"] == "text":
            self._prompt(statement)
            if self._has_ended:
                return statement.end()
        self._bare_list = None
        start = statement.end()
        if self._text[start] not in "([{":
            return self._string(start)
        note_count = len(self._notes)
        group = self._reader.read(start)
        if group.bracket == "(":
            self._has_translation = True
        elif self._other_list is None and self._elements.any_annotation(group):
            self._other_list = group
            return self._line(group.end)
        self._forget(note_count)
        return self._line(group.end)

    def _unnamed(self, statement: re.Match[str]) -> int | None:
        """A list without a name belongs to the first answer that has no usable list."""
        start = statement.start("open")
        answer = next((name for name in self._answers if not self._usable.get(name)), None)
        is_first = answer == self._answers[0]
        # In the middle of a sentence, a list counts only for the first answer.
        if not is_first and not _ALONE.search(self._text, max(0, start - 40), start):
            return None
        note_count = len(self._notes)
        group = self._reader.read(start)
        self._bare_list = None
        if self._object(group):
            return self._line(group.end)
        if group.items and not self._elements.any_annotation(group):
            # It is skipped as a whole: reading on inside it could take quadratic time.
            self._forget(note_count)
            self._notes["prose"] = None
            return group.end
        if answer is None:
            self._notes["extra_list"] = None
        else:
            if not is_first or self._has_translation:
                self._notes["unnamed_list"] = None
            self._assign(answer, group)
        return self._line(group.end)

    def _object(self, group: BracketNode) -> bool:
        """Assigns the lists of a JSON object that names them; whether there are any."""
        if not is_object(group):
            return False
        answers = {name.casefold(): name for name in self._answers}
        has_lists = False
        for key, value in group.items:
            name = answers.get((key or "").casefold())
            if name is None:
                continue
            if isinstance(value, BracketNode):
                self._assign(name, value)
            elif isinstance(value, BareWord) and is_nothing(self._text, value):
                self._notes["none_list"] = None
                self._assign(name, empty_list(value.start))
            else:
                continue
            has_lists = True
            self._notes["json"] = None
        return has_lists

    def _bare(self, statement: re.Match[str]) -> int | None:
        """Annotations without brackets at the beginning of a line."""
        first = self._answers[0]
        if not self._elements.is_class(statement["callee"]):
            return None
        if self._bare_list is None and first in self._lists:
            return None
        group, end = self._annotations(statement.start("call"))
        if self._bare_list is None:
            self._assign(first, group)
            self._bare_list = group
        else:
            self._bare_list.items.extend(group.items)
            self._bare_list.closed = group.closed
            self._bare_list.end = group.end
        return self._line(end)

    def _annotations(self, start: int) -> tuple[BracketNode, int]:
        """The list of consecutive annotations that have no brackets, and its end."""
        self._notes["bare_annotation"] = None
        group = BracketNode("[", start)
        next_call: re.Match[str] | None = None
        while True:
            call = self._reader.read(next_call.start("call") if next_call else start)
            group.items.append((None, call))
            group.end = call.end
            group.closed = call.closed
            next_call = _NEXT_CALL.match(self._text, call.end)
            if next_call is None or not self._elements.is_class(next_call["call"]):
                return group, group.end

    def _assign(self, name: str, group: BracketNode) -> None:
        """Sets the list of an answer. An unusable list never replaces a usable one."""
        if not group.closed and group.end < len(self._text):
            self._notes["unclosed_list"] = None
            group.closed = not group.broken
        usable = group.closed and (not group.items or self._elements.any_annotation(group))
        if name in self._lists:
            self._notes["reassigned"] = None
            if self._usable[name] and not usable:
                return
        self._lists[name] = group
        self._usable[name] = usable


def skip_reasoning(text: str, notes: RepairNotes) -> int:
    """The position behind the block of reasoning, or 0 if the text has none."""
    if "think>" not in text:
        return 0
    opening = _REASONING.match(text)
    closing = text.find("</think>", opening.end() if opening else 0)
    if opening is None and (closing < 0 or text[:closing].rpartition("\n")[2].strip()):
        return 0
    notes["reasoning"] = None
    return closing + len("</think>") if closing >= 0 else len(text)
