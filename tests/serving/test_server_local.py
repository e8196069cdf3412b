"""A real, tiny model behind the loopback server, as a client on the wire sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("torch")  # the checkpoint is made with it

from harness.errors import CheckpointError
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt
from harness.serving.served_model import RequestBatcher
from harness.serving.server import background_server, running_server
from tests.helpers import tiny_models

pytestmark = pytest.mark.usefixtures("local_cache")

Client = Callable[[aiohttp.ClientSession, str], Awaitable[None]]
# Every role is told; a chat that the assistant begins is not taken.
TEMPLATE = """\
{%- if messages[0]['role'] == 'assistant' %}{{ raise_exception('The user begins.') }}{% endif -%}
{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}
{% endfor %}[assistant]"""
CONTEXT = 512


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny causal model with a chat template."""
    folder = tiny_models.llama(tmp_path_factory.mktemp("served") / "tiny", context=CONTEXT)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same without a chat template."""
    return str(tiny_models.llama(tmp_path_factory.mktemp("served") / "plain", context=CONTEXT))


def _with(model: str, client: Client, **values: Any) -> None:
    async def main() -> None:
        settings = settings_for("ctranslate2", {"model": model, "device": "cpu"} | values)
        async with running_server(settings) as (url, _), aiohttp.ClientSession() as session:
            await client(session, url)

    asyncio.run(main())


async def _post(
    session: aiohttp.ClientSession, url: str, **body: Any
) -> tuple[int, dict[str, Any]]:
    path = "chat/completions" if "messages" in body else "completions"
    async with session.post(f"{url}/{path}", json=body) as response:
        return response.status, await response.json()


def test_both_families_answer_in_openais_shape(model: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> None:
        asked = {"model": model, "max_tokens": 7, "temperature": 0}
        status, body = await _post(session, url, prompt="text = Kano", **asked)
        assert status == 200
        assert body["id"].startswith("cmpl-")
        assert time.time() - 600 < body["created"] <= time.time()
        assert (body["object"], body["model"]) == ("text_completion", model)
        (choice,) = body["choices"]
        assert (choice["index"], choice["finish_reason"]) == (0, "length")
        # BOS and six pieces; an end token that the saved flags ask for is none of them.
        assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}

        messages = [{"role": "user", "content": "text = Kano"}]
        status, body = await _post(session, url, messages=messages, **asked)
        assert status == 200
        assert body["id"].startswith("chatcmpl-")
        assert body["object"] == "chat.completion"
        (choice,) = body["choices"]
        assert choice["message"]["role"] == "assistant"
        assert isinstance(choice["message"]["content"], str)
        assert body["usage"] == {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}

        async with session.get(f"{url}/models") as response:
            assert [row["id"] for row in (await response.json())["data"]] == [model]
        async with session.get(f"{url.removesuffix('/v1')}/health") as response:
            assert await response.json() == {"status": "ok"}

    _with(model, client)


def test_the_budget_is_the_clients_or_else_the_settings(model: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> None:
        for given, written in (
            ({}, 5),
            ({"max_tokens": None}, 5),
            ({"max_tokens": 1}, 1),
            ({"max_completion_tokens": 9}, 9),
            ({"max_tokens": 6, "max_completion_tokens": 6}, 6),
        ):
            _, body = await _post(session, url, prompt="text = Kano", **given)
            assert body["usage"]["completion_tokens"] == written

    _with(model, client, max_tokens=5)


def test_a_stop_text_cuts_the_answer_before_it(model: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> None:
        asked = {"prompt": "text = Kano", "max_tokens": 20}
        _, whole = await _post(session, url, **asked)
        text = whole["choices"][0]["text"]
        early = next(letter for letter in text if letter != text[0])
        for stop in (early, ["☃", early], [text[text.index(early) :], early]):
            _, cut = await _post(session, url, stop=stop, **asked)
            assert cut["choices"][0]["text"] == text[: text.index(early)] != ""
            assert cut["choices"][0]["finish_reason"] == "stop"
            assert cut["usage"] == whole["usage"]
        _, same = await _post(session, url, stop="☃", **asked)
        assert same["choices"] == whole["choices"]

    _with(model, client)


def test_what_cannot_be_answered_is_refused_as_openai_would(model: str, plain: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> None:
        status, body = await _post(session, url, prompt="hello", model="gpt-4o")
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        assert body["error"]["message"] == (
            f'There is no model "gpt-4o" here. This server has: {model}.'
        )
        status, body = await _post(session, url, prompt="hello", temperature=0.7)
        assert (status, body["error"]["param"]) == (400, "temperature")
        for asked in ({"prompt": "Kano " * CONTEXT}, {"prompt": "Kano", "max_tokens": CONTEXT}):
            status, body = await _post(session, url, **asked)
            assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
            assert body["error"]["param"] == "prompt"
        messages = [{"role": "user", "content": "Kano " * CONTEXT}]
        status, body = await _post(session, url, messages=messages)
        assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
        assert body["error"]["param"] == "messages"

    _with(model, client)

    async def unchatting(session: aiohttp.ClientSession, url: str) -> None:
        status, body = await _post(session, url, messages=[{"role": "user", "content": "a"}])
        assert status == 400
        assert "no chat template" in body["error"]["message"]

    _with(plain, unchatting)


def test_one_request_that_fails_leaves_the_others_of_its_batch_alone(model: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> None:
        good = [{"role": "user", "content": "text = Kano"}]
        bad = [{"role": "assistant", "content": "text = Kano"}]
        asked = [_post(session, url, messages=m, max_tokens=3) for m in (good, bad, good)]
        (first, one), (second, error), (third, other) = await asyncio.gather(*asked)
        assert (first, second, third) == (200, 400, 200)
        assert one["choices"] == other["choices"]
        assert "The user begins." in error["error"]["message"]

    _with(model, client)


def test_a_model_that_cannot_be_loaded_is_not_served(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="nothing"),
        background_server(settings_for("ctranslate2", {"model": str(tmp_path / "nothing")})),
    ):
        pytest.fail("it is served")


async def test_what_waits_is_asked_together(model: str) -> None:
    """Also by the same batches later on, and without those that nobody waits for any more."""
    backend = open_backend(settings_for("ctranslate2", {"model": model, "max_tokens": 4}))

    batches = RequestBatcher(backend)
    prompts = [Prompt("e", f"text = {i}", ()) for i in range(12)]
    asked = [asyncio.ensure_future(batches.ask(backend.request(p))) for p in prompts]
    await asyncio.sleep(0)
    for task in asked[3:5]:
        task.cancel()
    running = asyncio.create_task(batches.run())
    outcomes = await asyncio.gather(*asked[:3], *asked[5:])
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert (batches.count, batches.largest) == (1, 10)
    assert isinstance(await batches.ask(backend.request(prompts[0])), Answer)
    assert batches.count == 2
    batches.stop()
    await running
    await backend.aclose()


async def test_stopping_finishes_what_is_generated_and_turns_away_the_rest(model: str) -> None:
    values = {"model": model, "max_tokens": 20, "batch_tokens": 1}
    backend = open_backend(settings_for("ctranslate2", values))

    batches = RequestBatcher(backend)
    request = backend.request(Prompt("e", "text = Kano", ()))
    asked = [asyncio.ensure_future(batches.ask(request)) for _ in range(4)]
    await asyncio.sleep(0)
    running = asyncio.create_task(batches.run())
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    # One at a time here: the second is being generated now.
    waiting = asyncio.ensure_future(batches.ask(request))
    await asyncio.sleep(0)
    batches.stop()
    stopping = Failure("the server is stopping", 503)
    assert await waiting == stopping
    assert await batches.ask(request) == stopping
    outcomes = await asyncio.gather(*asked)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 2
    assert outcomes.count(stopping) == 2
    await running
    await backend.aclose()


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as response:
        return dict(json.load(response))


async def test_the_command_serves_and_ends_once_its_answers_are_out(model: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "harness", "serve", "--port", "0"]
    command += ["--backend", "ctranslate2", "--model", model, "--set", "device=cpu"]
    command += ["--set", "max_tokens=100", "--set", "batch_tokens=1"]
    process = subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    async def client(url: str) -> list[tuple[int, dict[str, Any]]]:
        async with aiohttp.ClientSession() as session:
            asked = [
                asyncio.ensure_future(_post(session, url, prompt="text = Kano")) for _ in range(8)
            ]
            stats = url.removesuffix("/v1") + "/stats"
            while not (await asyncio.to_thread(_get, stats))["answered"]:
                pass
            # One at a time here: the second is being generated, if it is not done.
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*asked)

    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"Serving ctranslate2 '{model}' at http://127.0.0.1:")
        replies = await client(line.split()[-1])
        answers = [body["choices"] for status, body in replies if status == 200]
        assert len(answers) >= 2
        assert all(answer == answers[0] for answer in answers)
        for status, body in replies:
            if status != 200:
                assert (status, body["error"]["message"]) == (503, "the server is stopping")
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    finally:
        process.kill()
        process.communicate()
