"""A reply in Python written again as the JSON object that a request asks for."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.prompting import answer_text
from harness.reading.reply import parse_reply
from harness.records import Annotation


def write_json(
    stages: Mapping[str, Iterable[Annotation]], texts: Mapping[str, str] | None = None
) -> str:
    """The JSON answer that has these annotations by list, behind these texts.

    >>> write_json({"result": [Annotation("Person", {"span": "Ada"})]})
    '{"result": [{"type": "Person", "span": "Ada"}]}'
    """
    lists = {name: answer_text.json_objects(stage) for name, stage in stages.items()}
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
