"""The one line of the program: plan, ask, read, write.

Whatever was answered is in the store before it is used, so a run that dies is taken up again by
running it once more: results are always read back from the store, in the order of the examples.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from harness.errors import OfflineError, UsageError, unknown_name_message
from harness.experiment import Experiment
from harness.records import Status
from harness.results.environment import environment
from harness.results.folder import RunFolder
from harness.running.asking.ask import ask
from harness.running.asking.outcomes import Outcomes
from harness.running.asking.progress import Progress
from harness.running.budget import Budget, read_budget
from harness.running.plan import SystemPlan
from harness.running.planning import make_plan
from harness.running.prepare import PreparedRun, prepare
from harness.running.recording import RunResult, make_manifest, prediction_lines
from harness.running.translation_stage import refuse_failed, translate_missing
from harness.running.unpriced import refuse_unpriced
from harness.store import Store

#: Statuses whose answers can be asked for again. A call that failed is made again anyway.
RETRIABLE = tuple(
    str(s)
    for s in Status
    if s not in (Status.OK, Status.UNTRANSLATED, Status.UNSENT, Status.ERROR, Status.TOO_LONG)
)


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
    budget: str | Decimal | None = None,
    unpriced: bool = False,
) -> RunResult:
    """Ask what is not answered yet, read every answer, and write the results folder.

    Args:
        offline: ask no model; an answer that is not stored is an error.
        refresh: ask everything again; the old answers stay in the store behind the new ones. An
            interrupted refresh goes on where it stopped.
        retry: statuses whose answers are asked for again (``"truncated"``, ``"refused"``, …).
        limit: at most this many examples a language.
        data_dir: a folder of local corpora.
        out: the results folder; default beside the experiment file, of the same name.
        store: the answer store or its file; default as ``HARNESS_CACHE`` says.
        budget: the dollars that this results folder's run may cost, over all calls of this
            function; the run stops before the request that might pass it.
        unpriced: run models of unknown price beside the budget, which does not limit them.

    Returns:
        The folder and the counts of what was sent, cached and failed. A failed example does not
        raise: its status says so.

    Raises:
        HarnessError: bad input, or a budget over calls of unknown price, before anything was
            sent.
        OfflineError: ``offline``, and answers are missing.
        StoreError, RunFolderError: an answer or a result could not be written.
    """
    if refresh and retry:
        raise UsageError("A refresh asks everything again, a retry some of it. Give one of them.")
    if offline and (refresh or retry):
        raise UsageError(
            "Offline nothing is asked; a refresh or a retry asks again. Give one of them."
        )
    for status in retry:
        if status not in RETRIABLE:
            raise UsageError("retry: " + unknown_name_message("status", status, RETRIABLE))
    if limit is not None:
        experiment = experiment.limited(limit)
    folder = results_folder(experiment, out)
    if experiment.path is not None:
        beside = RunFolder(experiment.path.parent)
        if beside.holds(experiment.path):
            # A results folder's own resolved file: the results keep the name that they have.
            experiment = experiment.model_copy(update={"name": beside.experiment})
    options = _Options(
        offline=offline,
        refresh=refresh,
        retry=frozenset(map(Status, retry)),
        data_dir=Path(data_dir) if data_dir else None,
        budget=None if budget is None else read_budget(budget),
        unpriced=unpriced,
    )
    work = partial(_run, experiment, options, folder, store, progress or Progress())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    # In a notebook a loop is running already, and a thread can have only one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@dataclass(frozen=True, slots=True)
class _Options:
    """The arguments of :func:`run`, checked; ``budget`` is in nano-dollars."""

    offline: bool
    refresh: bool
    retry: frozenset[Status]
    data_dir: Path | None
    budget: int | None
    unpriced: bool


def _run(
    experiment: Experiment,
    options: _Options,
    folder: RunFolder,
    store: Store | Path | None,
    progress: Progress,
) -> RunResult:
    # A connection of its own: this may be another thread than the store's.
    path = store.path if isinstance(store, Store) else store
    with Store(path, read_only=options.offline) as active:
        refresh_start = folder.refresh_started() if options.refresh else None
        since = None
        if options.refresh or options.retry:
            since = refresh_start or active.now()
        active.not_before = since
        prepared = prepare(
            experiment, active, data_dir=options.data_dir, progress=progress.downloading
        )
        outcomes, budget = Outcomes(), Budget()
        if not options.offline:
            if options.budget is not None and not options.unpriced:
                refuse_unpriced(prepared.models(), prepared.prices)
            folder.prepare(experiment.name)
            active.run = folder.start_paying(anew=options.refresh and refresh_start is None)
            budget = Budget(options.budget, active.spent(active.run))
            outcomes = translate_missing(prepared, active, progress, budget)
        plans = make_plan(prepared, active, since=since, retry=options.retry)
        refuse_failed(prepared.systems, plans, outcomes)
        if options.offline:
            _refuse_missing(plans)
            folder.prepare(experiment.name)
        if options.refresh and since is not None:
            folder.start_refresh(since)
        if not (options.offline or outcomes.stopped):
            ask(plans, active, progress, outcomes, budget)
        progress.reading()
        return _write_results(prepared, plans, folder, active, outcomes)


def _write_results(
    prepared: PreparedRun,
    plans: Sequence[SystemPlan],
    folder: RunFolder,
    store: Store,
    outcomes: Outcomes,
) -> RunResult:
    """Read every answer back from the store and write the results folder."""
    result = RunResult(
        folder,
        sent=len(outcomes.places),
        cost=outcomes.cost,
        interrupted=outcomes.interrupted,
        refused=outcomes.refusals,
        translated=outcomes.translated,
        over_budget=outcomes.over_budget,
    )
    folder.remove_manifest()
    with folder.writing("experiment.toml") as file:
        file.write(prepared.experiment.to_toml())
    folder.write_json("environment.json", environment())
    folder.write_examples(example for block in prepared.blocks for example in block.examples)
    folder.write_predictions(
        line for plan in plans for line in prediction_lines(plan, store, outcomes, result)
    )
    if result.complete:
        folder.end_refresh()
    folder.write_manifest(make_manifest(prepared.experiment, plans, prepared.blocks, result))
    return result


def results_folder(experiment: Experiment, out: str | Path | None) -> RunFolder:
    """Where an experiment's results go: ``out``, else beside its file, of the same name."""
    if out is not None:
        return RunFolder(Path(out))
    if experiment.path is None:
        return RunFolder(Path("runs") / experiment.name)
    if RunFolder(experiment.path.parent).holds(experiment.path):
        # The resolved file of a results folder: running it again renews that folder.
        return RunFolder(experiment.path.parent)
    return RunFolder(experiment.path.with_suffix(""))


def _refuse_missing(plans: Sequence[SystemPlan]) -> None:
    english = {
        f"{plan.translation}: {waiting}": waiting
        for plan in plans
        if (waiting := sum(len(cell.pending_translations) for cell in plan.cells))
    }
    if english:
        raise OfflineError(
            f"Offline, and {sum(english.values())} translations are not in the store "
            f"({', '.join(english)}). Run without --offline, or `harness translate FILE`, to make "
            f"them, or import them with `harness cache import FILE`."
        )
    missing = {plan.system.name: len(plan.pending) for plan in plans if plan.pending}
    if missing:
        listed = ", ".join(f"{name}: {count}" for name, count in missing.items())
        raise OfflineError(
            f"Offline, and {sum(missing.values())} answers are not in the store ({listed}). Run "
            f"without --offline to ask for them, import them with `harness cache import FILE`, or "
            f"see `harness cache explain FILE` for what differs from the stored requests."
        )
