"""Sending what a plan has pending: every answer is in the store before anything else is done."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.budget import Budget
from harness.errors import CheckpointError, EndpointError, HarnessError, StoreError
from harness.models.openai_settings import OpenAISettings
from harness.models.pricing import add_costs
from harness.plan import Cell, SystemPlan
from harness.records import Answer, Failure
from harness.store import Store
from harness.store.batches import Ledger
from harness.store.claims import BEAT_S, Claimant
from harness.store.store import Answered
from harness.store.writer import Writer

# Seconds between two looks at what another process has had answered.
_LOOK_S = 0.5
# What such an answer is to whoever counts: it cost this run nothing.
_FOUND = Answer("", 0.0, 0)


class Progress:
    """What a run tells whoever watches; this one says nothing."""

    def downloading(self, path: str, done: int, total: int) -> None:
        """A corpus file is being fetched: bytes so far, bytes in all."""

    def translating(self, name: str, done: int, total: int) -> None:
        """A local model translates: its name, sentences done so far and in all."""

    def planned(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        """A system is about to be asked for these keys."""

    def answered(self, cell: Cell, outcome: Answer | Failure) -> None:
        """One request of a cell came back."""

    def note(self, text: str) -> None:
        """Something happened that whoever waits would like to know."""

    def stopping(self, *, batched: bool) -> None:
        """An interrupt came: nothing new is sent. Answers in flight are waited for, but not
        batches (``batched``): they go on at the provider."""

    def reading(self) -> None:
        """All asking is done; answers are read and scored."""


@dataclass(slots=True)
class Outcomes:
    """What came of asking.

    ``paid`` maps each key that was answered to the place that asked; ``failures`` holds what
    failed for good; ``cost`` is in nano-dollars, ``None`` once a price is unknown; ``refused``
    are why servers and local models answered no call at all. ``translated`` counts sentences.
    ``over_budget`` says that the next call might have passed the budget and was not made;
    ``found`` are keys that another process had answered meanwhile.
    """

    paid: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    cost: int | None = 0
    interrupted: bool = False
    refused: list[HarnessError] = field(default_factory=list)
    translated: int = 0
    over_budget: bool = False
    found: set[str] = field(default_factory=set)

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be asked."""
        return self.interrupted or self.over_budget


def ask(
    plans: Sequence[SystemPlan],
    store: Store,
    progress: Progress,
    outcomes: Outcomes,
    budget: Budget | None = None,
) -> None:
    """Send every pending request, one system after the other; what comes of it is added.

    The first interrupt (SIGINT, SIGTERM) stops the sending and waits for the answers in flight;
    a second one leaves at once, and they alone are lost. So does the first call that might pass
    the budget: those in flight are waited for, and if there is still no room the run stops.

    Raises:
        CredentialsError: a system needs a key that is not there; nothing was sent.
        StoreError: the store cannot be written, before anything is sent, or answers could not
            be stored.
    """
    pending = [plan for plan in plans if plan.pending]
    for plan in pending:
        plan.backend.check()
    if not pending:
        return
    store.prepare()
    # What the plan holds stays until the end: looking through it for garbage would hold up the
    # calls for as long as some hundred milliseconds.
    gc.freeze()
    try:
        with Writer(store) as writer:
            run = _Asking(store, writer, progress, outcomes, budget or Budget())
            asyncio.run(run.in_turn(pending))
    except (KeyboardInterrupt, asyncio.CancelledError):
        outcomes.interrupted = True
    finally:
        gc.unfreeze()


class _Asking:
    """One round of asking: what all systems of a run share."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        progress: Progress,
        outcomes: Outcomes,
        budget: Budget,
    ) -> None:
        self.store = store
        self.writer = writer
        self.progress = progress
        self.outcomes = outcomes
        self.budget = budget
        self.stop = asyncio.Event()
        # What batches that are out already may cost, by key.
        self.held: dict[str, int] = {}
        # Whether the system that is being asked goes through the Batch API.
        self._batched = False

    async def in_turn(self, plans: Sequence[SystemPlan]) -> None:
        """Ask one system after the other."""
        main = asyncio.current_task()

        def interrupt() -> None:
            if self.stop.is_set() and main is not None:
                main.cancel()
            self.stop.set()
            self.outcomes.interrupted = True
            self.progress.stopping(batched=self._batched)

        restore = _on_signals(interrupt)
        try:
            self._hold_back([plan for plan in plans if plan.batched])
            for number, plan in enumerate(plans):
                await self._system(plan)
                # A model on this machine is loaded once for all systems in a row that share it.
                if plan.backend not in [later.backend for later in plans[number + 1 :]]:
                    await plan.backend.aclose()
        finally:
            for plan in plans:
                await plan.backend.aclose()
            restore()

    def _hold_back(self, plans: Sequence[SystemPlan]) -> None:
        """What is out with batches is paid for whatever else is asked."""
        ledger = Ledger(self.store)
        for plan in plans:
            for out in ledger.held(plan.pending).values():
                self.held |= {key: worst or 0 for key, worst in out.items()}
        self.budget.hold(sum(self.held.values()))

    async def _system(self, plan: SystemPlan) -> None:
        # A key that an earlier system asked for is answered, or failed, for this one too; where
        # that one's server refused everything, this one's is tried.
        known = self.outcomes.paid.keys() | self.outcomes.failures.keys() | self.outcomes.found
        keys = [key for key in plan.pending if key not in known]
        if not keys or self.stop.is_set() or self.outcomes.stopped:
            return
        self.progress.planned(plan, keys)
        self._batched = plan.batched
        try:
            if plan.batched:
                await self._in_batches(plan, keys)
            else:
                await self._live(plan, keys)
        except (EndpointError, CheckpointError) as error:
            self.outcomes.refused.append(error)

    async def _live(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        """Ask for keys that no other process asks for; wait for what those come to."""
        claimant = Claimant()
        beating = asyncio.create_task(self._beat(claimant))
        told = False
        try:
            while keys and not self.stop.is_set() and not self.outcomes.over_budget:
                taken = await self.writer.do(partial(claimant.take, keys=keys, since=plan.since))
                self._found(plan, taken.answered)
                if taken.batched:
                    self.progress.note(
                        f"{plan.system.name}: {len(taken.batched)} requests are out with a batch "
                        f'and not sent again. mode = "batch" collects them, `harness batch '
                        f"cancel` gives them back."
                    )
                await self._send(plan, taken.own)
                # Others may want what failed, or what there is no room for.
                await self.writer.do(claimant.release)
                keys = taken.elsewhere
                if keys and not told:
                    told = True
                    self.progress.note(f"{len(keys)} requests are being asked by another process")
                if keys:
                    await self._pause(_LOOK_S)
        finally:
            beating.cancel()
            # What cannot be released lapses.
            with suppress(StoreError):
                await self.writer.do(claimant.release)

    async def _send(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        calls = _Calls(self, plan, keys)
        try:
            while calls.waiting and not self.stop.is_set():
                before = len(calls.waiting)
                await calls.send()
                if len(calls.waiting) == before:
                    # Nothing is in flight that could make room.
                    self.outcomes.over_budget = not self.stop.is_set()
                    break
        finally:
            await calls.close()

    async def _beat(self, claimant: Claimant) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with suppress(StoreError):
                await self.writer.do(claimant.beat)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    def _found(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        """Another process has had these answered."""
        for key in keys:
            self.outcomes.found.add(key)
            self.progress.answered(plan.pending[key][0], _FOUND)

    async def _in_batches(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        from harness.batches import Asked, ask_batches

        settings = plan.system.settings
        assert isinstance(settings, OpenAISettings)
        asked = Asked(
            settings,
            price=plan.backend.price,
            kind=plan.kind,
            request_of=plan.request_of,
            tell=partial(self.came, plan),
            found=lambda key: self._found(plan, [key]),
            note=self.progress.note,
            budget=self.budget,
            stop=self.stop,
            since=plan.since,
            held=self.held,
        )
        self.outcomes.over_budget = not await ask_batches(asked, keys, self.store)

    def came(self, plan: SystemPlan, key: str, outcome: Answer | Failure) -> None:
        """Note what came of a request; an answer is stored already."""
        place = plan.pending[key]
        if isinstance(outcome, Answer):
            self.outcomes.paid[key] = place
            self.outcomes.cost = add_costs(self.outcomes.cost, outcome.cost)
        else:
            self.outcomes.failures[key] = outcome
        self.progress.answered(place[0], outcome)


class _Calls:
    """The calls of one system: sent while the budget has room, stored before they are used."""

    def __init__(self, run: _Asking, plan: SystemPlan, keys: Sequence[str]) -> None:
        self.waiting = deque(keys)
        self._run = run
        self._plan = plan
        # Requests in flight and what is held back for each, kept until their answer is stored.
        self._sent: dict[str, tuple[dict[str, Any], int]] = {}
        self._unstored: list[Answered] = []

    async def send(self) -> None:
        """Send until nothing waits, or there is no room in the budget for one more."""
        run = self._run
        answers = self._plan.backend.answers(self._requests(), run.stop, self._keep)
        try:
            async with aclosing(answers):
                async for key, outcome in answers:
                    del self._sent[key]
                    run.came(self._plan, key, outcome)
        finally:
            # Given up without an outcome.
            for _, held in self._sent.values():
                run.budget.settle(held, 0)
            self._sent.clear()

    async def close(self) -> None:
        """Store what could not be stored so far.

        Raises:
            StoreError: it still cannot.
        """
        if self._unstored:
            await self._run.writer.put(self._unstored, kind=self._plan.kind)

    def _requests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        plan, budget = self._plan, self._run.budget
        while self.waiting:
            key = self.waiting[0]
            request = plan.request_of(key)
            held = 0 if budget.limit is None else plan.worst(request) or 0
            if not budget.reserve(held):
                return
            self.waiting.popleft()
            self._sent[key] = (request, held)
            yield key, request

    async def _keep(self, outcomes: Sequence[tuple[str, Answer | Failure]]) -> None:
        """Store answers. Where that fails nothing more is sent, and those in flight are awaited:
        perhaps there is room for them when they all are back."""
        run = self._run
        entries, self._unstored = self._unstored, []
        total = 0
        for key, outcome in outcomes:
            request, held = self._sent[key]
            unseen = self._unseen(request, outcome)
            total += unseen
            known = 0
            if isinstance(outcome, Answer):
                entries.append((key, request, outcome))
                known = outcome.cost or 0
            run.budget.settle(held, known + unseen)
            self._sent[key] = (request, 0)
        if not (entries or total):
            return
        try:
            await run.writer.put(entries, kind=self._plan.kind, unseen=total)
        except StoreError:
            self._unstored = entries
            run.stop.set()

    def _unseen(self, request: Mapping[str, Any], outcome: Answer | Failure) -> int:
        """What a call may have cost beside what its answer says: at worst, in nano-dollars.

        That is of each attempt whose answer was lost on the way, and of an answer without price.
        """
        attempts = outcome.lost + (isinstance(outcome, Answer) and outcome.cost is None)
        return attempts * (self._plan.worst(request) or 0) if attempts else 0


def _on_signals(handler: Callable[[], None]) -> Callable[[], None]:
    """Call ``handler`` on SIGINT and SIGTERM; returns what undoes it."""
    loop = asyncio.get_running_loop()
    installed: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not on Windows, nor outside the main thread: there an interrupt ends the run at once.
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, handler)
            installed.append(number)

    def restore() -> None:
        for number in installed:
            loop.remove_signal_handler(number)

    return restore
