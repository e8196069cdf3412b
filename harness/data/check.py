"""The rows that ``harness ls datasets`` and ``harness check datasets`` print."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data import download
from harness.data.catalog import catalog, resolve
from harness.data.dataset import Dataset
from harness.data.download import FileCopy
from harness.data.loading import load_examples
from harness.disk import sha256_of
from harness.errors import HarnessError
from harness.records import Example


@dataclass(frozen=True, slots=True)
class LanguageRow:
    """One dataset and language: what ``harness ls datasets`` shows.

    ``where`` has, for every split, ``local`` (in a user's folder), ``cache`` (downloaded),
    ``packaged`` (part of the program), ``remote`` (downloaded when it is needed) or
    ``missing`` (not in the given folder).
    """

    dataset: str
    language: str
    name: str
    where: Mapping[str, str]
    nllb: str | None
    licence: str
    citation: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file of a dataset: what ``harness check datasets`` shows.

    ``checksum`` is ``ok``, ``differs`` (from the pinned file) or ``unpinned``. ``tokens`` counts
    token lines, or words where the file has no tokens. ``entities`` counts gold mentions by class.
    ``left_out`` counts, by label, mentions that are not gold: those of excluded labels, and those
    whose tags were read as O. ``no_entity`` counts sentences without gold. ``oddities`` has

    * ``orphan_i``: an I- after O or at a sentence's start; ``type_change``: an I- after another
      label. Either starts a new span.
    * ``unknown_tags``: tags whose label the dataset does not know, read as O
    * ``empty_tokens``: tokens of spaces only; ``empty_mentions``: mentions of such tokens only,
      which are dropped
    * ``spaced_tokens``: tokens with a space inside
    * ``duplicate_sentences``: sentences whose text occurs earlier in the file
    * ``non_nfc_gold``: gold mentions that Unicode normalisation would change
    * ``duplicate_ids``: sentences whose id occurs earlier in the file

    ``ceiling`` is the value of the caller's function for the examples. If the file could not be
    read, ``error`` has the message and nothing is counted.
    """

    dataset: str
    language: str
    split: str
    path: Path
    where: str
    checksum: str
    sentences: int = 0
    tokens: int = 0
    entities: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    no_entity: int = 0
    oddities: Mapping[str, int] = field(default_factory=dict)
    ceiling: float | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the file could be read and is the pinned one, where one is pinned."""
        return self.error is None and self.checksum != "differs"


def describe(data_dir: Path | str | None = None) -> list[LanguageRow]:
    """A row for every dataset and language, in the order of the catalogue."""
    rows = []
    absent = "remote" if data_dir is None else "missing"
    names = {
        nllb: row.name
        for dataset in catalog().values()
        for code, row in dataset.table.items()
        if (nllb := dataset.nllb_code(code))
    }
    for dataset in catalog().values():
        for language, splits in _splits_by_language(dataset).items():
            row = dataset.table.get(language)
            copies = {split: _existing_copy(dataset, language, split, data_dir) for split in splits}
            rows.append(
                LanguageRow(
                    dataset=dataset.name,
                    language=language,
                    name=row.name
                    if row
                    else names.get(dataset.nllb_code(language) or "", language),
                    where={split: c.origin if c else absent for split, c in copies.items()},
                    nllb=dataset.nllb_code(language),
                    licence=row.licence if row else dataset.licence,
                    citation=row.citation if row else dataset.citation,
                )
            )
    return rows


def check(
    names: Iterable[str | Dataset] = (),
    *,
    data_dir: Path | str | None = None,
    fetch: bool = False,
    ceiling: Callable[[Sequence[Example]], float] | None = None,
) -> Iterator[FileReport]:
    """Read every existing file of the named datasets, or of all.

    With ``fetch``, missing files are downloaded first. ``ceiling`` is called with the examples of
    each file, and its value is reported. A file that cannot be read is reported with its error,
    and does not stop the check.

    Raises:
        UnknownNameError: no dataset has that name.
        DataError: the languages of a user's own file could not be read, or a download failed.
    """
    datasets = [resolve(n) if isinstance(n, str) else n for n in names] or catalog().values()
    return _reports(datasets, data_dir, fetch, ceiling)


def _reports(
    datasets: Iterable[Dataset],
    data_dir: Path | str | None,
    fetch: bool,
    ceiling: Callable[[Sequence[Example]], float] | None,
) -> Iterator[FileReport]:
    for dataset in datasets:
        for language, splits in _splits_by_language(dataset).items():
            for split in splits:
                if fetch:
                    dataset.path(language, split, data_dir=data_dir)
                copy = _existing_copy(dataset, language, split, data_dir)
                if copy is not None:
                    yield _report(dataset, language, split, copy, data_dir, ceiling)


def _splits_by_language(dataset: Dataset) -> dict[str, list[str]]:
    """The splits of each language of a dataset."""
    splits: dict[str, list[str]] = {}
    for split in dataset.splits:
        for language in dataset.languages(split):
            splits.setdefault(language, []).append(split)
    return {code: splits[code] for code in (dataset.table or sorted(splits)) if code in splits}


def _existing_copy(
    dataset: Dataset, language: str, split: str, data_dir: Path | str | None
) -> FileCopy | None:
    """The copy of a file that is used, if there is one."""
    if dataset.table:
        pinned = dataset.table[language].files[split]
        return download.existing_copy(pinned, dataset.relative_path(language, split), data_dir)
    path = dataset.path(language, split)
    return FileCopy(path, "packaged" if dataset.name in catalog() else "local")


def _report(
    dataset: Dataset,
    language: str,
    split: str,
    copy: FileCopy,
    data_dir: Path | str | None,
    ceiling: Callable[[Sequence[Example]], float] | None,
) -> FileReport:
    path, where = copy
    checksum = "unpinned"
    try:
        if dataset.table:
            same = sha256_of(path) == dataset.table[language].files[split].sha256
            checksum = "ok" if same else "differs"
        corpus = dataset.read(language, split, data_dir=data_dir)
        examples = load_examples(dataset, language, split, data_dir=data_dir)
        value = ceiling(examples) if ceiling is not None else None
    except (OSError, HarnessError) as error:
        return FileReport(dataset.name, language, split, path, where, checksum, error=str(error))
    sentences = dataset.sentences(language, split, corpus)
    own_ids = [s.id for s in sentences if s.id is not None]
    known = {*dataset.labels, *dataset.excluded, *dataset.ignored}
    entities = Counter(a.type for e in examples for a in e.gold)
    left_out = Counter(m.label for s in sentences for m in s.mentions)
    left_out.update({tag[2:]: n for tag, n in corpus.read_as_o.items() if tag[0] == "B"})
    return FileReport(
        dataset.name,
        language,
        split,
        path,
        where,
        checksum,
        sentences=len(sentences),
        tokens=sum(len(s.tokens) or len(s.text.split()) for s in sentences),
        entities={cls: entities[cls] for cls in dict.fromkeys(dataset.labels.values())},
        left_out={label: n for label, n in left_out.items() if label not in dataset.labels},
        no_entity=sum(not e.gold for e in examples),
        oddities={
            "orphan_i": corpus.oddities["orphan_i"],
            "type_change": corpus.oddities["type_change"],
            "unknown_tags": sum(n for t, n in corpus.read_as_o.items() if t[2:] not in known),
            "empty_tokens": sum(not t.strip(" ") for s in sentences for t in s.tokens),
            "empty_mentions": corpus.oddities["empty_mentions"],
            "spaced_tokens": sum(" " in t.strip(" ") for s in sentences for t in s.tokens),
            "duplicate_sentences": len(sentences) - len({s.text for s in sentences}),
            "duplicate_ids": len(own_ids) - len({*own_ids}),
            "non_nfc_gold": sum(
                not unicodedata.is_normalized("NFC", a.span) for e in examples for a in e.gold
            ),
        },
        ceiling=value,
    )
