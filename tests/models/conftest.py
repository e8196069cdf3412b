"""Servers for the tests of the models room: the shipped one, and ones that misbehave."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.helpers import tiny_models

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, endpoint or price file of whoever runs the tests takes part in them."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "HARNESS_")) or name.lower().endswith(
            "_proxy"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@asynccontextmanager
async def handled_by(handler: Handler) -> AsyncIterator[str]:
    """A loopback server whose every POST is the handler's; yields its base URL."""
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def completion(text: str | None = " []\n", **more: object) -> dict[str, object]:
    """A chat completion as a server would send it."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    return {"object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage} | more


@pytest.fixture(scope="session")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local")


@pytest.fixture
def local_cache(_local: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    """One cache of converted models for all tests of local backends."""
    monkeypatch.setenv("HARNESS_CACHE", str(_local / "cache" / "answers.sqlite"))


@pytest.fixture(scope="session")
def tiny_llama(_local: Path) -> Path:
    """A tiny GoLLIE-TF with random weights. Not to be changed."""
    pytest.importorskip("torch")
    return tiny_models.llama(_local / "llama")
