"""Annotations as text: the answers in a prompt's examples and in training data.

Python lists have black's format (default mode). Each annotation has a line of its own. An
annotation that is wider than 88 columns is broken over several lines. An empty list is on one
line. :func:`harness.reading.reply.parse_reply` reads the text back into the same annotations.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from types import SimpleNamespace

from harness.prompting.literals import COLUMNS, literal, width
from harness.records import Annotation, Example, FieldValue


def format_list(annotations: Iterable[Annotation]) -> str:
    """A list of annotations in their order, in black's format behind ``result =``.

    >>> print(format_list([Annotation("Person", {"span": "Ada Lovelace"})]))
    [
        Person(span="Ada Lovelace"),
    ]
    """
    lines = [f"    {_call(annotation)},\n" for annotation in annotations]
    return "[\n" + "".join(lines) + "]" if lines else "[]"


def format_json(annotations: Iterable[Annotation]) -> str:
    """A list of annotations as in a JSON answer.

    >>> format_json([Annotation("Person", {"span": "Ada Lovelace"})])
    '[{"type": "Person", "span": "Ada Lovelace"}]'
    """
    return json.dumps(json_objects(annotations), ensure_ascii=False)


def json_objects(annotations: Iterable[Annotation]) -> list[dict[str, FieldValue]]:
    """Annotations as the objects of a JSON answer."""
    return [{"type": annotation.type, **annotation.fields} for annotation in annotations]


def shot_variables(
    example: Example, classes: Container[str], *, as_json: bool = False
) -> SimpleNamespace:
    """The variables with which templates show an annotated example (a shot).

    They are ``text`` and ``gold``, and ``eng_text`` and ``eng_gold`` if the example has English. A
    part that the example lacks is no attribute, so that a template that uses it raises. Only
    annotations of ``classes`` are shown. If all of them have offsets, they are in the order of the
    text, because a model should answer in that order.
    """

    def gold(annotations: Iterable[Annotation]) -> str:
        selection = [annotation for annotation in annotations if annotation.type in classes]
        if all(annotation.offsets for annotation in selection):
            selection.sort(key=lambda annotation: annotation.offsets or ())
        return format_json(selection) if as_json else format_list(selection)

    parts = SimpleNamespace(text=example.text, gold=gold(example.gold))
    if example.english is not None:
        parts.eng_text = example.english
    if example.english_gold is not None:
        parts.eng_gold = gold(example.english_gold)
    return parts


def _call(annotation: Annotation) -> str:
    """One annotation that fits at an indent of 4, before a comma."""
    name, fields = annotation.type, annotation.fields
    arguments = [f"{field}={_value(value)}" for field, value in fields.items()]
    inner = ", ".join(arguments)
    if _fits(f"{name}({inner}),", 4):
        return f"{name}({inner})"
    if not _fits(inner, 8):
        # A comma follows the last of several arguments. A single argument has none.
        comma = "," if len(arguments) > 1 else ""
        lines = [
            argument if _fits(argument + comma, 8) else f"{field}={_broken_value(value)}"
            for argument, (field, value) in zip(arguments, fields.items(), strict=True)
        ]
        inner = ",\n        ".join(lines) + comma
    return f"{name}(\n        {inner}\n    )"


def _value(value: FieldValue) -> str:
    if isinstance(value, str):
        return literal(value)
    return f"[{', '.join(map(literal, value))}]"


def _broken_value(value: FieldValue) -> str:
    """A value broken over several lines because it is too wide; a string is never broken."""
    if isinstance(value, str) or not value:
        return _value(value)
    comma = "," if len(value) > 1 else ""
    inner = ",\n            ".join(map(literal, value)) + comma
    return f"[\n            {inner}\n        ]"


def _fits(line: str, indent: int) -> bool:
    return width(line) + indent <= COLUMNS
