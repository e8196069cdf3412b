"""The one line of the program: plan, ask, read, write.

Whatever was answered is in the store before it is used, so a run that dies is taken up again by
running it once more: results are always read back from the store, in the order of the examples.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__
from harness.asking import Outcomes, Progress, ask
from harness.data.block import Block
from harness.errors import HarnessError, OfflineError, UsageError, unknown
from harness.experiment import Experiment
from harness.models.pricing import dollars
from harness.plan import Cell, SystemPlan, Translators, load_blocks, make_plan
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
from harness.translating import refuse_failed, translate_missing

#: Statuses whose answers can be asked anew; a call that failed is made again anyway.
RETRIABLE = tuple(
    str(s)
    for s in Status
    if s not in (Status.OK, Status.UNTRANSLATED, Status.UNSENT, Status.ERROR, Status.TOO_LONG)
)

# Answers are read from the store in steps of this many, to keep memory flat.
_STEP = 500


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    ``cost`` is what this run paid, in nano-dollars, ``None`` if unknown. ``unsent`` examples
    have no answer; ``stale`` ones were to be asked anew and were not, so their old answer stands.
    ``refused`` says of each server or local model that answered no call why. ``translated``
    sentences are new.
    """

    folder: RunFolder
    examples: int = 0
    sent: int = 0
    cached: int = 0
    failed: int = 0
    unsent: int = 0
    stale: int = 0
    cost: int | None = 0
    interrupted: bool = False
    refused: list[HarnessError] = field(default_factory=list)
    translated: int = 0

    @property
    def complete(self) -> bool:
        """Whether every example was asked for."""
        return not (self.unsent or self.stale)

    @property
    def exit_code(self) -> int:
        """130 interrupted, 2 a server refused everything, 3 examples failed, else 0."""
        if self.interrupted:
            return 130
        if self.refused:
            return self.refused[0].exit_code
        return 3 if self.failed or not self.complete else 0


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
        offline: ask no model; an answer that is not stored is an error.
        refresh: ask everything anew; the old answers stay in the store behind the new. One that
            was interrupted goes on where it stopped.
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
        StoreError, RunFolderError: an answer or a result could not be written.
    """
    if refresh and retry:
        raise UsageError("A refresh asks everything anew, a retry only some. Give one of them.")
    if offline and (refresh or retry):
        raise UsageError(
            "Offline nothing is asked; a refresh or a retry asks anew. Give one of them."
        )
    for status in retry:
        if status not in RETRIABLE:
            raise UsageError("retry: " + unknown("status", status, RETRIABLE))
    if limit is not None:
        experiment = experiment.limited(limit)
    work = partial(
        _run,
        experiment,
        offline=offline,
        refresh=refresh,
        retry=frozenset(map(Status, retry)),
        data_dir=Path(data_dir) if data_dir else None,
        folder=results_folder(experiment, out),
        store=store,
        progress=progress or Progress(),
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    # In a notebook a loop is running already, and a thread can have only one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _run(
    experiment: Experiment,
    *,
    offline: bool,
    refresh: bool,
    retry: frozenset[Status],
    data_dir: Path | None,
    folder: RunFolder,
    store: Store | Path | None,
    progress: Progress,
) -> RunResult:
    blocks = load_blocks(experiment, data_dir=data_dir, progress=progress.downloading)
    active = store if isinstance(store, Store) else Store(store, read_only=offline)
    try:
        started = folder.refresh_started() if refresh else None
        since = (started or datetime.now(UTC)) if refresh else None
        translators = Translators(experiment, active)
        outcomes = Outcomes()
        if not offline:
            outcomes = translate_missing(translators, blocks, active, progress)
        plans = make_plan(
            experiment, blocks, active, translators=translators, refresh=since, retry=retry
        )
        refuse_failed(experiment, plans, outcomes)
        if offline:
            _refuse_missing(plans)
        folder.prepare(experiment.name)
        if since is not None:
            folder.start_refresh(since)
        if not outcomes.interrupted:
            ask(plans, active, progress, outcomes)
        progress.reading()
        result = RunResult(
            folder,
            sent=len(outcomes.paid),
            cost=outcomes.cost,
            interrupted=outcomes.interrupted,
            refused=outcomes.refused,
            translated=outcomes.translated,
        )
        # Without its manifest a folder holds no run: half of one cannot be taken for a whole.
        (folder.path / "manifest.json").unlink(missing_ok=True)
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
        if result.complete:
            folder.end_refresh()
        folder.write_json("manifest.json", _manifest(experiment, plans, blocks, result))
    finally:
        if active is not store:
            active.close()
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
        if (waiting := sum(len(cell.waiting) for cell in plan.cells))
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


def _rows(
    plan: SystemPlan, store: Store, outcomes: Outcomes, result: RunResult
) -> Iterator[dict[str, Any]]:
    """The lines of ``predictions.jsonl`` of one system, in the order of its examples."""
    for cell in plan.cells:
        for start in range(0, len(cell.keys), _STEP):
            indices = range(start, min(start + _STEP, len(cell.keys)))
            answers = store.get_many(k for i in indices if (k := cell.keys[i]) is not None)
            for index in indices:
                key = cell.keys[index]
                result.examples += 1
                failure = outcomes.failures.get(key or cell.waiting.get(index, ""))
                if failure is not None:
                    # Asked anew and failed: an older answer does not stand in for it.
                    result.failed += 1
                    status = _status(failure) if key else Status.UNTRANSLATED
                    yield _row(plan, cell, index, status, error=failure.message)
                elif key is None and index not in cell.waiting:
                    yield _row(plan, cell, index, Status.UNTRANSLATED)
                elif key is None or key not in answers:
                    result.unsent += 1
                    yield _row(plan, cell, index, Status.UNSENT)
                else:
                    yield _answered(plan, cell, index, answers[key], outcomes, result)


def _status(failure: Failure) -> Status:
    if failure.too_long:
        return Status.TOO_LONG
    return Status.FILTERED if failure.filtered else Status.ERROR


def _answered(
    plan: SystemPlan,
    cell: Cell,
    index: int,
    answer: Answer,
    outcomes: Outcomes,
    result: RunResult,
) -> dict[str, Any]:
    key = cell.keys[index]
    assert key is not None
    # The place that asked for a key paid for it; for every other it was in the store.
    asker, its_index = outcomes.paid.get(key, (None, None))
    cached = not (asker is cell and its_index == index)
    result.cached += cached
    result.stale += key in plan.pending and key not in outcomes.paid
    reply = plan.backend.reply(answer, cached=cached)
    return _row(plan, cell, index, plan.read(cell, index, reply), reply)


def _row(
    plan: SystemPlan,
    cell: Cell,
    index: int,
    read: Prediction | Status,
    reply: Reply | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """One line of ``predictions.jsonl``."""
    example = cell.block.examples[index]
    prediction = read if isinstance(read, Prediction) else Prediction(example.id, {}, read)
    row: dict[str, Any] = {
        "dataset": example.dataset,
        "language": example.language,
        "example_id": example.id,
        "system": plan.system.name,
        **prediction_json(prediction),
        "prompt_sha256": cell.prompt_hashes[index],
        "key": cell.keys[index],
        "finish_reason": None if reply is None else reply.finish_reason,
        "reply": None if reply is None else reply.text,
        "usage": None if reply is None else _usage(reply),
        "cost": None if reply is None or reply.cost is None else dollars(reply.cost),
        "latency_s": None if reply is None else reply.latency_s,
        "cached": reply is not None and reply.cached,
        "served_by": None if reply is None else reply.served_by,
    }
    if error is not None:
        row["error"] = error
    translation = cell.english[index]
    if translation is not None:
        row["english"] = translation.text
        row["translation"] = {"source": translation.source, "flags": translation.flags}
    return row


def _usage(reply: Reply) -> dict[str, int | None]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def _manifest(
    experiment: Experiment,
    plans: Sequence[SystemPlan],
    blocks: Sequence[Block],
    result: RunResult,
) -> dict[str, Any]:
    """What was asked, by name and hash: all that scores and signatures need besides the lines."""
    return {
        "layout": LAYOUT,
        "version": __version__,
        "experiment": experiment.name,
        "complete": result.complete,
        "blocks": [
            {
                "dataset": block.dataset.name,
                "language": block.language,
                "split": block.split,
                "n": len(block.examples),
                "examples_sha256": examples_hash(block.examples),
                "altered": block.altered,
            }
            for block in blocks
        ],
        "systems": [
            {
                "name": plan.system.name,
                "backend": plan.system.backend,
                "engine": plan.backend.engine,
                "model": plan.system.settings.model,
                "strategy": plan.template.name,
                "wrap": plan.system.wrap,
                "answers": plan.template.answers,
                "translation": plan.translation,
                "english_sha256": {
                    f"{cell.block.dataset.name}/{cell.block.language}": cell.english_sha256()
                    for cell in plan.cells
                    if plan.translation is not None
                },
                "left_out": plan.left_out,
                "prompts": {
                    cell.block.dataset.name: {
                        "template_sha256": plan.renderers[cell.block.dataset.name].sha256,
                        "schema_sha256": plan.renderers[cell.block.dataset.name].schema.sha256,
                        "fields": cell.fields,
                    }
                    for cell in plan.cells
                },
            }
            for plan in plans
        ],
    }
