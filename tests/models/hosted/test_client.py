"""The hosted backend: the real SDK against real servers on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from aiohttp import web

from harness.errors import CredentialsError, EndpointError
from harness.models import open_backend, settings_for
from harness.models.hosted.client import OpenAIBackend
from harness.records import Answer, Failure
from harness.serving.server import running_server
from tests.helpers.hosted_backend import (
    KEY,
    always,
    drain,
    error_response,
    failure_of,
    hosted,
    prompt_of,
    requests_of,
    run,
)
from tests.helpers.loopback_server import completion, handled_by

# The request


def test_the_request_is_the_exact_body_and_what_else_the_answer_depends_on() -> None:
    backend = hosted("https://api.openai.com/v1", model="gpt-4o", seed=1)
    assert backend.request(prompt_of("text", "be brief"), repeat=2).table() == {
        "endpoint": "openai",
        "family": "chat.completions",
        "body": {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "text"},
            ],
            "temperature": 0,
            "max_tokens": 512,
            "seed": 1,
        },
        "repeat": 2,
    }
    assert backend.request(prompt_of("text", None)).table() == {
        "endpoint": "openai",
        "family": "completions",
        "body": {
            "model": "gpt-4o",
            "prompt": "text",
            "temperature": 0,
            "max_tokens": 512,
            "seed": 1,
        },
        "repeat": 0,
    }


def test_how_it_is_sent_is_no_part_of_the_request() -> None:
    plain = hosted("http://h/v1").request(prompt_of("x"))
    other = hosted(
        "http://H:80/v1/", concurrency=3, timeout_s=1.0, max_attempts=20, api_key_env="ANOTHER"
    )
    assert other.request(prompt_of("x")) == plain


@pytest.mark.parametrize("system", ["be brief", "", None])
async def test_the_body_of_the_request_is_what_the_server_gets(system: str | None) -> None:
    got: list[tuple[str, dict[str, Any], str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append((request.path, await request.json(), request.headers["Authorization"]))
        return web.json_response(completion())

    async with handled_by(handler) as url:
        backend = hosted(url, extra_body={"guided": {"a": [1]}}, stop=["\n\n\n"])
        request = backend.request(prompt_of('é "quoted" \\n \u200b 😀', system))
        await drain(backend, [(0, request)])
    ((path, body, authorization),) = got
    assert body == request.body
    assert path == ("/v1/completions" if system is None else "/v1/chat/completions")
    assert authorization == "Bearer none"


async def test_azure_has_its_own_path_and_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    got: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append(request)
        return web.json_response(completion())

    async with handled_by(handler) as url:
        values = {"provider": "azure", "api_version": "2024-10-21", "model": "my-deployment"}
        backend = hosted(url.removesuffix("/v1"), **values)
        assert backend.price is None
        outcomes = await drain(backend, requests_of(backend, 1))
        assert isinstance(outcomes[0], Answer)
    assert got[0].path == "/openai/deployments/my-deployment/chat/completions"
    assert got[0].query_string == "api-version=2024-10-21"
    assert got[0].headers["api-key"] == KEY


# Keys


def test_the_default_endpoint_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(settings_for("openai", {"model": "gpt-4o"}))
    with pytest.raises(CredentialsError, match="OPENAI_API_KEY"):
        backend.check()
    monkeypatch.setenv("OPENAI_API_KEY", "a key with spaces")
    with pytest.raises(CredentialsError, match="OPENAI_API_KEY does not hold a key"):
        backend.check()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend.check()


def test_a_server_of_ones_own_needs_none_unless_a_variable_is_named() -> None:
    hosted("http://127.0.0.1:1/v1").check()
    with pytest.raises(CredentialsError, match="LAB_KEY"):
        hosted("http://127.0.0.1:1/v1", api_key_env="LAB_KEY").check()
    with pytest.raises(CredentialsError, match="AZURE_OPENAI_API_KEY"):
        hosted("http://127.0.0.1:1", provider="azure", api_version="1").check()


@pytest.mark.parametrize("status", [400, 401, 429, 500, 200, 204, 302])
async def test_a_key_that_the_server_repeats_is_hidden(
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    authorizations: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        echo = f"\x1b[31mgot {request.headers['Authorization']} twice: {KEY}{KEY}\nand <b>"
        authorizations.append(request.headers["Authorization"])
        if status == 200:
            return web.json_response(completion(echo, system_fingerprint=KEY))
        return error_response(status, echo, KEY, **{"Retry-After": "0.01"})

    async def main() -> str:
        async with handled_by(handler) as url:
            backend = hosted(url)
            output = repr(backend) + repr(backend.settings)
            try:
                outcomes = await drain(backend, requests_of(backend, 2))
                output += repr(outcomes) + str(backend.request(prompt_of("x")))
                output += "".join(
                    repr(backend.reply(o, cached=False))
                    for o in outcomes.values()
                    if isinstance(o, Answer)
                )
            except EndpointError as error:
                output += repr(error) + str(error)
            return output + repr(backend) + repr(vars(backend.settings))

    output = await main()
    assert authorizations[0] == f"Bearer {KEY}"
    captured = capfd.readouterr()
    for text in (output, caplog.text, captured.out, captured.err):
        assert KEY not in text
        assert "Zq3x" not in text
    if status not in (200, 204, 302):
        assert "got [hidden] twice" in output
        assert "\x1b" not in output


async def test_other_secrets_of_the_environment_are_hidden_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "opaque-key-0001")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: gateway-token-0002\nX-Short: on")

    async def handler(request: web.Request) -> web.StreamResponse:
        return error_response(
            400, f"{request.headers['X-Gateway']} on {request.headers['Authorization']}"
        )

    message = failure_of(await run(handler)).message
    assert message == "HTTP 400: [hidden] on [hidden]"


async def _stored(monkeypatch: pytest.MonkeyPatch, text: str, **environment: str) -> str:
    """What is kept of an answer of this text."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (answer,) = (await run(always(lambda: web.json_response(completion(text))))).values()
    assert isinstance(answer, Answer)
    return str(json.loads(answer.response)["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OPENAI_CUSTOM_HEADERS", "X-Team: Lagos Nigeria", "Lagos Nigeria"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: Information Extraction", "Extraction"),
        ("OPENAI_CUSTOM_HEADERS", "X-Api-Version: 2024-01-01", "2024-01-01"),
        ("OPENAI_CUSTOM_HEADERS", "X-Auth-Team: Nigeria", "Nigeria"),
        ("OPENAI_ORG_ID", "Masakhane", "Masakhane"),
        ("OPENAI_PROJECT_ID", "Ethiopia", "Ethiopia"),
        ("OPENAI_API_KEY", "Kinshasa", "Kinshasa"),
        ("http_proxy", "http://user:Bamako@127.0.0.1:9", "Bamako"),
    ],
)
async def test_words_of_an_answer_are_no_secrets(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'result = [Location(span="{words}")]'
    assert await _stored(monkeypatch, text, **{variable: value, "no_proxy": "127.0.0.1"}) == text


@pytest.mark.parametrize(
    ("variable", "value", "secret"),
    [
        ("OPENAI_CUSTOM_HEADERS", "X-Auth: opaque7", "opaque7"),
        ("OPENAI_CUSTOM_HEADERS", "X-Api-Key: Basic abc/de==", "abc/de=="),
        ("OPENAI_CUSTOM_HEADERS", "X-Token: abcdefghijklmnop", "abcdefghijklmnop"),
        ("OPENAI_CUSTOM_HEADERS", "X-Gateway: gateway-pass-0002", "gateway-pass-0002"),
        ("OPENAI_ORG_ID", "org-abc", "org-abc"),
        ("OPENAI_API_KEY", "sk_abc", "sk_abc"),
        ("http_proxy", "http://user:hunter2@127.0.0.1:9", "hunter2"),
    ],
)
async def test_what_looks_like_a_secret_is_not_stored(
    variable: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {variable: value, "no_proxy": "127.0.0.1"}
    assert await _stored(monkeypatch, f"got {secret}", **environment) == "got [hidden]"


# The whole


async def test_with_faults_on_the_wire_nothing_is_lost_wrong_or_paid_twice() -> None:
    async def main() -> dict[str, Any]:
        script = settings_for(
            "scripted",
            {
                "model": "empty",
                "latency_s": 0.01,
                "error_429": 0.10,
                "error_500": 0.05,
                "drop": 0.02,
                "retry_after_s": 0.05,
            },
        )
        async with running_server(script) as (url, server):
            backend = hosted(url, concurrency=32, backoff_s=0.01)
            outcomes = await drain(backend, requests_of(backend, 600))
            assert sorted(outcomes) == list(range(600))
            for outcome in outcomes.values():
                assert isinstance(outcome, Answer)
                assert backend.reply(outcome, cached=False).text == " []\n"
            return server.stats.to_json()

    stats = await main()
    assert stats["answered"] == stats["distinct"] == 600
    assert stats["answered_twice"] == 0
    assert stats["requests"] == 600 + sum(stats["faults"].values())
    # The faults did happen.
    assert stats["faults"]["429"] > 30
    assert stats["faults"]["500"] > 10
    assert stats["faults"]["drop"] > 2
    assert 16 < stats["most_in_flight"] <= 32


async def test_an_answer_has_its_text_cost_and_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    body = completion(" []\n", system_fingerprint="fp_9")
    sent = json.dumps(body, indent=1)

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response(text=sent, content_type="application/json")

    async def main() -> tuple[OpenAIBackend, Answer | Failure]:
        async with handled_by(handler) as url:
            backend = hosted(url, provider="openai", model="gpt-4o")
            return backend, (await drain(backend, requests_of(backend, 1)))[0]

    backend, answer = await main()
    assert isinstance(answer, Answer)
    assert answer.response == sent
    assert 0.1 <= answer.latency_s < 30
    # 1,000 tokens at 2.50 and 10 at 10.00 dollars a million.
    assert answer.cost == 2_600_000
    reply = backend.reply(answer, cached=True)
    assert (reply.text, reply.cost, reply.served_by) == (" []\n", 2_600_000, "m-1 fp_9")


async def test_a_backend_can_be_used_again_after_it_was_closed() -> None:
    handler = always(lambda: web.json_response(completion()))

    async with handled_by(handler) as url:
        backend = hosted(url)
        for _ in range(2):
            assert len(await drain(backend, requests_of(backend, 3))) == 3


async def test_an_interrupt_leaves_nothing_behind() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(300)
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            backend = hosted(url, concurrency=8)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await drain(backend, requests_of(backend, 100))

    await asyncio.wait_for(main(), 120)
