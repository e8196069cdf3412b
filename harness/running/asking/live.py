"""The calls of one system: sent within the budget, stored before they are used."""

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
from harness.store.store import Answered
from harness.store.writer import Writer


class Calls:
    """Calls for keys that are leased; ``waiting`` are those that have not been sent.

    ``came`` is told of every outcome, an answer being stored by then. Once ``stop`` is set nothing
    more is sent; it is set here where answers cannot be stored.
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
        came: Callable[[SystemPlan, str, Answer | Failure], None],
    ) -> None:
        self.waiting = deque(keys)
        self._plan = plan
        self._lease = lease
        self._writer = writer
        self._budget = budget
        self._stop = stop
        self._came = came
        # Requests in flight and what is held back for each, kept until their answer is stored.
        self._sent: dict[str, tuple[Request, int]] = {}
        # What could not be stored: answers, and what calls may have cost beside them.
        self._unstored: list[Answered] = []
        self._unseen = 0

    async def send(self) -> bool:
        """Send while there is room in the budget; ``False`` if there is none for one call more.

        Raises:
            EndpointError, CheckpointError: as the backend's.
            StoreError: answers could not be stored.
        """
        try:
            while self.waiting and not (self._stop.is_set() or self._lease.lost):
                before = len(self.waiting)
                await self._send_some()
                # Nothing is in flight now that could make room.
                if len(self.waiting) == before and not (self._stop.is_set() or self._lease.lost):
                    return False
            return True
        finally:
            if self._unstored or self._unseen:
                # Perhaps there is room for it now.
                await self._store()

    async def _send_some(self) -> None:
        answers = self._plan.backend.answers(self._requests(), self._stop, self._keep)
        try:
            async with aclosing(answers):
                async for key, outcome in answers:
                    del self._sent[key]
                    if not (isinstance(outcome, Failure) and outcome.cancelled):
                        self._came(self._plan, key, outcome)
        finally:
            # Given up without an outcome.
            for _, held in self._sent.values():
                self._budget.settle(held, 0)
            self._sent.clear()

    def _requests(self) -> Iterator[tuple[str, Request]]:
        plan, budget = self._plan, self._budget
        while self.waiting and not self._lease.lost:
            key = self.waiting[0]
            request = plan.request_of(key)
            held = 0 if budget.limit is None else plan.worst(request) or 0
            if not budget.reserve(held):
                return
            self.waiting.popleft()
            self._sent[key] = (request, held)
            yield key, request

    async def _keep(self, outcomes: Sequence[tuple[str, Answer | Failure]]) -> None:
        """Store answers. Where that fails nothing more is sent, and those in flight are awaited."""
        for key, outcome in outcomes:
            request, held = self._sent[key]
            self._sent[key] = (request, 0)
            unseen = self._worst_unseen(request, outcome)
            known = 0
            if isinstance(outcome, Answer):
                self._unstored.append((key, request, outcome))
                known = outcome.cost or 0
            self._budget.settle(held, known + unseen)
            self._unseen += unseen
        if self._unstored or self._unseen:
            try:
                await self._store()
            except StoreError:
                self._stop.set()

    async def _store(self) -> None:
        entries, unseen = self._unstored, self._unseen
        self._unstored, self._unseen = [], 0
        try:
            spent = await self._writer.put(entries, kind=self._plan.kind, unseen=unseen)
        except StoreError:
            self._unstored, self._unseen = entries + self._unstored, unseen + self._unseen
            raise
        # Other processes may pay for the same results folder.
        self._budget.spent = max(self._budget.spent, spent)

    def _worst_unseen(self, request: Request, outcome: Answer | Failure) -> int:
        """What a call may have cost beside what its answer says: at worst, in nano-dollars.

        That is of each attempt whose answer was lost on the way, and of an answer without price.
        """
        attempts = outcome.lost_attempts + (isinstance(outcome, Answer) and outcome.cost is None)
        return attempts * (self._plan.worst(request) or 0) if attempts else 0
