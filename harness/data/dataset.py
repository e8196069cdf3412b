"""A dataset: its languages, its files, and the sentences of each language."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from harness.data import download
from harness.data.corpus import CorpusFile, LabelMap, Sentence, raise_format_error
from harness.data.formats import FILE_FORMATS
from harness.disk import sha256_of
from harness.errors import (
    ChecksumError,
    DataError,
    UnknownNameError,
    UsageError,
    unknown_name_message,
)

# The code of an unknown language in BCP 47.
UNDETERMINED = "und"
SPLITS = ("train", "dev", "test")
_FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")


@dataclass(frozen=True, slots=True)
class Language:
    """One language of a pinned dataset (in UNER, one treebank).

    ``english`` is the language of the same dataset that has its sentences in English, if one has.
    ``files`` has the pinned file of every split.
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

    ``format`` is a name of :data:`harness.data.formats.FILE_FORMATS`. ``labels`` maps the tags of
    its files to the classes of its schema; ``excluded`` and ``ignored`` tags have none
    (:class:`harness.data.corpus.LabelMap` says how they differ). ``outside`` names classes that
    are scored as false positives although no prompt has them.

    ``table`` has the languages of a pinned dataset; it is empty for the demo corpus and for a
    user's own data. ``layout`` is the path of the file of a ``{language}`` and ``{split}``: below a
    folder of local corpora if there is a ``table``, else below ``root``. ``given_languages`` are
    the languages that a user named for their own data. ``codes`` maps languages to NLLB-200 codes.
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
    given_languages: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that some language has; a user's own data in one file has ``test`` only."""
        if self.table:
            return tuple(s for s in SPLITS if any(s in row.files for row in self.table.values()))
        if "{split}" not in self.layout:
            return ("test",)
        return tuple(s for s in SPLITS if self._languages_on_disk(s))

    def languages(self, split: str = "test") -> list[str]:
        """The languages that have a split; for own data, the given ones or those of its files.

        Raises:
            UnknownNameError: no language has a split of that name.
            DataError: the user's own file is missing or cannot be read.
        """
        if self.table:
            if split not in self.splits:
                raise UnknownNameError(
                    unknown_name_message(f"split of {self.name}", split, self.splits)
                )
            return [code for code, row in self.table.items() if split in row.files]
        if self.given_languages:
            return list(self.given_languages)
        if "{language}" in self.layout:
            if languages := self._languages_on_disk(split):
                return languages
            if (known := self.splits) and split not in known:
                raise UnknownNameError(unknown_name_message(f"split of {self.name}", split, known))
            raise DataError(
                f"{self.root / self.relative_path('*', split)}: no such file. Check the path."
            )
        return list(self._by_language(UNDETERMINED, self.read(UNDETERMINED, split)))

    def nllb_code(self, language: str) -> str | None:
        """The NLLB-200 code of a language, ``None`` if NLLB does not know the language.

        A user's own data may name a language by such a code (``swh_Latn``), or by a name that the
        catalogue has (``swa``, ``de``).
        """
        return language if _FLORES_CODE.fullmatch(language) else self.codes.get(language)

    def relative_path(self, language: str, split: str) -> str:
        """The path of a file below the folder of local corpora, or below ``root``."""
        name = self.split_names.get(split, split)
        return self.layout.replace("{language}", language).replace("{split}", name)

    def path(
        self,
        language: str,
        split: str = "test",
        *,
        data_dir: Path | str | None = None,
        progress: download.DownloadProgress | None = None,
    ) -> Path:
        """The file of a language and split, downloaded if need be (:mod:`harness.data.download`).

        Raises:
            UnknownNameError: the dataset has no such language or split.
            DataError: a pinned file is not where it should be, not the pinned one, or could not
                be fetched.
        """
        if not self.table:
            if "{language}" in self.layout or self.given_languages:
                self._check_language(language, split, self.languages(split))
            return self.root / self.relative_path(language, split)
        known = self.languages(split)
        self._check_language(language, split, known)
        pinned, relative = self.table[language].files[split], self.relative_path(language, split)
        try:
            return download.locate_or_fetch(pinned, relative, data_dir, progress)
        except DataError as error:
            # Partial folders are common, and `languages = "all"` asks for the whole catalogue.
            folder = download.local_folder(data_dir)
            local = [
                c for c in known if folder and (folder / self.relative_path(c, split)).is_file()
            ]
            if not local or isinstance(error, ChecksumError):
                raise
            raise type(error)(f"{error} The folder {folder} has: {', '.join(local)}.") from None

    def is_altered(self, language: str, split: str, data_dir: Path | str | None = None) -> bool:
        """Whether the file in the folder of local corpora differs from the pinned one."""
        if not self.table:
            return False
        pinned = self.table[language].files[split]
        copy = download.existing_copy(pinned, self.relative_path(language, split), data_dir)
        # A file in the cache was checked against its hash when it was read.
        return copy is not None and copy.origin == "local" and sha256_of(copy.path) != pinned.sha256

    def read(
        self,
        language: str,
        split: str = "test",
        *,
        data_dir: Path | str | None = None,
        progress: download.DownloadProgress | None = None,
    ) -> CorpusFile:
        """The content of the whole file that has a language and split.

        Raises:
            DataError: as for :meth:`path`, or a line that the format does not allow.
        """
        path = self.path(language, split, data_dir=data_dir, progress=progress)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = (0, 0)  # The reader raises the error.
        return _read(self, path, stamp)

    def sentences(self, language: str, split: str, corpus: CorpusFile) -> list[Sentence]:
        """The sentences of one language in the content of a file.

        Raises:
            UnknownNameError: there is none of that language.
        """
        by_language = self._by_language(language, corpus)
        self._check_language(language, split, by_language)
        return by_language[language]

    def _check_language(self, language: str, split: str, known: Iterable[str]) -> None:
        known = list(known)
        if language not in known:
            raise UnknownNameError(
                unknown_name_message(f"language of {self.name} ({split})", language, known)
            )

    def _languages_on_disk(self, split: str) -> list[str]:
        """The languages in the names of existing files; ``[""]`` if names have no language."""
        pattern = str(self.root / self.relative_path("{language}", split))
        before, placeholder, after = pattern.partition("{language}")
        if not placeholder:
            return [""] if Path(pattern).is_file() else []
        paths = glob.glob(glob.escape(before) + "*" + glob.escape(after))
        return sorted(path[len(before) : len(path) - len(after)] for path in paths)

    def _by_language(self, language: str, corpus: CorpusFile) -> dict[str, list[Sentence]]:
        """The sentences of a file by language, in order of first occurrence.

        A sentence without a language has that of the file, else the only one of the dataset.
        """
        if self.table or not FILE_FORMATS[self.format].sentence_fields:
            if len(self.given_languages) > 1 and "{language}" not in self.layout:
                raise UsageError(
                    f"Dataset '{self.name}': a {self.format} file has one language, and "
                    f"{len(self.given_languages)} are given ({', '.join(self.given_languages)}). "
                    f'Give one file a language: path = "news_{{language}}.{self.format}".'
                )
            return {language: corpus.sentences}
        default = UNDETERMINED
        if "{language}" in self.layout:
            default = language
        elif len(self.given_languages) == 1:
            default = self.given_languages[0]
        by_language: dict[str, list[Sentence]] = {}
        for sentence in corpus.sentences:
            by_language.setdefault(sentence.language or default, []).append(sentence)
        if len(self.given_languages) > 1 and UNDETERMINED in by_language:
            raise_format_error(
                corpus.path,
                by_language[UNDETERMINED][0].line,
                f"no `language`, and {self.name} has several: {', '.join(self.given_languages)}.",
            )
        return by_language


@lru_cache(maxsize=2)
def _read(dataset: Dataset, path: Path, stamp: tuple[int, int]) -> CorpusFile:
    """The content of a file; cached, since one file may have many languages or their English.

    ``stamp`` (modification time in ns, size in bytes) makes a changed file be read again.
    """
    labels = LabelMap(
        dataset.labels, dataset.excluded, dataset.ignored, unknown_is_error=not dataset.table
    )
    return FILE_FORMATS[dataset.format].read(path, labels)
