"""The translators of a run."""

from __future__ import annotations

from harness.experiment import Experiment, System
from harness.prompting.templates import find_template
from harness.running.blocks import TASK
from harness.store import Store
from harness.translation import (
    ModelTranslator,
    StoredTranslator,
    Translator,
    open_translator,
)
from harness.translation.settings import TranslationEntry


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
            if find_template(TASK, system.strategy).uses_english and self._of(entry) is None:
                made = open_translator(entry, store, experiment.price_table())
                self._open.append((entry, made))

    def of(self, system: System) -> Translator | None:
        """A system's translator; ``None`` where its template needs no English."""
        if not find_template(TASK, system.strategy).uses_english:
            return None
        return self._of(self._entry(system))

    @property
    def all(self) -> list[Translator]:
        """Each of them once."""
        return [translator for _, translator in self._open]

    @property
    def models(self) -> list[ModelTranslator]:
        """Those that ask a model as a system does."""
        return [t for t in self.all if isinstance(t, ModelTranslator)]

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
