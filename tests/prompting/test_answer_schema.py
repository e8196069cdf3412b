"""The JSON schema of an answer, held against an independent validator, and its prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import resolve
from harness.data.loading import load_examples
from harness.errors import ExperimentError, SchemaError, UnknownNameError
from harness.prompting.answer_schema import response_format
from harness.prompting.rendering import Renderer, render
from harness.prompting.schema import Schema, load_schema
from harness.prompting.templates import load_template
from harness.reading.json_reply import parse_json_reply
from harness.reading.reply import parse_reply
from harness.records import Annotation, Status
from harness.serving.json_answer import write_json
from harness.serving.script import Script, ScriptedSettings
from tests.conftest import Served
from tests.helpers.reply_oracle import ANSWERS, FIELDS, Stages
from tests.reading.test_json_reply import answers_of
from tests.reading.test_reply_fuzz import bounded

_HEAD = "from dataclasses import dataclass\n\n\n"


def _schema(folder: Path, *classes: str) -> Schema:
    path = folder / "own.py"
    path.write_text(_HEAD + "\n\n".join(f"@dataclass\nclass {body}\n" for body in classes))
    return load_schema(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    """The classes of the parser's tests as a schema file."""
    bases = {"BornIn": "Relation", "Attack": "Event"}
    scalars = {"span", "arg1", "arg2", "mention", "subtype"}
    classes = [
        f'{name}({bases.get(name, "Entity")}):\n    """A guideline."""\n\n'
        + "".join(
            f"    {field}: {'str' if field in scalars else 'List[str]'}\n" for field in fields
        )
        for name, fields in FIELDS.items()
    ]
    return _schema(tmp_path_factory.mktemp("schema"), *classes)


def _accepts(schema: dict[str, Any], document: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(document)


def test_the_whole_of_a_schema() -> None:
    annotations = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["Person", "Organization", "Location"]},
                "span": {"type": "string"},
            },
            "required": ["type", "span"],
            "additionalProperties": False,
        },
    }
    parameter = response_format(load_schema("demo"), ANSWERS, "eng_text")
    assert json.dumps(parameter) == json.dumps(
        {
            "type": "json_schema",
            "json_schema": {
                "name": "annotations",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {
                        "eng_text": {"type": "string"},
                        "result": annotations,
                        "final_result": annotations,
                    },
                    "required": ["eng_text", "result", "final_result"],
                    "additionalProperties": False,
                },
            },
        }
    )


def test_every_shipped_schema_keeps_the_rules_of_strict_mode(mixed: Schema) -> None:
    for schema in [mixed, *map(load_schema, ("demo", "masakhaner2", "uner", "xsid"))]:
        json_schema = response_format(schema, ANSWERS)["json_schema"]["schema"]
        jsonschema.Draft202012Validator.check_schema(json_schema)
        stack = [json_schema]
        while stack:
            node = stack.pop()
            if node.get("type") == "object":
                assert node["required"] == list(node["properties"])
                assert node["additionalProperties"] is False
                stack.extend(node["properties"].values())
            else:
                stack.extend(node.get("anyOf", ()))
                stack.extend([node["items"]] if "items" in node else ())


def test_classes_with_the_same_fields_share_an_object(mixed: Schema) -> None:
    objects = response_format(mixed, ("result",))["json_schema"]["schema"]["properties"]["result"]
    names = [item["properties"]["type"]["enum"] for item in objects["items"]["anyOf"]]
    assert names == [["Person", "Location", "Organization"], ["BornIn"], ["Attack"]]


@bounded
@given(answers_of(), st.data())
def test_the_schema_accepts_what_the_reader_calls_ok(
    mixed: Schema, stages: Stages, data: st.DataObject
) -> None:
    schema = response_format(mixed, ANSWERS)["json_schema"]["schema"]
    document = json.loads(write_json(stages))
    assert _accepts(schema, document)
    # One thing taken away, added or replaced: what the validator refuses, the reader notices.
    places = [document, *document["result"], *document["final_result"]]
    place = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from([*place, "more"]))
    if data.draw(st.booleans()) and key in place:
        del place[key]
    else:
        place[key] = data.draw(st.sampled_from([None, 3, "", "Person", [], [1], ["a"], {}]))
    prediction = parse_json_reply(json.dumps(document), ANSWERS, fields=FIELDS)
    clean = prediction.status is Status.OK and not prediction.dropped
    if place is not document:
        assert clean == _accepts(schema, document)
    elif _accepts(schema, document):
        assert clean


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("type: str", "has the name under which JSON answers hold the class"),
        ("count: int", "is of type int. JSON answers know 'str' and 'List[str]'"),
        ("parts: List[List[str]]", "is of type List[List[str]]"),
    ],
)
def test_fields_that_no_answer_can_hold(tmp_path: Path, field: str, message: str) -> None:
    schema = _schema(tmp_path, f'A(Entity):\n    """One."""\n\n    span: str\n    {field}')
    with pytest.raises(SchemaError, match=r"class A") as raised:
        response_format(schema, ("result",))
    assert message in str(raised.value)
    assert 'format = "python"' in str(raised.value)


@pytest.mark.parametrize("kind", ["Optional[str]", "str | None", "typing.Optional[str]"])
def test_optional_fields_are_as_others(tmp_path: Path, kind: str) -> None:
    schema = _schema(
        tmp_path,
        f'A(Event):\n    """One."""\n\n    mention: str\n    subtype: {kind}\n'
        f"    x: Optional[List[str]]\n    y: list[str] | None",
    )
    json_schema = response_format(schema, ("result",))["json_schema"]["schema"]
    properties = json_schema["properties"]["result"]["items"]["properties"]
    assert properties["subtype"] == {"type": "string"}
    assert properties["x"] == properties["y"] == {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("count", "length", "message"),
    [
        (600, 5, "1,200 classes in all its lists, and servers take 1,000"),
        (300, 60, "characters in the names of more than 250 classes, and servers take 15,000"),
    ],
)
def test_more_than_strict_mode_allows(
    tmp_path: Path, count: int, length: int, message: str
) -> None:
    names = [f"C{number:0{length}}" for number in range(count)]
    schema = _schema(tmp_path, *(f'{n}(Entity):\n    """."""\n\n    span: str' for n in names))
    with pytest.raises(SchemaError) as raised:
        response_format(schema, ANSWERS)
    assert message in str(raised.value)


DEMO = load_examples(resolve("demo"), "swa", "test", limit=12, english=True)


@pytest.mark.parametrize("strategy", ["direct", "self-translate", "transfusion"])
def test_the_format_changes_the_system_message_alone(strategy: str) -> None:
    template, schema = load_template("ner", strategy), load_schema("demo")
    as_python = Renderer(template, schema, "chat")
    as_json = Renderer(template, schema, "chat", format="json")
    prompts = [as_json.render(example, example.english) for example in DEMO]
    for example, prompt in zip(DEMO, prompts, strict=True):
        other = as_python.render(example, example.english)
        assert (prompt.text, prompt.answers) == (other.text, other.answers)
        assert other.response_format is None
        assert prompt.response_format is as_json.response_format
    assert as_json.system != as_python.system
    assert as_json.sha256 != as_python.sha256
    properties = prompts[0].response_format["json_schema"]["schema"]["properties"]
    first = ["eng_text"] if strategy == "self-translate" else []
    assert list(properties) == [*first, *template.answers]
    assert ", ".join(template.answers) in (as_json.system or "")
    assert ("eng_text" in (as_json.system or "")) == bool(first)


def test_a_wrapper_of_ones_own_is_kept(tmp_path: Path) -> None:
    own = tmp_path / "own.j2"
    own.write_text("Keys: {{ leading }} {{ answers | join(' ') }}.")
    template, schema = load_template("ner", "self-translate"), load_schema("demo")
    renderer = Renderer(template, schema, "chat", own, "json")
    assert renderer.system == "Keys: eng_text result final_result."


def test_what_json_does_not_go_with() -> None:
    with pytest.raises(ExperimentError, match='needs wrap = "chat", and it is "completion"'):
        render(DEMO[0], "direct", schema="demo", format="json")
    with pytest.raises(UnknownNameError, match=r"'yaml'.*python.*json"):
        render(DEMO[0], "direct", schema="demo", wrap="chat", format="yaml")


@pytest.mark.parametrize("strategy", ["direct", "self-translate", "transfusion"])
def test_the_script_answers_the_same_in_both_formats(strategy: str) -> None:
    script = Script(ScriptedSettings())
    fields = load_schema("demo").fields()
    for example in DEMO:
        stages: list[dict[str, tuple[Annotation, ...]]] = []
        for kind, reader in (("python", parse_reply), ("json", parse_json_reply)):
            prompt = render(example, strategy, schema="demo", wrap="chat", format=kind)
            body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt.text}]}
            if prompt.response_format:
                body["response_format"] = prompt.response_format
            reply = script.response(body)["choices"][0]["message"]["content"]
            if prompt.response_format:
                shape = prompt.response_format["json_schema"]["schema"]
                jsonschema.validate(json.loads(reply), shape)
            prediction = reader(reply, prompt.answers, fields=fields, finish_reason="stop")
            if kind == "json":
                assert prediction.status is Status.OK
            stages.append(dict(prediction.stages))
        assert stages[0] == stages[1]


def test_the_scripted_server_answers_in_json(serve: Callable[..., Served]) -> None:
    import httpx

    server = serve()
    prompt = render(DEMO[0], "transfusion", schema="demo", wrap="chat", format="json")
    body = {
        "model": "capitals",
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.text},
        ],
        "response_format": prompt.response_format,
    }
    answer = httpx.post(f"{server.url}/chat/completions", json=body, timeout=30).json()
    reply = answer["choices"][0]["message"]["content"]
    prediction = parse_json_reply(reply, prompt.answers, fields=load_schema("demo").fields())
    assert prediction.status is Status.OK
