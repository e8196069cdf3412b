"""The one line of the program: plan, ask, read, write.

Whatever was answered is in the store before it is used, so a run that dies is taken up again by
running it once more: results are always read back from the store, in the order of the examples.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import EndpointError, HarnessError, OfflineError
from harness.experiment import Experiment
from harness.models.pricing import dollars
from harness.plan import Cell, SystemPlan, load_blocks, make_plan
from harness.records import Answer, Failure, Prediction, Reply, Status
from harness.runs import (
    LAYOUT,
    RunFolder,
    environment,
    example_json,
    json_line,
    prediction_json,
)
from harness.scoring.signature import examples_hash
from harness.store import Store

# Answers are read from the store in steps of this many, to keep memory flat.
_STEP = 500


class Progress:
    """What a run tells whoever watches; this one says nothing."""

    def downloading(self, path: str, done: int, total: int) -> None:
        """A corpus file is being fetched: bytes so far, bytes in all."""

    def planned(self, plan: SystemPlan) -> None:
        """A system is about to be asked its pending requests."""

    def answered(self, plan: SystemPlan, cell: Cell, outcome: Answer | Failure) -> None:
        """One request came back."""

    def stopping(self) -> None:
        """An interrupt came: nothing new is sent, answers in flight are waited for."""

    def reading(self) -> None:
        """All asking is done; answers are read and scored."""


@dataclass(slots=True)
class _Outcomes:
    """By key: what failed for good, and what was answered (and paid for) in this run."""

    failures: dict[str, Failure] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RunResult:
    """How a run ended. ``cost`` is what this run paid, in nano-dollars; ``None`` if unknown."""

    folder: RunFolder
    examples: int = 0
    sent: int = 0
    cached: int = 0
    failed: int = 0
    unsent: int = 0
    cost: int | None = 0
    interrupted: bool = False
    stopped_by: HarnessError | None = None
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 fine, 3 finished with failed examples, 130 interrupted; an error has its own."""
        if self.interrupted:
            return 130
        if self.stopped_by is not None:
            return self.stopped_by.exit_code
        return 3 if self.failed else 0


def run(
    experiment: Experiment,
    *,
    offline: bool = False,
    refresh: bool = False,
    retry: Sequence[str] = (),
    limit: int | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    store: Store | Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Ask what is not answered yet, read every answer, and write the results folder.

    Args:
        offline: ask nothing; an answer that is not stored is an error.
        refresh: ask everything anew; the old answers stay in the store behind the new.
        retry: statuses whose answers are asked anew (``"truncated"``, ``"refused"``, …).
        limit: at most this many examples a language.
        data_dir: a folder of local corpora.
        out: the results folder; default beside the experiment file, of the same name.
        store: the answer store or its file; default as ``HARNESS_CACHE`` says.

    Returns:
        The folder and the counts of what was sent, cached and failed. A failed example does not
        raise: its status says so.

    Raises:
        HarnessError: bad input, before anything was sent.
        OfflineError: ``offline``, and answers are missing.
    """
    progress = progress or Progress()
    statuses = frozenset(Status(status) for status in retry)
    folder = results_folder(experiment, out)
    folder.prepare()
    blocks = load_blocks(
        experiment,
        limit=limit,
        data_dir=Path(data_dir) if data_dir else None,
        progress=progress.downloading,
    )
    owned = None if isinstance(store, Store) else Store(store, read_only=offline)
    active = owned or store
    assert isinstance(active, Store)
    try:
        plans = make_plan(experiment, blocks, active, refresh=refresh, retry=statuses)
        result = RunResult(folder)
        if offline:
            _refuse_missing(plans)
        outcomes = _ask_all(plans, active, progress, result)
        progress.reading()
        with folder.writing("experiment.toml") as file:
            file.write(experiment.to_toml())
        folder.write_json("environment.json", environment())
        with folder.writing("examples.jsonl") as file:
            for block in blocks:
                for example in block.examples:
                    file.write(json_line(example_json(example)))
        with folder.writing("predictions.jsonl") as file:
            for plan in plans:
                for row in _rows(plan, active, outcomes, result):
                    file.write(json_line(row))
        # Written last: its presence says that the folder holds a run.
        folder.write_json("manifest.json", _manifest(plans, blocks, result))
    finally:
        if owned is not None:
            owned.close()
    return result


def results_folder(experiment: Experiment, out: str | Path | None) -> RunFolder:
    """Where an experiment's results go: ``out``, else beside its file, of the same name."""
    if out is not None:
        return RunFolder(Path(out))
    if experiment.path is None:
        return RunFolder(Path("runs") / "experiment")
    if experiment.path.name == "experiment.toml":
        # The resolved file of a results folder: running it again refreshes that folder.
        return RunFolder(experiment.path.parent)
    return RunFolder.beside(experiment.path)


def _refuse_missing(plans: Sequence[SystemPlan]) -> None:
    missing = {plan.system.name: len(plan.pending) for plan in plans if plan.pending}
    if missing:
        listed = ", ".join(f"{name}: {count}" for name, count in missing.items())
        raise OfflineError(
            f"Offline, and {sum(missing.values())} answers are not in the store ({listed}). Run "
            f"without --offline to ask for them, import them with `harness cache import FILE`, or "
            f"see `harness cache explain FILE` for what differs from the stored requests."
        )


def _ask_all(
    plans: Sequence[SystemPlan], store: Store, progress: Progress, result: RunResult
) -> _Outcomes:
    """Send every pending request; answers go to the store as they come."""
    outcomes = _Outcomes()
    pending = [plan for plan in plans if plan.pending]
    for plan in pending:
        plan.backend.check()
    if pending:
        # A second interrupt ends the waiting for answers in flight: they alone are lost.
        with suppress(KeyboardInterrupt, asyncio.CancelledError):
            asyncio.run(_ask(pending, store, progress, result, outcomes))
    return outcomes


async def _ask(
    plans: Sequence[SystemPlan],
    store: Store,
    progress: Progress,
    result: RunResult,
    outcomes: _Outcomes,
) -> None:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def interrupt() -> None:
        if result.interrupted and main is not None:
            main.cancel()
        result.interrupted = True
        progress.stopping()

    # Requests in flight, kept until their answer is stored beside them.
    sent: dict[str, dict[str, Any]] = {}

    def sending(plan: SystemPlan) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, request in plan.requests():
            if result.interrupted:
                return
            sent[key] = request
            yield key, request

    restore = _on_signals(loop, interrupt)
    try:
        for plan in plans:
            progress.planned(plan)
            try:
                async with aclosing(plan.backend.answers(sending(plan))) as answers:
                    async for key, outcome in answers:
                        request = sent.pop(key)
                        if isinstance(outcome, Answer):
                            store.put(key, request, outcome)
                            outcomes.paid.add(key)
                            result.sent += 1
                            result.cost = _add(result.cost, outcome.cost)
                        else:
                            outcomes.failures[key] = outcome
                        progress.answered(plan, plan.pending[key][0], outcome)
            except EndpointError as error:
                result.stopped_by = error
                result.failures[plan.system.name] = len(plan.pending)
            finally:
                await plan.backend.aclose()
            if result.interrupted:
                break
    finally:
        restore()


def _on_signals(loop: asyncio.AbstractEventLoop, handler: Callable[[], None]) -> Callable[[], None]:
    """Call ``handler`` on SIGINT and SIGTERM; returns what undoes it."""
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


def _add(total: int | None, cost: int | None) -> int | None:
    """A sum with an unknown term is unknown."""
    return None if total is None or cost is None else total + cost


def _rows(
    plan: SystemPlan, store: Store, outcomes: _Outcomes, result: RunResult
) -> Iterator[dict[str, Any]]:
    """The lines of ``predictions.jsonl`` of one system, in the order of its examples."""
    for cell in plan.cells:
        for start in range(0, len(cell.keys), _STEP):
            indices = range(start, min(start + _STEP, len(cell.keys)))
            answers = store.get_many([k for i in indices if (k := cell.keys[i]) is not None])
            for index in indices:
                key = cell.keys[index]
                answer = None if key is None else answers.get(key)
                failure = None if key is None else outcomes.failures.get(key)
                # The first place that asked for a key paid for it; later ones are cached.
                first = None if key not in outcomes.paid else plan.pending.get(key)
                paid = first is not None and first[0] is cell and first[1] == index
                yield _row(plan, cell, index, answer, failure, paid, result)


def _row(
    plan: SystemPlan,
    cell: Cell,
    index: int,
    answer: Answer | None,
    failure: Failure | None,
    paid: bool,
    result: RunResult,
) -> dict[str, Any]:
    example = cell.block.examples[index]
    reply: Reply | None = None
    status = cell.statuses[index]
    if failure is not None:
        # Asked anew and failed: an older answer, if there is one, does not stand in for it.
        status = _status(failure)
        result.failed += 1
    elif status is None and answer is None:
        status = Status.UNSENT
        result.unsent += 1
    if status is None and answer is not None:
        reply = plan.backend.reply(answer, cached=not paid)
        result.cached += not paid
        prediction = plan.read(cell, index, reply)
    else:
        assert status is not None
        prediction = Prediction(example.id, {}, status)
    result.examples += 1
    row: dict[str, Any] = {
        "dataset": example.dataset,
        "language": example.language,
        "example_id": example.id,
        "system": plan.system.name,
        **prediction_json(prediction),
        "prompt_sha256": cell.prompt_hashes[index],
    }
    if reply is not None:
        usage = reply.usage
        row |= {
            "finish_reason": reply.finish_reason,
            "reply": reply.text,
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "cached_tokens": usage.cached_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
            },
            "cost": None if reply.cost is None else dollars(reply.cost),
            "latency_s": reply.latency_s,
            "cached": reply.cached,
            "served_by": reply.served_by,
        }
    else:
        row |= {"finish_reason": None, "reply": None, "usage": None, "cost": None}
        row |= {"latency_s": None, "cached": False, "served_by": None}
    if failure is not None:
        row["error"] = failure.message
    translation = cell.english[index]
    if translation is not None:
        row["english"] = translation.text
        row["translation"] = {"source": translation.source, "flags": translation.flags}
    return row


def _status(failure: Failure) -> Status:
    if failure.too_long:
        return Status.TOO_LONG
    return Status.FILTERED if failure.filtered else Status.ERROR


def _manifest(plans: Sequence[SystemPlan], blocks: Sequence[Any], result: RunResult) -> Any:
    """What was asked, by name and hash: all that scores and signatures need besides the lines."""
    return {
        "layout": LAYOUT,
        "version": __version__,
        "complete": result.unsent == 0,
        "blocks": [
            {
                "dataset": block.dataset.name,
                "language": block.language,
                "split": block.split,
                "n": len(block.examples),
                "examples_sha256": examples_hash(block.examples),
            }
            for block in blocks
        ],
        "systems": [
            {
                "name": plan.system.name,
                "backend": plan.system.backend,
                "model": plan.system.settings.model,
                "strategy": plan.system.strategy,
                "wrap": plan.system.wrap,
                "answers": plan.template.answers,
                "translation": None if plan.translator is None else plan.translator.identity,
                "left_out": plan.left_out,
                "prompts": {
                    cell.block.dataset.name: {
                        "template_sha256": cell.renderer.sha256,
                        "schema_sha256": cell.renderer.schema.sha256,
                        "fields": cell.fields,
                    }
                    for cell in plan.cells
                },
            }
            for plan in plans
        ],
    }
