"""Making the plan of a run: prompts rendered, keys made and looked up in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from harness.data import Dataset
from harness.data.block import Block
from harness.data.shots import ShotSelection
from harness.errors import ExperimentError, TranslationError, unknown_name_message
from harness.experiment import System
from harness.models.protocol import Backend
from harness.prompting.rendering import Renderer
from harness.prompting.schema import Schema, load_schema
from harness.records import Example, Prompt, Status, Translation
from harness.running.plan import Cell, SystemPlan
from harness.running.prepare import TASK, PreparedRun, PreparedSystem
from harness.running.shot_source import open_shots
from harness.shapes import SPAN
from harness.store import Store, request_key
from harness.translation import English, Translator
from harness.translation.settings import FileEntry


def make_plan(
    run: PreparedRun,
    store: Store,
    *,
    since: datetime | None = None,
    retry: frozenset[Status] = frozenset(),
) -> list[SystemPlan]:
    """Render every prompt, make its key, and look up which keys are answered.

    Args:
        since: answers from before this moment do not count; with ``retry``, those of these
            statuses do not.
        retry: ask again where the stored answer reads as one of these statuses.

    Raises:
        DataError, UsageError: the examples that prompts are to show cannot be read.
        PromptError: a schema is wrong, or a template cannot be rendered.
        TranslationError: a translation is of another text, or missing under
            ``untranslatable = "error"``, or there is none at all.
    """
    shots = _SharedShots(run)
    plans = [_plan_system(system, run.blocks, shots) for system in run.systems]
    for plan in plans:
        plan.since = since
        for cell in plan.cells:
            keys = (key for key in cell.keys if key is not None)
            answered = store.known(keys, since=None if retry else since)
            if retry:
                answered -= _keys_to_retry(plan, cell, store, retry)
            for index, key in enumerate(cell.keys):
                if key is not None and key not in answered:
                    plan.pending.setdefault(key, (cell, index))
    return plans


def _plan_system(
    prepared: PreparedSystem, blocks: Sequence[Block], shared_shots: _SharedShots
) -> SystemPlan:
    plan = SystemPlan(
        prepared.system,
        backend=prepared.backend,
        template=prepared.template,
        translation=_translation_identity(prepared),
        cells=[],
    )
    for block in blocks:
        plan.cells.extend(_plan_block(plan, prepared, block, shared_shots))
    if not plan.cells:
        entry = prepared.translation
        path = f", {entry.path}" if isinstance(entry, FileEntry) else ""
        raise TranslationError(
            f"System '{prepared.system.name}': not one sentence has a translation (source "
            f"'{entry.source}'{path}). Give a translation file with source = \"file\", let the "
            f'text stand in with untranslatable = "source", or use a strategy without English.'
        )
    return plan


def _translation_identity(prepared: PreparedSystem) -> str | None:
    """What a signature says of the English of a system; ``None`` where it needs none."""
    if prepared.translator is None:
        return None
    stand_in = "+source" if prepared.translation.untranslatable == "source" else ""
    return prepared.translator.identity + stand_in


def _plan_block(
    plan: SystemPlan, prepared: PreparedSystem, block: Block, shared_shots: _SharedShots
) -> list[Cell]:
    """The cells of a block, one for each repeat; none where the block has no translation."""
    system, dataset = prepared.system, block.dataset
    if dataset.name not in plan.renderers:
        schema = load_schema(system.schema_ or dataset.schema)
        _check_classes(dataset, schema, system)
        plan.renderers[dataset.name] = Renderer(
            plan.template, schema, system.wrap, system.chat, system.format
        )
    renderer = plan.renderers[dataset.name]
    english = English([None] * len(block.examples))
    if prepared.translator is not None:
        english = _translate(prepared.translator, block, prepared.translation.untranslatable)
        if not (any(english.translations) or english.pending_keys):
            plan.left_out.append(f"{dataset.name}/{block.language}")
            return []
    render: Callable[[Example, str | None], Prompt] = renderer.render
    if system.shots:
        shots = plan.shots[f"{dataset.name}/{block.language}"] = shared_shots.of(plan, block)
        render = partial(_render_with_shots, renderer, shots)
    fields = dict.fromkeys(dataset.outside, (SPAN,)) | renderer.schema.fields()
    cells = [
        Cell(block, render, fields, english.translations, english.pending_keys, repeat)
        for repeat in range(system.repeats)
    ]
    _make_keys(cells, plan.backend, needs_english=prepared.translator is not None)
    return cells


class _SharedShots:
    """The examples that prompts show; systems of the same settings share them."""

    def __init__(self, run: PreparedRun) -> None:
        self._data_dir = run.data_dir
        self._shots: dict[tuple[object, ...], ShotSelection] = {}

    def of(self, plan: SystemPlan, block: Block) -> ShotSelection:
        system = plan.system
        settings = (
            *(id(block), plan.template.shot_parts),
            *(system.shots, system.shots_from, system.shots_by, system.shots_seed),
        )
        if settings not in self._shots:
            self._shots[settings] = open_shots(
                block,
                plan.template,
                count=system.shots,
                split=system.shots_from,
                by=system.shots_by,
                seed=system.shots_seed,
                data_dir=self._data_dir,
                task=TASK,
            )
        return self._shots[settings]


def _render_with_shots(
    renderer: Renderer, shots: ShotSelection, example: Example, english: str | None
) -> Prompt:
    return renderer.render(example, english, shots.shown_for(example))


def _check_classes(dataset: Dataset, schema: Schema, system: System) -> None:
    """Refuse gold of a class that no prompt has: a model could never find it."""
    known = schema.fields()
    for tag, name in dataset.labels.items():
        if name not in known:
            raise ExperimentError(
                f"System '{system.name}', dataset '{dataset.name}': label {tag} is class '{name}', "
                f"which {schema.path} does not have. "
                + unknown_name_message("class", name, known)
                + " Correct `labels` or `schema`."
            )


def _translate(translator: Translator, block: Block, untranslatable: str) -> English:
    """The English of a block, ``None`` where there is none. Blank English counts as none."""
    stored = translator.translate(block)
    english = [t if t and t.text.strip() else None for t in stored.translations]
    missing = [i for i, t in enumerate(english) if t is None and i not in stored.pending_keys]
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
    return English(english, stored.pending_keys)


def _make_keys(cells: Sequence[Cell], backend: Backend, *, needs_english: bool) -> None:
    """Fill in the keys and hashes of a block's prompts; a prompt is rendered once for all
    repeats."""
    first = cells[0]
    hashes: list[str | None] = []
    for index, translation in enumerate(first.translations):
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


def _keys_to_retry(
    plan: SystemPlan, cell: Cell, store: Store, retry: frozenset[Status]
) -> set[str]:
    """The keys whose stored answer reads as one of the statuses to be asked again."""
    answers = store.get_many(key for key in cell.keys if key is not None)
    return {
        key
        for index, key in enumerate(cell.keys)
        if key in answers
        and plan.read(cell, index, plan.backend.reply(answers[key], cached=True)).status in retry
    }
