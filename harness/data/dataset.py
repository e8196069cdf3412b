"""A dataset: its names, languages, files, and the sentences that are in them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from harness.data import download
from harness.data.conll import read_columns
from harness.data.corpus import CorpusFile, LabelMap, Sentence, raise_format_error
from harness.data.jsonl import read_jsonl
from harness.disk import sha256_of
from harness.errors import ChecksumError, DataError, UnknownNameError, UsageError, unknown

# BCP 47's word for a language that is not known.
UNDETERMINED = "und"
SPLITS = ("train", "dev", "test")
_FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


@dataclass(frozen=True, slots=True)
class Language:
    """One language of a pinned dataset (in UNER, one treebank).

    ``english`` is the language of the same dataset that holds its English sentences; ``files``
    has the pinned file of every split.
    """

    code: str
    name: str
    licence: str
    citation: str
    english: str | None
    files: Mapping[str, download.PinnedFile]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A corpus in one format with one set of classes.

    ``labels`` maps the tags of its files to the classes of its schema; ``excluded`` and
    ``ignored`` tags have none (:class:`harness.data.corpus.Labels` says how they differ).
    ``outside`` names classes that are scored as false positives although no prompt has them.

    ``layout`` says where the file of a ``{language}`` and ``{split}`` lies: in a folder of local
    corpora where ``table`` has pinned languages, else from ``root``. ``declared`` are the
    languages of one's own data, where they were named.
    """

    name: str
    title: str
    format: str
    schema: str
    labels: Mapping[str, str]
    layout: str
    task: str = "ner"
    outside: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    licence: str = "unknown"
    citation: str = ""
    attribution: str = ""
    references: str | None = None
    split_names: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Language] = field(default_factory=dict)
    root: Path = Path()
    declared: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that some language has; data in one file of one's own has ``test``."""
        if self.table:
            return tuple(s for s in SPLITS if any(s in row.files for row in self.table.values()))
        if "{split}" not in self.layout:
            return ("test",)
        return tuple(s for s in SPLITS if self._languages_on_disk(s))

    def languages(self, split: str = "test") -> list[str]:
        """The languages that have a split; for one's own data, those it names or was given.

        Raises:
            UnknownNameError: no language has a split of that name.
            DataError: one's own file is not there or cannot be read.
        """
        if self.table:
            if split not in self.splits:
                raise UnknownNameError(unknown(f"split of {self.name}", split, self.splits))
            return [code for code, row in self.table.items() if split in row.files]
        if self.declared:
            return list(self.declared)
        if "{language}" in self.layout:
            if found := self._languages_on_disk(split):
                return found
            if (known := self.splits) and split not in known:
                raise UnknownNameError(unknown(f"split of {self.name}", split, known))
            raise DataError(
                f"{self.root / self.relative_path('*', split)}: no such file. Check the path."
            )
        return list(self._by_language(UNDETERMINED, self.read(UNDETERMINED, split)))

    def nllb_code(self, language: str) -> str | None:
        """The NLLB-200 code of a language, ``None`` where NLLB does not know it.

        One's own data may call a language by such a code (``swh_Latn``), or as the catalogue does
        (``swa``, ``de``).
        """
        return language if _FLORES_CODE.fullmatch(language) else self.codes.get(language)

    def relative_path(self, language: str, split: str) -> str:
        """Where a file lies below the folder of local corpora, or below ``root``."""
        name = self.split_names.get(split, split)
        return self.layout.replace("{language}", language).replace("{split}", name)

    def path(
        self,
        language: str,
        split: str = "test",
        *,
        data_dir: Path | str | None = None,
        progress: download.Progress | None = None,
    ) -> Path:
        """The file of a language and split, downloaded if need be (:mod:`harness.data.download`).

        Raises:
            UnknownNameError: the dataset has no such language or split.
            DataError: a pinned file is not where it should be, not the pinned one, or could not
                be fetched.
        """
        if not self.table:
            if "{language}" in self.layout or self.declared:
                self._check_language(language, split, self.languages(split))
            return self.root / self.relative_path(language, split)
        known = self.languages(split)
        self._check_language(language, split, known)
        pinned, place = self.table[language].files[split], self.relative_path(language, split)
        try:
            return download.locate_or_fetch(pinned, place, data_dir, progress)
        except DataError as error:
            # A partial folder is common, and `languages = "all"` means all of the catalogue's.
            folder = download.local_folder(data_dir)
            here = [
                c for c in known if folder and (folder / self.relative_path(c, split)).is_file()
            ]
            if not here or isinstance(error, ChecksumError):
                raise
            raise type(error)(f"{error} The folder {folder} has: {', '.join(here)}.") from None

    def is_altered(self, language: str, split: str, data_dir: Path | str | None = None) -> bool:
        """Whether a file that is pinned is another one in the folder of local corpora."""
        if not self.table:
            return False
        pinned = self.table[language].files[split]
        there = download.existing_copy(pinned, self.relative_path(language, split), data_dir)
        # A file of the cache was compared with its hash when it was read.
        return there is not None and there[1] == "local" and sha256_of(there[0]) != pinned.sha256

    def read(
        self,
        language: str,
        split: str = "test",
        *,
        data_dir: Path | str | None = None,
        progress: download.Progress | None = None,
    ) -> CorpusFile:
        """The whole file that holds a language and split, as its reader sees it.

        Raises:
            DataError: as :meth:`path`, or the file's format is wrong (with file and line).
        """
        path = self.path(language, split, data_dir=data_dir, progress=progress)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = (0, 0)  # The reader says what is wrong.
        return _read(self, path, stamp)

    def sentences(self, language: str, split: str, corpus: CorpusFile) -> list[Sentence]:
        """The sentences of a language in a file that was read.

        Raises:
            UnknownNameError: it has none of that language.
        """
        found = self._by_language(language, corpus)
        self._check_language(language, split, found)
        return found[language]

    def _check_language(self, language: str, split: str, known: Iterable[str]) -> None:
        known = list(known)
        if language not in known:
            raise UnknownNameError(unknown(f"language of {self.name} ({split})", language, known))

    def _languages_on_disk(self, split: str) -> list[str]:
        """What stands for ``{language}`` in the files that are there; "" where it is not asked."""
        pattern = str(self.root / self.relative_path("{language}", split))
        before, named, after = pattern.partition("{language}")
        if not named:
            return [""] if Path(pattern).is_file() else []
        paths = glob.glob(glob.escape(before) + "*" + glob.escape(after))
        return sorted(path[len(before) : len(path) - len(after)] for path in paths)

    def _by_language(self, language: str, corpus: CorpusFile) -> dict[str, list[Sentence]]:
        """The sentences of a file by language, in order of first mention.

        A sentence that names none is of the file's language, or of the dataset's only one.
        """
        if self.table or self.format != "jsonl":
            if len(self.declared) > 1 and "{language}" not in self.layout:
                raise UsageError(
                    f"Dataset '{self.name}': a {self.format} file has one language, and "
                    f"{len(self.declared)} are given ({', '.join(self.declared)}). Give one file "
                    f'a language: path = "news_{{language}}.{self.format}".'
                )
            return {language: corpus.sentences}
        default = UNDETERMINED
        if "{language}" in self.layout:
            default = language
        elif len(self.declared) == 1:
            default = self.declared[0]
        found: dict[str, list[Sentence]] = {}
        for sentence in corpus.sentences:
            found.setdefault(sentence.language or default, []).append(sentence)
        if len(self.declared) > 1 and UNDETERMINED in found:
            raise_format_error(
                corpus.path,
                found[UNDETERMINED][0].line,
                f"no `language`, and {self.name} has several: {', '.join(self.declared)}.",
            )
        return found


@lru_cache(maxsize=2)
def _read(dataset: Dataset, path: Path, stamp: tuple[int, int]) -> CorpusFile:
    """A file's corpus; kept, for a file may hold many languages, or the English of several."""
    labels = LabelMap(
        dataset.labels, dataset.excluded, dataset.ignored, unknown_is_error=not dataset.table
    )
    if dataset.format == "jsonl":
        return read_jsonl(path, labels)
    return read_columns(path, dataset.format, labels)
