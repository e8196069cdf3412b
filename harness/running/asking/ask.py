"""Asking for what a plan has pending, system by system: live, or through the Batch API."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from harness.errors import CheckpointError, EndpointError
from harness.money import add_costs
from harness.records import Answer, Failure
from harness.running.asking.lease import Lease
from harness.running.asking.live import LiveCalls
from harness.running.asking.outcomes import Outcomes
from harness.running.asking.progress import Progress
from harness.running.budget import Budget
from harness.running.plan import SystemPlan
from harness.store import Store
from harness.store.batch_tracker import BatchTracker
from harness.store.writer import Writer


def ask(
    plans: Sequence[SystemPlan],
    store: Store,
    progress: Progress,
    outcomes: Outcomes,
    budget: Budget | None = None,
) -> None:
    """Send every pending request, one system after the other, and add to the outcomes.

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
    # The plan stays until the end. A garbage collection that looks through it would block the
    # event loop for some hundred milliseconds.
    gc.freeze()
    try:
        with Writer(store) as writer:
            asking = _AskingRound(store, writer, progress, outcomes, budget or Budget())
            asyncio.run(asking.ask_in_turn(pending))
    except (KeyboardInterrupt, asyncio.CancelledError):
        outcomes.interrupted = True
    finally:
        gc.unfreeze()


class _AskingRound:
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
        # The worst cost of each key that is out with a batch already, in nano-dollars.
        self.reserved_for_batches: dict[str, int] = {}
        # Whether the system that is being asked goes through the Batch API.
        self._batched = False

    async def ask_in_turn(self, plans: Sequence[SystemPlan]) -> None:
        """Ask one system after the other."""
        main = asyncio.current_task()

        def interrupt() -> None:
            if self.outcomes.interrupted and main is not None:
                main.cancel()
            self.stop.set()
            self.outcomes.interrupted = True
            self.progress.stopping(batched=self._batched)

        restore = _on_signals(interrupt)
        try:
            self._reserve_for_batches([plan for plan in plans if plan.batched])
            for number, plan in enumerate(plans):
                await self._ask_system(plan)
                # A model on this machine is loaded once for all systems in a row that share it.
                if plan.backend not in [later.backend for later in plans[number + 1 :]]:
                    await plan.backend.aclose()
        finally:
            for plan in plans:
                await plan.backend.aclose()
            restore()

    def _reserve_for_batches(self, plans: Sequence[SystemPlan]) -> None:
        """Reserve money for what is out with batches: it is paid whatever else is asked."""
        tracker = BatchTracker(self.store)
        for plan in plans:
            self.reserved_for_batches |= tracker.out(plan.pending)
        self.budget.hold(sum(self.reserved_for_batches.values()))

    async def _ask_system(self, plan: SystemPlan) -> None:
        # A key that an earlier system asked for is answered, or failed, for this one too. Where
        # that system's server refused everything, this one's is tried.
        keys = [key for key in plan.pending if not self.outcomes.is_settled(key)]
        if not keys or self.stop.is_set() or self.outcomes.stopped:
            return
        self.progress.planned(plan, keys)
        self._batched = plan.batched
        try:
            if plan.batched:
                await self._ask_in_batches(plan, keys)
            else:
                await self._ask_live(plan, keys)
        except (EndpointError, CheckpointError) as error:
            self.outcomes.refusals.append(error)

    async def _ask_live(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        """Ask for the keys that no other process asks for, and wait for the others' answers."""
        answered = partial(self._record_elsewhere, plan)
        announced = False
        async with Lease(self.writer, plan.since, self.stop) as lease:
            while keys and not (self.stop.is_set() or self.outcomes.stopped):
                taken = await lease.take(keys)
                answered(taken.answered)
                # The other process may have paid for the same results folder.
                self.budget.spent = max(self.budget.spent, await self.writer.do(_spent))
                if taken.batched:
                    self.progress.note(
                        f"{plan.system.name}: {len(taken.batched)} requests are out with a batch "
                        f'and not sent again. mode = "batch" collects them, `harness batch '
                        f"cancel` gives back what is not answered yet."
                    )
                calls = LiveCalls(
                    plan,
                    taken.own,
                    lease=lease,
                    writer=self.writer,
                    budget=self.budget,
                    stop=self.stop,
                    record=self.record,
                )
                self.outcomes.over_budget = not await calls.send()
                # Another process may want the keys that failed, or that the budget left out.
                await lease.release()
                keys = [*calls.unsent, *taken.elsewhere]
                if taken.elsewhere and not calls.unsent:
                    if not announced:
                        announced = True
                        self.progress.note(
                            f"{len(taken.elsewhere)} requests are being asked by another process"
                        )
                    keys = await lease.wait(keys, answered)

    async def _ask_in_batches(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        from harness.running.asking.batched import BatchContext, ask_batches

        assert plan.backend.batch_client is not None
        context = BatchContext(
            plan.backend.batch_client(),
            price=plan.backend.price,
            kind=plan.kind,
            request_of=plan.request_of,
            record=partial(self.record, plan),
            record_elsewhere=lambda key: self._record_elsewhere(plan, [key]),
            note=self.progress.note,
            budget=self.budget,
            stop=self.stop,
            since=plan.since,
            reserved=self.reserved_for_batches,
        )
        self.outcomes.over_budget = not await ask_batches(context, keys, self.store)

    def record(self, plan: SystemPlan, key: str, outcome: Answer | Failure) -> None:
        """Record the outcome of a request; an answer is stored already."""
        place = plan.pending[key]
        if isinstance(outcome, Answer):
            self.outcomes.places[key] = place
            self.outcomes.cost = add_costs(self.outcomes.cost, outcome.cost)
        else:
            self.outcomes.failures[key] = outcome
        self.progress.answered(place[0], outcome)

    def _record_elsewhere(self, plan: SystemPlan, keys: Iterable[str]) -> None:
        """Record keys that another process has had answered."""
        for key in keys:
            self.outcomes.answered_elsewhere.add(key)
            self.progress.answered_elsewhere(plan.pending[key][0])


def _spent(store: Store) -> int:
    return 0 if store.run is None else store.spent(store.run)


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
