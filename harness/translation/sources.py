"""Where English comes from: the protocol, and the two sources whose English exists already.

The English of a corpus is read from its examples, other English from a translation file.

A translation file is JSONL, one translation a line::

    {"dataset": "masakhaner2", "language": "swa", "id": "test-0",
     "text_sha256": "<SHA-256 of the sentence's UTF-8 bytes>", "english": "…"}

The hash makes a shifted or outdated file an error instead of a quiet misalignment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.data.block import Block
from harness.disk import replacing
from harness.errors import TranslationError
from harness.records import Translation
from harness.translation.flags import flags_of

_KEYS = ("dataset", "language", "id", "text_sha256", "english")


@dataclass(frozen=True, slots=True)
class English:
    """The English of a block.

    ``translations`` has one entry a sentence, in the block's order, ``None`` where there is no
    translation. ``pending_keys`` names the sentences whose translation can still be made: the
    sentence's index to the key of its first request that has no answer in the store.
    """

    translations: list[Translation | None]
    pending_keys: Mapping[int, str] = field(default_factory=dict)


class Translator(Protocol):
    """Gives the English of sentences. ``identity`` stands in the signature of a score."""

    identity: str

    def translate(self, block: Block) -> English:
        """The English that exists; none is made."""
        ...


def text_sha256(text: str) -> str:
    """The hash by which a translation file names a sentence: SHA-256 of its UTF-8 bytes, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ReferenceTranslator:
    """The English that the corpus itself carries."""

    identity = "reference"

    def translate(self, block: Block) -> English:
        """The ``english`` of each example."""
        return English(
            [None if e.english is None else self._translation(e.english) for e in block.examples]
        )

    def _translation(self, text: str) -> Translation:
        # The other flags are for engines: people may translate more freely.
        flags = () if text.strip() else ("empty",)
        return Translation(text, "reference", self.identity, flags)


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
        missing_keys = [
            key for key in _KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str)
        ]
        if missing_keys:
            raise TranslationError(
                f"{where}: needs the texts {', '.join(_KEYS)}; missing here: "
                f"{', '.join(missing_keys)}."
            )
        key = (row["dataset"], row["language"], row["id"])
        if key in self._english:
            raise TranslationError(f"{where}: a second translation of {'/'.join(key)}. Remove one.")
        self._english[key] = (row["text_sha256"].lower(), row["english"])

    def translate(self, block: Block) -> English:
        """The file's entries for the examples.

        Raises:
            TranslationError: an entry was made for another text under the same id.
        """
        translations: list[Translation | None] = []
        for example in block.examples:
            entry = self._english.get((example.dataset, example.language, example.id))
            if entry is None:
                translations.append(None)
                continue
            digest, english = entry
            if digest != text_sha256(example.text):
                raise TranslationError(
                    f"{self.path}: the translation of {example.dataset}/{example.language}/"
                    f"{example.id} was made for another text (its text_sha256 is {digest[:12]}…, "
                    f"the sentence's {text_sha256(example.text)[:12]}…). Make the file again for "
                    f"this version of the data."
                )
            flags = flags_of(example.text, english)
            translations.append(Translation(english, "file", self.identity, flags))
        return English(translations)


def write_translation_file(path: Path, blocks: Iterable[tuple[Block, English]]) -> int:
    """Write a translation file, whole or not at all; returns how many lines it has.

    Raises:
        TranslationError: it cannot be written.
    """
    count = 0
    try:
        with replacing(path) as part, part.open("w", encoding="utf-8") as file:
            for block, english in blocks:
                for example, translation in zip(block.examples, english.translations, strict=True):
                    if translation is None or not translation.text.strip():
                        continue
                    values = (
                        *(example.dataset, example.language, example.id),
                        *(text_sha256(example.text), translation.text),
                    )
                    row = dict(zip(_KEYS, values, strict=True))
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
    except OSError as error:
        raise TranslationError(f"{path} cannot be written ({error.strerror}).") from None
    return count
