"""Hosted backends for the tests of what goes over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

from harness.models import open_backend, settings_for
from harness.models.hosted.client import OpenAIBackend
from harness.models.hosted.openai_settings import OpenAISettings
from harness.records import Answer, Failure, Prompt, Request

KEY = "sk-proj-Zq3x-very_secret-0123456789"


def make_settings(url: str, **values: Any) -> OpenAISettings:
    settings = settings_for("openai", {"model": "m", "base_url": url} | values)
    assert isinstance(settings, OpenAISettings)
    return settings


def make_backend(url: str, peers: tuple[OpenAIBackend, ...] = (), **values: Any) -> OpenAIBackend:
    more = {"backoff_s": 0.001, "max_attempts": 8} | values
    backend = open_backend(make_settings(url, **more), peers=peers)
    assert isinstance(backend, OpenAIBackend)
    return backend


def make_requests(backend: OpenAIBackend, count: int) -> Iterator[tuple[int, Request]]:
    for number in range(count):
        yield number, backend.request(Prompt("e", f"text {number}", ("result",), ""))


async def drain_calls(backend: OpenAIBackend, count: int = 1) -> list[Answer | Failure]:
    async with aclosing(backend.answers(make_requests(backend, count))) as answers:
        return [outcome async for _, outcome in answers]
