"""OpenAI's Batch API on the wire: files of requests in, files of answers out, at half the price.

Format: https://platform.openai.com/docs/guides/batch and ``/docs/api-reference/batch``. Calls are
few and files large, so the SDK makes them itself; files are streamed to and from the disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypeVar

from harness.errors import EndpointError
from harness.models.batches import (
    ATTEMPTS,
    BatchResponse,
    BatchThrottledError,
    BatchUncertainError,
    ProviderUnreachableError,
    RemoteBatch,
    Unanswered,
    UnknownBatchError,
    pause,
)
from harness.models.hosted import failures
from harness.models.hosted.credentials import read_api_key
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.hosted.redaction import known_secrets, redact, redact_line
from harness.models.hosted.transport import encode_body, open_sdk_client
from harness.models.pace.calls import RetryableError
from harness.models.replies import is_answer
from harness.records import Failure
from harness.store.ledger import Address

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types import Batch

T = TypeVar("T")


_NONCE = "harness"
_CONNECT_S = 10.0
# A listing begins with the newest batch; how much the provider's clock may differ from ours.
_CLOCKS_APART_S = 86_400.0
# Between two bytes: a provider takes its time with a large file.
_FILE_TIMEOUT_S = 600.0


class BatchAPI:
    """One provider's Batch API. Of one event loop; close it.

    Calls are made again after transport errors, 429 and 5xx, but for :meth:`create`: whether it
    was heard has to be looked up first, with :meth:`find`.

    Raises:
        CredentialsError: a key is needed and not there.
        EndpointError: from every method, what the provider refuses.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        import httpx2

        self._settings = settings
        self.poll_s = settings.poll_s
        self._secrets = known_secrets(read_api_key(settings))
        self._answer_secrets = known_secrets(read_api_key(settings), for_answers=True)
        timeout = httpx2.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
        self._client = open_sdk_client(settings, httpx2.AsyncClient(timeout=timeout))

    @classmethod
    def at(cls, address: Address) -> BatchAPI:
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
        """Where requests of a family go, as the store notes it."""
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
    def line(key: str, url: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of a batch's file.

        Raises:
            ValueError: UTF-8 cannot hold it.
        """
        return encode_body({"custom_id": key, "method": "POST", "url": url, "body": body}) + b"\n"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def upload(self, file: IO[bytes]) -> str:
        """Send a file of requests; returns its id."""
        named = ("requests.jsonl", file)

        async def send(client: AsyncOpenAI) -> str:
            file.seek(0)
            files = client.files
            return (await files.create(file=named, purpose="batch", timeout=_FILE_TIMEOUT_S)).id

        return await self._persist(send)

    async def create(self, file: str, url: str, nonce: str) -> RemoteBatch:
        """Ask once for a batch of an uploaded file.

        ``nonce`` is our own name for it, which no other batch has.

        Raises:
            BatchThrottledError: none was made.
            BatchUncertainError: one may have been made; to be looked for by its nonce.
        """
        from openai import APIConnectionError, APIStatusError

        try:
            made = await self._client.batches.create(
                input_file_id=file,
                endpoint=url,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={_NONCE: nonce},
            )
        except APIStatusError as error:
            again = self._again(error)
            if error.status_code == 429:
                raise BatchThrottledError(self._refusal(again.message), again) from None
            raise self._unsure(again.message) from None
        except APIConnectionError as error:
            raise self._unsure(self._redact(failures.describe_transport_error(error))) from None
        return self._remote(made)

    async def find(
        self, nonce: str, *, since: float, kept: str | None = None
    ) -> RemoteBatch | None:
        """The batch that was made under our own name at this time (since 1970) or later, if any.

        Should there be several, all but one are cancelled: but ``kept``, or the oldest, which
        others may have adopted already. A list may lack what was made some seconds ago.
        """

        async def look(client: AsyncOpenAI) -> list[Batch]:
            found = []
            async for batch in client.batches.list(limit=100):
                if batch.created_at < since - _CLOCKS_APART_S:
                    break
                if (batch.metadata or {}).get(_NONCE) == nonce:
                    found.append(batch)
            # The newest are listed first, with times in whole seconds.
            found.reverse()
            found.sort(key=lambda batch: batch.created_at)
            return found

        found = await self._persist(look)
        if kept is None and found:
            kept = found[0].id
        for spare in (batch for batch in found if batch.id != kept):
            # One that has ended is not cancelled any more.
            with suppress(EndpointError):
                await self.cancel(spare.id)
        return next((self._remote(batch) for batch in found if batch.id == kept), None)

    async def look(self, batch: str) -> RemoteBatch:
        """What has become of a batch.

        Raises:
            UnknownBatchError: the provider does not know it, at least not with this key.
        """
        return self._remote(await self._persist(lambda client: client.batches.retrieve(batch)))

    async def cancel(self, batch: str) -> RemoteBatch:
        """Ask for a batch to be stopped; what it has answered by then is paid for.

        Raises:
            UnknownBatchError: as for :meth:`look`.
        """
        return self._remote(await self._persist(lambda client: client.batches.cancel(batch)))

    async def download(self, file: str, into: IO[bytes]) -> None:
        """Fetch a file, from its first byte to its last.

        Raises:
            UnknownBatchError: it is not there any more.
        """

        async def fetch(client: AsyncOpenAI) -> None:
            into.seek(0)
            into.truncate()
            content = client.files.with_streaming_response.content
            async with content(file, timeout=_FILE_TIMEOUT_S) as response:
                async for part in response.iter_bytes():
                    into.write(part)

        await self._persist(fetch)
        into.seek(0)

    def read(self, line: bytes) -> tuple[str, BatchResponse | Failure | Unanswered] | None:
        """What a line of an output or error file says of which request; ``None``: nothing."""
        try:
            row = json.loads(line)
            key, response, error = row["custom_id"], row.get("response"), row.get("error")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            return None
        if not isinstance(key, str):
            return None
        if not isinstance(response, Mapping):
            said = error if isinstance(error, Mapping) else {}
            return key, Unanswered(self._redact(f"{said.get('code')}: {said.get('message')}"))
        status, body = response.get("status_code"), response.get("body")
        if not isinstance(status, int) or not 100 <= status <= 599:
            return key, Unanswered(self._redact(f"no HTTP status: {line[:200]!r}"))
        if status != 200:
            return key, self._failure(status, body)
        if not isinstance(body, Mapping) or not is_answer(body):
            return key, Unanswered(self._redact(f"HTTP 200, but no completion: {body}"), 200)
        text = json.dumps(body, ensure_ascii=False)
        return key, BatchResponse(body, redact(text, self._answer_secrets))

    def _failure(self, status: int, body: Any) -> Failure | Unanswered:
        import httpx2

        # As the SDK would have met it on a call of its own.
        request = httpx2.Request("POST", self._client.base_url)
        response = httpx2.Response(status, json=body, request=request)
        try:
            return failures.read_error(
                self._client._make_status_error_from_response(response), self._secrets
            )
        except RetryableError as again:
            return Unanswered(again.message, status)

    async def _persist(self, call: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        import httpx2
        from openai import APIConnectionError, APIStatusError

        for attempt in range(ATTEMPTS):
            try:
                return await call(self._client)
            except APIStatusError as error:
                again = self._again(error)
            except (APIConnectionError, httpx2.TransportError) as error:
                again = RetryableError(self._redact(failures.describe_transport_error(error)))
            if attempt + 1 < ATTEMPTS:
                await asyncio.sleep(pause(attempt, again))
        raise ProviderUnreachableError(self._refusal(again.message))

    def _again(self, error: APIStatusError) -> RetryableError:
        """Why a call is to be made again.

        Raises:
            EndpointError: it is not.
        """
        try:
            failure = failures.read_error(error, self._secrets)
        except RetryableError as again:
            return again
        raise (UnknownBatchError if error.status_code == 404 else EndpointError)(
            self._told(failure.message)
        )

    def _refusal(self, message: str) -> str:
        settings = self._settings
        return (
            f"The Batch API of {settings.endpoint} gives no answer ({message.rstrip(' .:')}). Is "
            f"{settings.base_url} the right base_url, and is the server running?"
        )

    def _unsure(self, message: str) -> BatchUncertainError:
        return BatchUncertainError(
            self._refusal(message) + " The next run looks whether it took the batch."
        )

    def _told(self, message: str) -> str:
        settings = self._settings
        return (
            f"The Batch API of {settings.endpoint} does not do as asked "
            f"({message.rstrip(' .:')}). Check base_url ({settings.base_url}), the key in "
            f'{settings.api_key_env} and the model\'s name; mode = "live" does without it.'
        )

    def _remote(self, batch: Batch) -> RemoteBatch:
        counts, errors = batch.request_counts, (batch.errors and batch.errors.data) or []
        first = errors[0] if errors else None
        said = "" if first is None else f"{first.code}: {first.message}"
        if first is not None and first.line is not None:
            said += f" (line {first.line})"
        return RemoteBatch(
            self._redact(batch.id),
            self._redact(batch.status),
            None if counts is None else counts.completed,
            None if counts is None else counts.failed,
            batch.output_file_id or None,
            batch.error_file_id or None,
            self._redact(said),
            None if first is None else first.code,
        )

    def _redact(self, message: str) -> str:
        return redact_line(message, self._secrets)
