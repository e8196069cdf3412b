"""The JSON schema with which a server constrains answers (``format = "json"``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import SchemaError
from harness.prompting.schema import Schema, SchemaClass

# The limits of strict mode on a schema, as of February 2026. Source: "Supported schemas" in
# https://platform.openai.com/docs/guides/structured-outputs. The limit on depth needs no check:
# these schemas have at most four levels.
_MOST_PROPERTIES = 5_000
# Values in all enums together.
_MOST_CLASSES = 1_000
# Characters in all names of properties and all values of enums together.
_MOST_CHARACTERS = 120_000
# Characters in the values of one enum, if it has more than 250 values.
_LONG_ENUM, _MOST_IN_LONG_ENUM = 250, 15_000

_TEXT = {"type": "string"}


def response_format(
    schema: Schema, answers: Sequence[str], leading: str | None = None
) -> dict[str, Any]:
    """OpenAI's parameter ``response_format`` for answers under a schema, in strict mode.

    Classes with the same fields share an object, whose ``type`` is one of their names. Some
    servers refuse an ``anyOf`` whose objects begin with the same key, and every object makes the
    server's grammar larger.

    Args:
        schema: a ``str`` field becomes a string, a ``List[str]`` field an array of strings. An
            ``Optional`` field has the same type and may be empty.
        answers: the names of the lists, in order.
        leading: the name that the last line of the prompt assigns, if it is not a list: a string
            under this name comes first.

    Raises:
        SchemaError: a field has another type or the name ``type``, or the schema exceeds the
            limits of strict mode.
    """
    groups: dict[str, dict[str, Any]] = {}
    for schema_class in schema.classes:
        fields = {
            name: _property(schema, schema_class, name, kind) for name, kind in schema_class.fields
        }
        group = groups.setdefault(json.dumps(fields), {"names": [], "fields": fields})
        group["names"].append(schema_class.name)
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
    enums = [entry["properties"]["type"]["enum"] for entry in objects]
    counts = {
        "properties": (
            len(root["properties"]) + lists * sum(len(entry["properties"]) for entry in objects),
            _MOST_PROPERTIES,
        ),
        "classes in all its lists": (lists * sum(map(len, enums)), _MOST_CLASSES),
        "characters in names": (
            sum(map(len, root["properties"]))
            + lists
            * sum(
                len("".join([*entry["properties"], *enum]))
                for entry, enum in zip(objects, enums, strict=True)
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
