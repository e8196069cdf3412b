"""What a run leaves in its folder: a line for every answer, and a manifest of what was asked.

Everything is read back from the store, in the order of the examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data.block import Block
from harness.errors import HarnessError
from harness.experiment import Experiment
from harness.money import add_costs, dollars
from harness.records import Answer, Failure, Prediction, Reply, Status
from harness.results.folder import LAYOUT, RunFolder
from harness.results.lines import prediction_json
from harness.running.asking.outcomes import Outcomes
from harness.running.plan import Cell, SystemPlan
from harness.scoring.signature import examples_hash
from harness.store import Store
from harness.version import __version__

# Answers are read from the store in steps of this many, to keep memory flat.
_STEP = 500


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    ``cost`` is what this run paid, in nano-dollars, ``None`` if unknown. ``unsent`` examples
    have no answer; ``stale`` ones were to be asked anew and were not, so their old answer stands.
    ``refused`` says of each server or local model that answered no call why. ``translated``
    sentences are new. ``over_budget``: the next call might have passed the budget, so it was not
    made. ``stored`` is what the answers that were in the store had cost.
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
    over_budget: bool = False
    stored: int | None = 0

    @property
    def complete(self) -> bool:
        """Whether every example was asked for."""
        return not (self.unsent or self.stale)

    @property
    def exit_code(self) -> int:
        """130 interrupted, 4 out of budget, 2 a server refused everything, 3 examples failed,
        else 0."""
        if self.interrupted:
            return 130
        if self.over_budget:
            return 4
        if self.refused:
            return self.refused[0].exit_code
        return 3 if self.failed or not self.complete else 0


def prediction_rows(
    plan: SystemPlan, store: Store, outcomes: Outcomes, result: RunResult
) -> Iterator[dict[str, Any]]:
    """The lines of ``predictions.jsonl`` of one system, in the order of its examples."""
    for cell in plan.cells:
        for start in range(0, len(cell.keys), _STEP):
            indices = range(start, min(start + _STEP, len(cell.keys)))
            answers = store.get_many(k for i in indices if (k := cell.keys[i]) is not None)
            for index in indices:
                key = cell.keys[index]
                result.examples += cell.repeat == 0
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
    asker, its_index = outcomes.places.get(key, (None, None))
    cached = not (asker is cell and its_index == index)
    result.cached += cached
    if cached:
        result.stored = add_costs(result.stored, answer.cost)
    result.stale += plan.since is not None and key in plan.pending and not outcomes.has_answer(key)
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
        **({"repeat": cell.repeat} if plan.system.repeats > 1 else {}),
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


def manifest(
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
                "format": plan.system.format,
                "shots": plan.shots_json(),
                "repeats": plan.system.repeats,
                "vote": plan.system.vote,
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
