"""What the loopback server serves, and the local model as such.

A local model is fast when it gets many requests at once. Requests that arrive while it generates
wait, and then all go to it together.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from harness.errors import EndpointError, HarnessError
from harness.models.protocol import Backend, Settings
from harness.records import Answer, Failure, Prompt, Request
from harness.serving.requests import (
    ApiError,
    CompletionRequest,
    json_bytes,
    read_completion_request,
)

# The model starts after 20 ms without a new request, and after 200 ms at the latest. Starting with
# the first request of a burst would make the others wait for a whole generation.
_QUIET_S = 0.02
_MOST_QUIETS = 10


@dataclass(frozen=True, slots=True)
class Response:
    """An answer ready for the wire."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class ServedModel(Protocol):
    """A model as the server's handlers see it."""

    #: Seconds that handlers get to write what is answered when the server stops.
    grace_s: float

    async def start(self) -> None:
        """Get ready to answer; returns once it is.

        Raises:
            HarnessError: it cannot answer.
        """
        ...

    async def answer(
        self, body: Mapping[str, Any], *, chat: bool, digest: bytes, attempt: int
    ) -> Response:
        """Answer a request; ``digest`` is its bytes', ``attempt`` counts those before it from 0.

        Raises:
            ApiError: it gets an error instead.
        """
        ...

    async def drain(self) -> None:
        """Take no more requests; returns once those being answered are."""
        ...

    async def aclose(self) -> None:
        """Leave at once; a request that has no answer gets an error."""
        ...

    def counts(self) -> dict[str, int]:
        """What ``/stats`` says beyond the server's own counts."""
        ...


class LocalModel:
    """A model of this machine, asked through its backend as a run asks it.

    Answers differ from those of a run in one respect: the server does not know which lists a
    prompt asks for, so a reply ends with the model's own end token, or at ``max_tokens``.
    """

    grace_s = 5.0

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings
        self._batches = RequestBatcher(backend)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the model: it answers one short prompt.

        Raises:
            HarnessError: it cannot be loaded, or gives no answer.
        """
        self._backend.check()
        try:
            async with aclosing(self._backend.answers([(0, self._request("a", 1))])) as answers:
                async for _, outcome in answers:
                    if isinstance(outcome, Failure):
                        raise EndpointError(
                            f"Model '{self._settings.model}' cannot be served, since it does not "
                            f"answer: {outcome.message}"
                        )
        except BaseException:
            await self._backend.aclose()
            raise
        self._running = asyncio.create_task(self._batches.run())

    async def answer(
        self, body: Mapping[str, Any], *, chat: bool, digest: bytes, attempt: int
    ) -> Response:
        """Answer a request together with those that wait beside it."""
        asked = read_completion_request(body, chat=chat, model=self._settings.model)
        outcome = await self._batches.ask(self._request(asked.content, asked.max_tokens))
        if isinstance(outcome, Failure):
            raise _refusal(outcome, asked)
        return Response(json_bytes(_finished(json.loads(outcome.response), asked)))

    def _request(self, content: str | list[dict[str, str]], max_tokens: int | None) -> Request:
        """The backend's own request, with the messages and the budget of this one."""
        changes: dict[str, Any] = {}
        if isinstance(content, str):
            request = self._backend.request(Prompt("served", content, ()))
        else:
            request = self._backend.request(Prompt("served", "", (), ""))
            changes["messages"] = content
        if max_tokens is not None:
            changes["max_tokens"] = max_tokens
        return replace(request, body={**request.body, **changes})

    async def drain(self) -> None:
        """Turn away what waits, and wait for what is being generated."""
        self._batches.stop()
        if self._running is not None:
            await asyncio.shield(self._running)

    async def aclose(self) -> None:
        """Give up what is being generated, and let go of the model."""
        self._batches.stop()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        await self._backend.aclose()

    def counts(self) -> dict[str, int]:
        """How many batches there were, and the size of the largest."""
        return {"batches": self._batches.count, "largest_batch": self._batches.largest}


#: A request, and where its outcome is awaited.
_Pending = tuple[Request, "asyncio.Future[Answer | Failure]"]


class RequestBatcher:
    """Gathers requests while the model is busy, and sends them together once it is free."""

    def __init__(self, backend: Backend) -> None:
        self.count = 0
        self.largest = 0
        self._backend = backend
        self._waiting: list[_Pending] = []
        # Something waits, or there is nothing more to wait for.
        self._news = asyncio.Event()
        self._stopped = asyncio.Event()

    async def ask(self, request: Request) -> Answer | Failure:
        """The outcome of a request; one that is cancelled before its turn is not generated."""
        if self._stopped.is_set():
            return _STOPPING
        future: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._news.set()
        return await future

    def stop(self) -> None:
        """Turn away what waits and what comes; what is being generated goes on."""
        self._stopped.set()
        self._news.set()
        for _, future in self._waiting:
            _resolve(future, _STOPPING)
        self._waiting.clear()

    async def run(self) -> None:
        """Ask batch after batch, until stopped."""
        while not self._stopped.is_set():
            await self._news.wait()
            await self._quiet()
            self._news.clear()
            batch = [pair for pair in self._waiting if not pair[1].done()]
            self._waiting.clear()
            if batch:
                self.count += 1
                self.largest = max(self.largest, len(batch))
                await self._generate(batch)

    async def _quiet(self) -> None:
        for _ in range(_MOST_QUIETS):
            count = len(self._waiting)
            await asyncio.sleep(_QUIET_S)
            if self._stopped.is_set() or len(self._waiting) == count:
                return

    async def _generate(self, batch: Sequence[_Pending]) -> None:
        requests = enumerate(request for request, _ in batch)
        # What becomes of a request that the backend says nothing about.
        left = _STOPPING
        try:
            async with aclosing(self._backend.answers(requests, self._stopped)) as answers:
                async for number, outcome in answers:
                    _resolve(batch[number][1], outcome)
        except HarnessError as error:
            if len(batch) > 1:
                # Such as messages that the chat template does not take: the others are innocent.
                for pending in batch:
                    if not pending[1].done():
                        await self._generate([pending])
            left = Failure(str(error), 400)
        except Exception as error:
            # Whatever one batch meets, the server goes on with the next.
            left = Failure(f"{type(error).__name__}: {error}", 500)
        finally:
            for _, future in batch:
                _resolve(future, left)


_STOPPING = Failure("the server is stopping", 503)


def _resolve(future: asyncio.Future[Answer | Failure], outcome: Answer | Failure) -> None:
    if not future.done():
        future.set_result(outcome)


def _refusal(failure: Failure, asked: CompletionRequest) -> ApiError:
    """The error that a client of a hosted model would get."""
    if failure.too_long:
        param = "messages" if asked.chat else "prompt"
        return ApiError(400, failure.message, "context_length_exceeded", param)
    status = failure.status_code or 500
    if status < 500:
        return ApiError(status, failure.message)
    return ApiError(status, failure.message, "server_error", kind="server_error")


def _finished(response: dict[str, Any], asked: CompletionRequest) -> dict[str, Any]:
    """A backend's response as a server sends it: cut at a stop text, named, dated.

    The usage counts what was generated, what is cut included.
    """
    choice = response["choices"][0]
    holder, key = (choice["message"], "content") if asked.chat else (choice, "text")
    text: str = holder[key]
    ends = [place for stop in asked.stop if (place := text.find(stop)) >= 0]
    if ends:
        holder[key] = text[: min(ends)]
        choice["finish_reason"] = "stop"
    prefix = "chatcmpl" if asked.chat else "cmpl"
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time())} | response
