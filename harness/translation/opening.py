"""The one place that says which class serves which ``source`` of a ``[translation]`` table."""

from __future__ import annotations

from pathlib import Path

from harness.models.prices import Prices
from harness.store import Store
from harness.translation.model import ModelTranslator
from harness.translation.nllb import NllbTranslator
from harness.translation.settings import FileEntry, ModelEntry, NllbEntry, TranslationEntry
from harness.translation.sources import FileTranslator, ReferenceTranslator, Translator


def open_translator(
    entry: TranslationEntry, store: Store, prices: Prices | None = None
) -> Translator:
    """The translator of a ``[translation]`` table. Loads no engine and sends nothing.

    Args:
        entry: the table as read.
        store: where translations are looked up.
        prices: those of an experiment file, which come before the files of prices.

    Raises:
        TranslationError: a translation file cannot be read, or a line of it is wrong.
        CheckpointError: a local model cannot be found or read.
        PromptError: the template of a model that translates cannot be used.
    """
    match entry:
        case FileEntry():
            return FileTranslator(Path(entry.path))
        case NllbEntry():
            return NllbTranslator(entry, store)
        case ModelEntry():
            return ModelTranslator(entry, store, prices)
        case _:
            return ReferenceTranslator()
