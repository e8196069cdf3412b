"""The client of the Batch API, with the real SDK, against the loopback server."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from harness.errors import CredentialsError, EndpointError
from harness.models import batches, settings_for
from harness.models.batches import (
    BatchResponse,
    BatchThrottledError,
    BatchUncertainError,
    RemoteBatch,
    UnansweredRequest,
    UnknownBatchError,
)
from harness.models.hosted.batch_api import BatchAPI
from harness.models.hosted.openai_settings import OpenAISettings
from harness.records import Failure
from harness.serving.server import Server, running_server
from harness.store.batch_tracker import ENDED
from tests.helpers.loopback_server import completion, handled_by

URL = "/v1/chat/completions"
Client = Callable[[BatchAPI, Server], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_BACKOFF_S", 0.001)


def settings(url: str, **values: Any) -> OpenAISettings:
    openai = settings_for("openai", {"model": "m", "base_url": url} | values)
    assert isinstance(openai, OpenAISettings)
    return openai


async def with_api(client: Client, **values: Any) -> None:

    scripted = settings_for("scripted", {"model": "empty"} | values)
    async with running_server(scripted) as (url, server):
        api = BatchAPI(settings(url))
        try:
            await client(api, server)
        finally:
            await api.aclose()


def requests(count: int, *, text: str = "hello", url: str = URL) -> io.BytesIO:
    def body(number: int) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": f"{text} {number}"}]}

    return io.BytesIO(
        b"".join(BatchAPI.request_line(f"{n:064x}", url, body(n)) for n in range(count))
    )


async def until(api: BatchAPI, name: str, condition: Callable[[RemoteBatch], Any]) -> RemoteBatch:
    while True:
        batch = await api.retrieve(name)
        if condition(batch):
            return batch
        await asyncio.sleep(0.01)


async def ended(api: BatchAPI, name: str) -> RemoteBatch:
    return await until(api, name, lambda batch: batch.status in ENDED)


async def read(api: BatchAPI, file: str | None) -> dict[str, Any]:
    assert file is not None
    with tempfile.TemporaryFile() as copy:
        await api.download(file, copy)
        return dict(result for line in copy if (result := api.read_result(line)) is not None)


async def test_from_upload_to_answers() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        # What separates lines elsewhere is a letter among others here.
        file = await api.upload(requests(40, text="a\u2028b\x85c"))
        created = await api.create(file, URL, "nonce-1")
        assert created.status == "validating"
        batch = await ended(api, created.id)
        assert (batch.status, batch.completed, batch.failed, batch.error_file) == (
            "completed",
            40,
            0,
            None,
        )
        answers = await read(api, batch.output_file)
        assert sorted(answers) == [f"{n:064x}" for n in range(40)]
        assert list(answers) != sorted(answers)
        for answer in answers.values():
            assert isinstance(answer, BatchResponse)
            assert json.loads(answer.text) == answer.body
            assert answer.body["usage"]["completion_tokens"] > 0
        assert server.stats.answered.total() == len(server.stats.answered) == 40

    await with_api(client)


async def test_a_batch_is_found_by_its_nonce() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        file = await api.upload(requests(1))
        created = [await api.create(file, URL, f"nonce-{n}") for n in range(3)]
        result = await api.find_batch("nonce-1", since=0)
        assert result is not None
        assert result.id == created[1].id
        assert await api.find_batch("nonce-7", since=0) is None

    await with_api(client)


async def test_a_second_batch_of_one_nonce_is_cancelled() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        file = await api.upload(requests(1))
        first, second, third = [await api.create(file, URL, "same") for _ in range(3)]
        for adopted_id, expected_id in (
            (second.id, second.id),
            (None, first.id),
            ("unlisted", None),
        ):
            batch = await api.find_batch("same", since=0, adopted_id=adopted_id)
            assert (batch and batch.id) == expected_id
        for name in (first.id, third.id):
            assert (await api.retrieve(name)).status in ("cancelling", "cancelled")

    await with_api(client, batch_latency_s=60)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not json\n", "not parseable. (line 1)"),
        (requests(1).getvalue() * 2, "is a duplicate. (line 2)"),
        (requests(1, url="/v1/completions").getvalue(), f"of POST {URL}"),
        (b"", "has no requests"),
    ],
)
async def test_a_file_that_the_provider_rejects(content: bytes, reason: str) -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        created = await api.create(await api.upload(io.BytesIO(content)), URL, "n")
        batch = await ended(api, created.id)
        assert batch.status == "failed"
        assert reason in batch.reason

    await with_api(client)


async def test_expired_and_failed_lines() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        created = await api.create(await api.upload(requests(100)), URL, "n")
        batch = await ended(api, created.id)
        assert batch.status == "expired"
        answers, errors = await read(api, batch.output_file), await read(api, batch.error_file)
        assert len(answers) + len(errors) == 100
        kinds = {
            (outcome.status_code, outcome.message.split(":")[0])
            for outcome in errors.values()
            if isinstance(outcome, UnansweredRequest)
        }
        assert kinds == {(500, "HTTP 500"), (None, "batch_expired")}

    await with_api(client, batch_error=0.2, batch_expire=0.2)


async def test_a_cancelled_batch_keeps_its_answers() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        created = await api.create(await api.upload(requests(50)), URL, "n")
        await until(api, created.id, lambda batch: batch.completed)
        assert (await api.cancel(created.id)).status == "cancelling"
        batch = await ended(api, created.id)
        assert batch.status == "cancelled"
        answers, errors = await read(api, batch.output_file), await read(api, batch.error_file)
        assert len(answers) == batch.completed == server.stats.answered.total() < 50
        assert len(answers) + len(errors) == 50
        with pytest.raises(EndpointError, match="Cannot cancel"):
            await api.cancel(created.id)

    await with_api(client, batch_latency_s=1)


def row(key: str = "k", response: Any = None, error: Any = None) -> bytes:
    return json.dumps({"custom_id": key, "response": response, "error": error}).encode()


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"", None),
        (b"[1]", None),
        (b"[" * 100_000, None),
        (b'{"custom_id": 3}', None),
        (row(), UnansweredRequest("None: None")),
        (
            row(error={"code": "batch_expired", "message": "late"}),
            UnansweredRequest("batch_expired: late"),
        ),
        (
            row(response={"status_code": 500, "body": {"error": {"message": "oops"}}}),
            UnansweredRequest("HTTP 500: oops", 500),
        ),
        (
            row(
                response={
                    "status_code": 400,
                    "body": {"error": {"message": "m", "code": "context_length_exceeded"}},
                }
            ),
            Failure("HTTP 400: m", 400, too_long=True),
        ),
        (
            row(
                response={
                    "status_code": 400,
                    "body": {"error": {"message": "m", "code": "content_filter"}},
                }
            ),
            Failure("HTTP 400: m", 400, filtered=True),
        ),
    ],
)
def test_the_outcome_of_a_line(line: bytes, outcome: Failure | UnansweredRequest | None) -> None:
    api = BatchAPI(settings("http://127.0.0.1:1/v1"))
    result = api.read_result(line)
    assert result == (None if outcome is None else ("k", outcome))


@pytest.mark.parametrize("status", [200, "200", None, 99, True])
def test_a_line_without_a_completion_is_not_done(status: Any) -> None:
    api = BatchAPI(settings("http://127.0.0.1:1/v1"))
    result = api.read_result(row(response={"status_code": status, "body": {"error": None}}))
    assert result is not None
    assert isinstance(result[1], UnansweredRequest)


def test_our_key_is_not_taken_from_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-4711")
    api = BatchAPI(settings("http://127.0.0.1:1/v1"))
    result = api.read_result(
        row(response={"status_code": 200, "body": completion("sk-secret-4711")})
    )
    assert result is not None
    assert isinstance(result[1], BatchResponse)
    assert "4711" not in result[1].text


async def test_unknown_and_rejected() -> None:
    async def client(api: BatchAPI, server: Server) -> None:
        with pytest.raises(UnknownBatchError, match="No batch found"):
            await api.retrieve("batch_x")
        with pytest.raises(UnknownBatchError, match="No file found"):
            await api.download("file-x", io.BytesIO())
        with pytest.raises(EndpointError, match=r"No such File.*mode = \"live\""):
            await api.create("file-x", URL, "n")

    await with_api(client)
    with pytest.raises(CredentialsError):
        BatchAPI(settings("https://api.openai.com/v1"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (None, BatchUncertainError),
        (500, BatchUncertainError),
        (503, BatchUncertainError),
        (429, BatchThrottledError),
        (401, EndpointError),
    ],
)
async def test_whether_a_batch_was_made(status: int | None, error: type[EndpointError]) -> None:
    """It is sent once. Only a caller that can look for the batch knows whether to send again."""
    request_count = 0

    async def refuse(request: web.Request) -> web.StreamResponse:
        nonlocal request_count
        request_count += 1
        if status is None:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"error": {"message": "no"}}, status=status or 500)

    async with handled_by(refuse) as url:
        api = BatchAPI(settings(url))
        with pytest.raises(error) as raised:
            await api.create("f", URL, "nonce")
        assert type(raised.value) is error
        await api.aclose()
    assert request_count == 1
