"""Files and batches of the loopback server: OpenAI's Batch API over what answers single requests.

Format: https://platform.openai.com/docs/api-reference/batch and ``/files``. Everything is in memory
and ends with the server. A script's ``batch_latency_s``, ``batch_error`` and ``batch_expire`` say
how long a batch takes and what goes wrong with it; to other models none of that happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.models.protocol import Settings
from harness.serving.faults import WireFault
from harness.serving.requests import ApiError, json_bytes, read_body
from harness.serving.script import ScriptedSettings
from harness.serving.served_model import ServedModel

if TYPE_CHECKING:
    from aiohttp import web

    from harness.serving.stats import Stats

_MOST_REQUESTS = 50_000
_MOST_BYTES = 200_000_000
_URLS = ("/v1/chat/completions", "/v1/completions")
_DAY_S = 86_400
# A batch is answered in 10 parts with a pause before each, so that it can be cancelled half done.
_PARTS = 10
# Spelled as the SDK spells a single request, so that both are counted as the same one.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class _File:
    about: dict[str, Any]
    content: bytes


@dataclass(slots=True)
class _Line:
    """A request of a batch, its body spelled as a single request would be."""

    custom_id: str
    body: bytes


@dataclass(slots=True)
class _Batch:
    about: dict[str, Any]
    task: asyncio.Task[None] | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class _Invalid(Exception):
    """Why a file of requests is not taken."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "line": line, "param": None}


class BatchRoutes:
    """The routes for files and batches. Batches are answered in the background.

    ``stats`` counts their requests like single ones.
    """

    def __init__(self, settings: Settings, model: ServedModel, stats: Stats) -> None:
        # The defaults, of a model that is no script: at once, and nothing goes wrong.
        self._script = settings if isinstance(settings, ScriptedSettings) else ScriptedSettings()
        self._model = model
        self._stats = stats
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._occasions: Counter[bytes] = Counter()

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        router = app.router
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files/{id}", self._file)
        router.add_get("/v1/files/{id}/content", self._content)
        router.add_delete("/v1/files/{id}", self._delete)
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._get)
        router.add_post("/v1/batches/{id}/cancel", self._cancel)
        app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        tasks = [batch.task for batch in self._batches.values() if batch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _upload(self, request: web.Request) -> web.Response:
        from aiohttp import BodyPartReader

        purpose, content, name = "", b"", "file"
        if not request.content_type.startswith("multipart/"):
            return _refuse(400, "a file comes as multipart/form-data")
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "purpose":
                purpose = (await part.read(decode=True)).decode(errors="replace")
            elif part.name == "file":
                name = part.filename or name
                received = bytearray()
                while chunk := await part.read_chunk(2**20):
                    received += chunk
                    if len(received) > _MOST_BYTES:
                        return _refuse(413, f"a file has at most {_MOST_BYTES} bytes")
                content = bytes(received)
        if purpose != "batch":
            return _refuse(400, "`purpose` can only be batch with this server")
        return _reply(self._keep(content, name, purpose).about)

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["id"])
        return _missing("file", request) if file is None else _reply(file.about)

    async def _content(self, request: web.Request) -> web.Response:
        from aiohttp import web

        file = self._files.get(request.match_info["id"])
        if file is None:
            return _missing("file", request)
        return web.Response(body=file.content, content_type="application/octet-stream")

    async def _delete(self, request: web.Request) -> web.Response:
        file = self._files.pop(request.match_info["id"], None)
        if file is None:
            return _missing("file", request)
        return _reply({"id": file.about["id"], "object": "file", "deleted": True})

    async def _create(self, request: web.Request) -> web.Response:
        asked = _object(await request.read())
        file, url = asked.get("input_file_id"), asked.get("endpoint")
        if not isinstance(file, str) or file not in self._files:
            return _refuse(400, f"No such File object: {file}", "invalid_input_file_id")
        if url not in _URLS:
            return _refuse(400, f"`endpoint` must be one of: {', '.join(_URLS)}")
        if asked.get("completion_window") != "24h":
            return _refuse(400, "`completion_window` can only be 24h")
        now = int(time.time())
        batch = _Batch(
            {
                "id": f"batch_{uuid.uuid4().hex}",
                "object": "batch",
                "endpoint": url,
                "errors": None,
                "input_file_id": file,
                "completion_window": "24h",
                "status": "validating",
                "output_file_id": None,
                "error_file_id": None,
                "created_at": now,
                "expires_at": now + _DAY_S,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
                "metadata": asked.get("metadata"),
            }
        )
        self._batches[batch.about["id"]] = batch
        batch.task = asyncio.create_task(self._work(batch, self._files[file].content))
        return _reply(batch.about)

    async def _list(self, request: web.Request) -> web.Response:
        """Newest first, so many after a given one."""
        ids = list(reversed(self._batches))
        after = request.query.get("after")
        start = ids.index(after) + 1 if after in ids else 0
        given = request.query.get("limit", "20")
        limit = min(max(int(given), 1), 100) if given.isascii() and given.isdigit() else 20
        page = [self._batches[name].about for name in ids[start : start + limit]]
        return _reply(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + limit < len(ids),
            }
        )

    async def _get(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        return _missing("batch", request) if batch is None else _reply(batch.about)

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            return _missing("batch", request)
        status = batch.about["status"]
        if status not in ("validating", "in_progress", "finalizing", "cancelling"):
            return _refuse(409, f"Cannot cancel a batch with status '{status}'.")
        batch.cancelled.set()
        _become(batch.about, "cancelling")
        return _reply(batch.about)

    async def _work(self, batch: _Batch, content: bytes) -> None:
        """What becomes of a batch, from its validation to its files."""
        about = batch.about
        chat = about["endpoint"].endswith("/chat/completions")
        try:
            requests = _read_requests(content, about["endpoint"], chat=chat)
        except _Invalid as error:
            about["errors"] = {"object": "list", "data": [error.error]}
            _become(about, "failed")
            return
        about["request_counts"]["total"] = len(requests)
        await _pause(batch, 0)
        if not batch.cancelled.is_set():
            _become(about, "in_progress")
        done: list[bytes] = []
        failed: list[bytes] = []
        missed: list[_Line] = []
        size = max(1, -(-len(requests) // _PARTS))
        for start in range(0, len(requests), size):
            await _pause(batch, self._script.batch_latency_s * size / len(requests))
            part = requests[start : start + size]
            if batch.cancelled.is_set():
                missed += part
                continue
            reached: list[_Line] = []
            for line in part:
                (missed if self._happens("batch_expire", line.body) else reached).append(line)
            answers = await asyncio.gather(*(self._answer(r.body, chat=chat) for r in reached))
            for line, (status, body) in zip(reached, answers, strict=True):
                (done if status == 200 else failed).append(_line(line.custom_id, status, body))
            about["request_counts"] |= {"completed": len(done), "failed": len(failed)}
        stopped = batch.cancelled.is_set()
        reason = "batch_cancelled" if stopped else "batch_expired"
        failed += [_line(line.custom_id, None, reason) for line in missed]
        if not stopped:
            _become(about, "finalizing")
        # A provider does not promise the order of the requests.
        random.Random(about["id"]).shuffle(done)
        for name, lines in (("output_file_id", done), ("error_file_id", failed)):
            if lines:
                kept = self._keep(b"".join(lines), f"{about['id']}.jsonl", "batch_output")
                about[name] = kept.about["id"]
        _become(about, "cancelled" if stopped else "expired" if missed else "completed")

    async def _answer(self, sent: bytes, *, chat: bool) -> tuple[int, Any]:
        """The status and the body that a request would get if it came alone."""
        digest = hashlib.sha256(sent).digest()
        attempt = self._stats.begin_attempt(digest)
        code = "server_error"
        try:
            if self._happens("batch_error", sent):
                raise ApiError(500, "scripted failure of a line", code, kind=code)
            body = json.loads(sent)
            response = await self._model.answer(body, chat=chat, digest=digest, attempt=attempt)
        except WireFault as fault:
            return 500, ApiError(500, str(fault), code, kind=code).body
        except ApiError as error:
            return error.status, error.body
        self._stats.answered[digest] += 1
        return 200, json.loads(response.content)

    def _happens(self, what: str, request: bytes) -> bool:
        """Whether something goes wrong with a request, this time, as the seed has it."""
        chance: float = getattr(self._script, what)
        if not chance:
            return False
        occasion = f"{self._script.seed}/{what}/".encode() + request
        self._occasions[occasion] += 1
        text = f"{self._occasions[occasion]}/".encode() + occasion
        return int.from_bytes(hashlib.sha256(text).digest()[:7]) / 2**56 < chance

    def _keep(self, content: bytes, name: str, purpose: str) -> _File:
        about: dict[str, Any] = {
            "id": f"file-{uuid.uuid4().hex}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        kept = self._files[about["id"]] = _File(about, content)
        return kept


def _read_requests(content: bytes, url: str, *, chat: bool) -> list[_Line]:
    """The requests of a file.

    Raises:
        _Invalid: it is none, as the real one would say.
    """
    requests: list[_Line] = []
    seen: set[str] = set()
    model = None
    for number, sent in enumerate(content.splitlines(), 1):
        try:
            row: dict[str, Any] = json.loads(sent)
            custom_id, body = row["custom_id"], row["body"]
            if not isinstance(custom_id, str) or not isinstance(body, dict):
                raise TypeError
        except (ValueError, RecursionError, TypeError, KeyError):
            raise _Invalid("invalid_json_line", "This line is not parseable.", number) from None
        if custom_id in seen:
            message = f"The custom_id '{custom_id}' is a duplicate."
            raise _Invalid("duplicate_custom_id", message, number)
        if row.get("method") != "POST" or row.get("url") != url:
            raise _Invalid("invalid_url", f"The batch is of POST {url}.", number)
        model = model or body.get("model")
        if body.get("model") != model:
            raise _Invalid("mismatched_model", "All requests name the same model.", number)
        encoded = _encode(body).encode("utf-8", "surrogatepass")
        try:
            read_body(encoded, chat=chat)
        except ApiError as error:
            message = str(error)
            raise _Invalid("invalid_request", message, number) from None
        seen.add(custom_id)
        requests.append(_Line(custom_id, encoded))
    if not requests:
        raise _Invalid("empty_file", "The file has no requests.")
    if len(requests) > _MOST_REQUESTS:
        raise _Invalid("too_many_tasks", f"A batch has at most {_MOST_REQUESTS} requests.")
    return requests


def _line(custom_id: str, status: int | None, answer: Any) -> bytes:
    """A line of an output or error file; without a status, ``answer`` is the code of an error."""
    row: dict[str, Any] = {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": custom_id,
        "response": None,
        "error": None,
    }
    if status is None:
        row["error"] = {"code": answer, "message": "This request was not executed in time."}
    else:
        row["response"] = {"status_code": status, "request_id": uuid.uuid4().hex, "body": answer}
    return json_bytes(row) + b"\n"


async def _pause(batch: _Batch, seconds: float) -> None:
    """Wait, unless the batch is cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await batch.cancelled.wait()


def _become(about: dict[str, Any], status: str) -> None:
    about["status"] = status
    about[f"{status}_at"] = int(time.time())


def _object(sent: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {}


def _missing(what: str, request: web.Request) -> web.Response:
    return _refuse(404, f"No {what} found with id '{request.match_info['id']}'.")


def _refuse(status: int, message: str, code: str = "invalid_request_error") -> web.Response:
    return _reply(ApiError(status, message, code).body, status)


def _reply(body: Any, status: int = 200) -> web.Response:
    from aiohttp import web

    return web.Response(body=json_bytes(body), status=status, content_type="application/json")
