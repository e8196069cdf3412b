"""Attempts that brought no answer and may have been charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from harness.errors import EndpointError
from harness.models.hosted.client import OpenAIBackend
from harness.records import Answer, Failure
from tests.helpers.hosted_backend import drain, error_response, failure_of, hosted, requests_of, run
from tests.helpers.loopback_server import completion, handled_by

Play = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def _half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def _hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def _garbled(request: web.Request) -> web.StreamResponse:
    return web.Response(text='{"choices": [', content_type="application/json")


async def _page(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def _other(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'"\xff"', headers={"Content-Type": "application/json"})


def _turned_away(status: int) -> Play:
    async def play(request: web.Request) -> web.StreamResponse:
        return error_response(status, "no")

    return play


def _in_turn(*plays: Play) -> Play:
    """A handler that answers the first attempts as ``plays`` do, and all others well."""
    rest = iter(plays)

    async def play(request: web.Request) -> web.StreamResponse:
        following = next(rest, None)
        return await following(request) if following else web.json_response(completion())

    return play


@pytest.mark.parametrize("play", [_drop, _half, _hang, _garbled, _page, _other])
async def test_an_attempt_without_an_answer_is_lost(play: Play) -> None:
    handler = _in_turn(play, _turned_away(429), play, _turned_away(503))
    (answer,) = (await run(handler, timeout_s=1.0)).values()
    assert isinstance(answer, Answer)
    assert answer.lost_attempts == 2


async def test_a_rejected_attempt_is_not_lost() -> None:
    handler = _in_turn(*map(_turned_away, (429, 500, 503, 408, 409)))
    (answer,) = (await run(handler)).values()
    assert isinstance(answer, Answer)
    assert answer.lost_attempts == 0
    assert failure_of(await run(_in_turn(_turned_away(400)))).lost_attempts == 0


async def test_a_call_that_fails_for_good_says_how_many_it_lost() -> None:
    turned_away = failure_of(await run(_in_turn(_drop, _garbled, _turned_away(400))))
    assert (turned_away.status_code, turned_away.attempts, turned_away.lost_attempts) == (400, 3, 2)
    silent = failure_of(await run(_in_turn(_turned_away(503), *[_drop] * 8)))
    assert (silent.status_code, silent.attempts, silent.lost_attempts) == (None, 8, 7)


async def test_a_response_without_end_is_lost_too() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(34):
            await response.write(b" " * 2**20)
        return response

    failure = failure_of(await run(_in_turn(_garbled, endless)))
    assert (failure.attempts, failure.lost_attempts) == (2, 2)


async def test_an_attempt_whose_reading_raises_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: Any) -> bool:
        raise LookupError

    monkeypatch.setattr("harness.models.hosted.client.is_answer", broken)
    assert failure_of(await run(_in_turn())).lost_attempts == 1


async def test_lost_attempts_of_an_open_circuit_are_reported() -> None:
    """Calls without an outcome, because the circuit opened, are still given to ``save``."""
    failures: list[Failure] = []

    async def save(batch: Any) -> None:
        failures.extend(outcome for _, outcome in batch)

    async def ask(backend: OpenAIBackend) -> None:
        try:
            with pytest.raises(EndpointError):
                async for _ in backend.answers(requests_of(backend, 1), save=save):
                    pass
        finally:
            await backend.aclose()

    await ask(hosted("http://127.0.0.1:1/v1"))
    async with handled_by(_in_turn(*[_drop] * 8)) as url:
        await ask(hosted(url))
    assert [failure.lost_attempts for failure in failures] == [0, 8]


async def test_lost_attempts_are_no_part_of_a_stored_answer() -> None:
    async def main() -> Answer | Failure:
        async with handled_by(_in_turn(_garbled)) as url:
            backend = hosted(url)
            return (await drain(backend, requests_of(backend, 1)))[0]

    answer = await main()
    assert isinstance(answer, Answer)
    assert json.loads(answer.response) == completion()
    assert answer.lost_attempts == 1
