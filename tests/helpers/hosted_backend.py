"""A hosted backend, and loopback servers to test it against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from harness.models import open_backend, settings_for
from harness.models.hosted.client import OpenAIBackend
from harness.records import Answer, Failure, Prompt, Request
from tests.helpers.loopback_server import Handler, completion, handled_by

KEY = "sk-proj-Zq3x-very_secret-0123456789"


def hosted(url: str, **values: Any) -> OpenAIBackend:
    settings = {"model": "m", "base_url": url, "backoff_s": 0.001, "max_attempts": 8} | values
    backend = open_backend(settings_for("openai", settings))
    assert isinstance(backend, OpenAIBackend)
    return backend


def prompt_of(text: str, system: str | None = "") -> Prompt:
    return Prompt("e1", text, ("result",), system)


def requests_of(backend: OpenAIBackend, count: int) -> Iterator[tuple[int, Request]]:
    for number in range(count):
        yield number, backend.request(prompt_of(f"text {number}"))


async def drain(
    backend: OpenAIBackend, requests: Iterable[tuple[int, Request]]
) -> dict[int, Answer | Failure]:
    outcomes: dict[int, Answer | Failure] = {}
    try:
        async with aclosing(backend.answers(requests)) as answers:
            async for key, outcome in answers:
                assert key not in outcomes
                outcomes[key] = outcome
    finally:
        await backend.aclose()
    return outcomes


async def run(handler: Handler, count: int = 1, **values: Any) -> dict[int, Answer | Failure]:
    """Send ``count`` requests to a server with this handler; the outcomes by number."""
    async with handled_by(handler) as url:
        backend = hosted(url, **values)
        return await drain(backend, requests_of(backend, count))


def always(respond: Callable[[], web.StreamResponse]) -> Handler:
    """A handler that gives every request the same response."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return respond()

    return handler


def after(respond: Callable[[], web.StreamResponse], times: int = 1) -> tuple[Handler, list[float]]:
    """A handler that calls ``respond`` for the first ``times`` requests and answers the others.

    Returns it with a list to which it adds the time of each request, in seconds of the
    clock that the event loop waits by.
    """
    request_times: list[float] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        request_times.append(time.monotonic())
        return respond() if len(request_times) <= times else web.json_response(completion())

    return handler, request_times


def failure_of(outcomes: dict[int, Answer | Failure]) -> Failure:
    (outcome,) = outcomes.values()
    assert isinstance(outcome, Failure)
    return outcome


def error_response(
    status: int, message: str, code: str | None = None, **headers: str
) -> web.Response:
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)
