"""JSON replies in every shape that models give them, and what is to be read in each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reading.json_reply import parse_json_reply
from harness.reading.readers import REPLY_READERS
from harness.reading.reply import parse_reply
from harness.records import Annotation, Status
from harness.serving.json_answer import as_json, write_json
from tests.helpers.reply_cases import KANO, Case
from tests.helpers.reply_oracle import ANSWERS, FIELDS, SCALARS, Stages, check_invariants
from tests.reading.cases_json import JSON_ONE, JSON_TWO
from tests.reading.test_reply_fuzz import DAMAGE, FINISH, PIECES, bounded, surfaces

ONE = ("result",)
CASES = {
    **{f"one list: {name}": (ONE, case) for name, case in JSON_ONE.items()},
    **{f"two lists: {name}": (ANSWERS, case) for name, case in JSON_TWO.items()},
}


@pytest.mark.parametrize(("answers", "case"), CASES.values(), ids=CASES.keys())
def test_reads(answers: tuple[str, ...], case: Case) -> None:
    prediction = parse_json_reply(
        case.reply, answers, fields=FIELDS, finish_reason=case.finish, example_id="test-0"
    )
    expected = {answers[0]: case.result, answers[-1]: case.final}
    assert dict(prediction.stages) == {
        name: stage for name, stage in expected.items() if stage is not None
    }
    assert prediction.repairs == case.repairs
    assert prediction.status is (case.status or (Status.REPAIRED if case.repairs else Status.OK))
    assert tuple((item.reason, item.item) for item in prediction.dropped) == case.dropped
    assert prediction.example_id == "test-0"
    check_invariants(prediction, answers)


def test_a_field_may_be_called_as_a_class_is_elsewhere() -> None:
    reply = '{"result": [{"label": "a", "type": "Tag", "class": "b"}]}'
    prediction = parse_json_reply(reply, ONE, fields={"Tag": ("label", "class")})
    assert prediction.stages["result"][0].fields == {"label": ("a",), "class": ("b",)}


def test_the_readers_by_format() -> None:
    assert REPLY_READERS["python"] is parse_reply
    assert REPLY_READERS["json"] is parse_json_reply


@st.composite
def answers_of(draw: st.DrawFn, texts: st.SearchStrategy[str] = surfaces) -> Stages:
    """Any annotations under the test's classes."""
    stages: Stages = {}
    for name in ANSWERS:
        annotations = []
        for kind in draw(st.lists(st.sampled_from([*FIELDS]), max_size=3)):
            values: dict[str, str | tuple[str, ...]] = {
                field: draw(texts) if field in SCALARS else tuple(draw(st.lists(texts, max_size=3)))
                for field in FIELDS[kind]
            }
            annotations.append(Annotation(kind, values))
        stages[name] = tuple(annotations)
    return stages


@st.composite
def replies(draw: st.DrawFn) -> tuple[Stages, str]:
    """Annotations, and a reply that holds them in exactly the requested form."""
    stages = draw(answers_of())
    document = json.loads(write_json(stages, draw(st.just({}) | st.builds(_translated, surfaces))))
    for name in ANSWERS:
        document[name] = [dict(draw(st.permutations([*item.items()]))) for item in document[name]]
    return stages, json.dumps(
        document,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\n:\r")])),
    )


def _translated(text: str) -> dict[str, str]:
    return {"eng_text": text}


@bounded
@given(replies())
def test_what_was_asked_for_is_read_exactly(drawn: tuple[Stages, str]) -> None:
    stages, reply = drawn
    prediction = parse_json_reply(reply, fields=FIELDS)
    assert prediction.stages == stages
    assert (prediction.status, prediction.repairs, prediction.dropped) == (Status.OK, (), ())


@bounded
@given(replies(), st.data(), st.sampled_from([None, "length"]))
def test_a_cut_reply_gives_what_is_complete(
    drawn: tuple[Stages, str], data: st.DataObject, finish: str | None
) -> None:
    stages, reply = drawn
    end = data.draw(st.integers(1, len(reply) - 1))
    prediction = parse_json_reply(reply[:end], fields=FIELDS, finish_reason=finish)
    assert prediction.status is Status.TRUNCATED
    for name, stage in prediction.stages.items():
        assert stage == stages[name][: len(stage)]
    # Whatever closed before the cut was read.
    for name in ANSWERS:
        key = reply.find(f'"{name}"')
        complete_count = _complete(reply[:end], key)
        assert len(prediction.stages.get(name, ())) >= complete_count
    assert {item.reason for item in prediction.dropped} <= {"incomplete"}


def _complete(reply: str, key: int) -> int:
    """How many objects of the list under a key are complete, by the standard library's reader."""
    position = reply.find("[", key)
    if key < 0 or position < 0:
        return 0
    decoder, count = json.JSONDecoder(), 0
    while (start := position + 1) < len(reply):
        while reply[start : start + 1].isspace() or reply[start : start + 1] == ",":
            start += 1
        try:
            value, position = decoder.raw_decode(reply, start)
        except ValueError:
            return count
        if not isinstance(value, dict):
            return count
        count, position = count + 1, position - 1
    return count


@bounded
@given(replies())
def test_fences_and_prose_change_nothing(drawn: tuple[Stages, str]) -> None:
    stages, reply = drawn
    wrapped = f"Here's what I'd {{say}}:\n\n```json\n{reply}\n```\n\nIt isn't \"all\" [of it]."
    prediction = parse_json_reply(wrapped, fields=FIELDS)
    assert prediction.stages == stages
    assert set(prediction.repairs) == {"prose", "code_fence"}


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["Person", "Kano", "Attack", "", "null", "[]", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "final_result", "type", "span", "Person", "mention", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@bounded
@given(documents, FINISH)
def test_any_document_is_read(document: Any, finish: str | None) -> None:
    reply = json.dumps(document)
    check_invariants(parse_json_reply(reply, fields=FIELDS, finish_reason=finish))
    check_invariants(parse_json_reply(reply, ONE), ONE, None)


@bounded
@given(
    replies(),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(PIECES + DAMAGE)),
        min_size=1,
        max_size=6,
    ),
    FINISH,
)
def test_damaged_replies_do_no_harm(
    drawn: tuple[Stages, str], edits: list[tuple[float, int, str]], finish: str | None
) -> None:
    _, reply = drawn
    for share, removed, inserted in edits:
        position = round(share * len(reply))
        reply = reply[:position] + inserted + reply[position + removed :]
    prediction = parse_json_reply(reply, fields=FIELDS, finish_reason=finish)
    check_invariants(prediction)
    if prediction.status is Status.OK and not prediction.dropped:
        document = json.loads(reply.strip("\ufeff\u200b\0 \n"))
        assert prediction.stages == {
            name: tuple(_annotation(item) for item in document[name]) for name in ANSWERS
        }


def _annotation(item: dict[str, Any]) -> Annotation:
    values = {
        field: tuple(value) if isinstance(value, list) else value for field, value in item.items()
    }
    return Annotation(values["type"], {field: values[field] for field in FIELDS[values["type"]]})


@bounded
@given(st.text(st.characters()) | st.lists(st.sampled_from(PIECES + DAMAGE)).map("".join), FINISH)
def test_any_text_is_read(reply: str, finish: str | None) -> None:
    check_invariants(parse_json_reply(reply, fields=FIELDS, finish_reason=finish))


HOSTILE = {
    "brackets": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "lists in the list": '{"result": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "closed objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "answers inside answers": '{"result":' * 50_000,
    "faults": '{"a" {' * 100_000,
    "faulty lists": '[{"type" ' * 100_000,
    "quotes": '"' * 100_000,
    "openings": '{"' * 100_000,
    "a number": '{"result": [' + "9" * 1_000_000 + "]}",
    "backslashes": '{"result": ["' + "\\" * 1_000_000,
    "a string": '{"result": [{"type": "Person", "span": "' + "a" * 10_000_000 + '"}]}',
    "commas": '{"result": [' + "," * 1_000_000,
    "white space": "{" + " " * 1_000_000 + "[" + "\n" * 1_000_000,
    "fences": "```" * 300_000,
    "half characters": '{"result": [{"type": "Person", "span": "' + "\\ud800" * 100_000 + '"}]}',
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_replies_are_read(reply: str) -> None:
    check_invariants(parse_json_reply(reply, ONE, fields=FIELDS), ONE)


@bounded
@given(
    st.recursive(
        st.sampled_from(["array", "string", "result", 3, None]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["type", "enum", "items", "properties", "anyOf", "result", ""]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=15,
    )
)
def test_any_format_may_be_asked_for(schema: Any) -> None:
    response_format = {"type": "json_schema", "json_schema": {"schema": {"properties": schema}}}
    as_json('[Person(span="Kano")]', response_format)
    item = {"properties": {"type": {"enum": [3, "Person"]}, "span": schema}}
    lists = {"result": {"type": "array", "items": item}}
    response_format = {"type": "json_schema", "json_schema": {"schema": {"properties": lists}}}
    assert json.loads(as_json('[Person(span="Kano")]', response_format)) == {
        "result": [{"type": "Person", "span": "Kano"}]
    }


def test_a_reply_in_python_becomes_the_answer_asked_for() -> None:
    item = {"type": {"type": "string", "enum": ["Person"]}, "span": {"type": "string"}}
    lists = {"type": "array", "items": {"type": "object", "properties": item}}
    response_format = {
        "type": "json_schema",
        "json_schema": {
            "schema": {"properties": {"eng_text": {"type": "string"}, "final_result": lists}}
        },
    }
    reply = ' "On \\"it\\"."\n\nfinal_result = [\n    Person(span="Kano"),\n]\n'
    assert as_json(reply, response_format) == (
        '{"eng_text": "On \\"it\\".", "final_result": [{"type": "Person", "span": "Kano"}]}'
    )
    assert as_json("I cannot.", response_format) == "I cannot."
    for other in ({}, {"type": "text"}, {"json_schema": 3}, {"json_schema": {"schema": []}}):
        assert as_json(reply, other) == reply
    prediction = parse_json_reply(as_json(reply, response_format), ("final_result",))
    assert prediction.stages["final_result"] == KANO
