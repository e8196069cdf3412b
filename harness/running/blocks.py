"""Reading the corpora of an experiment, as blocks of one dataset and language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.data import Dataset, resolve
from harness.data.block import Block
from harness.data.download import DownloadProgress
from harness.data.loading import load_examples
from harness.errors import DataError, UnknownNameError, unknown_name_message
from harness.experiment import DatasetEntry


def load_blocks(
    entries: Iterable[DatasetEntry],
    *,
    references: bool = False,
    data_dir: Path | None = None,
    progress: DownloadProgress | None = None,
) -> list[Block]:
    """Read every dataset and language of an experiment's ``[[datasets]]`` tables.

    Args:
        references: whether to read the English that a corpus carries, too.
        data_dir: a folder of local corpora.
        progress: is told of downloads.

    Raises:
        UnknownNameError: there is no such dataset, language or split.
        DataError: a file is missing, could not be fetched, or has a line that is wrong.
    """
    blocks = []
    for entry in entries:
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
            examples = load_examples(
                dataset,
                language,
                entry.split,
                data_dir=data_dir,
                limit=entry.limit,
                sample=entry.sample,
                seed=entry.seed,
                english=references,
                progress=progress,
            )
            altered = dataset.is_altered(language, entry.split, data_dir)
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
                + unknown_name_message("language", language, known)
            )
    return tuple(dict.fromkeys(entry.languages))
