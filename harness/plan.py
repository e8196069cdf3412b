"""What a run would ask: every prompt, its key in the store, and whether it is answered already.

A plan is the run up to the moment of sending. ``preview`` stops here; ``run`` sends what is
pending and reads the answers. Prompts are not kept (a large run would not fit in memory): they
are rendered again when they are sent, which costs microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data import Dataset, resolve
from harness.data.files import Progress as Downloads
from harness.errors import TranslationError, UnknownNameError, unknown
from harness.experiment import DatasetEntry, Experiment, System
from harness.models import open_backend
from harness.models.base import Backend
from harness.prompting.parse import parse_reply
from harness.prompting.render import Renderer, Template, find_template
from harness.prompting.schema import Schema, load_schema
from harness.records import Example, Prediction, Prompt, Reply, Status, Translation
from harness.store import Store, request_key
from harness.translation import Translator, open_translator

# The folder of prompts/ that strategies are looked up in; the one task of this version.
_TASK = "ner"


@dataclass(frozen=True, slots=True)
class Block:
    """The examples of one dataset and language, the unit of a table's row."""

    dataset: Dataset
    language: str
    split: str
    examples: list[Example]


@dataclass(slots=True)
class Cell:
    """One block under one system.

    ``english``, ``statuses``, ``keys`` and ``prompt_hashes`` have one entry an example. A status
    is set where no prompt can be sent; a key where one can.
    """

    block: Block
    renderer: Renderer
    fields: dict[str, tuple[str, ...]]
    english: list[Translation | None]
    statuses: list[Status | None] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    prompt_hashes: list[str | None] = field(default_factory=list)

    def prompt(self, index: int) -> Prompt:
        """The prompt of example ``index``, the same bytes each time."""
        translation = self.english[index]
        return self.renderer.render(
            self.block.examples[index], None if translation is None else translation.text
        )


@dataclass(slots=True)
class SystemPlan:
    """Everything one system is to be asked.

    ``left_out`` are the blocks without any translation, as ``dataset/language``. ``pending``
    maps each key to ask to the first place that needs it: the same request is asked once.
    """

    system: System
    backend: Backend
    template: Template
    translator: Translator | None
    cells: list[Cell]
    left_out: list[str]
    pending: dict[str, tuple[Cell, int]] = field(default_factory=dict)

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

    def requests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The pending requests with their keys, made as they are taken."""
        for key, (cell, index) in self.pending.items():
            yield key, self.request(cell, index)

    def answered(self, cell: Cell) -> int:
        """How many examples of a cell the store can answer already."""
        return sum(key is not None and key not in self.pending for key in cell.keys)


def load_blocks(
    experiment: Experiment,
    *,
    limit: int | None,
    data_dir: Path | None,
    progress: Downloads | None = None,
) -> list[Block]:
    """Read every dataset and language of an experiment.

    ``limit`` caps each language further, over the file's own ``limit`` or ``sample``;
    ``progress`` is told of downloads.
    """
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
            blocks.append(Block(dataset, language, entry.split, examples[:limit]))
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


def make_plan(
    experiment: Experiment,
    blocks: Sequence[Block],
    store: Store,
    *,
    refresh: bool = False,
    retry: frozenset[Status] = frozenset(),
) -> list[SystemPlan]:
    """Render every prompt, find its key, and look up which are answered.

    Args:
        refresh: ask everything anew.
        retry: ask anew where the stored answer reads as one of these statuses.

    Raises:
        PromptError: a schema or template is wrong.
        TranslationError: a translation is of another text, or missing under
            ``untranslatable = "error"``.
    """
    plans = [_plan_system(experiment, system, blocks) for system in experiment.systems]
    asked: set[str] = set()
    for plan in plans:
        for cell in plan.cells:
            keys = [key for key in cell.keys if key is not None]
            stored = set() if refresh else store.known(keys)
            for index, key in enumerate(cell.keys):
                if key is None or key in asked:
                    continue
                if key not in stored:
                    plan.pending[key] = (cell, index)
                    asked.add(key)
        if retry and not refresh:
            _add_retries(plan, store, retry, asked)
    return plans


def _plan_system(experiment: Experiment, system: System, blocks: Sequence[Block]) -> SystemPlan:
    template = find_template(_TASK, system.strategy)
    entry = experiment.translation_of(system)
    translator = open_translator(entry.source, entry.path) if template.uses_english else None
    backend = open_backend(system.settings)
    renderers: dict[str, tuple[Renderer, dict[str, tuple[str, ...]]]] = {}
    cells: list[Cell] = []
    left_out: list[str] = []
    for block in blocks:
        name = block.dataset.name
        if name not in renderers:
            schema = load_schema(system.schema_ or block.dataset.schema)
            renderers[name] = (
                Renderer(template, schema, system.wrap, system.chat),
                known_fields(schema, block.dataset.outside),
            )
        renderer, fields = renderers[name]
        english: list[Translation | None] = [None] * len(block.examples)
        if translator is not None:
            english = translator.translate(block.examples)
            missing = [i for i, t in enumerate(english) if t is None or not t.text.strip()]
            if missing and entry.untranslatable == "error":
                example = block.examples[missing[0]]
                raise TranslationError(
                    f"{name}/{block.language}: {len(missing)} of {len(english)} sentences have no "
                    f'translation (first: {example.id}), and untranslatable = "error". '
                    f'Choices: "skip", "source".'
                )
            if missing and entry.untranslatable == "skip" and len(missing) == len(english):
                left_out.append(f"{name}/{block.language}")
                continue
            if entry.untranslatable == "source":
                for i in missing:
                    text = block.examples[i].text
                    english[i] = Translation(text, "source", "source text", ("source",))
        cell = Cell(block, renderer, fields, english)
        _fill(cell, backend, needs_english=translator is not None)
        cells.append(cell)
    return SystemPlan(system, backend, template, translator, cells, left_out)


def known_fields(schema: Schema, outside: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Class name to field names: the schema's classes, and those known though not asked for."""
    return dict.fromkeys(outside, ("span",)) | schema.fields()


def _fill(cell: Cell, backend: Backend, *, needs_english: bool) -> None:
    for index, translation in enumerate(cell.english):
        if needs_english and (translation is None or not translation.text.strip()):
            cell.statuses.append(Status.UNTRANSLATED)
            cell.keys.append(None)
            cell.prompt_hashes.append(None)
            continue
        prompt = cell.prompt(index)
        cell.statuses.append(None)
        cell.keys.append(request_key(backend.request(prompt)))
        cell.prompt_hashes.append(
            hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        )


def _add_retries(plan: SystemPlan, store: Store, retry: frozenset[Status], asked: set[str]) -> None:
    for cell in plan.cells:
        answers = store.get_many([key for key in cell.keys if key is not None])
        for index, key in enumerate(cell.keys):
            if key is None or key in asked or key not in answers:
                continue
            reply = plan.backend.reply(answers[key], cached=True)
            if plan.read(cell, index, reply).status in retry:
                plan.pending[key] = (cell, index)
                asked.add(key)
