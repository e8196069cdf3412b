"""The scripted backend: the fake model that ships, in this process and without a network.

``harness serve`` puts the same script behind a server (:mod:`harness.serving.scripted_model`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from harness.models.pace.calls import Call, stream_calls
from harness.models.pace.retries import RetryableError, call_with_retries
from harness.models.prices import Prices, find_price
from harness.models.protocol import Backend, K, Save, body_of
from harness.models.replies import read_reply, read_usage
from harness.records import Answer, Failure, Prompt, Reply, Request
from harness.serving.script import SCRIPT_VERSION, Script, ScriptedSettings

__all__ = ["ScriptedBackend", "ScriptedSettings"]


class ScriptedBackend:
    """The script as a backend, in this process and without any network."""

    engine = ""
    batch_client = None

    def __init__(
        self,
        settings: ScriptedSettings,
        prices: Prices | None = None,
        _peers: Sequence[Backend] = (),
    ) -> None:
        self.settings = settings
        self.script = Script(settings)
        self.price = find_price("scripted", settings.model, prices)
        self._script_identity: dict[str, Any] = {"version": SCRIPT_VERSION}
        if settings.answers is not None:
            self._script_identity["answers_sha256"] = self.script.answers_sha256
        flaws = {"truncate": settings.truncate, "null": settings.null}
        if any(flaws.values()):
            chances = {name: chance for name, chance in flaws.items() if chance}
            self._script_identity |= chances | {"seed": settings.seed}

    def __repr__(self) -> str:
        return f"ScriptedBackend({self.settings!r})"

    def request(self, prompt: Prompt, repeat: int = 0) -> Request:
        """The whole request; what the script would answer depends on nothing else."""
        family, body = body_of(self.settings.model, prompt)
        body["max_tokens"] = self.settings.max_tokens
        return Request(
            "scripted", family, body, {"script": self._script_identity, "repeat": repeat}
        )

    def check(self) -> None:
        """Nothing is needed."""

    async def answers(
        self,
        requests: Iterable[tuple[K, Request]],
        stop: asyncio.Event | None = None,
        save: Save[K] | None = None,
    ) -> AsyncGenerator[tuple[K, Answer | Failure], None]:
        """Answer requests as they complete; faults are met as a hosted backend meets them."""
        calls = stream_calls(requests, self._call, self.settings.concurrency, stop, save)
        async with aclosing(calls):
            async for key, outcome in calls:
                yield key, outcome

    async def _call(self, request: Request, call: Call) -> Answer | Failure:
        attempts = 0
        asked = json.dumps(request.table(), sort_keys=True).encode()

        async def attempt() -> Answer | Failure:
            nonlocal attempts
            permit = await call.begin_attempt()
            attempts += 1
            started = time.perf_counter()
            await asyncio.sleep(self.settings.latency_s)
            fault = self.script.fault(asked, attempts - 1)
            pause = self.settings.retry_after_s if fault == "429" else None
            permit.complete(throttled=fault == "429", retry_after_s=pause)
            match fault:
                case "429":
                    raise RetryableError("scripted 429", 429, pause)
                case "500":
                    raise RetryableError("scripted 500", 500)
                case "drop":
                    raise RetryableError("scripted dropped connection")
            body = self.script.response(request.body)
            response = json.dumps(body, ensure_ascii=False)
            cost = None if self.price is None else self.price.cost(read_usage(body))
            return Answer(response, time.perf_counter() - started, cost)

        settings = self.settings
        return await call_with_retries(
            attempt,
            call,
            max_attempts=settings.max_attempts,
            backoff_s=min(0.5, settings.retry_after_s),
        )

    def reply(self, answer: Answer, *, cached: bool) -> Reply:
        """Read a stored answer."""
        return read_reply(answer, cached=cached)

    async def aclose(self) -> None:
        """Nothing is open."""
