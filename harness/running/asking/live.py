"""The live calls of one system: sent within the budget, stored before they are used."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing

from harness.errors import StoreError
from harness.records import Answer, Failure, Request
from harness.running.asking.lease import Lease
from harness.running.budget import Budget
from harness.running.plan import SystemPlan
from harness.store.store import KeyedAnswer
from harness.store.writer import Writer


class LiveCalls:
    """Calls for keys that this process has leased.

    ``unsent`` are the keys that have not been sent. ``record`` is given every outcome; an answer
    is stored by then. Nothing more is sent once ``stop`` is set, or the lease is lost. Where
    answers cannot be stored, ``stop`` is set here.
    """

    def __init__(
        self,
        plan: SystemPlan,
        keys: Sequence[str],
        *,
        lease: Lease,
        writer: Writer,
        budget: Budget,
        stop: asyncio.Event,
        record: Callable[[SystemPlan, str, Answer | Failure], None],
    ) -> None:
        self.unsent = deque(keys)
        self._plan = plan
        self._lease = lease
        self._writer = writer
        self._budget = budget
        self._stop = stop
        self._record = record
        # Requests in flight with what is reserved for each, until their answer is stored.
        self._in_flight: dict[str, tuple[Request, int]] = {}
        # What could not be stored yet: answers, and the worst cost of attempts without an answer.
        self._unstored: list[KeyedAnswer] = []
        self._unseen_cost = 0

    @property
    def _may_send(self) -> bool:
        return not (self._stop.is_set() or self._lease.lost)

    async def send(self) -> bool:
        """Send while there is room in the budget; ``False`` if there is none for one call more.

        Raises:
            EndpointError, CheckpointError: as the backend's.
            StoreError: answers could not be stored.
        """
        try:
            while self.unsent and self._may_send:
                before = len(self.unsent)
                await self._send_what_fits()
                # Nothing is in flight now whose cost could turn out lower and make room.
                if len(self.unsent) == before and self._may_send:
                    return False
            return True
        finally:
            if self._unstored or self._unseen_cost:
                # The disk may have room again.
                await self._store()

    async def _send_what_fits(self) -> None:
        answers = self._plan.backend.answers(self._requests(), self._stop, self._store_outcomes)
        try:
            async with aclosing(answers):
                async for key, outcome in answers:
                    del self._in_flight[key]
                    if not (isinstance(outcome, Failure) and outcome.cancelled):
                        self._record(self._plan, key, outcome)
        finally:
            # These were cancelled without an outcome.
            for _, reserved in self._in_flight.values():
                self._budget.settle(reserved, 0)
            self._in_flight.clear()

    def _requests(self) -> Iterator[tuple[str, Request]]:
        """The requests that the budget has room for, reserved as they are taken."""
        plan, budget = self._plan, self._budget
        while self.unsent and not self._lease.lost:
            key = self.unsent[0]
            request = plan.request_of(key)
            worst = 0 if budget.limit is None else plan.worst_case(request) or 0
            if not budget.reserve(worst):
                return
            self.unsent.popleft()
            self._in_flight[key] = (request, worst)
            yield key, request

    async def _store_outcomes(self, outcomes: Sequence[tuple[str, Answer | Failure]]) -> None:
        """Store answers. Where that fails, nothing more is sent; calls in flight are awaited."""
        for key, outcome in outcomes:
            request, reserved = self._in_flight[key]
            self._in_flight[key] = (request, 0)
            unknown_nano = self._worst_unseen_cost(request, outcome)
            known = 0
            if isinstance(outcome, Answer):
                self._unstored.append((key, request, outcome))
                known = outcome.cost or 0
            self._budget.settle(reserved, known + unknown_nano)
            self._unseen_cost += unknown_nano
        if self._unstored or self._unseen_cost:
            try:
                await self._store()
            except StoreError:
                self._stop.set()

    async def _store(self) -> None:
        entries, unknown_nano = self._unstored, self._unseen_cost
        self._unstored, self._unseen_cost = [], 0
        try:
            spent = await self._writer.put(entries, kind=self._plan.kind, unknown_nano=unknown_nano)
        except StoreError:
            self._unstored, self._unseen_cost = (
                entries + self._unstored,
                unknown_nano + self._unseen_cost,
            )
            raise
        # Other processes may pay for the same results folder.
        self._budget.spent = max(self._budget.spent, spent)

    def _worst_unseen_cost(self, request: Request, outcome: Answer | Failure) -> int:
        """The most that a call may have cost beside what its answer says, in nano-dollars.

        That is the worst case of each attempt whose answer was lost on the way, and of an answer
        without a price.
        """
        attempts = outcome.lost_attempts + (isinstance(outcome, Answer) and outcome.cost is None)
        return attempts * (self._plan.worst_case(request) or 0) if attempts else 0
