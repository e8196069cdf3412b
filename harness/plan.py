"""What a run would ask: every prompt, its key in the store, and whether it is answered already.

A plan is the run up to the moment of sending. ``preview`` stops here; ``run`` sends what is
pending and reads the answers. Prompts are not kept (a large run would not fit in memory): they
are rendered again when they are sent, which costs microseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.data import Dataset, resolve
from harness.data.block import Block
from harness.data.files import Progress as Downloads
from harness.errors import DataError, ExperimentError, TranslationError, UnknownNameError, unknown
from harness.experiment import DatasetEntry, Experiment, System
from harness.models import open_backend
from harness.models.base import Backend, Settings
from harness.prompting.parse import parse_reply
from harness.prompting.render import Renderer, Template, find_template
from harness.prompting.schema import Schema, load_schema
from harness.records import Example, Prediction, Prompt, Reply, Status, Translation
from harness.store import KINDS, Store, request_key
from harness.translation import English, StoredTranslator, Translator, open_translator
from harness.translation.settings import FileEntry, TranslationEntry

# The folder of prompts/ that strategies are looked up in; the one task of this version.
_TASK = "ner"


@dataclass(slots=True)
class Cell:
    """One block under one system.

    ``render`` makes a prompt of an example and its English. ``english``, ``keys`` and
    ``prompt_hashes`` have one entry an example. There is no key where no prompt can be made,
    because the template needs a translation and there is none, or none yet: ``waiting`` has those
    that can be translated, with the key of a translation that is missing.
    """

    block: Block
    render: Callable[[Example, str | None], Prompt]
    fields: dict[str, tuple[str, ...]]
    english: list[Translation | None]
    waiting: Mapping[int, str] = field(default_factory=dict)
    keys: list[str | None] = field(default_factory=list)
    prompt_hashes: list[str | None] = field(default_factory=list)

    def prompt(self, index: int) -> Prompt:
        """The prompt of example ``index``, the same bytes each time.

        Of one that waits for its translation it is an estimate: the sentence itself stands in.
        """
        example, translation = self.block.examples[index], self.english[index]
        if index in self.waiting:
            return self.render(example, example.text)
        return self.render(example, None if translation is None else translation.text)

    def english_sha256(self) -> str:
        """The hash of the English that the prompts hold, in order."""
        texts = [None if t is None else t.text for t in self.english]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


@dataclass(slots=True)
class SystemPlan:
    """Everything one system is to be asked.

    ``translation`` is the identity of where its English comes from, ``None`` if it needs none.
    ``left_out`` are the blocks without any translation, as ``dataset/language``. ``pending``
    maps each key that is to be asked to the first place that needs it; two systems may have
    pending keys in common, and the first of them asks. ``renderers`` has one a dataset; ``kind``
    is what the store calls the answers.
    """

    system: System
    backend: Backend
    template: Template
    translation: str | None
    cells: list[Cell]
    left_out: list[str] = field(default_factory=list)
    renderers: dict[str, Renderer] = field(default_factory=dict)
    pending: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    kind: str = KINDS[0]

    def request(self, cell: Cell, index: int) -> dict[str, Any]:
        """The whole request of one example."""
        return self.backend.request(cell.prompt(index))

    def read(self, cell: Cell, index: int, reply: Reply) -> Prediction:
        """A reply read into annotations, under the classes that the cell's schema knows."""
        return parse_reply(
            reply.text,
            self.template.answers,
            fields=cell.fields,
            finish_reason=reply.finish_reason,
            example_id=cell.block.examples[index].id,
        )

    def answered(self, cell: Cell) -> int:
        """How many examples of a cell the store can answer already."""
        return sum(key is not None and key not in self.pending for key in cell.keys)


def load_blocks(
    experiment: Experiment,
    *,
    data_dir: Path | None = None,
    progress: Downloads | None = None,
) -> list[Block]:
    """Read every dataset and language of an experiment; ``progress`` is told of downloads."""
    # References of a corpus are read only where some system wants them.
    english = any(
        experiment.translation_of(s).source == "reference"
        and find_template(_TASK, s.strategy).uses_english
        for s in experiment.systems
    )
    blocks = []
    for entry in experiment.datasets:
        dataset = resolve(
            entry.name,
            path=entry.path,
            format=entry.format,
            labels=entry.labels,
            schema=entry.schema_,
            languages=entry.languages if entry.path and entry.languages != "all" else None,
        )
        for language in _languages(entry, dataset):
            if not language.isprintable():
                raise DataError(f"Dataset '{entry.name}': {language!r} is no name of a language.")
            examples = dataset.load(
                language,
                entry.split,
                data_dir=data_dir,
                limit=entry.limit,
                sample=entry.sample,
                seed=entry.seed,
                english=english,
                progress=progress,
            )
            altered = dataset.altered(language, entry.split, data_dir)
            blocks.append(Block(dataset, language, entry.split, examples, altered))
    return blocks


def _languages(entry: DatasetEntry, dataset: Dataset) -> Sequence[str]:
    known = dataset.languages(entry.split)
    if entry.languages == "all":
        return known
    for language in entry.languages:
        if language not in known:
            raise UnknownNameError(
                f"Dataset '{entry.name}', split '{entry.split}': "
                + unknown("language", language, known)
            )
    return tuple(dict.fromkeys(entry.languages))


class Translators:
    """The translators of an experiment, one for each ``[translation]`` table that differs.

    Raises:
        TranslationError: a translation file that cannot be read.
        CheckpointError: a local model that cannot be found.
    """

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self._experiment = experiment
        self._open: list[tuple[TranslationEntry, Translator]] = []
        for system in experiment.systems:
            entry = self._entry(system)
            if find_template(_TASK, system.strategy).uses_english and self._of(entry) is None:
                self._open.append((entry, open_translator(entry, store)))

    def of(self, system: System) -> Translator | None:
        """A system's translator; ``None`` where its template needs no English."""
        if not find_template(_TASK, system.strategy).uses_english:
            return None
        return self._of(self._entry(system))

    @property
    def all(self) -> list[Translator]:
        """Each of them once."""
        return [translator for _, translator in self._open]

    @property
    def stored(self) -> list[StoredTranslator]:
        """Those that make translations and keep them in the store."""
        return [t for t in self.all if isinstance(t, StoredTranslator)]

    def _entry(self, system: System) -> TranslationEntry:
        # What becomes of a sentence without translation is no matter of the translator's.
        entry = self._experiment.translation_of(system)
        return entry.model_copy(update={"untranslatable": "skip"})

    def _of(self, entry: TranslationEntry) -> Translator | None:
        return next((translator for known, translator in self._open if known == entry), None)


def make_plan(
    experiment: Experiment,
    blocks: Sequence[Block],
    store: Store,
    *,
    translators: Translators | None = None,
    refresh: datetime | None = None,
    retry: frozenset[Status] = frozenset(),
) -> list[SystemPlan]:
    """Render every prompt, find its key, and look up which are answered.

    Args:
        translators: those of the experiment, where they are open already.
        refresh: take no answer from before this moment.
        retry: ask anew where the stored answer reads as one of these statuses.

    Raises:
        PromptError: a schema or template is wrong.
        TranslationError: a translation is of another text, or missing under
            ``untranslatable = "error"``, or there is none at all.
    """
    translators = translators or Translators(experiment, store)
    backends: list[tuple[Settings, Backend]] = []
    plans = [
        _plan_system(experiment, system, blocks, translators.of(system), backends)
        for system in experiment.systems
    ]
    for plan in plans:
        for cell in plan.cells:
            stored = store.known((key for key in cell.keys if key is not None), since=refresh)
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
) -> SystemPlan:
    entry = experiment.translation_of(system)
    # Systems of the same settings share a backend, and with it a connection or a loaded model.
    backend = next((b for settings, b in backends if settings == system.settings), None)
    if backend is None:
        backend = open_backend(system.settings)
        backends.append((system.settings, backend))
    plan = SystemPlan(
        system,
        backend=backend,
        template=find_template(_TASK, system.strategy),
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
            plan.renderers[dataset.name] = Renderer(plan.template, schema, system.wrap, system.chat)
        english = English([None] * len(block.examples))
        if translator is not None:
            english = _translate(translator, block, entry.untranslatable)
            if not (any(english.found) or english.waiting):
                plan.left_out.append(f"{dataset.name}/{block.language}")
                continue
        cell = Cell(
            block,
            plan.renderers[dataset.name].render,
            fields[dataset.name],
            english.found,
            english.waiting,
        )
        _fill(cell, plan.backend, needs_english=translator is not None)
        plan.cells.append(cell)
    if not plan.cells:
        path = f", {entry.path}" if isinstance(entry, FileEntry) else ""
        raise TranslationError(
            f"System '{system.name}': not one sentence has a translation (source "
            f"'{entry.source}'{path}). Give a translation file with source = \"file\", let the "
            f'text stand in with untranslatable = "source", or use a strategy without English.'
        )
    return plan


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


def _fill(cell: Cell, backend: Backend, *, needs_english: bool) -> None:
    for index, translation in enumerate(cell.english):
        if needs_english and translation is None:
            cell.keys.append(None)
            cell.prompt_hashes.append(None)
            continue
        prompt = cell.prompt(index)
        cell.keys.append(request_key(backend.request(prompt)))
        cell.prompt_hashes.append(
            hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        )


def _to_retry(plan: SystemPlan, cell: Cell, store: Store, retry: frozenset[Status]) -> set[str]:
    """The keys whose stored answer reads as a status to be asked anew."""
    answers = store.get_many(key for key in cell.keys if key is not None)
    return {
        key
        for index, key in enumerate(cell.keys)
        if key in answers
        and plan.read(cell, index, plan.backend.reply(answers[key], cached=True)).status in retry
    }
