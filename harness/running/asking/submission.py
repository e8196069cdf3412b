"""Giving keys to batches: what is asked for, what is out already, and submitting the rest."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, TypeVar

from harness.errors import EndpointError
from harness.models.batches import (
    ATTEMPTS,
    MOST_BYTES,
    MOST_REQUESTS,
    BatchClient,
    BatchThrottledError,
    BatchUncertainError,
    RemoteBatch,
    pause,
)
from harness.models.prices import Price
from harness.records import Answer, Failure, Request
from harness.running.budget import Budget
from harness.store import Store
from harness.store.ledger import SUBMITTING, Batch, Ledger

T = TypeVar("T")

#: Requests rendered, claimed and stored at a time: so long the event loop does nothing else.
STEP = 50
#: So long after a provider was asked to create a batch, it is listed if it is there.
LISTED_S = 30.0
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the asking of one system through batches is given, and whom it tells.

    ``request_of`` makes the whole request of a key. ``tell`` is told of every outcome, each
    answer stored before, and ``found`` of keys that another process has had answered.
    ``note`` takes a line for the user. ``price`` is that of a batch call. ``held`` is what the
    budget holds back already, by key in nano-dollars; a key is taken out once it is settled.
    """

    client: BatchClient
    price: Price | None
    kind: str
    request_of: Callable[[str], Request]
    tell: Callable[[str, Answer | Failure], None]
    found: Callable[[str], None]
    note: Callable[[str], None]
    budget: Budget
    stop: asyncio.Event
    #: Answers stored since then count; ``None``: all do.
    since: datetime | None = None
    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES
    held: dict[str, int] = field(default_factory=dict)


class Stopped(Exception):
    """The run is being left."""


@dataclass(slots=True)
class Following:
    """A batch that keys of this run are out with. ``again``: its rest is to be submitted anew,
    should it be cancelled; ``None`` while nobody has looked whether that has happened before."""

    keys: set[str] = field(default_factory=set)
    remote: str | None = None
    status: str = ""
    again: bool | None = None


class Books:
    """Where the keys of a run are: told of, out with a batch, asked for elsewhere, or loose."""

    def __init__(self, asked: Asked, store: Store) -> None:
        self.asked = asked
        self.ledger = Ledger(store)
        #: By the batches' numbers in the ledger.
        self.following: dict[int, Following] = {}
        #: Keys that another process asks for one by one, until it has them or lets go of them.
        self.elsewhere: set[str] = set()
        self._store = store
        self._reserved = asked.held

    def sort(self, keys: Iterable[str]) -> list[str]:
        """Tell of keys that are answered, follow those that are out; returns the loose ones."""
        keys = list(keys)
        answered = self._store.known(keys, since=self.asked.since)
        for key in (key for key in keys if key in answered):
            # Another process has paid for it.
            self.settle(key, 0)
            self.asked.found(key)
        rest = [key for key in keys if key not in answered]
        out: set[str] = set()
        for number, held in self.ledger.held(rest).items():
            for key, worst in held.items():
                if key not in self._reserved:
                    # It may be more than there is.
                    self.asked.budget.hold(worst or 0)
                    self._reserved[key] = worst or 0
            self.following.setdefault(number, Following()).keys.update(held)
            out.update(held)
        rest = [key for key in rest if key not in out]
        for key in rest:
            self.settle(key, 0)
        elsewhere = self.ledger.elsewhere(rest) if rest else set()
        self.elsewhere |= elsewhere
        return [key for key in rest if key not in elsewhere]

    def look_elsewhere(self) -> list[str]:
        """As :meth:`sort`, of the keys that another process asks for."""
        keys, self.elsewhere = self.elsewhere, set()
        return self.sort(keys)

    def reserve(self, key: str, worst: int | None) -> bool:
        """Hold back what a loose key may cost; ``False`` if there is no room."""
        room = self.asked.budget.reserve(worst or 0)
        if room:
            self._reserved[key] = worst or 0
        return room

    def settle(self, key: str, cost: int | None) -> None:
        """A key is out no more; ``cost`` is what was paid for it."""
        self.asked.budget.settle(self._reserved.pop(key, 0), cost)

    async def until(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of some work, which is given up once the run is being left."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self.asked.stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)


class Submitter:
    """Makes batches of loose keys."""

    def __init__(self, books: Books, client: BatchClient) -> None:
        self._books = books
        self._client = client

    async def submit(self, queue: deque[str]) -> bool:
        """Submit a batch of the first keys; ``False`` if the budget has no room for more."""
        address = self._client.address(self._books.asked.request_of(queue[0]).family)
        url = address.url
        number = self._books.ledger.begin(address)
        keys: set[str] = set()
        taken = False
        try:
            with tempfile.TemporaryFile() as file:
                room = await self._fill(number, url, queue, keys, file)
                if keys:
                    sent = await self._books.until(self._client.upload(file))
                    taken = await self._create(number, sent, url, keys)
        except BaseException as error:
            # Once the provider was asked, only its own no is certain.
            refused = isinstance(error, EndpointError) and not isinstance(
                error, BatchUncertainError
            )
            batch = self._books.ledger.get(number)
            taken = not refused and batch is not None and batch.status != SUBMITTING
            raise
        finally:
            if not taken:
                self._books.ledger.give_up(number)
                for key in keys:
                    self._books.settle(key, 0)
                queue.extendleft(keys)
        return room

    async def _fill(
        self, number: int, url: str, queue: deque[str], keys: set[str], file: IO[bytes]
    ) -> bool:
        """Move keys from the queue into a batch's file; ``False`` where the budget ends it."""
        asked, size, room, full = self._books.asked, 0, True, False
        while queue and room and not full and len(keys) < asked.most_requests:
            written: dict[str, bytes] = {}
            worst: dict[str, int | None] = {}
            most = min(STEP, asked.most_requests - len(keys))
            while queue and len(written) < most:
                key = queue[0]
                body = asked.request_of(key).body
                try:
                    line = self._client.line(key, url, body)
                    if len(line) > asked.most_bytes:
                        raise ValueError(f"{len(line)} bytes are too many for a file")
                except ValueError as error:
                    queue.popleft()
                    asked.tell(key, Failure(f"could not be sent: {type(error).__name__}: {error}"))
                    continue
                full = size + len(line) > asked.most_bytes
                costs = None if asked.price is None else asked.price.worst(body)
                room = full or self._books.reserve(key, costs)
                if full or not room:
                    break
                queue.popleft()
                written[key], worst[key] = line, costs
                size += len(line)
            got = self._books.ledger.claim(number, worst, since=asked.since)
            keys |= got
            if not got and self._books.ledger.get(number) is None:
                full = True  # this submission was given up as one that hangs
            file.writelines(line for key, line in written.items() if key in got)
            # Others have them, or have just had them answered.
            queue.extendleft(self._books.sort(key for key in written if key not in got))
            await asyncio.sleep(0)
            if asked.stop.is_set():
                raise Stopped
        return room

    async def _create(self, number: int, sent: str, url: str, keys: set[str]) -> bool:
        """Have the provider take a file as a batch; ``False`` if we were given up meanwhile."""
        books, ledger = self._books, self._books.ledger
        batch = ledger.get(number)
        if batch is None:
            return False
        remote: RemoteBatch | None = None
        attempt = unsure = 0
        while remote is None:
            if not ledger.create(number):
                return False
            attempt += 1
            try:
                # Not to be interrupted: it is short, and what comes of it has to be written down.
                remote = await self._client.create(sent, url, batch.nonce)
            except BatchThrottledError as error:
                ledger.recall(number)
                if attempt == ATTEMPTS:
                    raise
                await books.until(asyncio.sleep(pause(attempt - 1, error.again)))
            except BatchUncertainError:
                unsure += 1
                remote = await books.until(self._listed(batch))
                if remote is None and attempt == ATTEMPTS:
                    raise
        if not ledger.adopt(number, remote.id, remote.status):
            found = ledger.get(number)
            # Another process may have found this very batch and follow it.
            if found is None or found.remote != remote.id:
                await self._client.cancel(remote.id)
                return False
        books.following[number] = Following(keys, remote.id, remote.status, again=False)
        books.asked.note(f"{remote.id}: {count(keys)} submitted")
        if unsure:
            # An earlier call may have made one that was listed too late.
            with suppress(EndpointError):
                await books.until(
                    self._client.find(batch.nonce, since=batch.created, kept=remote.id)
                )
        return True

    async def _listed(self, batch: Batch) -> RemoteBatch | None:
        """A batch that may have been made, once it is listed; ``None``: it was not.

        Raises:
            BatchUncertainError: the provider does not say.
        """
        latest = time.monotonic() + LISTED_S
        while True:
            try:
                found = await self._client.find(batch.nonce, since=batch.created)
            except EndpointError as error:
                raise BatchUncertainError(str(error)) from None
            if found is not None or time.monotonic() > latest:
                return found
            await asyncio.sleep(_LOOK_S)


def count(keys: Collection[str]) -> str:
    """So many requests, in words."""
    return "1 request" if len(keys) == 1 else f"{len(keys)} requests"
