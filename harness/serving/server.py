"""A loopback server that speaks OpenAI's protocol over a backend: the script, or a local model.

``POST /v1/chat/completions`` and ``/v1/completions`` answer, ``GET /v1/models`` lists the model,
``GET /health`` says ok once the model is loaded, and ``GET /stats`` counts what was asked and
answered, so that a test can tell whether anything was lost or paid for twice. A script's faults
happen on the wire (:mod:`harness.serving.faults`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import EndpointError, UsageError
from harness.models import BACKENDS, open_backend
from harness.models.protocol import Settings
from harness.serving.batch_routes import BatchRoutes
from harness.serving.faults import Handler, with_wire_faults
from harness.serving.requests import ApiError, json_bytes, read_body
from harness.serving.script import ScriptedSettings
from harness.serving.scripted_model import ScriptedModel
from harness.serving.served_model import LocalModel, ServedModel
from harness.serving.stats import Stats

if TYPE_CHECKING:
    from aiohttp import web

_LARGEST_REQUEST = 64 * 2**20
# A hosted model is behind a server already.
_SERVED = tuple(name for name in BACKENDS if name != "openai")


class Server:
    """The handlers over one model.

    Raises:
        UsageError: the backend cannot be served.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stats = Stats()
        self.ready = False
        self.model: ServedModel
        if isinstance(settings, ScriptedSettings):
            self.model = ScriptedModel(settings, self.stats.faults)
        elif settings.backend in _SERVED:
            self.model = LocalModel(open_backend(settings), settings)
        else:
            raise UsageError(
                f"Backend '{settings.backend}' cannot be served. Choices: {', '.join(_SERVED)}. "
                f"A hosted model is behind a server already: ask that one."
            )

    def app(self) -> web.Application:
        """The application, ready to be run."""
        from aiohttp import web

        app = web.Application(client_max_size=_LARGEST_REQUEST)
        complete: Handler = self._complete
        # Beyond plain answering: batches of every model, and the faults of the script.
        BatchRoutes(self.settings, self.model, self.stats).add_to(app)
        if isinstance(self.settings, ScriptedSettings):
            complete = with_wire_faults(complete)
        complete = self._counted(complete)
        app.router.add_post("/v1/chat/completions", complete)
        app.router.add_post("/v1/completions", complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        return app

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        """Read a request, have it answered, and write the answer to the end."""
        chat = request.path.endswith("/chat/completions")
        content = await request.read()
        digest = hashlib.sha256(content).digest()
        try:
            body = read_body(content, chat=chat)
            attempt = self.stats.begin_attempt(digest)
            answer = await self.model.answer(body, chat=chat, digest=digest, attempt=attempt)
        except ApiError as error:
            return _json(error.body, error.status, error.headers)
        response = _json_response(answer.content, 200, answer.headers)
        await response.prepare(request)
        await response.write_eof()
        self.stats.answered[digest] += 1
        return response

    def _counted(self, handler: Handler) -> Handler:
        """A handler whose requests in flight, and those that clients abandon, are counted."""

        async def counted(request: web.Request) -> web.StreamResponse:
            self.stats.in_flight += 1
            self.stats.most_in_flight = max(self.stats.most_in_flight, self.stats.in_flight)
            try:
                return await handler(request)
            except (ConnectionError, asyncio.CancelledError):
                self.stats.abandoned += 1
                raise
            finally:
                self.stats.in_flight -= 1

        return counted

    async def _models(self, _: web.Request) -> web.Response:
        name, owner = self.settings.model, self.settings.backend
        model = {"id": name, "object": "model", "created": 0, "owned_by": owner}
        return _json({"object": "list", "data": [model]})

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"}) if self.ready else _json({"status": "loading"}, 503)

    async def _stats(self, _: web.Request) -> web.Response:
        return _json(self.stats.to_json() | self.model.counts())


@contextlib.asynccontextmanager
async def running_server(
    settings: Settings, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[str, Server]]:
    """Run the server on this event loop; yields its base URL (with ``/v1``) and its handlers.

    A local model is loaded when this yields. What is asked before waits; ``/health`` says 503.

    Raises:
        UsageError: the backend cannot be served.
        CheckpointError: the model cannot be loaded.
        EndpointError: it gives no answer, or the address cannot be listened on.
    """
    from aiohttp import web

    server = Server(settings)
    model = server.model
    # A client that gives up leaves no handler behind: what it asked is not generated in vain.
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=model.grace_s,
    )
    await runner.setup()
    try:
        # First the address, since a large model loads for minutes.
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise EndpointError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port "
                f"(0 takes a free one)."
            ) from None
        await model.start()
        server.ready = True
        bound = runner.addresses[0]
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield f"http://{name}:{bound[1]}/v1", server
    finally:
        await model.aclose()
        await runner.cleanup()


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGINT or SIGTERM; prints the base URL once it can be used.

    The first signal lets a local model finish what it is generating, the second does not.
    Listens on this machine only unless another ``host`` is given: anyone who reaches the server
    may use it, keys are not looked at.

    Raises:
        UsageError, CheckpointError, EndpointError: as :func:`running_server`.
    """

    async def main() -> None:
        signals: asyncio.Queue[None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        async with running_server(settings, host, port) as (url, server):
            # From here on: until the model is loaded a signal ends the process.
            for number in (signal.SIGINT, signal.SIGTERM):
                # Not on Windows, where an interrupt ends asyncio.run itself.
                with contextlib.suppress(NotImplementedError):
                    loop.add_signal_handler(number, signals.put_nowait, None)
            print(f"Serving {settings.backend} '{settings.model}' at {url}", flush=True)
            if isinstance(settings, ScriptedSettings):
                print("Not a model: its answers come from a script.", file=sys.stderr, flush=True)
            await signals.get()
            drained = asyncio.ensure_future(server.model.drain())
            again = asyncio.ensure_future(signals.get())
            await asyncio.wait((drained, again), return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            drained.cancel()

    asyncio.run(main())


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return _json_response(json_bytes(body), status, headers)


def _json_response(content: bytes, status: int, headers: Mapping[str, str] | None) -> web.Response:
    from aiohttp import web

    return web.Response(
        body=content, status=status, headers=headers, content_type="application/json"
    )


@contextlib.contextmanager
def background_server(settings: Settings) -> Iterator[str]:
    """Run the server on a thread of its own; yields its base URL.

    Raises:
        UsageError, CheckpointError, EndpointError: as :func:`running_server`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = running_server(settings)
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
