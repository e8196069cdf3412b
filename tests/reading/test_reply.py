"""Replies in every shape that models give them, and what is to be read in each."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from harness.reading.reply import REPAIRS, parse_reply
from harness.records import Annotation, Status
from tests.helpers.reply_cases import KANO, Case, people
from tests.helpers.reply_oracle import FIELDS, canonical, check_invariants
from tests.reading.cases_json import JSON_ONE, JSON_TWO
from tests.reading.cases_one import ONE_LIST
from tests.reading.cases_two import TWO_LISTS

FINDINGS = Path(__file__).parent / "findings"
BOTH = ("result", "final_result")
ONE = ("result",)


CASES = {
    **{f"one list: {name}": (ONE, case) for name, case in ONE_LIST.items()},
    **{f"two lists: {name}": (BOTH, case) for name, case in TWO_LISTS.items()},
}


@pytest.mark.parametrize(("answers", "case"), CASES.values(), ids=CASES.keys())
def test_reads(answers: tuple[str, ...], case: Case) -> None:
    prediction = parse_reply(
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


def test_every_rule_is_shown_and_explained() -> None:
    as_python = [case for _, case in CASES.values()]
    as_json = [*JSON_ONE.values(), *JSON_TWO.values()]
    rules = {rule for case in as_python + as_json for rule in case.repairs}
    assert rules == set(REPAIRS)
    assert all(explanation and "\n" not in explanation for explanation in REPAIRS.values())


def test_without_a_schema_any_class_will_do() -> None:
    reply = '[Foo(x="a", y=["b", "c"]), schema.bar("d"), Baz(span=["e"]), Qux(), Person(span=3)]'
    prediction = parse_reply(reply, ONE)
    assert prediction.stages["result"] == (
        Annotation("Foo", {"x": "a", "y": ("b", "c")}),
        Annotation("bar", {"span": "d"}),
        Annotation("Baz", {"span": "e"}),
    )
    assert [item.reason for item in prediction.dropped] == ["missing_field", "bad_value"]
    check_invariants(prediction, ONE, None)


def test_answers_of_other_names() -> None:
    answers = ("first_pass", "second_pass", "final")
    reply = '[Person("a")]\nsecond_pass = [Person("b")]\nFinal: [Person("c")]'
    prediction = parse_reply(reply, answers, fields=FIELDS)
    assert prediction.stages == {
        "first_pass": people("a"), "second_pass": people("b"), "final": people("c")
    }  # fmt: skip
    assert prediction.repairs == ("name_variant", "loose_assignment")


def test_a_field_may_have_the_name_of_an_answer() -> None:
    prediction = parse_reply(
        '[\n    Trial(\n        mention="m",\n        result=["a"],\n    ),\n]',
        ONE,
        fields={"Trial": ("mention", "result")},
    )
    assert prediction.status is Status.OK
    assert prediction.stages["result"][0].fields == {"mention": "m", "result": ("a",)}


EVENTFUL = """ [
    Person(span="Ada \\"the\\" first"),
    Attack(
        mention='hit',
        subtype="it's",
        attacker=["a", "b, c"],
        target=[],
    ),
]

# The annotation instances that take place in the text above are listed here
final_result = [
    Location(span="[x] = (y)"), BornIn("a\\\\", arg2='"b"'),
    Person(span="result = [Person(span='z'"),
]"""


@pytest.mark.parametrize("finish", [None, "stop", "length"])
def test_a_cut_reply_gives_the_beginning_of_the_whole_one(finish: str | None) -> None:
    whole = canonical(EVENTFUL)
    assert whole is not None
    read = 0
    for end in range(len(EVENTFUL) + 1):
        prediction = parse_reply(EVENTFUL[:end], fields=FIELDS, finish_reason=finish)
        check_invariants(prediction)
        for name, stage in prediction.stages.items():
            assert stage == whole[name][: len(stage)], EVENTFUL[:end]
        now = sum(map(len, prediction.stages.values()))
        assert now >= read, EVENTFUL[:end]
        read = now
        if finish == "length":
            assert prediction.status is Status.TRUNCATED
        elif "final_result = [" in EVENTFUL[:end] and end < len(EVENTFUL):
            assert prediction.status in (Status.TRUNCATED, Status.REPAIRED)
    assert read == 5


HOSTILE_UNITS = [
    *"\"'[](){}\\#`“”=,:\0\ud800 \n",
    '"a',
    '"a" ',
    '"a"b',
    '"""',
    "'''a",
    '\\"',
    "[(",
    "[[]",
    '{"a":',
    "(:",
    "result = ",
    "result = [",
    'result = ["',
    "result",
    'result.append(Person("a"))\n',
    "result += result\n",
    'text = "a\n',
    'Person("a",',
    'Person("a"',
    'Person(span="',
    'Person(span="a")\n',
    "- Person(",
    "class A(B):\n",
    "```python\n",
    "</think>\n",
    "<think>",
    "final result: [1]\n",
    '[Person("a")] ',
    '{"type": "Person", ',
    '{"Person": ["a", ',
    '"#',
    "don't ",
    "\\N{",
    "word",
    '\n"""{',
    'x = """',
    "\n\n\n# a\n",
    ") , ",
    "漢",
]


@pytest.mark.parametrize("beginning", ["", '[Person(span="', '[Attack("m", "s", ["'])
def test_hostile_replies_take_little_time(beginning: str) -> None:
    # 50 kB within the time that 200 kB may take: a pattern that backtracked would need hours.
    for unit in HOSTILE_UNITS:
        reply = beginning + unit * (50_000 // len(unit))
        begin = time.process_time()
        prediction = parse_reply(reply, fields=FIELDS)
        assert time.process_time() - begin < 1.0, unit
        check_invariants(prediction)


@pytest.mark.parametrize("brackets", ["[]", "()", "{}", "A()", '{"a":}'])
def test_deep_nesting(brackets: str) -> None:
    opening, closing = brackets[:-1], brackets[-1]
    for inner in ('Person("Kano")', ""):
        closed = "[" + opening * 10_000 + inner + closing * 10_000 + "]"
        check_invariants(parse_reply(closed, ONE, fields=FIELDS), ONE)
        prediction = parse_reply("[" + opening * 10_000 + inner, ONE, fields=FIELDS)
        assert prediction.status is Status.TRUNCATED
    nested = "[" * 10_000 + 'Person("Kano")' + "]" * 10_000
    assert parse_reply(nested, ONE, fields=FIELDS).stages["result"] == KANO


def test_evaluates_nothing() -> None:
    before = set(sys.modules)
    reply = '[__import__("antigravity"), Person(span=exec("raise SystemExit")), Person("Kano")]'
    prediction = parse_reply(reply, ONE, fields=FIELDS)
    assert prediction.stages["result"] == KANO
    assert [item.reason for item in prediction.dropped] == ["unknown_class", "bad_value"]
    assert "antigravity" not in set(sys.modules) - before


def test_typical_replies_take_microseconds() -> None:
    reply = " [\n" + '    Person(span="Kano"),\n' * 2 + "]\n\n# The instances\nfinal_result = [\n"
    reply += '    Location(span="Majalisar Dinkin Duniya"),\n' * 3 + "]"
    begin = time.process_time()
    for _ in range(1_000):
        parse_reply(reply, fields=FIELDS)
    # Measured at 50 µs each; the bound leaves room for a slow and busy machine.
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("path", sorted(FINDINGS.glob("*.txt")), ids=lambda path: path.stem)
def test_findings(path: Path) -> None:
    reply = path.read_bytes().decode("utf-8", "surrogatepass")
    for answers in (BOTH, ONE):
        for finish in (None, "stop", "length"):
            for fields in (FIELDS, None):
                prediction = parse_reply(reply, answers, fields=fields, finish_reason=finish)
                check_invariants(prediction, answers, fields)
    whole = canonical(reply)
    if whole is not None:
        prediction = parse_reply(reply, fields=FIELDS)
        assert (dict(prediction.stages), prediction.status) == (whole, Status.OK)
