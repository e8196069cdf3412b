"""Sending what a plan has pending: every answer is in the store before anything else is done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.errors import CheckpointError, EndpointError, HarnessError, TemplateError
from harness.plan import Cell, SystemPlan
from harness.records import Answer, Failure
from harness.store import Store, request_key


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

    def stopping(self) -> None:
        """An interrupt came: nothing new is sent, answers in flight are waited for."""

    def reading(self) -> None:
        """All asking is done; answers are read and scored."""


@dataclass(slots=True)
class Outcomes:
    """What came of asking.

    ``paid`` maps each key that was answered to the place that asked; ``failures`` holds what
    failed for good; ``cost`` is in nano-dollars, ``None`` once a price is unknown; ``refused``
    are why servers and local models answered no call at all. ``translated`` counts sentences.
    """

    paid: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    cost: int | None = 0
    interrupted: bool = False
    refused: list[HarnessError] = field(default_factory=list)
    translated: int = 0


def ask(plans: Sequence[SystemPlan], store: Store, progress: Progress, outcomes: Outcomes) -> None:
    """Send every pending request, one system after the other; what comes of it is added.

    The first interrupt (SIGINT, SIGTERM) stops the sending and waits for the answers in flight;
    a second one leaves at once, and they alone are lost.

    Raises:
        CredentialsError: a system needs a key that is not there; nothing was sent.
        StoreError: the store cannot be written, before anything is sent, or an answer could not
            be stored.
    """
    pending = [plan for plan in plans if plan.pending]
    for plan in pending:
        plan.backend.check()
    if pending:
        store.prepare()
        try:
            asyncio.run(_ask_in_turn(pending, store, progress, outcomes))
        except (KeyboardInterrupt, asyncio.CancelledError):
            outcomes.interrupted = True


async def _ask_in_turn(
    plans: Sequence[SystemPlan], store: Store, progress: Progress, outcomes: Outcomes
) -> None:
    main = asyncio.current_task()
    stop = asyncio.Event()

    def interrupt() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()
        outcomes.interrupted = True
        progress.stopping()

    restore = _on_signals(interrupt)
    try:
        for number, plan in enumerate(plans):
            # A key that an earlier system asked for is answered, or failed, for this one too;
            # where that one's server refused everything, this one's is tried.
            known = outcomes.paid.keys() | outcomes.failures.keys()
            keys = [key for key in plan.pending if key not in known]
            if keys and not stop.is_set():
                progress.planned(plan, keys)
                await _ask_system(plan, keys, store, progress, outcomes, stop)
            # A model on this machine is loaded once for all systems in a row that share it.
            if plan.backend not in [later.backend for later in plans[number + 1 :]]:
                await plan.backend.aclose()
    finally:
        for plan in plans:
            await plan.backend.aclose()
        restore()


async def _ask_system(
    plan: SystemPlan,
    keys: Sequence[str],
    store: Store,
    progress: Progress,
    outcomes: Outcomes,
    stop: asyncio.Event,
) -> None:
    # Requests in flight, kept until their answer is stored beside them.
    sent: dict[str, dict[str, Any]] = {}

    def sending() -> Iterator[tuple[str, dict[str, Any]]]:
        for key in keys:
            request = plan.request(*plan.pending[key])
            # Its answer would be stored under another key than it is looked up by.
            if request_key(request) != key:
                raise TemplateError(
                    f"{plan.template.path}: the template gives another prompt each time. "
                    f"Take out what is random or depends on the time."
                )
            sent[key] = request
            yield key, request

    try:
        async with aclosing(plan.backend.answers(sending(), stop)) as answers:
            async for key, outcome in answers:
                request = sent.pop(key)
                place = plan.pending[key]
                if isinstance(outcome, Answer):
                    store.put(key, request, outcome, kind=plan.kind)
                    outcomes.paid[key] = place
                    outcomes.cost = _add(outcomes.cost, outcome.cost)
                else:
                    outcomes.failures[key] = outcome
                progress.answered(place[0], outcome)
    except (EndpointError, CheckpointError) as error:
        outcomes.refused.append(error)


def _add(total: int | None, cost: int | None) -> int | None:
    """A sum with an unknown term is unknown."""
    return None if total is None or cost is None else total + cost


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
