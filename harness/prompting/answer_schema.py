"""The JSON schema that a server holds answers to (``format = "json"``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import SchemaError
from harness.prompting.schema import Schema, SchemaClass

# What strict mode allows of a schema, https://platform.openai.com/docs/guides/structured-outputs,
# "Supported schemas", as of February 2026. Depth is no concern: there are four levels at most.
_MOST_PROPERTIES = 5_000


_MOST_CLASSES = 1_000  # values of enums, all together


_MOST_CHARACTERS = 120_000  # of the names of properties and the values of enums


# An enum of more than 250 values may have so many characters.
_LONG_ENUM, _MOST_IN_LONG_ENUM = 250, 15_000


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
