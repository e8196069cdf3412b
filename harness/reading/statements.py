"""Where a reply's lists are: the statements of a program that may stand in any prose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from harness.reading.brackets import BareWord, BracketNode, BracketReader, empty_list, unwrap
from harness.reading.elements import AnnotationBuilder, is_nothing, is_object
from harness.reading.repairs import RepairNotes
from harness.reading.strings import FOLLOW, NAME, QUOTE, SPACE, StringReader

_BLANK = re.compile(r"[\s;\x00\ufeff\u200b-\u200f\u2060]*+")
_LEADING = re.compile(
    # Quotes around a list are no translation's.
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
_THINKS = re.compile(rf"{SPACE}<think>")


@lru_cache(maxsize=64)
def _patterns(answers: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds all that may be a statement or is passed over, and what ends a line.

    The names of the answers match in any case, with a space or a hyphen for ``_``, and in the
    plural: ``Final results``.
    """
    names = "|".join(
        "[ _-]?".join(map(re.escape, name.split("_"))) + "s?"
        for name in sorted(answers, key=len, reverse=True)
    )
    # A line like ``## Final result`` is a heading.
    comment = rf"\#(?!\#[^\n]{{0,80}}?(?ai:{names}))[^\r\n]*+"
    typed = rf"(?::[ \t]*+{NAME}(?:\[[^=\n]{{0,80}}\])?[ \t]*+)?+"
    statement = re.compile(
        rf"""
    (?P<comment>^[ \t]*+{comment})
  | (?P<fence>(?:```|~~~)[`~]*+[\w+-]*+)
  | (?P<triple>\"\"\"|''')
  | (?P<prompt>^[ \t]*+(?:@\w|class[ \t]+\w[^\n]*:|from[ \t]+[\w.]+[ \t]+import\b|import[ \t])
      [^\n]*+)
  | (?<![\w.])(?P<answer>(?ai:{names}))(?!\w)(?P<emphasis>["'`*)]{{0,4}}+)[ \t]*+
    (?P<mark>
        (?P<method>\.(?:append|extend)[ \t]*+\(|\+=)
      | (?P<equals>{typed}=(?!=))
      | (?::=?|->|=>|：|(?=\r?\n))["'`*]{{0,4}}+
    )
  | ^[ \t]*+(?P<other>(?P<variable>{NAME})[ \t]*+{typed}=(?!=){SPACE})(?=[(\[{{]|{QUOTE})
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
        # The list in which annotations that stand without brackets are collected.
        self._loose: BracketNode | None = None
        # The first list of another name, which counts only where nothing else is there.
        self._other: BracketNode | None = None
        # A string stood before the lists: the prompt left off before the translation.
        self._translated = False
        # Nothing after this is read: another example begins.
        self._over = False
        # By answer, whether its list is complete and holds annotations.
        self._usable: dict[str, bool] = {}
        # Texts that are passed over need no repairs, hence their own reader of strings.
        self._texts = StringReader(text, {})

    def read(self) -> dict[str, BracketNode]:
        """The lists that the reply has, by the names of the answers."""
        self._read()
        if not self._lists and self._other is not None and len(self._answers) == 1:
            self._notes["other_name"] = None
            self._lists[self._answers[0]] = self._other
        return self._lists

    def _read(self) -> None:
        """Goes from statement to statement, over whatever stands between them."""
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
        while found := search(text, position):
            assert found.lastgroup is not None, "each alternative has a group around it"
            self._pass_over(position, found.start())
            end = handlers[found.lastgroup](found)
            if self._over:
                return
            if end is None:  # It only looked like a statement.
                self._pass_over(found.start(), found.end())
            position = found.end() if end is None else end
        self._pass_over(position, len(text))

    def _pass_over(self, start: int, end: int) -> None:
        blank = _BLANK.match(self._text, start, end)
        if blank is None or blank.end() < end:
            self._notes["prose"] = None

    def _leading(self, start: int) -> int:
        """What the reply begins with goes on where the prompt left off."""
        found = _LEADING.match(self._text, start)
        if found is None:
            return start
        first = self._answers[0]
        if found["nothing"]:
            self._notes["none_list"] = None
            self._assign(first, empty_list(found.start("nothing")))
            return found.end("nothing")
        if found["quote"]:
            end = self._string(found.start("quote"))
            return start if end is None else end
        before = len(self._notes)
        group = self._reader.read(found.start("list"))
        if group.bracket == "(" and len(group.items) == 1 and isinstance(group.items[0][1], str):
            self._translated = True
        elif not self._object(group):
            # Only square brackets are a list whatever they hold: a remark may begin with others.
            if group.bracket != "[" and not self._elements.any_annotation(group):
                self._forget(before)
                self._notes["prose"] = None
            else:
                self._assign(first, unwrap(group))
        return self._line(group.end)

    def _string(self, start: int) -> int | None:
        """Passes over a string that is a statement, or a statement's value."""
        value, end = self._texts.read(start, "s")
        if value is None or not FOLLOW["s"].match(self._text, end):
            return None
        if "\n" in self._text[start:end].strip("'\""):
            return None
        self._translated = True
        return self._line(end)

    def _forget(self, before: int) -> None:
        """Takes back the repairs of what turned out to be no list, those after the first few."""
        while len(self._notes) > before:
            self._notes.popitem()

    def _line(self, end: int) -> int:
        """The position behind a comment on the rest of the line."""
        rest = self._rest_of_line.match(self._text, end)
        return rest.end() if rest else end

    def _comment(self, found: re.Match[str]) -> int:
        return found.end()

    def _fence(self, found: re.Match[str]) -> int:
        self._notes["code_fence"] = None
        return found.end()

    def _docstring(self, found: re.Match[str]) -> int | None:
        """A class's guideline, which may say anything; elsewhere the quotes mean nothing."""
        if "restated_prompt" not in self._notes:
            return None
        closing = self._text.find(found["triple"], found.end())
        return closing + 3 if closing >= 0 else None

    def _prompt(self, found: re.Match[str]) -> int:
        """A part of the prompt: before the answer it is repeated, behind it another one begins."""
        self._over = any(self._usable.values())
        self._notes["run_on" if self._over else "restated_prompt"] = None
        return found.end()

    def _answer(self, found: re.Match[str]) -> int | None:
        """A list under its own name, however it is introduced."""
        text = self._text
        value = _VALUE.match(text, found.end())
        if value is None:
            return None
        equals = found["equals"] is not None and not found["emphasis"]
        name = match_answer(found["answer"], self._answers) or self._answers[0]
        group: BracketNode
        loose = False
        if value["open"]:
            if value["open"] == "(" and not found["equals"]:
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
            loose = found["method"] is None
        else:
            other = value["name"]
            end = value.end("name")
            if (
                found["method"]
                or other not in self._lists
                or not _END_OF_STATEMENT.match(text, end)
            ):
                return None
            self._notes["alias"] = None
            group = self._lists[other]
        if value["fence"]:
            self._notes["code_fence"] = None
        if name != found["answer"]:
            self._notes["name_variant"] = None
        if found["method"]:
            return self._append(name, group, end)
        if not equals:
            self._notes["loose_assignment"] = None
        elif name == self._answers[0] and name not in self._lists and not self._translated:
            self._notes["restated"] = None
        self._assign(name, group)
        self._loose = group if loose else None
        return self._line(end)

    def _append(self, name: str, group: BracketNode, end: int) -> int:
        """Adds elements to a list that is there."""
        self._notes["appended"] = None
        if name in self._lists:
            own = self._lists[name]
            own.items.extend(group.items)
            own.closed = own.closed and group.closed
            own.end = group.end
        else:
            self._assign(name, group)
        while self._text[end : end + 1] == ")":
            end += 1
        return self._line(end)

    def _variable(self, found: re.Match[str]) -> int | None:
        """An assignment to a name that is no answer's: a text, or a list under another name."""
        if found["variable"] == "text":
            self._prompt(found)
            if self._over:
                return found.end()
        self._loose = None
        start = found.end()
        if self._text[start] not in "([{":
            return self._string(start)
        before = len(self._notes)
        group = self._reader.read(start)
        if group.bracket == "(":
            self._translated = True
        elif self._other is None and self._elements.any_annotation(group):
            self._other = group
            return self._line(group.end)
        self._forget(before)
        return self._line(group.end)

    def _unnamed(self, found: re.Match[str]) -> int | None:
        """A list without a name takes the next place that is free."""
        start = found.start("open")
        free = next((name for name in self._answers if not self._usable.get(name)), None)
        first = free == self._answers[0]
        # In the middle of a sentence only the first list is expected.
        if not first and not _ALONE.search(self._text, max(0, start - 40), start):
            return None
        before = len(self._notes)
        group = self._reader.read(start)
        self._loose = None
        if self._object(group):
            return self._line(group.end)
        if group.items and not self._elements.any_annotation(group):
            # Passed over as a whole: to read on inside it could take quadratic time.
            self._forget(before)
            self._notes["prose"] = None
            return group.end
        if free is None:
            self._notes["extra_list"] = None
        else:
            if not first or self._translated:
                self._notes["unnamed_list"] = None
            self._assign(free, group)
        return self._line(group.end)

    def _object(self, group: BracketNode) -> bool:
        """Takes the lists of a JSON object that has them by their names."""
        if not is_object(group):
            return False
        folded = {name.casefold(): name for name in self._answers}
        taken = False
        for key, value in group.items:
            name = folded.get((key or "").casefold())
            if name is None:
                continue
            if isinstance(value, BracketNode):
                self._assign(name, value)
            elif isinstance(value, BareWord) and is_nothing(self._text, value):
                self._notes["none_list"] = None
                self._assign(name, empty_list(value.start))
            else:
                continue
            taken = True
            self._notes["json"] = None
        return taken

    def _bare(self, found: re.Match[str]) -> int | None:
        """Annotations that stand without brackets, at the beginning of a line."""
        first = self._answers[0]
        if not self._elements.is_class(found["callee"]):
            return None
        if self._loose is None and first in self._lists:
            return None
        group, end = self._annotations(found.start("call"))
        if self._loose is None:
            self._assign(first, group)
            self._loose = group
        else:
            self._loose.items.extend(group.items)
            self._loose.closed = group.closed
            self._loose.end = group.end
        return self._line(end)

    def _annotations(self, start: int) -> tuple[BracketNode, int]:
        """Annotations one after another, without brackets, as a list."""
        self._notes["bare_annotation"] = None
        group = BracketNode("[", start)
        following: re.Match[str] | None = None
        while True:
            call = self._reader.read(following.start("call") if following else start)
            group.items.append((None, call))
            group.end = call.end
            group.closed = call.closed
            following = _NEXT_CALL.match(self._text, call.end)
            if following is None or not self._elements.is_class(following["call"]):
                return group, group.end

    def _assign(self, name: str, group: BracketNode) -> None:
        """Gives an answer its list: the last one that is complete and holds annotations."""
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
    """Where the answer begins, behind any reasoning that the server left in the text."""
    if "think>" not in text:
        return 0
    opened = _THINKS.match(text)
    closed = text.find("</think>", opened.end() if opened else 0)
    if opened is None and (closed < 0 or text[:closed].rpartition("\n")[2].strip()):
        return 0
    notes["reasoning"] = None
    return closed + len("</think>") if closed >= 0 else len(text)


def match_answer(written: str, answers: Sequence[str]) -> str | None:
    """The answer that a name stands for, however it is written; ``None`` where it is none's."""
    if written in answers:
        return written
    plain = _plain(written)
    same = (plain, plain.removesuffix("s"))
    return next((name for name in answers if _plain(name) in same), None)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace(" ", "").replace("-", "")
