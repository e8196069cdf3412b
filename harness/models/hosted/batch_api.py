"""A client of OpenAI's Batch API: files of requests in, files of answers out, at half the price.

Format: https://platform.openai.com/docs/guides/batch and ``/docs/api-reference/batch``. There are
few calls and they carry large files, so the SDK's own transport is used. Files are streamed to and
from the disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypeVar

from harness.errors import EndpointError
from harness.models.batches import (
    MOST_ATTEMPTS,
    BatchResponse,
    BatchThrottledError,
    BatchUncertainError,
    ProviderUnreachableError,
    RemoteBatch,
    UnansweredRequest,
    UnknownBatchError,
    retry_pause_s,
)
from harness.models.hosted import failures
from harness.models.hosted.credentials import read_api_key
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.hosted.redaction import known_secrets, redact, redact_line
from harness.models.hosted.transport import encode_body, open_sdk_client
from harness.models.pace.retries import RetryableError
from harness.models.replies import is_answer
from harness.records import Failure
from harness.store.batch_tracker import Address

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types import Batch

T = TypeVar("T")

# The key of a batch's metadata under which our own name for the batch, its nonce, is stored.
_NONCE_KEY = "harness"
_CONNECT_TIMEOUT_S = 10.0
# How far the provider's clock may differ from ours.
_MOST_CLOCK_SKEW_S = 86_400.0
# The longest time between two bytes. A provider may be slow with a large file.
_FILE_TIMEOUT_S = 600.0


class BatchAPI:
    """A client of one provider's Batch API. It belongs to one event loop and has to be closed.

    Calls are retried after transport errors, 429 and 5xx, except :meth:`create`. The provider may
    have made the batch without our knowledge, which :meth:`find_batch` has to tell first.

    Raises:
        CredentialsError: a key is needed and there is none.
        EndpointError: from every method, if the provider rejects the call.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        import httpx2

        self._settings = settings
        self.poll_s = settings.poll_s
        self._secrets = known_secrets(read_api_key(settings))
        self._answer_secrets = known_secrets(read_api_key(settings), for_answers=True)
        timeout = httpx2.Timeout(
            settings.timeout_s, connect=min(_CONNECT_TIMEOUT_S, settings.timeout_s)
        )
        self._client = open_sdk_client(settings, httpx2.AsyncClient(timeout=timeout))

    @classmethod
    def from_address(cls, address: Address) -> BatchAPI:
        """The client of the provider that a batch was submitted to."""
        return cls(
            OpenAISettings(
                model=address.model,
                base_url=address.base_url,
                provider="azure" if address.api_version else None,
                api_version=address.api_version,
                api_key_env=address.api_key_env,
            )
        )

    def address(self, family: str) -> Address:
        """Where requests of a family (``chat.completions``) go, as the store records it."""
        settings = self._settings
        azure = settings.provider == "azure"
        path = "/" + family.replace(".", "/")
        return Address(
            settings.endpoint,
            settings.model,
            # https://learn.microsoft.com/azure/ai-services/openai/how-to/batch: no version there.
            path if azure else f"/v1{path}",
            settings.base_url,
            settings.api_version if azure else None,
            settings.api_key_env,
        )

    @staticmethod
    def request_line(key: str, url: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of a batch's input file.

        Raises:
            ValueError: UTF-8 cannot represent it.
        """
        return encode_body({"custom_id": key, "method": "POST", "url": url, "body": body}) + b"\n"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def upload(self, file: IO[bytes]) -> str:
        """Send a file of requests; returns its id."""

        async def send(client: AsyncOpenAI) -> str:
            file.seek(0)
            uploaded = await client.files.create(
                file=("requests.jsonl", file), purpose="batch", timeout=_FILE_TIMEOUT_S
            )
            return uploaded.id

        return await self._call_with_retries(send)

    async def create(self, file: str, url: str, nonce: str) -> RemoteBatch:
        """Ask for a batch of an uploaded file, without retries.

        ``nonce`` is our own name for it, which no other batch has.

        Raises:
            BatchThrottledError: no batch was made.
            BatchUncertainError: a batch may have been made; :meth:`find_batch` tells by its nonce.
        """
        from openai import APIConnectionError, APIStatusError

        try:
            batch = await self._client.batches.create(
                input_file_id=file,
                endpoint=url,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={_NONCE_KEY: nonce},
            )
        except APIStatusError as error:
            retryable = self._as_retryable(error)
            if error.status_code == 429:
                message = self._unreachable_message(retryable.message)
                raise BatchThrottledError(message, retryable) from None
            raise self._uncertain(retryable.message) from None
        except APIConnectionError as error:
            message = self._redact(failures.describe_transport_error(error))
            raise self._uncertain(message) from None
        return self._remote_batch(batch)

    async def find_batch(
        self, nonce: str, *, since: float, adopted_id: str | None = None
    ) -> RemoteBatch | None:
        """The batch with this nonce that was made at ``since`` (seconds since 1970) or later.

        If there are several, all but one are cancelled. The one left is ``adopted_id``, otherwise
        the oldest, which another process may have adopted already. ``None``: there is none, though
        a batch made some seconds ago may be missing from the provider's list.
        """

        async def list_batches(client: AsyncOpenAI) -> list[Batch]:
            batches = []
            # The list begins with the newest.
            async for batch in client.batches.list(limit=100):
                if batch.created_at < since - _MOST_CLOCK_SKEW_S:
                    break
                if (batch.metadata or {}).get(_NONCE_KEY) == nonce:
                    batches.append(batch)
            # Times are in whole seconds, so the list's own order decides between equal ones.
            batches.reverse()
            batches.sort(key=lambda batch: batch.created_at)
            return batches

        batches = await self._call_with_retries(list_batches)
        if adopted_id is None and batches:
            adopted_id = batches[0].id
        for spare in (batch for batch in batches if batch.id != adopted_id):
            # A batch that has ended cannot be cancelled any more.
            with suppress(EndpointError):
                await self.cancel(spare.id)
        return next(
            (self._remote_batch(batch) for batch in batches if batch.id == adopted_id), None
        )

    async def retrieve(self, batch: str) -> RemoteBatch:
        """The present state of a batch.

        Raises:
            UnknownBatchError: the provider does not know it, at least not with this key.
        """
        return self._remote_batch(
            await self._call_with_retries(lambda client: client.batches.retrieve(batch))
        )

    async def cancel(self, batch: str) -> RemoteBatch:
        """Ask for a batch to be stopped. Requests answered by then are paid for.

        Raises:
            UnknownBatchError: as for :meth:`retrieve`.
        """
        return self._remote_batch(
            await self._call_with_retries(lambda client: client.batches.cancel(batch))
        )

    async def download(self, file: str, into: IO[bytes]) -> None:
        """Write a whole file of the provider into ``into``, which is then at its start.

        Raises:
            UnknownBatchError: the file no longer exists.
        """

        async def fetch(client: AsyncOpenAI) -> None:
            into.seek(0)
            into.truncate()
            content = client.files.with_streaming_response.content
            async with content(file, timeout=_FILE_TIMEOUT_S) as response:
                async for part in response.iter_bytes():
                    into.write(part)

        await self._call_with_retries(fetch)
        into.seek(0)

    def read_result(
        self, line: bytes
    ) -> tuple[str, BatchResponse | Failure | UnansweredRequest] | None:
        """The key and the outcome of a request, from a line of an output or error file.

        ``None``: the line holds no outcome.
        """
        try:
            row = json.loads(line)
            key, response, error = row["custom_id"], row.get("response"), row.get("error")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            return None
        if not isinstance(key, str):
            return None
        if not isinstance(response, Mapping):
            details = error if isinstance(error, Mapping) else {}
            return key, UnansweredRequest(
                self._redact(f"{details.get('code')}: {details.get('message')}")
            )
        status, body = response.get("status_code"), response.get("body")
        if not isinstance(status, int) or not 100 <= status <= 599:
            return key, UnansweredRequest(self._redact(f"no HTTP status: {line[:200]!r}"))
        if status != 200:
            return key, self._failure(status, body)
        if not isinstance(body, Mapping) or not is_answer(body):
            return key, UnansweredRequest(self._redact(f"HTTP 200, but no completion: {body}"), 200)
        text = json.dumps(body, ensure_ascii=False)
        return key, BatchResponse(body, redact(text, self._answer_secrets))

    def _failure(self, status: int, body: Any) -> Failure | UnansweredRequest:
        import httpx2

        # Read it as the response of a live call.
        request = httpx2.Request("POST", self._client.base_url)
        response = httpx2.Response(status, json=body, request=request)
        try:
            return failures.read_error(
                self._client._make_status_error_from_response(response), self._secrets
            )
        except RetryableError as error:
            return UnansweredRequest(error.message, status)

    async def _call_with_retries(self, call: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        import httpx2
        from openai import APIConnectionError, APIStatusError

        for attempt in range(MOST_ATTEMPTS):
            try:
                return await call(self._client)
            except APIStatusError as error:
                retryable = self._as_retryable(error)
            except (APIConnectionError, httpx2.TransportError) as error:
                message = self._redact(failures.describe_transport_error(error))
                retryable = RetryableError(message)
            if attempt + 1 < MOST_ATTEMPTS:
                await asyncio.sleep(retry_pause_s(attempt, retryable))
        raise ProviderUnreachableError(self._unreachable_message(retryable.message))

    def _as_retryable(self, error: APIStatusError) -> RetryableError:
        """The error of a call that may be retried.

        Raises:
            EndpointError: it may not.
        """
        try:
            failure = failures.read_error(error, self._secrets)
        except RetryableError as retryable:
            return retryable
        kind = UnknownBatchError if error.status_code == 404 else EndpointError
        raise kind(self._rejected_message(failure.message))

    def _unreachable_message(self, reason: str) -> str:
        settings = self._settings
        return (
            f"The Batch API of {settings.endpoint} gives no answer ({reason.rstrip(' .:')}). Is "
            f"{settings.base_url} the right base_url, and is the server running?"
        )

    def _rejected_message(self, reason: str) -> str:
        settings = self._settings
        return (
            f"The Batch API of {settings.endpoint} does not do as asked "
            f"({reason.rstrip(' .:')}). Check base_url ({settings.base_url}), the key in "
            f'{settings.api_key_env} and the model\'s name; mode = "live" does without it.'
        )

    def _uncertain(self, reason: str) -> BatchUncertainError:
        return BatchUncertainError(
            self._unreachable_message(reason) + " The next run looks whether it took the batch."
        )

    def _remote_batch(self, batch: Batch) -> RemoteBatch:
        counts, errors = batch.request_counts, (batch.errors and batch.errors.data) or []
        error = errors[0] if errors else None
        reason = "" if error is None else f"{error.code}: {error.message}"
        if error is not None and error.line is not None:
            reason += f" (line {error.line})"
        return RemoteBatch(
            self._redact(batch.id),
            self._redact(batch.status),
            None if counts is None else counts.completed,
            None if counts is None else counts.failed,
            batch.output_file_id or None,
            batch.error_file_id or None,
            self._redact(reason),
            None if error is None else error.code,
        )

    def _redact(self, message: str) -> str:
        return redact_line(message, self._secrets)
