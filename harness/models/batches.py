"""The protocol of a Batch API's client, and the records that it returns."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Protocol

from harness.errors import EndpointError
from harness.models.pace.limiter import LONGEST_RETRY_AFTER_S
from harness.models.pace.retries import RetryableError
from harness.records import Failure
from harness.store.batch_tracker import Address

#: The most requests, and the most bytes, that a provider accepts in one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
#: The attempts of a call before the provider counts as unreachable.
MOST_ATTEMPTS = 6
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """The provider's record of a batch.

    ``completed`` and ``failed`` are numbers of requests, ``output_file`` and ``error_file`` ids of
    files; ``None`` where the provider names none. ``reason`` and ``code`` say why a batch has
    failed.
    """

    id: str
    status: str
    completed: int | None
    failed: int | None
    output_file: str | None
    error_file: str | None
    reason: str
    code: str | None


@dataclass(frozen=True, slots=True)
class BatchResponse:
    """The response to an answered request of a batch: its body, and that as text."""

    body: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A request without an answer, which another batch may bring.

    ``status_code`` is the HTTP status, ``None`` if the provider did not process the request.
    """

    message: str
    status_code: int | None = None


class UnknownBatchError(EndpointError):
    """The provider does not know a batch or a file (404)."""


class ProviderUnreachableError(EndpointError):
    """The provider does not answer, or rejects every call for now (429, 5xx)."""


class BatchThrottledError(ProviderUnreachableError):
    """The provider makes no batch for now (429). ``cause`` holds the pause that it asks for."""

    def __init__(self, message: str, cause: RetryableError) -> None:
        super().__init__(message)
        self.cause = cause


class BatchUncertainError(EndpointError):
    """It is not known whether a batch was made."""


class BatchClient(Protocol):
    """A client of one provider's Batch API. It belongs to one event loop and has to be closed.

    Raises:
        CredentialsError: a key is needed and there is none.
        EndpointError: from every method, if the provider rejects the call.
    """

    #: Seconds between the first two requests for the state of a batch.
    poll_s: float

    def address(self, family: str) -> Address:
        """Where requests of a family (``chat.completions``) go, as the store records it."""
        ...

    def request_line(self, key: str, url: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of a batch's input file.

        Raises:
            ValueError: UTF-8 cannot represent it.
        """
        ...

    async def upload(self, file: IO[bytes]) -> str:
        """Send a file of requests; returns its id."""
        ...

    async def create(self, file: str, url: str, nonce: str) -> RemoteBatch:
        """Ask for a batch of an uploaded file, without retries.

        ``nonce`` is our own name for it, which no other batch has.

        Raises:
            BatchThrottledError: no batch was made.
            BatchUncertainError: a batch may have been made; :meth:`find_batch` tells.
        """
        ...

    async def find_batch(
        self, nonce: str, *, since: float, adopted_id: str | None = None
    ) -> RemoteBatch | None:
        """The batch with this nonce that was made at ``since`` (seconds since 1970) or later.

        If there are several, all but one are cancelled: ``adopted_id`` or the oldest is left.
        """
        ...

    async def retrieve(self, batch: str) -> RemoteBatch:
        """The present state of a batch.

        Raises:
            UnknownBatchError: the provider does not know it, at least not with this key.
        """
        ...

    async def cancel(self, batch: str) -> RemoteBatch:
        """Ask for a batch to be stopped. Requests answered by then are paid for.

        Raises:
            UnknownBatchError: as for :meth:`retrieve`.
        """
        ...

    async def download(self, file: str, into: IO[bytes]) -> None:
        """Write a whole file of the provider into ``into``, which is then at its start."""
        ...

    def read_result(
        self, line: bytes
    ) -> tuple[str, BatchResponse | Failure | UnansweredRequest] | None:
        """The key and the outcome of a request, from a line of an output or error file.

        ``None``: the line holds no outcome.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


def read_chunks(file: IO[bytes], lines: int) -> Iterator[list[bytes]]:
    """The lines of a JSONL file, at most ``lines`` at a time.

    Only newlines split it: JSON may hold the other characters that Python takes for line ends.
    """
    while chunk := list(islice(file, lines)):
        yield chunk


def retry_pause_s(attempt: int, error: RetryableError) -> float:
    """Seconds between a failed attempt (from 0) and the next one, with jitter."""
    pause = error.retry_after_s
    if pause is None:
        pause = min(_BACKOFF_S * 2**attempt, _LONGEST_BACKOFF_S)
    return min(pause, LONGEST_RETRY_AFTER_S) * random.uniform(1.0, 1.25)
