"""The loopback server, as a client on the wire sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from harness.errors import EndpointError, UsageError
from harness.models import settings_for
from harness.serving.server import Server, running_server, serve
from harness.serving.stats import FAULT_KINDS

Client = Callable[[aiohttp.ClientSession, str, Server], Awaitable[None]]
CHAT = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}


async def _with(client: Client, **values: Any) -> None:
    """Let a client loose on a server of these settings."""

    settings = settings_for("scripted", {"model": "empty"} | values)
    async with running_server(settings) as (url, server), aiohttp.ClientSession() as session:
        await client(session, url, server)


async def test_both_families_models_and_health() -> None:
    async def client(session: aiohttp.ClientSession, url: str, server: Server) -> None:
        async with session.post(f"{url}/chat/completions", json=CHAT) as response:
            body = await response.json()
            assert response.status == 200
            assert body["choices"][0]["message"]["content"] == " []\n"
            assert body["model"] == "any"
        async with session.post(f"{url}/completions", json={"prompt": "hello"}) as response:
            body = await response.json()
            assert body["object"] == "text_completion"
            assert body["choices"][0]["text"] == " []\n"
        async with session.get(f"{url}/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["empty"]
        async with session.get(f"{url.removesuffix('/v1')}/health") as response:
            assert await response.json() == {"status": "ok"}

    await _with(client)


@pytest.mark.parametrize("sent", [b"", b"not json", b"[]", b"{}", b"[" * 50_000, b"\xff"])
async def test_a_malformed_request_is_a_400(sent: bytes) -> None:
    async def client(session: aiohttp.ClientSession, url: str, server: Server) -> None:
        async with session.post(f"{url}/chat/completions", data=sent) as response:
            assert response.status == 400
            assert "`messages`" in (await response.json())["error"]["message"]
        assert server.stats.to_json()["requests"] == 0

    await _with(client)


async def test_stats_count_by_the_exact_request() -> None:
    async def client(session: aiohttp.ClientSession, url: str, server: Server) -> None:
        for content in ("a", "b", "a"):
            body = {"messages": [{"role": "user", "content": content}]}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.read()
        async with session.get(f"{url.removesuffix('/v1')}/stats") as response:
            assert await response.json() == {
                "requests": 3,
                "distinct": 2,
                "answered": 3,
                "answered_twice": 1,
                "faults": dict.fromkeys(FAULT_KINDS, 0),
                "abandoned": 0,
                "in_flight": 0,
                "most_in_flight": 1,
            }

    await _with(client)


async def test_a_client_that_goes_away_was_not_answered() -> None:
    async def client(session: aiohttp.ClientSession, url: str, server: Server) -> None:
        post = asyncio.ensure_future(session.post(f"{url}/chat/completions", json=CHAT))
        async with asyncio.timeout(60):
            while not server.stats.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            post.cancel()
            while not server.stats.abandoned:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await post
        assert server.stats.answered.total() == 0
        assert server.stats.abandoned == 1

    await _with(client, latency_s=120)


async def test_latency_is_of_the_loop_and_not_of_a_thread() -> None:
    """256 requests at once take one latency, not 256."""

    async def client(session: aiohttp.ClientSession, url: str, server: Server) -> None:
        async def one(number: int) -> float:
            body = {"messages": [{"role": "user", "content": str(number)}]}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.read()
            return loop.time()

        loop = asyncio.get_running_loop()
        started = loop.time()
        ended = await asyncio.gather(*map(one, range(256)))
        assert min(ended) - started >= 0.3
        assert max(ended) - started < 256 * 0.3 / 4
        assert server.stats.most_in_flight > 90

    await _with(client, latency_s=0.3)


def test_only_what_can_be_served_is() -> None:
    with pytest.raises(UsageError, match=r"cannot be served\. Choices: .*scripted"):
        serve(settings_for("openai", {"model": "m"}), port=0)


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EndpointError, match=f"Cannot listen on 127.0.0.1:{port}: .*--port"):
            serve(settings_for("scripted", {}), port=port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_is_and_ends_cleanly(number: signal.Signals) -> None:
    code = (
        "from harness.models import settings_for\n"
        "from harness.serving.server import serve\n"
        "serve(settings_for('scripted', {'latency_s': 60}), port=0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving scripted 'capitals' at http://127.0.0.1:")
        port = int(line.rsplit(":", 1)[1].removesuffix("/v1\n"))
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = json.dumps(CHAT).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
            client.sendall(head.encode() + b"\r\n\r\n" + body)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said == "Not a model: its answers come from a script.\n"
    finally:
        process.kill()
        process.communicate()
