"""What goes wrong with the scripted server, as a client on the wire sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from harness.models import settings_for
from harness.serving.faults import AdmissionControl, ScriptedLimit, duration
from harness.serving.requests import ApiError
from harness.serving.script import ScriptedSettings
from harness.serving.server import Server, running_server
from harness.serving.stats import FAULT_KINDS

CHAT = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
Post = Callable[[], "aiohttp.client._BaseRequestContextManager[aiohttp.ClientResponse]"]
Client = Callable[[Post], Awaitable[None]]


def _settings(**values: Any) -> ScriptedSettings:
    settings = settings_for("scripted", {"model": "empty"} | values)
    assert isinstance(settings, ScriptedSettings)
    return settings


async def _with(client: Client, **values: Any) -> dict[str, Any]:
    """Let a client loose on a server of these settings; what the server counted."""

    async with (
        running_server(_settings(**values)) as (url, server),
        aiohttp.ClientSession() as session,
    ):
        await client(lambda: session.post(f"{url}/chat/completions", json=CHAT))
        await _left(server)
        return server.stats.to_json()


async def _left(server: Server) -> None:
    """Wait until the server has noticed that every client is gone."""
    async with asyncio.timeout(60):
        while server.stats.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _counted(stats: dict[str, Any], kind: str, times: int = 1) -> None:
    assert stats["faults"] == dict.fromkeys(FAULT_KINDS, 0) | {kind: times}


async def test_429_and_500_are_errors_in_the_words_of_openai() -> None:
    async def limited(post: Post) -> None:
        async with post() as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "0.25"
            assert (await response.json())["error"]["code"] == "rate_limit_exceeded"

    async def failing(post: Post) -> None:
        async with post() as response:
            assert response.status == 500
            assert (await response.json())["error"]["type"] == "server_error"

    async def unhelpful(post: Post) -> None:
        async with post() as response:
            assert "Retry-After" not in response.headers

    _counted(await _with(limited, error_429=1.0, retry_after_s=0.25), "429")
    _counted(await _with(failing, error_500=1.0), "500")
    _counted(await _with(unhelpful, error_429=1.0, retry_after_s=0), "429")


async def test_half_an_answer_and_the_end_of_the_connection() -> None:
    async def client(post: Post) -> None:
        async with post() as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

    stats = await _with(client, drop=1.0)
    _counted(stats, "drop")
    assert stats["answered"] == 0


@pytest.mark.parametrize("kind", ["hang", "half"])
async def test_silence_lasts_until_the_client_leaves(kind: str) -> None:
    async def client(post: Post) -> None:
        started = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3), post() as response:
                started = await response.content.readany()
                await response.read()
                raise AssertionError("an end came")
        assert bool(started) == (kind == "half")

    stats = await _with(client, **{kind: 1.0})
    _counted(stats, kind)
    assert (stats["abandoned"], stats["answered"]) == (1, 0)


async def test_what_is_no_answer_comes_whole() -> None:
    async def garbled(post: Post) -> None:
        async with post() as response:
            assert (response.status, response.content_type) == (200, "application/json")
            with pytest.raises(json.JSONDecodeError):
                json.loads(await response.read())

    async def page(post: Post) -> None:
        async with post() as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert "<title>" in await response.text()

    _counted(await _with(garbled, garble=1.0), "garble")
    _counted(await _with(page, web_page=1.0), "web_page")


async def test_null_content_is_an_answer() -> None:
    async def client(post: Post) -> None:
        async with post() as response:
            choice = (await response.json())["choices"][0]
            assert choice["message"]["content"] is None
            assert choice["finish_reason"] == "stop"

    assert (await _with(client, null=1.0))["answered"] == 1


async def test_a_key_ends_after_so_many_answers() -> None:
    async def client(post: Post) -> None:
        statuses = []
        for _ in range(5):
            async with post() as response:
                statuses.append(response.status)
                body = await response.json()
        assert statuses == [200, 200, 200, 401, 401]
        assert body["error"]["code"] == "invalid_api_key"

    _counted(await _with(client, key_expires_after=3), "expired", 2)


async def test_limits_are_in_the_headers_of_every_response() -> None:
    async def client(post: Post) -> None:
        async with post() as response:
            assert response.status == 200
            assert response.headers["x-ratelimit-limit-requests"] == "1"
            assert response.headers["x-ratelimit-remaining-requests"] == "0"
            assert response.headers["x-ratelimit-reset-requests"] in ("1m0s", "59.999s")
            assert response.headers["x-ratelimit-limit-tokens"] == "9000"
            # Two tokens of prompt and one of answer.
            assert response.headers["x-ratelimit-remaining-tokens"] == "8997"
        async with post() as response:
            assert response.status == 429
            assert 59 < float(response.headers["Retry-After"]) <= 60
            assert response.headers["x-ratelimit-remaining-requests"] == "0"

    _counted(await _with(client, rpm=1, tpm=9000), "limit")


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _enter(gate: AdmissionControl, clock: Clock, at: float, tokens: int = 4) -> float | None:
    """Seconds that a request of so many tokens is told to wait, ``None`` where it is let in."""
    clock.now = 100 + at
    try:
        gate.enter({"prompt": "", "max_tokens": tokens})
    except ApiError as error:
        return float((error.headers or {}).get("Retry-After", "nan"))
    return None


def test_a_bucket_fills_steadily() -> None:
    clock = Clock()
    gate = AdmissionControl(_settings(rpm=60), Counter(), clock)
    assert [_enter(gate, clock, 0) for _ in range(60)] == [None] * 60
    assert _enter(gate, clock, 0) == 1
    assert _enter(gate, clock, 0.25) == 0.75
    assert [_enter(gate, clock, 2) for _ in range(3)] == [None, None, 1]
    assert gate.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
    # Full again, and no fuller.
    assert [_enter(gate, clock, 600) for _ in range(61)] == [None] * 60 + [1]


def test_a_fixed_window_begins_anew_with_the_minute() -> None:
    clock = Clock()
    gate = AdmissionControl(_settings(rpm=2, window="fixed"), Counter(), clock)
    assert [_enter(gate, clock, at) for at in (0, 59, 59.5)] == [None, None, 0.5]
    assert [_enter(gate, clock, at) for at in (60, 61, 62)] == [None, None, 58]
    assert gate.headers()["x-ratelimit-reset-requests"] == "58s"
    assert _enter(gate, clock, 200) is None


def test_tokens_are_charged_in_advance_and_settled_by_what_was_used() -> None:
    clock, faults = Clock(), Counter[str]()
    gate = AdmissionControl(_settings(tpm=600), faults, clock)
    body = {"messages": [{"role": "user", "content": "x" * 400}], "max_completion_tokens": 300}
    assert gate.enter(body) == 400
    assert _enter(gate, clock, 0, tokens=300) == 10
    gate.settle(400, 150)
    assert gate.headers()["x-ratelimit-remaining-tokens"] == "450"
    assert _enter(gate, clock, 0, tokens=300) is None
    # What failed is not charged.
    gate.settle(300, None)
    # More than the whole limit is let in once it is whole, and is paid back in time.
    assert _enter(gate, clock, 0, tokens=700) == 15
    assert _enter(gate, clock, 15, tokens=700) is None
    assert _enter(gate, clock, 15, tokens=100) == 20
    assert faults == {"limit": 3}


def test_the_stricter_of_two_limits_holds() -> None:
    clock = Clock()
    gate = AdmissionControl(_settings(rpm=60, tpm=60), Counter(), clock)
    assert _enter(gate, clock, 0, tokens=60) is None
    assert _enter(gate, clock, 0, tokens=30) == 30


@pytest.mark.parametrize("retry_after_s", [0, 7])
def test_a_storm_begins_with_the_first_request(retry_after_s: int) -> None:
    clock, faults = Clock(), Counter[str]()
    gate = AdmissionControl(_settings(storm_s=30, retry_after_s=retry_after_s), faults, clock)
    told = [_enter(gate, clock, at) for at in (500, 529.9, 530, 600)]
    assert str(told) == str([retry_after_s or float("nan")] * 2 + [None] * 2).replace("7", "7.0")
    assert faults == {"storm": 2}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (59.9991, "1m0s"),
        (360, "6m0s"),
        (86.4, "1m26.4s"),
        (3723.5, "1h2m3.5s"),
        (7200, "2h0m0s"),
    ],
)
def test_durations_are_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_limit_is_never_fuller_than_full() -> None:
    clock = Clock()
    limit = ScriptedLimit(60, "bucket", clock)
    limit.take(-30)
    assert limit.headers("requests")["x-ratelimit-remaining-requests"] == "60"
