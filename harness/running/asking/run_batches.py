"""The batches of a run: which keys are in one, which are asked elsewhere, which are free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from harness.models.batches import MOST_BYTES, MOST_REQUESTS, BatchClient
from harness.models.prices import Price
from harness.records import Answer, Failure, Request
from harness.running.budget import Budget
from harness.store import Store
from harness.store.batch_tracker import BatchTracker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What asking one system through batches needs, and whom it reports to.

    ``request_of`` makes the whole request of a key. ``record`` is given every outcome; an answer
    is stored by then. ``record_elsewhere`` is given keys that another process has had answered.
    ``note`` takes a line for the user. ``price`` is that of a call in a batch. ``reserved`` is what
    the budget reserves already, by key in nano-dollars; a key is removed once it is settled.
    Answers from before ``since`` do not count.
    """

    client: BatchClient
    price: Price | None
    kind: str
    request_of: Callable[[str], Request]
    record: Callable[[str, Answer | Failure], None]
    record_elsewhere: Callable[[str], None]
    note: Callable[[str], None]
    budget: Budget
    stop: asyncio.Event
    since: datetime | None = None
    most_requests: int = MOST_REQUESTS
    most_bytes: int = MOST_BYTES
    reserved: dict[str, int] = field(default_factory=dict)


class RunStopped(Exception):
    """The user stopped the run while it waited for a provider."""


@dataclass(slots=True)
class TrackedBatch:
    """A batch that has keys of this run.

    ``remote`` is the provider's id. ``resubmit`` says whether its rest is submitted again should
    it be cancelled; it is ``None`` until the provider was asked for the first time.
    """

    keys: set[str] = field(default_factory=set)
    remote: str | None = None
    status: str = ""
    resubmit: bool | None = None


class RunBatches:
    """The batches that have keys of one system of a run, and the money reserved for them."""

    def __init__(self, context: BatchContext, store: Store) -> None:
        self.context = context
        self.tracker = BatchTracker(store)
        #: By the batches' numbers in the tracker.
        self.tracked: dict[int, TrackedBatch] = {}
        #: Keys that another process asks for one by one, until it has answers or releases them.
        self.keys_elsewhere: set[str] = set()
        self._store = store
        self._reserved = context.reserved

    def sort_keys(self, keys: Iterable[str]) -> list[str]:
        """Record keys that are answered, track those in batches, and return the free ones."""
        keys = list(keys)
        answered = self._store.known(keys, since=self.context.since)
        for key in (key for key in keys if key in answered):
            # Another process has paid for it.
            self.settle(key, 0)
            self.context.record_elsewhere(key)
        unanswered = [key for key in keys if key not in answered]
        batched_keys: set[str] = set()
        for number, costs in self.tracker.held(unanswered).items():
            for key, worst in costs.items():
                if key not in self._reserved:
                    # The budget may have less room than this: the batch is out already.
                    self.context.budget.hold(worst or 0)
                    self._reserved[key] = worst or 0
            self.tracked.setdefault(number, TrackedBatch()).keys.update(costs)
            batched_keys.update(costs)
        free_keys = [key for key in unanswered if key not in batched_keys]
        for key in free_keys:
            self.settle(key, 0)
        elsewhere = self.tracker.elsewhere(free_keys) if free_keys else set()
        self.keys_elsewhere |= elsewhere
        return [key for key in free_keys if key not in elsewhere]

    def recheck_elsewhere(self) -> list[str]:
        """As :meth:`sort_keys`, of the keys that another process asks for."""
        keys, self.keys_elsewhere = self.keys_elsewhere, set()
        return self.sort_keys(keys)

    def reserve(self, key: str, worst: int | None) -> bool:
        """Reserve what a free key may cost; ``False`` if the budget has no room."""
        room = self.context.budget.reserve(worst or 0)
        if room:
            self._reserved[key] = worst or 0
        return room

    def settle(self, key: str, cost: int | None) -> None:
        """Replace what is reserved for a key by its ``cost``."""
        self.context.budget.settle(self._reserved.pop(key, 0), cost)

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of some work, which is cancelled when the run is stopped.

        Raises:
            RunStopped: the run was stopped first.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.context.stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise RunStopped
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)


def request_count(keys: Collection[str]) -> str:
    """The number of requests, in words: ``1 request``, ``20 requests``."""
    return "1 request" if len(keys) == 1 else f"{len(keys)} requests"
