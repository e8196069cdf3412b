"""Making a run ready: what an experiment names is found, read and opened here, once.

Everything further down the line is given a :class:`PreparedRun` and resolves nothing again: no
template is looked up, no price table built and no backend opened anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.block import Block
from harness.data.download import DownloadProgress
from harness.experiment import Experiment, System
from harness.models import open_backend
from harness.models.prices import Prices
from harness.models.protocol import Backend, Settings
from harness.prompting.templates import Template, load_template
from harness.running.blocks import load_blocks
from harness.store import Store
from harness.translation import ModelTranslator, StoredTranslator, Translator, open_translator
from harness.translation.settings import TranslationEntry

#: The folder of prompts/ that strategies are looked up in; the one task of this version.
TASK = "ner"


@dataclass(frozen=True, slots=True)
class PreparedSystem:
    """One system and all that it names, ready to be planned.

    ``translation`` says where its English comes from; ``translator`` brings it, and is ``None``
    where the template uses no English.
    """

    system: System
    template: Template
    backend: Backend
    translation: TranslationEntry
    translator: Translator | None


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """An experiment with its corpora read and its systems ready.

    ``translators`` has each translator once, in the order in which systems use them. ``prices``
    are the experiment's own. ``data_dir`` is a folder of local corpora.
    """

    experiment: Experiment
    blocks: tuple[Block, ...]
    systems: tuple[PreparedSystem, ...]
    translators: tuple[Translator, ...]
    prices: Prices
    data_dir: Path | None = None

    @property
    def stored_translators(self) -> list[StoredTranslator]:
        """The translators that make translations and keep them in the store."""
        return [t for t in self.translators if isinstance(t, StoredTranslator)]

    def models(self) -> Iterator[tuple[str, Backend]]:
        """Every model that the run may ask, with a name for messages."""
        for translator in self.translators:
            if isinstance(translator, ModelTranslator):
                yield "translation", translator.backend
        for prepared in self.systems:
            yield prepared.system.name, prepared.backend


def prepare(
    experiment: Experiment,
    store: Store,
    *,
    data_dir: Path | None = None,
    progress: DownloadProgress | None = None,
) -> PreparedRun:
    """Find templates, read corpora, and open translators and backends. Asks no model.

    Args:
        store: where translators look up what is translated already.
        data_dir: a folder of local corpora.
        progress: is told of downloads.

    Raises:
        DataError, UsageError: a dataset cannot be found or read.
        PromptError: a template cannot be found or used.
        TranslationError: a translation file cannot be read.
        CheckpointError: a local model that translates cannot be found.
    """
    templates = [load_template(TASK, system.strategy) for system in experiment.systems]
    entries = [experiment.translation_of(system) for system in experiment.systems]
    # The English that a corpus carries is read only where some system wants it.
    references = any(
        template.uses_english and entry.source == "reference"
        for template, entry in zip(templates, entries, strict=True)
    )
    blocks = load_blocks(
        experiment.datasets, references=references, data_dir=data_dir, progress=progress
    )
    prices = experiment.price_table()
    translators = _Translators(store, prices)
    # Opened before the systems' backends, which may share theirs.
    of_system = [
        translators.open(entry) if template.uses_english else None
        for template, entry in zip(templates, entries, strict=True)
    ]
    backends = _Backends(prices, translators.all)
    systems = tuple(
        PreparedSystem(system, template, backends.open(system.settings), entry, translator)
        for system, template, entry, translator in zip(
            experiment.systems, templates, entries, of_system, strict=True
        )
    )
    return PreparedRun(experiment, tuple(blocks), systems, tuple(translators.all), prices, data_dir)


class _Translators:
    """One translator for each ``[translation]`` table that differs."""

    def __init__(self, store: Store, prices: Prices) -> None:
        self.all: list[Translator] = []
        self._store = store
        self._prices = prices
        self._entries: list[TranslationEntry] = []

    def open(self, entry: TranslationEntry) -> Translator:
        # What happens to a sentence without a translation does not concern the translator.
        entry = entry.model_copy(update={"untranslatable": "skip"})
        if entry not in self._entries:
            self.all.append(open_translator(entry, self._store, self._prices))
            self._entries.append(entry)
        return self.all[self._entries.index(entry)]


class _Backends:
    """One backend for each settings that differ, and with it one loaded model.

    Backends of one endpoint and key share its limits.
    """

    def __init__(self, prices: Prices, translators: list[Translator]) -> None:
        self._prices = prices
        self._open = [
            (t.entry.settings, t.backend) for t in translators if isinstance(t, ModelTranslator)
        ]

    def open(self, settings: Settings) -> Backend:
        for known, backend in self._open:
            if known == settings:
                return backend
        backend = open_backend(settings, self._prices, [peer for _, peer in self._open])
        self._open.append((settings, backend))
        return backend
