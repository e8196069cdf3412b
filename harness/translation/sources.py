"""Translations that exist already: the English a corpus carries, and a translation file.

A translation file is JSONL, one translation a line::

    {"dataset": "masakhaner2", "language": "swa", "id": "test-0",
     "text_sha256": "<SHA-256 of the sentence's UTF-8 bytes>", "english": "…"}

The hash makes a shifted or outdated file an error instead of a quiet misalignment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import TranslationError
from harness.records import Example, Translation

_KEYS = ("dataset", "language", "id", "text_sha256", "english")


class Translator(Protocol):
    """Gives the English of sentences, or ``None`` where it has none.

    ``identity`` is what a score's signature says of it.
    """

    identity: str

    def translate(self, examples: Sequence[Example]) -> list[Translation | None]:
        """One entry an example, in order."""
        ...


def open_translator(source: str, path: str | Path | None = None) -> Translator:
    """The translator of a ``[translation]`` table: ``reference``, or ``file`` with its path.

    Raises:
        TranslationError: the file cannot be read, or a line of it is wrong.
    """
    return FileTranslator(Path(path)) if source == "file" and path else ReferenceTranslator()


def text_sha256(text: str) -> str:
    """The hash by which a translation file names a sentence: SHA-256 of its UTF-8 bytes, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _translation(text: str, source: str, identity: str) -> Translation:
    flags = () if text.strip() else ("empty",)
    return Translation(text, source, identity, flags)


class ReferenceTranslator:
    """The English that the corpus itself carries."""

    identity = "reference"

    def translate(self, examples: Sequence[Example]) -> list[Translation | None]:
        """What each example's ``english`` holds."""
        return [
            None if e.english is None else _translation(e.english, "reference", self.identity)
            for e in examples
        ]


class FileTranslator:
    """A translation file; its identity is the hash of its bytes."""

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TranslationError(
                f"{path}: the translation file cannot be read ({error.strerror})."
            ) from None
        self.path = path
        self.identity = f"file-{hashlib.sha256(content).hexdigest()[:12]}"
        self._english: dict[tuple[str, str, str], tuple[str, str]] = {}
        for number, line in enumerate(content.splitlines(), 1):
            if line.strip():
                self._add(line, number)

    def _add(self, line: bytes, number: int) -> None:
        where = f"{self.path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TranslationError(f"{where}: not a JSON object ({error}).") from None
        missing = [
            key for key in _KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str)
        ]
        if missing:
            raise TranslationError(
                f"{where}: needs the texts {', '.join(_KEYS)}; missing here: {', '.join(missing)}."
            )
        key = (row["dataset"], row["language"], row["id"])
        if key in self._english:
            raise TranslationError(f"{where}: a second translation of {'/'.join(key)}. Remove one.")
        self._english[key] = (row["text_sha256"].lower(), row["english"])

    def translate(self, examples: Sequence[Example]) -> list[Translation | None]:
        """The file's entries for the examples.

        Raises:
            TranslationError: an entry was made for another text under the same id.
        """
        found: list[Translation | None] = []
        for example in examples:
            entry = self._english.get((example.dataset, example.language, example.id))
            if entry is None:
                found.append(None)
                continue
            digest, english = entry
            if digest != text_sha256(example.text):
                raise TranslationError(
                    f"{self.path}: the translation of {example.dataset}/{example.language}/"
                    f"{example.id} was made for another text (its text_sha256 is {digest[:12]}…, "
                    f"the sentence's {text_sha256(example.text)[:12]}…). Make the file again for "
                    f"this version of the data."
                )
            found.append(_translation(english, "file", self.identity))
        return found
