"""What a run leaves in its folder: a line for every answer, and a manifest of what was asked.

Everything is read back from the store, in the order of the examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from harness.data.block import Block
from harness.errors import HarnessError
from harness.experiment import Experiment
from harness.money import add_costs
from harness.records import Answer, Failure, Prediction, Reply, Status
from harness.results.folder import RunFolder
from harness.results.lines import Line, TranslationNote, stage_rows
from harness.results.manifest import (
    BlockEntry,
    Manifest,
    PromptEntry,
    ShotsEntry,
    SystemEntry,
)
from harness.running.asking.outcomes import Outcomes
from harness.running.plan import Cell, SystemPlan
from harness.scoring.signature import examples_hash
from harness.store import Store

# Answers are read from the store in steps of this many, to keep memory flat.
_STEP = 500


@dataclass(slots=True)
class RunResult:
    """How a run ended.

    ``sent``, ``cached``, ``failed`` count requests. ``unsent`` counts examples without an answer;
    ``stale`` those that were to be asked again and were not, so that their old answer stands.
    ``translated`` counts new translations. ``cost`` is what this run paid and ``stored`` what the
    answers from the store had cost, in nano-dollars, ``None`` if unknown. ``refused`` has an error
    for each server or local model that answered no call. ``over_budget`` says that the next call
    might have passed the budget and was not made.
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
        """130 interrupted, 4 stopped by the budget, 2 a server refused everything, 3 examples
        failed, else 0."""
        if self.interrupted:
            return 130
        if self.over_budget:
            return 4
        if self.refused:
            return self.refused[0].exit_code
        return 3 if self.failed or not self.complete else 0


def prediction_lines(
    plan: SystemPlan, store: Store, outcomes: Outcomes, result: RunResult
) -> Iterator[Line]:
    """The lines of ``predictions.jsonl`` of one system, in the order of its examples.

    What they say of the run (sent, failed, unsent, …) is counted in ``result``.
    """
    for cell in plan.cells:
        for start in range(0, len(cell.keys), _STEP):
            indices = range(start, min(start + _STEP, len(cell.keys)))
            answers = store.get_many(k for i in indices if (k := cell.keys[i]) is not None)
            for index in indices:
                key = cell.keys[index]
                result.examples += cell.repeat == 0
                failure = outcomes.failures.get(key or cell.pending_translations.get(index, ""))
                if failure is not None:
                    # It was asked again and failed: an older answer does not stand in for it.
                    result.failed += 1
                    status = _status(failure) if key else Status.UNTRANSLATED
                    yield _line(plan, cell, index, status=status, error=failure.message)
                elif key is None and index not in cell.pending_translations:
                    yield _line(plan, cell, index, status=Status.UNTRANSLATED)
                elif key is None or key not in answers:
                    result.unsent += 1
                    yield _line(plan, cell, index, status=Status.UNSENT)
                else:
                    yield _answered_line(plan, cell, index, answers[key], outcomes, result)


def _status(failure: Failure) -> Status:
    if failure.too_long:
        return Status.TOO_LONG
    return Status.FILTERED if failure.filtered else Status.ERROR


def _answered_line(
    plan: SystemPlan,
    cell: Cell,
    index: int,
    answer: Answer,
    outcomes: Outcomes,
    result: RunResult,
) -> Line:
    key = cell.keys[index]
    assert key is not None
    # The place that asked for a key paid for it; for every other one it was in the store.
    asking_cell, asking_index = outcomes.places.get(key, (None, None))
    cached = not (asking_cell is cell and asking_index == index)
    result.cached += cached
    if cached:
        result.stored = add_costs(result.stored, answer.cost)
    result.stale += plan.since is not None and key in plan.pending and not outcomes.has_answer(key)
    reply = plan.backend.reply(answer, cached=cached)
    return _line(plan, cell, index, prediction=plan.read(cell, index, reply), reply=reply)


def _line(
    plan: SystemPlan,
    cell: Cell,
    index: int,
    *,
    status: Status = Status.UNSENT,
    prediction: Prediction | None = None,
    reply: Reply | None = None,
    error: str | None = None,
) -> Line:
    """The line of an example: its prediction and reply, or the ``status`` of one without."""
    example, translation = cell.block.examples[index], cell.translations[index]
    note = None
    if translation is not None:
        note = TranslationNote(translation.source, translation.flags)
    return Line(
        dataset=example.dataset,
        language=example.language,
        example_id=example.id,
        system=plan.system.name,
        repeat=cell.repeat if plan.system.repeats > 1 else None,
        status=status if prediction is None else prediction.status,
        stages={} if prediction is None else stage_rows(prediction),
        repairs=() if prediction is None else prediction.repairs,
        dropped=() if prediction is None else prediction.dropped,
        prompt_sha256=cell.prompt_hashes[index],
        key=cell.keys[index],
        finish_reason=None if reply is None else reply.finish_reason,
        reply=None if reply is None else reply.text,
        usage=None if reply is None else reply.usage,
        cost=None if reply is None else reply.cost,
        latency_s=None if reply is None else reply.latency_s,
        cached=reply is not None and reply.cached,
        served_by=None if reply is None else reply.served_by,
        error=error,
        english=None if translation is None else translation.text,
        translation=note,
    )


def make_manifest(
    experiment: Experiment,
    plans: Sequence[SystemPlan],
    blocks: Sequence[Block],
    result: RunResult,
) -> Manifest:
    """What the run asked, by name and hash."""
    return Manifest(
        experiment=experiment.name,
        complete=result.complete,
        blocks=[
            BlockEntry(
                block.dataset.name,
                block.language,
                block.split,
                len(block.examples),
                examples_hash(block.examples),
                block.altered,
            )
            for block in blocks
        ],
        systems=[_system_entry(plan) for plan in plans],
    )


def _system_entry(plan: SystemPlan) -> SystemEntry:
    system = plan.system
    return SystemEntry(
        name=system.name,
        backend=system.backend,
        engine=plan.backend.engine,
        model=system.settings.model,
        strategy=plan.template.name,
        wrap=system.wrap,
        format=system.format,
        shots=_shots_entry(plan),
        repeats=system.repeats,
        vote=system.vote,
        answers=plan.template.answers,
        translation=plan.translation,
        english_sha256={
            cell.place: cell.english_sha256() for cell in plan.cells if plan.translation is not None
        },
        left_out=plan.left_out,
        prompts={
            cell.block.dataset.name: PromptEntry(
                plan.renderers[cell.block.dataset.name].sha256,
                plan.renderers[cell.block.dataset.name].schema.sha256,
                cell.fields,
            )
            for cell in plan.cells
        },
    )


def _shots_entry(plan: SystemPlan) -> ShotsEntry | None:
    system = plan.system
    if not system.shots:
        return None
    hashes = {place: shots.sha256 for place, shots in plan.shots.items()}
    return ShotsEntry(system.shots, system.shots_from, system.shots_by, system.shots_seed, hashes)
