"""The hosted backend against servers that reject every call, or seem to."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from harness.errors import EndpointError
from harness.records import Answer, Failure
from tests.helpers.hosted_backend import (
    after,
    always,
    drain,
    error_response,
    hosted,
    requests_of,
    run,
)
from tests.helpers.loopback_server import Handler, completion, handled_by


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, None), (402, None), (403, None), (404, "model_not_found"), (429, "insufficient_quota")],
)
async def test_a_server_that_refuses_every_call_stops_the_stream(
    status: int, code: str | None
) -> None:
    handler, request_times = after(lambda: error_response(status, "go away", code), times=10**6)
    with pytest.raises(EndpointError) as error:
        await run(handler, 1000, concurrency=4)
    assert len(request_times) <= 8
    message = str(error.value)
    assert f"HTTP {status}: go away" in message
    assert "'m'" in message
    assert "OPENAI_API_KEY" in message


async def test_nothing_paid_for_is_lost_when_calls_are_refused_meanwhile() -> None:
    """The first call is refused, the second, in flight at that time, is answered."""

    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][-1]["content"]
        if text == "text 1":
            await asyncio.sleep(0.2)
            return web.json_response(completion())
        return (
            error_response(401, "expired") if text == "text 0" else web.json_response(completion())
        )

    outcomes = await run(handler, 6, concurrency=2)
    assert isinstance(outcomes[0], Failure)
    assert [isinstance(outcomes[n], Answer) for n in range(1, 6)] == [True] * 5


async def test_a_few_rejections_after_an_answer_fail_only_their_calls() -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        return (
            error_response(403, "not you")
            if 5 < request_count <= 12
            else web.json_response(completion())
        )

    outcomes = await run(handler, 20, concurrency=3)
    assert sum(isinstance(o, Answer) for o in outcomes.values()) == 13
    assert {o.message for o in outcomes.values() if isinstance(o, Failure)} == {"HTTP 403: not you"}


async def _given_up_after_answers(then: Handler) -> tuple[str, int]:
    """The error's message and the number of calls sent, if ``then`` responds after 30 answers.

    Answered calls are yielded. The others have no outcome: they are sent the next time.
    """
    answered = 0
    prompts: set[str] = set()
    outcomes: dict[int, Answer | Failure] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answered
        prompts.add((await request.json())["messages"][-1]["content"])
        answered += 1
        return web.json_response(completion()) if answered <= 30 else await then(request)

    async def main() -> None:
        async with handled_by(handler) as url:
            backend = hosted(url, concurrency=10)
            try:
                async with aclosing(backend.answers(requests_of(backend, 1000))) as answers:
                    async for key, outcome in answers:
                        outcomes[key] = outcome
            finally:
                await backend.aclose()

    with pytest.raises(EndpointError) as raised:
        await main()
    assert len(outcomes) == 30
    assert all(isinstance(outcome, Answer) for outcome in outcomes.values())
    assert "30 answers before that are stored" in str(raised.value)
    assert "it goes on from there" in str(raised.value)
    return str(raised.value), len(prompts)


async def test_a_key_that_expires_in_mid_run_stops_the_stream() -> None:
    message, request_count = await _given_up_after_answers(
        always(lambda: error_response(401, "expired"))
    )
    # The row of eight, and what was in flight by then.
    assert request_count <= 30 + 8 + 10
    assert "refuses every call of model 'm' now (HTTP 401: expired)" in message
    assert "OPENAI_API_KEY" in message


@pytest.mark.parametrize(
    ("seconds", "when"), [(601, "11 minutes"), (7_140, "119 minutes"), (86_400, "24 hours")]
)
async def test_a_server_out_of_service_for_long_stops_the_stream(seconds: int, when: str) -> None:
    def later() -> web.Response:
        return error_response(429, "daily limit", **{"Retry-After": f"{seconds}"})

    message, request_count = await _given_up_after_answers(always(later))
    assert request_count <= 30 + 8 + 10
    assert f"(out of service for {when}: HTTP 429: daily limit)" in message
    assert f"Run it again in {when}" in message
    with pytest.raises(EndpointError) as raised:
        await run(always(later), 1000, concurrency=4)
    assert f"now (out of service for {when}: HTTP 429: daily limit). Run it" in str(raised.value)


async def test_a_server_that_dies_in_mid_run_stops_the_stream() -> None:
    async def dead(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    message, request_count = await _given_up_after_answers(dead)
    # The row of eight, and all that slept by then.
    assert request_count <= 30 + 8 + 4 * 10
    assert "gives no answer any more (no complete answer: ServerDisconnectedError" in message
    assert "still running?" in message


async def test_a_server_that_comes_back_in_time_is_not_given_up() -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        if 5 < request_count <= 5 + 7 * 8:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(completion())

    outcomes = await run(handler, 30, concurrency=1)
    assert len(outcomes) == 30
    assert 1 <= sum(isinstance(outcome, Failure) for outcome in outcomes.values()) <= 7


def _unsupported(name: str, message: str, code: str = "unsupported_parameter") -> web.Response:
    body = {"message": message, "type": "invalid_request_error", "param": name, "code": code}
    return web.json_response({"error": body}, status=400)


@pytest.mark.parametrize(
    ("name", "said", "code", "way_out"),
    [
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "unsupported_parameter",
            """drop = ["max_tokens"] in the system's table or give max_completion_tokens""",
        ),
        (
            "temperature",
            "Unsupported value: 'temperature' does not support 0 with this model.",
            "unsupported_value",
            'drop = ["temperature"]',
        ),
        ("seed", "We do not take this", "unsupported_parameter", 'drop = ["seed"]'),
        ("top_k", "Unsupported parameter: 'top_k'", "", "Take top_k out of extra_body"),
        ("response_format.type", "No", "unsupported_value", 'format = "python"'),
        ("\x1b[31m", "No", "unsupported_value", 'drop = ["NAME"]'),
    ],
)
async def test_a_parameter_that_the_endpoint_does_not_take(
    name: str, said: str, code: str, way_out: str
) -> None:
    request_count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        return _unsupported(name, said, code)

    with pytest.raises(EndpointError) as raised:
        await run(handler, 1000, concurrency=4, extra_body={"top_k": 5})
    assert request_count <= 8
    message = str(raised.value)
    assert said.rstrip(".") in message
    assert way_out in message
    assert message.isprintable()


async def test_requests_that_are_all_rejected_stop_early() -> None:
    handler, request_times = after(
        lambda: error_response(400, "Invalid schema for response_format"), 10**6
    )
    with pytest.raises(EndpointError) as raised:
        await run(handler, 1000, concurrency=20)
    assert 20 <= len(request_times) <= 40
    assert "rejects every request" in str(raised.value)
    assert "Invalid schema for response_format" in str(raised.value)


async def test_prompts_that_are_all_too_long_do_not() -> None:
    handler, request_times = after(
        lambda: error_response(400, "no", "context_length_exceeded"), 10**6
    )
    outcomes = await run(handler, 50, concurrency=4)
    assert len(outcomes) == len(request_times) == 50


async def test_a_name_that_nobody_knows() -> None:
    async def main() -> None:
        backend = hosted("http://nowhere.invalid/v1")
        await drain(backend, requests_of(backend, 50))

    with pytest.raises(EndpointError) as raised:
        await main()
    assert "nowhere.invalid" in str(raised.value)
    assert "Is http://nowhere.invalid/v1 the right base_url" in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        completion(None),
        {"choices": []},
        {"choices": [{"message": {"content": "cut"}, "finish_reason": "length"}]},
        {"choices": [None], "usage": {"prompt_tokens": "many"}},
    ],
    ids=["null content", "no choices", "truncated, no usage", "odd"],
)
async def test_an_answer_need_not_be_a_good_one(body: dict[str, Any]) -> None:
    handler, request_times = after(lambda: web.json_response(body), 10**6)
    (answer,) = (await run(handler)).values()
    assert isinstance(answer, Answer)
    assert json.loads(answer.response) == body
    assert len(request_times) == 1


async def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        backend = hosted("http://127.0.0.1:1/v1")
        await drain(backend, requests_of(backend, 500))

    with pytest.raises(EndpointError) as error:
        await main()
    message = str(error.value)
    assert "http://127.0.0.1:1/v1" in message
    assert "is the server running?" in message
    assert "Connect" in message
