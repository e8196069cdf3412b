"""Annotations as the Python lists that a prompt shows and a model is trained to answer with.

Black (default mode) decides the form: one annotation a line, one that is wider than 88 columns
opened over several lines, an empty list on one line. What is written here reads back, with
:func:`harness.reading.reply.parse_reply`, to the same annotations.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from types import SimpleNamespace

from harness.prompting.literals import COLUMNS, literal, width
from harness.records import Annotation, Example, FieldValue


def format_list(annotations: Iterable[Annotation]) -> str:
    """A list of annotations, in their order, as black writes it after ``result =``.

    >>> print(format_list([Annotation("Person", {"span": "Ada Lovelace"})]))
    [
        Person(span="Ada Lovelace"),
    ]
    """
    lines = [f"    {_call(annotation)},\n" for annotation in annotations]
    return "[\n" + "".join(lines) + "]" if lines else "[]"


def format_json(annotations: Iterable[Annotation]) -> str:
    """A list of annotations as an answer in JSON has it.

    >>> format_json([Annotation("Person", {"span": "Ada Lovelace"})])
    '[{"type": "Person", "span": "Ada Lovelace"}]'
    """
    return json.dumps(json_objects(annotations), ensure_ascii=False)


def json_objects(annotations: Iterable[Annotation]) -> list[dict[str, FieldValue]]:
    """Annotations as the objects of an answer in JSON."""
    return [{"type": annotation.type, **annotation.fields} for annotation in annotations]


def shot_variables(
    example: Example, known: Container[str], *, as_json: bool = False
) -> SimpleNamespace:
    """An annotated example as templates show it, without annotations of classes not ``known``.

    ``text`` and ``gold``, and ``eng_text`` and ``eng_gold`` where it has them: what it does not
    have is no attribute, so that a template that names it is an error. Annotations whose places
    are known are in the order of the text, as a model should answer.
    """

    def gold(annotations: Iterable[Annotation]) -> str:
        kept = [annotation for annotation in annotations if annotation.type in known]
        if all(annotation.offsets for annotation in kept):
            kept.sort(key=lambda annotation: annotation.offsets or ())
        return format_json(kept) if as_json else format_list(kept)

    parts = SimpleNamespace(text=example.text, gold=gold(example.gold))
    if example.english is not None:
        parts.eng_text = example.english
    if example.english_gold is not None:
        parts.eng_gold = gold(example.english_gold)
    return parts


def _call(annotation: Annotation) -> str:
    """One annotation at indent 4, a comma after it."""
    name, fields = annotation.type, annotation.fields
    arguments = [f"{field}={_value(value)}" for field, value in fields.items()]
    inner = ", ".join(arguments)
    if _fits(f"{name}({inner}),", 4):
        return f"{name}({inner})"
    if not _fits(inner, 8):
        # A comma follows each of several arguments, and none follows one that is alone.
        comma = "," if len(arguments) > 1 else ""
        opened = [
            argument if _fits(argument + comma, 8) else f"{field}={_opened(value)}"
            for argument, (field, value) in zip(arguments, fields.items(), strict=True)
        ]
        inner = ",\n        ".join(opened) + comma
    return f"{name}(\n        {inner}\n    )"


def _value(value: FieldValue) -> str:
    if isinstance(value, str):
        return literal(value)
    return f"[{', '.join(map(literal, value))}]"


def _opened(value: FieldValue) -> str:
    """A value that is too wide for the line of its argument; a string is never broken."""
    if isinstance(value, str) or not value:
        return _value(value)
    comma = "," if len(value) > 1 else ""
    inner = ",\n            ".join(map(literal, value)) + comma
    return f"[\n            {inner}\n        ]"


def _fits(line: str, indent: int) -> bool:
    return width(line) + indent <= COLUMNS
