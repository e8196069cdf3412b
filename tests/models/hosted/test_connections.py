"""Connections, redirects and responses as they go over the wire."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from harness.errors import EndpointError
from harness.models import open_backend, settings_for
from harness.models.hosted.client import OpenAIBackend
from harness.records import Answer, Failure
from tests.helpers.loopback_server import completion, handled_by
from tests.helpers.transport_calls import (
    KEY,
    drain_calls,
    make_backend,
    make_settings,
)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_does_not_take_the_key_elsewhere(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    paths: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/v1/new"})

    async def main() -> None:
        async with handled_by(handler) as url:
            backend = make_backend(url)
            with pytest.raises(EndpointError, match=f"HTTP {status}: moved to http://127.0.0.1:1"):
                await drain_calls(backend)
            await backend.aclose()

    await main()
    assert paths == ["/v1/chat/completions"]


@pytest.mark.parametrize("status", [200, 400])
async def test_compressed_responses_are_read(status: int) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        body: Any = completion(" [é]\n") if status == 200 else {"error": {"message": "no [é]"}}
        response = web.json_response(body, status=status)
        response.enable_compression()
        return response

    async def main() -> list[Answer | Failure]:
        async with handled_by(handler) as url:
            backend = make_backend(url)
            outcomes = await drain_calls(backend)
            await backend.aclose()
            return outcomes

    (outcome,) = await main()
    if isinstance(outcome, Answer):
        assert json.loads(outcome.response) == completion(" [é]\n")
    else:
        assert outcome == Failure("HTTP 400: no [é]", 400)


async def test_an_endless_response_is_not_read_to_its_end() -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):
            for _ in range(100):
                await response.write(b" " * 2**20)
                written += 1
        return response

    async def main() -> list[Answer | Failure]:
        async with handled_by(handler) as url:
            backend = make_backend(url)
            outcomes = await drain_calls(backend)
            await backend.aclose()
            return outcomes

    (failure,) = await main()
    assert isinstance(failure, Failure)
    assert "more than 32 MB" in failure.message
    assert failure.attempts == 1
    assert 32 <= written < 64


def test_systems_with_one_server_and_key_share_a_connection() -> None:
    first = make_backend("http://h/v1", concurrency=3)
    same = make_backend("http://H:80/v1/", (first,), model="other", provider="lab", temperature=1.0)
    assert same.connection is first.connection
    for other in (
        make_backend("http://h/v2", (first,)),
        make_backend("http://h/v1", (first,), api_key_env="ANOTHER"),
        make_backend("http://h/v1", (first,), provider="azure", api_version="1"),
    ):
        assert other.connection is not first.connection
    scripted = open_backend(settings_for("scripted", {}))
    backend = open_backend(make_settings("http://h/v1"), peers=[scripted, first])
    assert isinstance(backend, OpenAIBackend)
    assert backend.connection is first.connection


async def test_a_connection_outlives_an_event_loop() -> None:
    clients: list[set[Any]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        clients[-1].add(request.transport.get_extra_info("peername"))
        return web.json_response(completion())

    async def main(url: str, *backends: OpenAIBackend) -> None:
        clients.append(set())
        for backend in backends:
            outcomes = await drain_calls(backend, 5)
            assert all(isinstance(outcome, Answer) for outcome in outcomes)
        for backend in backends:
            await backend.aclose()

    async def serving() -> None:
        async with handled_by(handler) as url:
            first = make_backend(url, concurrency=1)
            second = make_backend(url, (first,), concurrency=1, model="other")
            for _ in range(2):
                await asyncio.to_thread(asyncio.run, main(url, first, second))

    await serving()
    # One connection for both systems in each loop.
    assert [len(seen) for seen in clients] == [1, 1]


async def test_closing_one_system_leaves_the_connections_to_its_peer() -> None:
    clients: set[Any] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        clients.add(request.transport.get_extra_info("peername"))
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            first = make_backend(url, concurrency=1)
            second = make_backend(url, (first,), concurrency=1)
            await drain_calls(first)
            await drain_calls(second)
            await first.aclose()
            await drain_calls(second)
            await second.aclose()

    await main()
    assert len(clients) == 1


async def test_nothing_that_is_shown_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion())

    async def main() -> str:
        async with handled_by(handler) as url:
            backend = make_backend(url)
            await drain_calls(backend)
            transport = backend.connection.open(backend)
            shown = repr(backend) + repr(backend.connection) + repr(transport)
            shown += "".join(map(repr, vars(transport).values()))
            await backend.aclose()
            return shown

    assert "Zq3x" not in (await main())
