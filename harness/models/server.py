"""A loopback server that speaks OpenAI's protocol over a backend (the scripted one so far).

``POST /v1/chat/completions`` and ``/v1/completions`` answer, ``GET /v1/models`` lists the model,
``GET /health`` says ok, and ``GET /stats`` counts what was asked and answered, so that a test can
tell whether anything was lost or paid for twice. Faults happen on the wire: a 429 with its
Retry-After, a 500, a connection that ends before the answer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import EndpointError, UsageError
from harness.models.base import Settings
from harness.models.scripted import Script, ScriptedSettings

if TYPE_CHECKING:
    from aiohttp import web

_LARGEST_REQUEST = 64 * 2**20


@dataclass(slots=True)
class Stats:
    """What the server has seen. A request is known by its exact bytes.

    ``answered`` counts answers that were written to the end, by request; ``abandoned`` those
    whose client had gone.
    """

    attempts: Counter[bytes] = field(default_factory=Counter)
    answered: Counter[bytes] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def to_json(self) -> dict[str, Any]:
        """The counts, as ``/stats`` gives them."""
        return {
            "requests": self.attempts.total(),
            "distinct": len(self.attempts),
            "answered": self.answered.total(),
            "answered_twice": sum(count > 1 for count in self.answered.values()),
            "faults": {kind: self.faults[kind] for kind in ("429", "500", "drop")},
            "abandoned": self.abandoned,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }


class Server:
    """The handlers over one script."""

    def __init__(self, settings: ScriptedSettings) -> None:
        self.settings = settings
        self.script = Script(settings)
        self.stats = Stats()

    def app(self) -> web.Application:
        """The application, ready to be run."""
        from aiohttp import web

        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        return app

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.stats.in_flight += 1
        self.stats.most_in_flight = max(self.stats.most_in_flight, self.stats.in_flight)
        try:
            return await self._answer(request)
        except ConnectionError:
            # The client went away while it was being answered.
            self.stats.abandoned += 1
            raise
        finally:
            self.stats.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        started = time.monotonic()
        sent = await request.read()
        try:
            body = json.loads(sent)
        except (ValueError, RecursionError):
            body = None
        key = "messages" if request.path.endswith("/chat/completions") else "prompt"
        if not isinstance(body, dict) or key not in body:
            return _error(400, f"the body must be a JSON object with `{key}`", "invalid_request")
        digest = hashlib.sha256(sent).digest()
        attempt = self.stats.attempts[digest]
        self.stats.attempts[digest] += 1
        fault = self.script.fault(digest, attempt)
        response = b"" if fault in ("429", "500") else _dump(self.script.response(body))
        await asyncio.sleep(self.settings.latency_s - (time.monotonic() - started))
        if fault is not None:
            self.stats.faults[fault] += 1
        if fault == "429":
            wait = f"{self.settings.retry_after_s:g}"
            return _error(429, "scripted rate limit", "rate_limit_exceeded", {"Retry-After": wait})
        if fault == "500":
            return _error(500, "scripted server error", "server_error")
        if fault == "drop":
            return await _half(request, response)
        whole = web.Response(body=response, content_type="application/json")
        await whole.prepare(request)
        await whole.write_eof()
        self.stats.answered[digest] += 1
        return whole

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self.settings.model, "object": "model", "created": 0, "owned_by": "scripted"}
        return _json({"object": "list", "data": [model]})

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _stats(self, _: web.Request) -> web.Response:
        return _json(self.stats.to_json())


@contextlib.asynccontextmanager
async def running(
    settings: Settings, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[str, Server]]:
    """Run the server on this event loop; yields its base URL (with ``/v1``) and its handlers.

    Raises:
        UsageError: the backend cannot be served.
        EndpointError: the address cannot be listened on.
    """
    from aiohttp import web

    if not isinstance(settings, ScriptedSettings):
        raise UsageError(f"Backend '{settings.backend}' cannot be served. Choices: scripted.")
    server = Server(settings)
    # No grace at the end: whoever stops this server wants it gone.
    runner = web.AppRunner(
        server.app(), access_log=None, handle_signals=False, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise EndpointError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port "
                f"(0 takes a free one)."
            ) from None
        bound = runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield f"http://{name}:{bound[1]}/v1", server
    finally:
        await runner.cleanup()


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGINT or SIGTERM; prints the base URL once it can be used.

    Listens on this machine only unless another ``host`` is given: anyone who reaches the server
    may use it, keys are not looked at.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not on Windows, where an interrupt ends asyncio.run itself.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        async with running(settings, host, port) as (url, _):
            print(f"Serving {settings.backend} '{settings.model}' at {url}", flush=True)
            print("Not a model: its answers come from a script.", file=sys.stderr, flush=True)
            await stop.wait()

    asyncio.run(main())


async def _half(request: web.Request, response: bytes) -> web.StreamResponse:
    """Send half of an answer that was announced whole, and hang up."""
    from aiohttp import web

    half = web.StreamResponse(headers={"Content-Length": str(len(response))})
    half.content_type = "application/json"
    await half.prepare(request)
    await half.write(response[: len(response) // 2])
    if request.transport is not None:
        request.transport.close()
    return half


def _error(
    status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> web.Response:
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return _json(body, status, headers)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    from aiohttp import web

    return web.Response(
        body=_dump(body), status=status, headers=headers, content_type="application/json"
    )


def _dump(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def background(settings: Settings) -> Iterator[str]:
    """Run the server on a thread of its own; yields its base URL.

    Raises:
        UsageError, EndpointError: as :func:`running`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = running(settings)
    try:
        url, _ = asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result()
        try:
            yield url
        finally:
            stopped = served.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(stopped, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
