from __future__ import annotations

import hashlib
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExperimentError
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt, Usage
from harness.serving.script import Script
from harness.serving.scripted import ScriptedBackend


def _script(**values: Any) -> Script:
    return Script(settings_for("scripted", {"model": "empty"} | values))  # type: ignore[arg-type]


def _backend(**values: Any) -> ScriptedBackend:
    backend = open_backend(settings_for("scripted", {"model": "empty"} | values))
    assert isinstance(backend, ScriptedBackend)
    return backend


async def _ask(backend: ScriptedBackend, texts: list[str], system: str | None = "") -> list[Any]:
    async def main() -> dict[int, Answer | Failure]:
        requests = (
            (number, backend.request(Prompt("", text, ("result",), system)))
            for number, text in enumerate(texts)
        )
        async with aclosing(backend.answers(requests)) as answers:
            return {key: outcome async for key, outcome in answers}

    outcomes = await main()
    return [outcomes[number] for number in range(len(texts))]


@pytest.mark.parametrize("system", ["", "be brief", None])
async def test_answers_in_this_process_look_like_those_of_a_server(system: str | None) -> None:
    backend = _backend()
    (answer,) = await _ask(backend, ["x" * 4000], system)
    reply = backend.reply(answer, cached=False)
    assert (reply.text, reply.finish_reason, reply.cost) == (" []\n", "stop", 0)
    assert reply.usage == Usage(1000 + (2 if system else 0), 1)
    assert reply.served_by == "empty scripted-1"


def test_the_request_names_all_that_the_answer_depends_on(tmp_path: Path) -> None:
    prompt = Prompt("", "text", ("result",), "")
    plain = _backend().request(prompt)
    for same in ({"latency_s": 1.0}, {"error_429": 0.5}, {"seed": 3}, {"concurrency": 2}):
        assert _backend(**same).request(prompt) == plain
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"contains": "x", "reply": "y"}\n')
    others = ({"model": "capitals"}, {"truncate": 0.1}, {"answers": str(answers)})
    keys = {json.dumps(_backend(**other).request(prompt).table()) for other in (*others, {})}
    assert len(keys) == 4


async def test_a_file_of_answers_comes_before_the_rule(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"exactly this").hexdigest()
    rows = [
        {"contains": "this", "reply": "by piece"},
        {"prompt_sha256": digest, "reply": "by hash"},
        {"contains": "th", "reply": "too late for this"},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    backend = _backend(answers=str(path))
    replies = await _ask(backend, ["exactly this", "is this it", "other"])
    texts = [backend.reply(answer, cached=False).text for answer in replies]
    assert texts == ["by hash", "by piece", "too late for this"]
    (none,) = await _ask(backend, ["nothing"])
    assert backend.reply(none, cached=False).text == "too late for this"
    (rule,) = await _ask(backend, ["no match"])
    assert backend.reply(rule, cached=False).text == " []\n"


@pytest.mark.parametrize(
    "line",
    ["not json", "[]", '{"reply": "x"}', '{"contains": "x"}', '{"contains": 1, "reply": "x"}'],
)
def test_a_wrong_line_of_answers_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"contains": "x", "reply": "y"}\n' + line + "\n")
    with pytest.raises(ExperimentError, match=r"answers\.jsonl:2: "):
        _backend(answers=str(path))
    with pytest.raises(ExperimentError, match="cannot be read"):
        _backend(answers=str(tmp_path / "none.jsonl"))


def test_faults_depend_on_seed_request_and_attempt_alone() -> None:
    first = _script(error_429=0.2, error_500=0.1, drop=0.05, seed=1)
    again = _script(error_429=0.2, error_500=0.1, drop=0.05, seed=1)
    other = _script(error_429=0.2, error_500=0.1, drop=0.05, seed=2)
    never, always = _script(), _script(drop=1.0)
    cases = [(f"r{n}".encode(), attempt) for n in range(2000) for attempt in range(2)]
    faults = [first.fault(*case) for case in cases]
    assert faults == [again.fault(*case) for case in cases]
    assert faults != [other.fault(*case) for case in cases]
    # Binomial with n = 4,000: five standard deviations.
    for fault, expected, deviation in (("429", 800, 25.3), ("500", 400, 19), ("drop", 200, 13.8)):
        assert abs(faults.count(fault) - expected) < 5 * deviation
    assert {never.fault(*case) for case in cases} == {None}
    assert {always.fault(*case) for case in cases} == {"drop"}


async def test_truncation_cuts_the_answer_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"contains": "", "reply": "abcdefgh" * 50}) + "\n")
    backend = _backend(answers=str(path), truncate=0.5)
    texts = [f"prompt {n}" for n in range(200)]
    replies = [backend.reply(answer, cached=False) for answer in await _ask(backend, texts)]
    cut = [reply for reply in replies if reply.finish_reason == "length"]
    assert 60 < len(cut) < 140
    assert all(("abcdefgh" * 50).startswith(reply.text) and len(reply.text) < 400 for reply in cut)
    assert len({reply.text for reply in cut}) > 20
    again = [backend.reply(answer, cached=False).text for answer in await _ask(backend, texts)]
    assert again == [reply.text for reply in replies]


async def test_the_answer_budget_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"contains": "", "reply": "é" * 1000}) + "\n")
    backend = _backend(answers=str(path), max_tokens=100)
    (answer,) = await _ask(backend, ["x"])
    reply = backend.reply(answer, cached=False)
    assert (reply.text, reply.finish_reason) == ("é" * 200, "length")
    assert reply.usage.completion_tokens == 100


async def test_faults_in_this_process_are_retried_and_reported() -> None:
    always = _backend(error_500=1.0, retry_after_s=0.001, max_attempts=8)
    assert await _ask(always, ["x"]) == [Failure("scripted 500", 500, attempts=8)]
    some = _backend(error_429=0.1, error_500=0.05, drop=0.02, retry_after_s=0.001)
    outcomes = await _ask(some, [f"text {n}" for n in range(300)])
    assert all(isinstance(outcome, Answer) for outcome in outcomes)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": None},
        {"messages": [None, 3]},
        {"messages": [{"content": [{"type": "text"}]}]},
        {"messages": [{"content": "\ud800"}], "max_tokens": "many"},
        {"prompt": None},
        {"prompt": ["a", "b"], "model": 3},
    ],
)
def test_odd_requests_are_answered_too(body: dict[str, Any]) -> None:
    response = _script(model="capitals").response(body)
    json.dumps(response, ensure_ascii=False).encode()
    assert len(response["choices"]) == 1
