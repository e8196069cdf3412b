"""Making the plan of a run: data read, prompts rendered, keys looked up in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from harness.data import Dataset
from harness.data.block import Block
from harness.data.shots import Shots
from harness.errors import ExperimentError, TranslationError, unknown
from harness.experiment import Experiment, System
from harness.models import open_backend
from harness.models.protocol import Backend, Settings
from harness.prompting.schema import Schema, load_schema
from harness.prompting.templates import Renderer, find_template
from harness.records import Example, Prompt, Status, Translation
from harness.running.blocks import TASK
from harness.running.plan import Cell, SystemPlan
from harness.running.shot_source import open_shots
from harness.running.translators import Translators
from harness.store import Store, request_key
from harness.translation import (
    English,
    Translator,
)
from harness.translation.settings import FileEntry


def make_plan(
    experiment: Experiment,
    blocks: Sequence[Block],
    store: Store,
    *,
    translators: Translators | None = None,
    since: datetime | None = None,
    retry: frozenset[Status] = frozenset(),
    data_dir: Path | None = None,
) -> list[SystemPlan]:
    """Render every prompt, find its key, and look up which are answered.

    Args:
        translators: those of the experiment, where they are open already.
        since: take no answer from before this moment; with ``retry``, none of these statuses.
        retry: ask anew where the stored answer reads as one of these statuses.
        data_dir: a folder of local corpora, for the examples that prompts show.

    Raises:
        DataError, UsageError: the examples that prompts are to show.
        PromptError: a schema or template is wrong.
        TranslationError: a translation is of another text, or missing under
            ``untranslatable = "error"``, or there is none at all.
    """
    translators = translators or Translators(experiment, store)
    backends = [(t.entry.settings, t.backend) for t in translators.models]
    shots = _Shown(data_dir)
    plans = [
        _plan_system(experiment, system, blocks, translators.of(system), backends, shots)
        for system in experiment.systems
    ]
    for plan in plans:
        plan.since = since
        for cell in plan.cells:
            keys = (key for key in cell.keys if key is not None)
            stored = store.known(keys, since=None if retry else since)
            if retry:
                stored -= _to_retry(plan, cell, store, retry)
            for index, key in enumerate(cell.keys):
                if key is not None and key not in stored:
                    plan.pending.setdefault(key, (cell, index))
    return plans


def _plan_system(
    experiment: Experiment,
    system: System,
    blocks: Sequence[Block],
    translator: Translator | None,
    backends: list[tuple[Settings, Backend]],
    shown: _Shown,
) -> SystemPlan:
    entry = experiment.translation_of(system)
    # Systems of the same settings share a backend, and with it a loaded model; others of the same
    # endpoint and key its limits.
    backend = next((b for settings, b in backends if settings == system.settings), None)
    if backend is None:
        peers = [peer for _, peer in backends]
        backend = open_backend(system.settings, experiment.price_table(), peers)
        backends.append((system.settings, backend))
    plan = SystemPlan(
        system,
        backend=backend,
        template=find_template(TASK, system.strategy),
        translation=None,
        cells=[],
    )
    if translator is not None:
        stand_in = "+source" if entry.untranslatable == "source" else ""
        plan.translation = translator.identity + stand_in
    fields: dict[str, dict[str, tuple[str, ...]]] = {}
    for block in blocks:
        dataset = block.dataset
        if dataset.name not in fields:
            schema = load_schema(system.schema_ or dataset.schema)
            _check_classes(dataset, schema, system)
            fields[dataset.name] = dict.fromkeys(dataset.outside, ("span",)) | schema.fields()
            plan.renderers[dataset.name] = Renderer(
                plan.template, schema, system.wrap, system.chat, system.format
            )
        english = English([None] * len(block.examples))
        if translator is not None:
            english = _translate(translator, block, entry.untranslatable)
            if not (any(english.found) or english.waiting):
                plan.left_out.append(f"{dataset.name}/{block.language}")
                continue
        render = plan.renderers[dataset.name].render
        if system.shots:
            shots = plan.shots[f"{dataset.name}/{block.language}"] = shown.of(plan, block)
            render = partial(_render_with, render, shots)
        cells = [
            Cell(
                block,
                render,
                fields[dataset.name],
                english.found,
                english.waiting,
                repeat,
            )
            for repeat in range(system.repeats)
        ]
        _fill(cells, plan.backend, needs_english=translator is not None)
        plan.cells.extend(cells)
    if not plan.cells:
        path = f", {entry.path}" if isinstance(entry, FileEntry) else ""
        raise TranslationError(
            f"System '{system.name}': not one sentence has a translation (source "
            f"'{entry.source}'{path}). Give a translation file with source = \"file\", let the "
            f'text stand in with untranslatable = "source", or use a strategy without English.'
        )
    return plan


class _Shown:
    """The examples that prompts show, which systems of the same settings have in common."""

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir
        self._open: dict[tuple[object, ...], Shots] = {}

    def of(self, plan: SystemPlan, block: Block) -> Shots:
        system = plan.system
        key = (
            *(id(block), plan.template.shot_parts),
            *(system.shots, system.shots_from, system.shots_by, system.shots_seed),
        )
        if key not in self._open:
            self._open[key] = open_shots(
                block,
                plan.template,
                count=system.shots,
                split=system.shots_from,
                by=system.shots_by,
                seed=system.shots_seed,
                data_dir=self._data_dir,
                task=TASK,
            )
        return self._open[key]


def _render_with(
    render: Callable[..., Prompt], shots: Shots, example: Example, english: str | None
) -> Prompt:
    return render(example, english, shots.of(example))


def _check_classes(dataset: Dataset, schema: Schema, system: System) -> None:
    """Gold of a class that the prompt does not have could never be found."""
    known = schema.fields()
    for tag, name in dataset.labels.items():
        if name not in known:
            raise ExperimentError(
                f"System '{system.name}', dataset '{dataset.name}': label {tag} is class '{name}', "
                f"which {schema.path} does not have. "
                + unknown("class", name, known)
                + " Correct `labels` or `schema`."
            )


def _translate(translator: Translator, block: Block, untranslatable: str) -> English:
    """The English of a block, ``None`` where there is none; blank English is none."""
    made = translator.translate(block)
    english = [t if t and t.text.strip() else None for t in made.found]
    missing = [i for i, t in enumerate(english) if t is None and i not in made.waiting]
    if missing and untranslatable == "error":
        raise TranslationError(
            f"{block.dataset.name}/{block.language}: {len(missing)} of {len(english)} sentences "
            f"have no translation (first: {block.examples[missing[0]].id}), and untranslatable = "
            f'"error". Choices: "skip", "source".'
        )
    if untranslatable == "source":
        for i in missing:
            text = block.examples[i].text
            english[i] = Translation(text, "source", "source text", ("source",))
    return English(english, made.waiting)


def _fill(cells: Sequence[Cell], backend: Backend, *, needs_english: bool) -> None:
    """The keys and hashes of a block's prompts, each of which is made once for all repeats."""
    first = cells[0]
    hashes: list[str | None] = []
    for index, translation in enumerate(first.english):
        if needs_english and translation is None:
            hashes.append(None)
            for cell in cells:
                cell.keys.append(None)
            continue
        prompt = first.prompt(index)
        hashes.append(hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest())
        for cell in cells:
            cell.keys.append(request_key(backend.request(prompt, cell.repeat)))
    for cell in cells:
        cell.prompt_hashes = hashes


def _to_retry(plan: SystemPlan, cell: Cell, store: Store, retry: frozenset[Status]) -> set[str]:
    """The keys whose stored answer reads as a status to be asked anew."""
    answers = store.get_many(key for key in cell.keys if key is not None)
    return {
        key
        for index, key in enumerate(cell.keys)
        if key in answers
        and plan.read(cell, index, plan.backend.reply(answers[key], cached=True)).status in retry
    }
