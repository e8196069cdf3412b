"""Making the translations that a run needs and the store does not have.

Before the plan is made: a prompt's key depends on the English in it. A local engine translates
here, batch by batch; a model is asked as a system is, through the same :func:`ask`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.data.block import Block
from harness.errors import TranslationError, UnknownNameError, UsageError, unknown_name_message
from harness.experiment import Experiment, System
from harness.records import Example, Prompt, Request, Translation
from harness.running.asking.ask import ask
from harness.running.asking.outcomes import Outcomes
from harness.running.asking.progress import Progress
from harness.running.budget import Budget
from harness.running.plan import Cell, SystemPlan
from harness.running.prepare import PreparedRun, PreparedSystem, prepare
from harness.store import Store
from harness.translation import English, ModelTranslator, NllbTranslator
from harness.translation.flags import FLAGS
from harness.translation.sources import write_translation_file


@dataclass(frozen=True, slots=True)
class TranslatedRow:
    """The translations of one dataset and language, in numbers.

    ``pending`` sentences can be translated and are not yet; what is neither ``translated`` nor
    ``pending`` has no translation. ``flags`` counts suspicious translations by flag.
    """

    translation: str
    dataset: str
    language: str
    sentences: int
    translated: int
    pending: int
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TranslationReport:
    """The result of translating. ``written`` counts the lines of the translation file, which is
    written once no translation is pending."""

    rows: list[TranslatedRow]
    outcomes: Outcomes
    written: int = 0

    @property
    def failures(self) -> list[tuple[str, int]]:
        """The three most frequent messages of failed calls, with their numbers."""
        messages = Counter(failure.message for failure in self.outcomes.failures.values())
        return messages.most_common(3)

    @property
    def exit_code(self) -> int:
        """130 interrupted, 2 a server refused everything, 3 translations are missing, else 0."""
        if self.outcomes.interrupted:
            return 130
        if self.outcomes.refusals:
            return self.outcomes.refusals[0].exit_code
        return 3 if any(row.pending for row in self.rows) else 0


def translate_missing(
    run: PreparedRun,
    store: Store,
    progress: Progress,
    budget: Budget | None = None,
) -> Outcomes:
    """Translate whatever the store does not have, one translator after the other.

    An interrupt ends it; what was translated until then is stored.

    Raises:
        CheckpointError: a local model cannot be loaded, or does not know a language.
        CredentialsError: a model needs a key that is not there; nothing was sent to it.
        StoreError: a translation could not be stored.
    """
    outcomes = Outcomes()
    for translator in run.stored_translators:
        if outcomes.stopped:
            break
        if isinstance(translator, ModelTranslator):
            before = len(outcomes.places)
            ask([model_plan(translator, run.blocks)], store, progress, outcomes, budget)
            outcomes.translated += len(outcomes.places) - before
        elif isinstance(translator, NllbTranslator):
            _translate_here(translator, translator.pending_requests(run.blocks), progress, outcomes)
    return outcomes


def translate(
    experiment: Experiment,
    store: Store,
    *,
    languages: Sequence[str] | None = None,
    offline: bool = False,
    data_dir: Path | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> TranslationReport:
    """Make the translations that an experiment's systems need, without asking the systems.

    Args:
        languages: only these, of those that the experiment has.
        offline: make none; report those that are stored.
        out: a translation file (:mod:`harness.translation.sources`) to write.

    Raises:
        UsageError: no system of the experiment uses English; or, with ``out``, they take it from
            several places.
        UnknownNameError: a language that the experiment does not have.
        HarnessError: as :func:`translate_missing`.
    """
    progress = progress or Progress()
    run = prepare(experiment, store, data_dir=data_dir, progress=progress.downloading)
    for language in languages or ():
        if language not in (known := [block.language for block in run.blocks]):
            raise UnknownNameError(
                "--language: " + unknown_name_message("language", language, known)
            )
    if languages:
        chosen = tuple(block for block in run.blocks if block.language in languages)
        run = replace(run, blocks=chosen)
    if not run.translators:
        raise UsageError(
            "No system of this experiment uses English, so there is nothing to translate. "
            "`harness ls prompts` lists the strategies that do."
        )
    if out is not None and len(run.translators) > 1:
        listed = ", ".join(translator.identity for translator in run.translators)
        raise UsageError(
            f"--out: the systems take their English from several places ({listed}), and a "
            f"translation file is of one. Give an experiment with one [translation]."
        )
    outcomes = Outcomes()
    if not offline:
        outcomes = translate_missing(run, store, progress)
    results = [(t, block, t.translate(block)) for t in run.translators for block in run.blocks]
    rows = [_row(translator.identity, block, english) for translator, block, english in results]
    written = 0
    # A file that lacks what could still be made would pass for one that has all there is.
    if out is not None and not any(row.pending for row in rows):
        written = write_translation_file(out, [(block, english) for _, block, english in results])
    return TranslationReport(rows, outcomes, written)


def _row(translation: str, block: Block, english: English) -> TranslatedRow:
    translations = [t for t in english.translations if t is not None]
    flags = Counter(flag for t in translations for flag in t.flags)
    return TranslatedRow(
        translation,
        block.dataset.name,
        block.language,
        sentences=len(block.examples),
        translated=sum(bool(t.text.strip()) for t in translations),
        pending=len(english.pending_keys),
        flags={flag: flags[flag] for flag in FLAGS if flags[flag]},
    )


def _translate_here(
    translator: NllbTranslator,
    requests: Mapping[str, Request],
    progress: Progress,
    outcomes: Outcomes,
) -> None:
    if not requests:
        return
    before = outcomes.translated

    def report(done: int) -> None:
        outcomes.translated = before + done
        progress.translating(translator.name, done, len(requests))

    report(0)
    try:
        translator.make(requests, report)
    except KeyboardInterrupt:
        outcomes.interrupted = True


def model_plan(translator: ModelTranslator, blocks: Sequence[Block]) -> SystemPlan:
    """What a model that translates is to be asked, in the form of a system's plan."""
    entry = translator.entry
    system = System(
        name=f"translation by {entry.settings.model}",
        backend=entry.backend,
        strategy=translator.template.name,
        wrap=entry.wrap,
        settings=entry.settings,
    )
    plan = SystemPlan(system, translator.backend, translator.template, None, [], kind="translation")
    for block in blocks:
        pending = translator.pending_requests([block])
        no_english: list[Translation | None] = [None] * len(block.examples)
        cell = Cell(block, partial(_prompt, translator, block), {}, no_english)
        for index, keyed_requests in enumerate(translator.keyed_requests(block)):
            key = keyed_requests[0][0] if keyed_requests else None
            cell.keys.append(key)
            if key in pending:
                plan.pending.setdefault(key, (cell, index))
        plan.cells.append(cell)
    return plan


def _prompt(translator: ModelTranslator, block: Block, example: Example, _: str | None) -> Prompt:
    return translator.prompt(block, example.text)


def refuse_failed(
    systems: Sequence[PreparedSystem], plans: Sequence[SystemPlan], outcomes: Outcomes
) -> None:
    """Refuse to go on with sentences whose translation failed, where the experiment says so.

    Raises:
        TranslationError: a system's ``untranslatable`` is ``"error"`` and a translation failed.
    """
    for prepared, plan in zip(systems, plans, strict=True):
        if prepared.translation.untranslatable != "error":
            continue
        failed = [
            outcomes.failures[key]
            for cell in plan.cells
            for key in cell.pending_translations.values()
            if key in outcomes.failures
        ]
        if failed:
            raise TranslationError(
                f"System '{plan.system.name}': {len(failed)} translations failed "
                f'({failed[0].message}), and untranslatable = "error". The same command makes '
                f"them again."
            )
