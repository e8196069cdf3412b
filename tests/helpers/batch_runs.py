"""A system that is asked through batches, against a loopback server in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.models import open_backend, settings_for
from harness.models.hosted.batch_api import BatchAPI
from harness.models.hosted.client import OpenAIBackend
from harness.models.hosted.openai_settings import OpenAISettings
from harness.records import Answer, Failure, Prompt, Request
from harness.running.asking.batched import BatchContext, ask_batches
from harness.running.budget import Budget
from harness.serving.server import Server, running_server
from harness.store import Store, request_key
from harness.store.batch_tracker import BatchTracker


@dataclass
class Case:
    """A system against a server, and what its run is told."""

    server: Server
    settings: OpenAISettings
    backend: OpenAIBackend
    requests: dict[str, Request]
    path: Path
    told: dict[str, Answer | Failure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def keys(self) -> list[str]:
        return list(self.requests)

    def asked(self, **values: Any) -> BatchContext:
        self.told.clear()
        self.notes.clear()
        self.stop.clear()
        return BatchContext(
            **{
                "client": BatchAPI(self.settings),
                "price": None,
                "kind": "completion",
                "request_of": self.requests.__getitem__,
                "record": self.tell,
                "record_elsewhere": lambda key: self.tell(key, Answer("", 0.0, 0)),
                "note": self.notes.append,
                "budget": Budget(),
                "stop": self.stop,
                "most_requests": 100,
            }
            | values
        )

    def tell(self, key: str, outcome: Answer | Failure) -> None:
        assert key not in self.told
        self.told[key] = outcome

    async def ask(self, keys: list[str] | None = None, **values: Any) -> bool:
        """One run, with a store of its own on the file."""
        with Store(self.path) as store:
            return await ask_batches(self.asked(**values), keys or self.keys, store)

    async def leave(self, when: Callable[[], Any], **values: Any) -> None:
        """A run that is interrupted once something is the case."""
        running = asyncio.ensure_future(self.ask(**values))
        async with asyncio.timeout(120):
            while not (when() or running.done()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        self.stop.set()
        await running

    def answered(self) -> int:
        return sum(isinstance(outcome, Answer) for outcome in self.told.values())

    def check(self, count: int | None = None) -> None:
        """All are answered and stored, and the server was paid once for each."""
        count = len(self.requests) if count is None else count
        assert self.answered() == count
        with Store(self.path) as store:
            assert store.count(self.keys) == count
            assert store.rows("SELECT count(*) FROM answers") == [(count,)]
            assert BatchTracker(store).batches() == []
        assert self.server.stats.answered.total() == len(self.server.stats.answered) == count


@asynccontextmanager
async def case(path: Path, count: int = 250, **values: Any) -> AsyncIterator[Case]:
    scripted = settings_for("scripted", {"model": "empty"} | values)
    async with running_server(scripted) as (url, server):
        settings = settings_for(
            "openai",
            {"model": "m", "provider": "loopback", "base_url": url, "poll_s": 0.02},
        )
        assert isinstance(settings, OpenAISettings)
        backend = open_backend(settings)
        assert isinstance(backend, OpenAIBackend)
        made = [backend.request(Prompt(str(n), f"hello {n}", (), "sys")) for n in range(count)]
        requests = {request_key(request): request for request in made}
        try:
            yield Case(server, settings, backend, requests, path / "answers.sqlite")
        finally:
            await backend.aclose()
