"""Batch APIs as the rest of the house knows them: a client, and what it says of a batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Protocol

from harness.errors import EndpointError
from harness.models.pace.calls import RetryableError
from harness.records import Failure
from harness.store.ledger import Address

#: The most requests, and the most bytes, that a provider takes in one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
#: How often a call is made before the provider counts as out of reach.
ATTEMPTS = 6
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as its provider sees it.

    ``why`` and ``code`` are the provider's reason for one that failed.
    """

    id: str
    status: str
    done: int | None
    failed: int | None
    output_file: str | None
    error_file: str | None
    why: str
    code: str | None


@dataclass(frozen=True, slots=True)
class BatchResponse:
    """An answered request of a batch: the body of its response."""

    body: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request that another batch may answer, with no ``status_code`` if it was not reached."""

    message: str
    status_code: int | None = None


class UnknownBatchError(EndpointError):
    """A batch or file that the provider does not know (404)."""


class ProviderUnreachableError(EndpointError):
    """A provider that gives no answer, or turns every call away for now (429, 5xx)."""


class BatchThrottledError(ProviderUnreachableError):
    """A provider that makes no batch for now (429)."""

    def __init__(self, message: str, again: RetryableError) -> None:
        super().__init__(message)
        self.again = again


class BatchUncertainError(EndpointError):
    """It is not known whether a batch was made."""


class BatchClient(Protocol):
    """A client of one provider's Batch API. It belongs to one event loop; close it.

    Raises:
        CredentialsError: a key is needed and not there.
        EndpointError: from every method, what the provider refuses.
    """

    #: Seconds between the first two looks at a batch.
    poll_s: float

    def address(self, family: str) -> Address:
        """Where requests of a family (``chat.completions``) go, as the store notes it."""
        ...

    def line(self, key: str, url: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of a batch's file.

        Raises:
            ValueError: UTF-8 cannot hold it.
        """
        ...

    async def upload(self, file: IO[bytes]) -> str:
        """Send a file of requests; returns its id."""
        ...

    async def create(self, file: str, url: str, nonce: str) -> RemoteBatch:
        """Ask once for a batch of an uploaded file; ``nonce`` is our own name for it.

        Raises:
            BatchThrottledError: none was made.
            BatchUncertainError: one may have been made; :meth:`find` tells.
        """
        ...

    async def find(
        self, nonce: str, *, since: float, kept: str | None = None
    ) -> RemoteBatch | None:
        """The batch of our own name that was made at this time (since 1970) or later, if any."""
        ...

    async def look(self, batch: str) -> RemoteBatch:
        """The state of a batch.

        Raises:
            UnknownBatchError: the provider does not know it, at least not with this key.
        """
        ...

    async def cancel(self, batch: str) -> RemoteBatch:
        """Ask for a batch to be stopped; what it has answered by then is paid for."""
        ...

    async def download(self, file: str, into: IO[bytes]) -> None:
        """Fetch a file, from its first byte to its last."""
        ...

    def read(self, line: bytes) -> tuple[str, BatchResponse | Failure | Unanswered] | None:
        """What a line of an output or error file says of which request; ``None``: nothing."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


def lines(file: IO[bytes], at_a_time: int) -> Iterator[list[bytes]]:
    """The lines of a file, so many at a time; JSON may hold all that splits a text but newlines."""
    while chunk := list(islice(file, at_a_time)):
        yield chunk


def pause(attempt: int, again: RetryableError) -> float:
    """Seconds until a call that failed, at this attempt (from 0), is made again."""
    asked = again.retry_after_s
    if asked is None:
        asked = min(_BACKOFF_S * 2**attempt, _LONGEST_BACKOFF_S)
    return min(asked, 600.0) * random.uniform(1.0, 1.25)
