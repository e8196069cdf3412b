"""The hosted backend against servers that fail: which calls are retried, and which are not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from harness.errors import EndpointError
from harness.models.hosted.failures import SystemWideFailure
from harness.records import Answer, Failure
from tests.helpers.hosted_backend import (
    after,
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


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_temporary_failure_is_retried(status: int) -> None:
    handler, request_times = after(lambda: error_response(status, "not now"), times=7)
    (outcome,) = (await run(handler)).values()
    assert isinstance(outcome, Answer)
    assert len(request_times) == 8


@pytest.mark.parametrize("status", [400, 405, 410, 413, 415, 422, 451])
async def test_another_4xx_is_final_at_once(status: int) -> None:
    handler, request_times = after(lambda: error_response(status, "bad\n  request"))
    assert failure_of(await run(handler)) == Failure(
        f"HTTP {status}: bad request", status, attempts=1
    )
    assert len(request_times) == 1


async def test_a_call_that_never_succeeds_is_given_up_after_max_attempts() -> None:
    handler, request_times = after(lambda: error_response(503, "overloaded"), times=100)
    assert failure_of(await run(handler, max_attempts=9)) == Failure("HTTP 503: overloaded", 503, 9)
    assert len(request_times) == 9


async def test_one_failed_call_does_not_stop_the_others() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["messages"][-1]["content"] in ("text 3", "text 0"):
            return error_response(400, "no")
        return web.json_response(completion())

    outcomes = await run(handler, 20, concurrency=2)
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
async def test_retry_after_is_honoured(headers: dict[str, str], least: float) -> None:
    handler, request_times = after(lambda: error_response(429, "slow down", **headers))
    assert isinstance((await run(handler))[0], Answer)
    waited = request_times[1] - request_times[0]
    # The upper bound tells the right wait from the 60 s of a header that has to be passed over.
    assert least <= waited < least * 1.1 + 20


async def test_retry_after_may_be_a_date() -> None:
    def refuse() -> web.Response:
        # The date of the retry is 2 s after the server's own date, whatever the clock here says.
        return error_response(
            503,
            "later",
            **{
                "Date": "Sat, 21 Nov 2026 08:00:00 GMT",
                "Retry-After": "Sat, 21 Nov 2026 08:00:02 GMT",
            },
        )

    handler, request_times = after(refuse)
    assert isinstance((await run(handler))[0], Answer)
    waited = request_times[1] - request_times[0]
    assert 2 <= waited < 2 * 1.1 + 20


async def test_a_retry_after_of_hours_fails_the_call_at_once() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if (await request.json())["messages"][-1]["content"] == "text 1":
            return error_response(429, "tomorrow", **{"Retry-After": "86400"})
        return web.json_response(completion())

    outcomes = await run(handler, 3, concurrency=1)
    assert [isinstance(outcomes[n], Answer) for n in range(3)] == [True, False, True]
    assert outcomes[1] == SystemWideFailure(
        "out of service for 24 hours: HTTP 429: tomorrow", 429, retry_after_s=86400.0
    )


async def test_a_sleeping_call_occupies_no_slot() -> None:
    request_counts: Counter[str] = Counter()
    order: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][-1]["content"]
        request_counts[text] += 1
        if text == "text 0" and request_counts[text] == 1:
            return error_response(429, "you wait", **{"Retry-After": "2"})
        order.append(text)
        return web.json_response(completion())

    outcomes = await run(handler, 10, concurrency=1)
    assert all(isinstance(o, Answer) for o in outcomes.values())
    assert order == [f"text {n}" for n in range(1, 10)] + ["text 0"]


def _raw(content: bytes, content_type: str = "application/json") -> web.Response:
    return web.Response(body=content, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("broken", "message"),
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
async def test_a_malformed_answer_is_a_failed_attempt(
    broken: Callable[[], web.StreamResponse], message: str
) -> None:
    handler, request_times = after(broken)
    assert isinstance((await run(handler))[0], Answer)
    assert len(request_times) == 2
    if "not JSON" in message:
        # A web page where a model should be: so it would be for every call.
        with pytest.raises(EndpointError, match=message):
            await run(always(broken))
        return
    failure = failure_of(await run(always(broken)))
    assert message in failure.message
    assert len(failure.message) <= 300
    assert failure.attempts == 8


@pytest.mark.parametrize("how", ["close", "half", "chunked", "garbage"])
async def test_a_dropped_connection_is_retried(how: str) -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        if request_count > 3:
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

    assert isinstance((await run(handler))[0], Answer)
    assert request_count == 4


@pytest.mark.parametrize("trickle", [False, True])
async def test_a_hanging_server_is_left_after_the_timeout(trickle: bool) -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        if request_count > 1:
            return web.json_response(completion())
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if trickle:
            await response.prepare(request)
        for _ in range(200):
            await asyncio.sleep(0.05)
            if trickle:
                await response.write(b" ")
        return response

    assert isinstance((await run(handler, timeout_s=1.0))[0], Answer)
    assert request_count == 2


async def test_a_prompt_that_cannot_be_sent_is_its_own_failure() -> None:
    async def main() -> dict[int, Answer | Failure]:
        async with handled_by(always(lambda: web.json_response(completion()))) as url:
            backend = hosted(url)
            requests = [(0, backend.request(prompt_of("\ud800"))), *requests_of(backend, 2)][:2]
            return await drain(backend, [requests[0], (1, requests[1][1])])

    outcomes = await main()
    assert isinstance(outcomes[1], Answer)
    assert isinstance(outcomes[0], Failure)
    assert "could not be sent: UnicodeEncodeError" in outcomes[0].message


@pytest.mark.parametrize(
    ("error", "too_long", "filtered"),
    [
        (lambda: error_response(400, "too many tokens", "context_length_exceeded"), True, False),
        (
            lambda: error_response(400, "This model's maximum context length is 4096 tokens."),
            True,
            False,
        ),
        (
            lambda: error_response(400, "the request exceeds the available context size"),
            True,
            False,
        ),
        (lambda: error_response(400, "The response was filtered", "content_filter"), False, True),
        (
            lambda: error_response(400, "Invalid value for 'n'", "invalid_request_error"),
            False,
            False,
        ),
    ],
)
async def test_rejected_prompts_name_the_cause(
    error: Callable[[], web.Response], too_long: bool, filtered: bool
) -> None:
    failure = failure_of(await run(always(error)))
    assert (failure.too_long, failure.filtered) == (too_long, filtered)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"message": "no", "type": ["x"], "code": {"a": 1}}}, {}),
        ({"error": {"message": "no", "type": 7}}, {"Retry-After": "later"}),
        ([1, 2], {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +9999999999999999999"}),
        (None, {"Retry-After": "nan"}),
    ],
)
async def test_a_strange_error_is_the_failure_of_one_call(
    body: Any, headers: dict[str, str]
) -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        if request_count == 1:
            status = 429 if headers else 400
            return web.json_response(body, status=status, headers=headers)
        return web.json_response(completion())

    async def main() -> dict[int, Answer | Failure]:
        async with handled_by(handler) as url:
            backend = hosted(url, concurrency=1)
            return await drain(backend, requests_of(backend, 3))

    outcomes = await main()
    assert len(outcomes) == 3
    assert sum(isinstance(o, Answer) for o in outcomes.values()) == (3 if headers else 2)
