"""Answers as JSON: the schema that a server holds them to, and the reader of what comes back.

``format = "json"`` asks for one object, which has the answer lists in order, and before them a
text where the prompt breaks off at one (``eng_text =``)::

    {"result": [{"type": "Person", "span": "Ada Lovelace"}]}

Servers that are not held to the schema answer in many other shapes. What is JSON is read here;
what turns out not to be is left to the reader of Python, which knows loose objects as well.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import SchemaError
from harness.prompting import answer_text
from harness.prompting.schema import Schema, SchemaClass
from harness.reading.brackets import Group, Value, empty_list
from harness.reading.elements import Elements, is_nothing
from harness.reading.json_values import read_json
from harness.reading.repairs import Notes
from harness.reading.reply import conclude, parse_reply
from harness.reading.statements import named, thought
from harness.reading.strings import SPACE
from harness.records import Annotation, Prediction, Status

# What strict mode allows of a schema, https://platform.openai.com/docs/guides/structured-outputs,
# "Supported schemas", as of February 2026. Depth is no concern: there are four levels at most.
_MOST_PROPERTIES = 5_000
_MOST_CLASSES = 1_000  # values of enums, all together
_MOST_CHARACTERS = 120_000  # of the names of properties and the values of enums
# An enum of more than 250 values may have so many characters.
_LONG_ENUM, _MOST_IN_LONG_ENUM = 250, 15_000

_START = re.compile(r'[{\[](?=\s*+(?:["{\[\]}]|\Z))')
_FENCE = re.compile(r"(?:```|~~~)[\w+-]*+")
_BLANK = re.compile(SPACE)
_TEXT = {"type": "string"}


def response_format(
    schema: Schema, answers: Sequence[str], leading: str | None = None
) -> dict[str, Any]:
    """OpenAI's parameter ``response_format`` for answers under a schema, in strict mode.

    Classes with the same fields share an object, whose ``type`` is one of their names: objects
    under an ``anyOf`` that begin with the same key are refused by some servers, and grammars
    grow with every one of them.

    Args:
        schema: a field is a string, or an array of strings where it is a ``List[str]``; one that
            is ``Optional`` is what it is otherwise, and empty for nothing.
        answers: the names of the lists, in order.
        leading: the name that the prompt's last line assigns, where it is no list's: a string.

    Raises:
        SchemaError: a field of another type or by the name of ``type``, or more than strict mode
            allows.
    """
    groups: dict[str, dict[str, Any]] = {}
    for found in schema.classes:
        fields = {name: _property(schema, found, name, kind) for name, kind in found.fields}
        group = groups.setdefault(json.dumps(fields), {"names": [], "fields": fields})
        group["names"].append(found.name)
    objects = [
        _object({"type": {"type": "string", "enum": group["names"]}} | group["fields"])
        for group in groups.values()
    ]
    annotations = {
        "type": "array",
        "items": objects[0] if len(objects) == 1 else {"anyOf": objects},
    }
    lists = dict.fromkeys(answers, annotations)
    root = _object(({leading: _TEXT} if leading else {}) | lists)
    _check_limits(schema, objects, root)
    return {
        "type": "json_schema",
        "json_schema": {"name": "annotations", "strict": True, "schema": root},
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _property(schema: Schema, owner: SchemaClass, name: str, kind: str) -> Mapping[str, Any]:
    here = f"{schema.path}: the field '{name}' of class {owner.name}"
    if name == "type":
        raise SchemaError(
            f"{here} has the name under which JSON answers hold the class. Rename it, or set "
            f'format = "python".'
        )
    match re.sub(r"\s|typing\.", "", kind):
        case "str" | "Optional[str]" | "str|None" | "None|str":
            return _TEXT
        case plain if re.fullmatch(
            r"(?:Optional\[)?[Ll]ist\[str\]\]?|[Ll]ist\[str\]\|None|None\|[Ll]ist\[str\]", plain
        ):
            return {"type": "array", "items": _TEXT}
    raise SchemaError(
        f"{here} is of type {kind}. JSON answers know 'str' and 'List[str]': choose one of them, "
        f'or set format = "python".'
    )


def _check_limits(
    schema: Schema, objects: Sequence[Mapping[str, Any]], root: Mapping[str, Any]
) -> None:
    lists = sum(inner["type"] == "array" for inner in root["properties"].values())
    enums = [found["properties"]["type"]["enum"] for found in objects]
    counts = {
        "properties": (
            len(root["properties"]) + lists * sum(len(found["properties"]) for found in objects),
            _MOST_PROPERTIES,
        ),
        "classes in all its lists": (lists * sum(map(len, enums)), _MOST_CLASSES),
        "characters in names": (
            sum(map(len, root["properties"]))
            + lists
            * sum(
                len("".join([*found["properties"], *enum]))
                for found, enum in zip(objects, enums, strict=True)
            ),
            _MOST_CHARACTERS,
        ),
        f"characters in the names of more than {_LONG_ENUM} classes": (
            max(len("".join(enum)) if len(enum) > _LONG_ENUM else 0 for enum in enums),
            _MOST_IN_LONG_ENUM,
        ),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise SchemaError(
                f"{schema.path}: the schema of the JSON answer has {count:,} {what}, and servers "
                f"take {most:,} at most. Split the classes over several schemas, or set "
                f'format = "python".'
            )


def write_json(
    stages: Mapping[str, Iterable[Annotation]], texts: Mapping[str, str] | None = None
) -> str:
    """The JSON answer that has these annotations by list, behind these texts.

    >>> write_json({"result": [Annotation("Person", {"span": "Ada"})]})
    '{"result": [{"type": "Person", "span": "Ada"}]}'
    """
    lists = {name: answer_text.objects(stage) for name, stage in stages.items()}
    return json.dumps({**(texts or {}), **lists}, ensure_ascii=False)


def as_json(reply: str, asked: Mapping[str, Any]) -> str:
    """A reply in Python as the answer that a :func:`response_format` asks for.

    Lists that the reply lacks are empty, and a text is the string that the reply begins with. The
    reply itself is given back where it has no list, or another format is asked for.
    """
    try:
        properties = asked["json_schema"]["schema"]["properties"]
        texts = [name for name, kind in properties.items() if kind["type"] == "string"]
        lists = {name: kind["items"] for name, kind in properties.items() if name not in texts}
        items = next(iter(lists.values()))
        fields = {
            name: tuple(key for key in found["properties"] if key != "type")
            for found in items.get("anyOf", [items])
            for name in found["properties"]["type"]["enum"]
            if isinstance(name, str)
        }
    except (KeyError, TypeError, AttributeError, StopIteration):
        return reply
    stages = parse_reply(reply, tuple(lists), fields=fields).stages
    if not stages:
        return reply
    try:
        said = ast.literal_eval(reply.strip().partition("\n")[0])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        said = ""
    return write_json(
        {name: stages.get(name, ()) for name in lists},
        dict.fromkeys(texts, said if isinstance(said, str) else ""),
    )


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
    notes: Notes = {}
    elements = Elements(text, fields, notes, json=True)
    reader = _Objects(text, answers, elements, notes)
    if reader.read():
        cut = reader.cut(finish_reason)
        lists = reader.lists
        return conclude(text, answers, lists, elements, notes, finish_reason, example_id, cut=cut)
    found = parse_reply(
        text, answers, fields=fields, finish_reason=finish_reason, example_id=example_id
    )
    if not found.stages or "json" in found.repairs:
        return found
    status = Status.REPAIRED if found.status is Status.OK else found.status
    return replace(found, status=status, repairs=("python", *found.repairs))


class _Objects:
    """Reads the lists in the JSON of one reply."""

    def __init__(self, text: str, answers: Sequence[str], elements: Elements, notes: Notes) -> None:
        self.lists: dict[str, Group] = {}
        self._text = text
        self._answers = tuple(answers)
        self._elements = elements
        self._notes = notes
        # What holds annotations and has none of the answers' names.
        self._loose: list[Group] = []
        # What the text ends inside of.
        self._open: Group | None = None
        # By answer, whether its list is complete and holds annotations.
        self._usable: dict[str, bool] = {}

    def read(self) -> bool:
        """Whether the reply could be read as JSON; ``lists`` then has what was found."""
        text, notes = self._text, self._notes
        blank = _BLANK.match(text)
        position = blank.end() if blank else 0
        if text[position : position + 1] not in ("{", "["):
            position = thought(text, notes)
        taken = False
        while found := _START.search(text, position):
            self._pass_over(position, found.start())
            before = len(notes)
            root, is_json = read_json(text, found.start(), notes)
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

    def _take_loose(self, root: Group) -> bool:
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
            bare = Group("[", self._loose[0].start)
            bare.items.extend((None, root) for root in self._loose)
            bare.end = self._loose[-1].end
            bare.closed = self._loose[-1].closed
            bare.fresh = False
            self.lists[self._answers[0]] = bare
        return bool(self._loose)

    def _take_named(self, root: Group) -> bool:
        """Takes the lists that an object, or one inside it, has by the names of the answers."""
        if root.bracket != "{":
            return False
        taken = others = False
        stack: list[Group] = [root]
        while stack:
            group = stack.pop()
            for key, value in group.items:
                name = named(key or "", self._answers)
                if name is None:
                    if isinstance(value, Group) and value.bracket == "{":
                        stack.append(value)
                    elif isinstance(value, Group):
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

    def _assign(self, name: str, value: Value) -> bool:
        """Gives an answer its list: the last one that is complete and holds annotations."""
        if isinstance(value, str):
            return False
        if not isinstance(value, Group):
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


#: The readers of replies, by what ``format`` a system asks for.
FORMATS = {"python": parse_reply, "json": parse_json_reply}
