"""The hosted backend: the real SDK against real servers on this machine."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from harness.errors import CredentialsError, EndpointError
from harness.models import open_backend, settings_for
from harness.models.openai import OpenAIBackend
from harness.models.server import running
from harness.records import Answer, Failure, Prompt

from .conftest import Handler, completion, handled_by

KEY = "sk-proj-Zq3x-very_secret-0123456789"


def _backend(url: str, **values: Any) -> OpenAIBackend:
    settings = {"model": "m", "base_url": url, "backoff_s": 0.001, "max_attempts": 8} | values
    backend = open_backend(settings_for("openai", settings))
    assert isinstance(backend, OpenAIBackend)
    return backend


def _prompt(text: str, system: str | None = "") -> Prompt:
    return Prompt("e1", text, ("result",), system)


def _requests(backend: OpenAIBackend, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in range(count):
        yield number, backend.request(_prompt(f"text {number}"))


async def _drain(
    backend: OpenAIBackend, requests: Iterable[tuple[int, dict[str, Any]]]
) -> dict[int, Answer | Failure]:
    outcomes: dict[int, Answer | Failure] = {}
    try:
        async with aclosing(backend.answers(requests)) as answers:  # type: ignore[type-var]
            async for key, outcome in answers:
                assert key not in outcomes
                outcomes[key] = outcome
    finally:
        await backend.aclose()
    return outcomes


def _run(handler: Handler, count: int = 1, **values: Any) -> dict[int, Answer | Failure]:
    """Send ``count`` requests to a server that a handler plays."""

    async def main() -> dict[int, Answer | Failure]:
        async with handled_by(handler) as url:
            backend = _backend(url, **values)
            return await _drain(backend, _requests(backend, count))

    return asyncio.run(main())


def _always(make: Callable[[], web.StreamResponse]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return make()

    return handler


def _after(first: Callable[[], web.StreamResponse], times: int = 1) -> tuple[Handler, list[float]]:
    """A handler that answers as ``first`` so many times, then well; and when it was asked."""
    asked: list[float] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(time.time())
        return first() if len(asked) <= times else web.json_response(completion())

    return handler, asked


def _failure(outcomes: dict[int, Answer | Failure]) -> Failure:
    (outcome,) = outcomes.values()
    assert isinstance(outcome, Failure)
    return outcome


def _error(status: int, message: str, code: str | None = None, **headers: str) -> web.Response:
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)


# The request


def test_the_request_is_the_exact_body_and_what_else_the_answer_depends_on() -> None:
    backend = _backend("https://api.openai.com/v1", model="gpt-4o", seed=1)
    assert backend.request(_prompt("text", "be brief"), repeat=2) == {
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
    assert backend.request(_prompt("text", None)) == {
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
    plain = _backend("http://h/v1").request(_prompt("x"))
    other = _backend(
        "http://H:80/v1/", concurrency=3, timeout_s=1.0, max_attempts=20, api_key_env="ANOTHER"
    )
    assert other.request(_prompt("x")) == plain


@pytest.mark.parametrize("system", ["be brief", "", None])
def test_the_body_of_the_request_is_what_the_server_gets(system: str | None) -> None:
    got: list[tuple[str, dict[str, Any], str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append((request.path, await request.json(), request.headers["Authorization"]))
        return web.json_response(completion())

    async def main() -> dict[str, Any]:
        async with handled_by(handler) as url:
            backend = _backend(url, extra_body={"guided": {"a": [1]}}, stop=["\n\n\n"])
            request = backend.request(_prompt('é "quoted" \\n \u200b 😀', system))
            await _drain(backend, [(0, request)])
            return request

    request = asyncio.run(main())
    ((path, body, authorization),) = got
    assert body == request["body"]
    assert path == ("/v1/completions" if system is None else "/v1/chat/completions")
    assert authorization == "Bearer none"


def test_azure_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    got: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append(request)
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            values = {"provider": "azure", "api_version": "2024-10-21", "model": "my-deployment"}
            backend = _backend(url.removesuffix("/v1"), **values)
            assert backend.price is None
            outcomes = await _drain(backend, _requests(backend, 1))
            assert isinstance(outcomes[0], Answer)

    asyncio.run(main())
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
    _backend("http://127.0.0.1:1/v1").check()
    with pytest.raises(CredentialsError, match="LAB_KEY"):
        _backend("http://127.0.0.1:1/v1", api_key_env="LAB_KEY").check()
    with pytest.raises(CredentialsError, match="AZURE_OPENAI_API_KEY"):
        _backend("http://127.0.0.1:1", provider="azure", api_version="1").check()


@pytest.mark.parametrize("status", [400, 401, 429, 500, 200, 204, 302])
def test_a_server_that_gives_the_key_back_does_not_give_it_to_anyone(
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        echo = f"\x1b[31mgot {request.headers['Authorization']} twice: {KEY}{KEY}\nand <b>"
        seen.append(request.headers["Authorization"])
        if status == 200:
            return web.json_response(completion(echo, system_fingerprint=KEY))
        return _error(status, echo, KEY)

    async def main() -> str:
        async with handled_by(handler) as url:
            backend = _backend(url)
            said = repr(backend) + repr(backend.settings)
            try:
                outcomes = await _drain(backend, _requests(backend, 2))
                said += repr(outcomes) + str(backend.request(_prompt("x")))
                said += "".join(
                    repr(backend.reply(o, cached=False))
                    for o in outcomes.values()
                    if isinstance(o, Answer)
                )
            except EndpointError as error:
                said += repr(error) + str(error)
            return said + repr(backend) + repr(vars(backend.settings))

    said = asyncio.run(main())
    assert seen[0] == f"Bearer {KEY}"
    captured = capfd.readouterr()
    for text in (said, caplog.text, captured.out, captured.err):
        assert KEY not in text
        assert "Zq3x" not in text
    if status not in (200, 204, 302):
        assert "got [hidden] twice" in said
        assert "\x1b" not in said


def test_other_secrets_of_the_environment_are_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "opaque-key-0001")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: gateway-token-0002\nX-Short: on")

    async def handler(request: web.Request) -> web.StreamResponse:
        return _error(400, f"{request.headers['X-Gateway']} on {request.headers['Authorization']}")

    message = _failure(_run(handler)).message
    assert message == "HTTP 400: [hidden] on [hidden]"


# What goes wrong, and how often it is asked again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again(status: int) -> None:
    handler, asked = _after(lambda: _error(status, "not now"), times=7)
    (outcome,) = _run(handler).values()
    assert isinstance(outcome, Answer)
    assert len(asked) == 8


@pytest.mark.parametrize("status", [400, 405, 410, 413, 415, 422, 451])
def test_another_four_hundred_is_final_at_once(status: int) -> None:
    handler, asked = _after(lambda: _error(status, "bad\n  request"))
    assert _failure(_run(handler)) == Failure(f"HTTP {status}: bad request", status, attempts=1)
    assert len(asked) == 1


def test_a_call_that_never_succeeds_is_given_up_after_max_attempts() -> None:
    handler, asked = _after(lambda: _error(503, "overloaded"), times=100)
    assert _failure(_run(handler, max_attempts=9)) == Failure("HTTP 503: overloaded", 503, 9)
    assert len(asked) == 9


def test_one_failed_call_does_not_stop_the_others() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["messages"][-1]["content"] in ("text 3", "text 0"):
            return _error(400, "no")
        return web.json_response(completion())

    outcomes = _run(handler, 20, concurrency=2)
    assert {k for k, o in outcomes.items() if isinstance(o, Failure)} == {0, 3}
    assert len(outcomes) == 20


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "1"}, 1.0),
        ({"Retry-After": "0.3"}, 0.3),
        ({"retry-after-ms": "300", "Retry-After": "60"}, 0.3),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_honoured(headers: dict[str, str], least: float) -> None:
    handler, asked = _after(lambda: _error(429, "slow down", **headers))
    assert isinstance(_run(handler)[0], Answer)
    waited = asked[1] - asked[0]
    assert least <= waited < least * 1.1 + 0.5


def test_retry_after_may_be_a_date() -> None:
    date: list[float] = []

    def refuse() -> web.Response:
        # Whole seconds: between one and two from now.
        date.append(float(int(time.time()) + 2))
        return _error(503, "later", **{"Retry-After": email.utils.formatdate(date[0], usegmt=True)})

    handler, asked = _after(refuse)
    assert isinstance(_run(handler)[0], Answer)
    assert date[0] <= asked[1] + 0.01
    assert asked[1] < date[0] + 1


def test_a_retry_after_of_hours_fails_the_call_and_not_the_weekend() -> None:
    handler, asked = _after(lambda: _error(429, "tomorrow", **{"Retry-After": "86400"}))
    assert _failure(_run(handler)).status_code == 429
    assert len(asked) == 1


def test_a_sleeping_retry_holds_no_slot() -> None:
    asked: Counter[str] = Counter()
    order: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][-1]["content"]
        asked[text] += 1
        if text == "text 0" and asked[text] == 1:
            return _error(429, "you wait", **{"Retry-After": "0.5"})
        order.append(text)
        return web.json_response(completion())

    outcomes = _run(handler, 10, concurrency=1)
    assert all(isinstance(o, Answer) for o in outcomes.values())
    assert order == [f"text {n}" for n in range(1, 10)] + ["text 0"]


def _raw(content: bytes, content_type: str = "application/json") -> web.Response:
    return web.Response(body=content, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda: _raw(b'{"choices": [{"mess'), "no completion"),
        (lambda: _raw(b""), "no completion"),
        (lambda: _raw(b"[" * 50_000), "no completion"),
        (lambda: _raw(b"null"), "no completion"),
        (lambda: _raw(b'{"error": {"message": "overloaded"}}'), "overloaded"),
        (lambda: _raw(b'{"choices": "\xff"}'), "not UTF-8"),
        (lambda: _raw(b"<html>gateway</html>", "text/html"), "not JSON: text/html"),
        (lambda: _raw(json.dumps(completion()).encode(), "text/plain"), "not JSON: text/plain"),
        (lambda: web.Response(status=204), "not JSON"),
    ],
)
def test_a_malformed_answer_is_a_failed_attempt(
    broken: Callable[[], web.StreamResponse], said: str
) -> None:
    handler, asked = _after(broken)
    assert isinstance(_run(handler)[0], Answer)
    assert len(asked) == 2
    if "not JSON" in said:
        # A web page where a model should be: so it would be for every call.
        with pytest.raises(EndpointError, match=said):
            _run(_always(broken))
        return
    failure = _failure(_run(_always(broken)))
    assert said in failure.message
    assert len(failure.message) <= 300
    assert failure.attempts == 8


@pytest.mark.parametrize("how", ["close", "half", "chunked", "garbage"])
def test_a_dropped_connection_is_asked_again(how: str) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked > 3:
            return web.json_response(completion())
        assert request.transport is not None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if how == "garbage":
            request.transport.write(b"HTTP/9.9 never mind\r\n\r\n")
        if how == "half":
            response.headers["Content-Length"] = "1000"
        if how == "chunked":
            response.enable_chunked_encoding()
        if how in ("half", "chunked"):
            await response.prepare(request)
            await response.write(json.dumps(completion()).encode()[:50])
        request.transport.close()
        return response

    assert isinstance(_run(handler)[0], Answer)
    assert asked == 4


@pytest.mark.parametrize("trickle", [False, True])
def test_a_hanging_server_is_left_after_the_timeout(trickle: bool) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked > 1:
            return web.json_response(completion())
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if trickle:
            await response.prepare(request)
        for _ in range(40):
            await asyncio.sleep(0.05)
            if trickle:
                await response.write(b" ")
        return response

    assert isinstance(_run(handler, timeout_s=0.3)[0], Answer)
    assert asked == 2


def test_a_prompt_that_cannot_be_sent_is_its_own_failure() -> None:
    async def main() -> dict[int, Answer | Failure]:
        async with handled_by(_always(lambda: web.json_response(completion()))) as url:
            backend = _backend(url)
            requests = [(0, backend.request(_prompt("\ud800"))), *_requests(backend, 2)][:2]
            return await _drain(backend, [requests[0], (1, requests[1][1])])

    outcomes = asyncio.run(main())
    assert isinstance(outcomes[1], Answer)
    assert isinstance(outcomes[0], Failure)
    assert "could not be sent: UnicodeEncodeError" in outcomes[0].message


@pytest.mark.parametrize(
    ("error", "too_long", "filtered"),
    [
        (lambda: _error(400, "too many tokens", "context_length_exceeded"), True, False),
        (lambda: _error(400, "This model's maximum context length is 4096 tokens."), True, False),
        (lambda: _error(400, "the request exceeds the available context size"), True, False),
        (lambda: _error(400, "The response was filtered", "content_filter"), False, True),
        (lambda: _error(400, "Invalid value for 'n'", "invalid_request_error"), False, False),
    ],
)
def test_prompts_turned_away_say_why(
    error: Callable[[], web.Response], too_long: bool, filtered: bool
) -> None:
    failure = _failure(_run(_always(error)))
    assert (failure.too_long, failure.filtered) == (too_long, filtered)


# Refused altogether


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, None), (402, None), (403, None), (404, "model_not_found"), (429, "insufficient_quota")],
)
def test_a_server_that_refuses_every_call_stops_the_stream(status: int, code: str | None) -> None:
    handler, asked = _after(lambda: _error(status, "go away", code), times=10**6)
    with pytest.raises(EndpointError) as error:
        _run(handler, 1000, concurrency=4)
    assert len(asked) <= 8
    message = str(error.value)
    assert f"HTTP {status}: go away" in message
    assert "'m'" in message
    assert "OPENAI_API_KEY" in message


def test_nothing_paid_for_is_lost_when_calls_are_refused_meanwhile() -> None:
    """The first call is refused, the second, in flight at that time, is answered."""

    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][-1]["content"]
        if text == "text 1":
            await asyncio.sleep(0.2)
            return web.json_response(completion())
        return _error(401, "expired") if text == "text 0" else web.json_response(completion())

    outcomes = _run(handler, 6, concurrency=2)
    assert isinstance(outcomes[0], Failure)
    assert [isinstance(outcomes[n], Answer) for n in range(1, 6)] == [True] * 5


def test_a_key_that_expires_in_mid_run_fails_the_rest_one_by_one() -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.json_response(completion()) if asked <= 5 else _error(401, "expired")

    outcomes = _run(handler, 12, concurrency=3)
    assert sum(isinstance(o, Answer) for o in outcomes.values()) == 5
    assert sum(isinstance(o, Failure) for o in outcomes.values()) == 7


def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        backend = _backend("http://127.0.0.1:1/v1")
        await _drain(backend, _requests(backend, 500))

    with pytest.raises(EndpointError) as error:
        asyncio.run(main())
    message = str(error.value)
    assert "http://127.0.0.1:1/v1" in message
    assert "is the server running?" in message
    assert "Connect" in message


# The whole


def test_with_faults_on_the_wire_nothing_is_lost_wrong_or_paid_twice() -> None:
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
        async with running(script) as (url, server):
            backend = _backend(url, concurrency=32, backoff_s=0.01)
            outcomes = await _drain(backend, _requests(backend, 600))
            assert sorted(outcomes) == list(range(600))
            for outcome in outcomes.values():
                assert isinstance(outcome, Answer)
                assert backend.reply(outcome, cached=False).text == " []\n"
            return server.stats.to_json()

    stats = asyncio.run(main())
    assert stats["answered"] == stats["distinct"] == 600
    assert stats["answered_twice"] == 0
    assert stats["requests"] == 600 + sum(stats["faults"].values())
    # The faults did happen.
    assert stats["faults"]["429"] > 30
    assert stats["faults"]["500"] > 10
    assert stats["faults"]["drop"] > 2
    assert 16 < stats["most_in_flight"] <= 32


def test_an_answer_has_its_text_cost_and_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    body = completion(" []\n", system_fingerprint="fp_9")
    sent = json.dumps(body, indent=1)

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response(text=sent, content_type="application/json")

    async def main() -> tuple[OpenAIBackend, Answer | Failure]:
        async with handled_by(handler) as url:
            backend = _backend(url, provider="openai", model="gpt-4o")
            return backend, (await _drain(backend, _requests(backend, 1)))[0]

    backend, answer = asyncio.run(main())
    assert isinstance(answer, Answer)
    assert answer.response == sent
    assert 0.1 <= answer.latency_s < 1
    # 1,000 tokens at 2.50 and 10 at 10.00 dollars a million.
    assert answer.cost == 2_600_000
    reply = backend.reply(answer, cached=True)
    assert (reply.text, reply.cost, reply.served_by) == (" []\n", 2_600_000, "m-1 fp_9")


def test_a_backend_can_be_used_again_after_it_was_closed() -> None:
    handler = _always(lambda: web.json_response(completion()))

    async def main() -> None:
        async with handled_by(handler) as url:
            backend = _backend(url)
            for _ in range(2):
                assert len(await _drain(backend, _requests(backend, 3))) == 3

    asyncio.run(main())


def test_an_interrupt_leaves_nothing_behind() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            backend = _backend(url, concurrency=8)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await _drain(backend, _requests(backend, 100))

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"message": "no", "type": ["x"], "code": {"a": 1}}}, {}),
        ({"error": {"message": "no", "type": 7}}, {"Retry-After": "later"}),
        ([1, 2], {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +9999999999999999999"}),
        (None, {"Retry-After": "nan"}),
    ],
)
def test_an_odd_error_is_one_calls_failure(body: Any, headers: dict[str, str]) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            status = 429 if headers else 400
            return web.json_response(body, status=status, headers=headers)
        return web.json_response(completion())

    async def main() -> dict[int, Answer | Failure]:
        async with handled_by(handler) as url:
            backend = _backend(url, concurrency=1)
            return await _drain(backend, _requests(backend, 3))

    outcomes = asyncio.run(main())
    assert len(outcomes) == 3
    assert sum(isinstance(o, Answer) for o in outcomes.values()) == (3 if headers else 2)
