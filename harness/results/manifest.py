"""``manifest.json``: what a run asked, by name and hash.

It is all that scores and signatures need beside the lines. This is the one door: no other module
knows its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.version import __version__

#: The version of the layout of a results folder's files; a reader refuses a newer one.
LAYOUT = 1

_BLOCK_KEYS = {"dataset", "language", "split", "n", "examples_sha256"}
_SYSTEM_KEYS = {
    *("name", "strategy", "backend", "wrap", "answers", "translation", "english_sha256"),
    *("left_out", "prompts"),
}


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One dataset and language, with the number and the hash of its ``n`` examples.

    ``altered`` says that they come from a local file that is not the pinned one.
    """

    dataset: str
    language: str
    split: str
    n: int
    examples_sha256: str
    altered: bool = False

    @property
    def place(self) -> str:
        """``dataset/language``."""
        return f"{self.dataset}/{self.language}"

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {
            "dataset": self.dataset,
            "language": self.language,
            "split": self.split,
            "n": self.n,
            "examples_sha256": self.examples_sha256,
            "altered": self.altered,
        }


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """The prompts of one dataset: hashes of template and schema, and the schema's fields."""

    template_sha256: str
    schema_sha256: str
    fields: Mapping[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {
            "template_sha256": self.template_sha256,
            "schema_sha256": self.schema_sha256,
            "fields": self.fields,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> PromptEntry:
        """The reverse of :meth:`to_json`."""
        fields = {name: tuple(names) for name, names in row["fields"].items()}
        return cls(row["template_sha256"], row["schema_sha256"], fields)


@dataclass(frozen=True, slots=True)
class ShotsEntry:
    """The annotated examples in the prompts: how many, from which split, and how chosen.

    ``sha256`` has the hash of the choice for each ``dataset/language``.
    """

    count: int
    split: str
    by: str
    seed: int
    sha256: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {
            "count": self.count,
            "from": self.split,
            "by": self.by,
            "seed": self.seed,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ShotsEntry:
        """The reverse of :meth:`to_json`."""
        return cls(row["count"], row["from"], row["by"], row["seed"], row["sha256"])


@dataclass(frozen=True, slots=True)
class SystemEntry:
    """One system: its model, how it was prompted, and where its English came from.

    ``answers`` names the lists that its replies have, in order. ``english_sha256`` has the hash of
    the English in its prompts for each ``dataset/language``; ``left_out`` are those without any.
    ``prompts`` has an entry a dataset.
    """

    name: str
    backend: str
    strategy: str
    wrap: str
    answers: tuple[str, ...]
    translation: str | None
    english_sha256: Mapping[str, str]
    left_out: Sequence[str]
    prompts: Mapping[str, PromptEntry]
    engine: str = ""
    model: str = ""
    format: str = "python"
    shots: ShotsEntry | None = None
    repeats: int = 1
    vote: bool = False

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object, keys in the order of the file."""
        return {
            "name": self.name,
            "backend": self.backend,
            "engine": self.engine,
            "model": self.model,
            "strategy": self.strategy,
            "wrap": self.wrap,
            "format": self.format,
            "shots": None if self.shots is None else self.shots.to_json(),
            "repeats": self.repeats,
            "vote": self.vote,
            "answers": self.answers,
            "translation": self.translation,
            "english_sha256": self.english_sha256,
            "left_out": self.left_out,
            "prompts": {name: entry.to_json() for name, entry in self.prompts.items()},
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SystemEntry:
        """The reverse of :meth:`to_json`; what older manifests lack has its default."""
        shots = row.get("shots")
        return cls(
            name=row["name"],
            backend=row["backend"],
            strategy=row["strategy"],
            wrap=row["wrap"],
            answers=tuple(row["answers"]),
            translation=row["translation"],
            english_sha256=row["english_sha256"],
            left_out=row["left_out"],
            prompts={name: PromptEntry.from_json(p) for name, p in row["prompts"].items()},
            engine=row.get("engine", ""),
            model=row.get("model", ""),
            format=row.get("format", "python"),
            shots=None if shots is None else ShotsEntry.from_json(shots),
            repeats=row.get("repeats", 1),
            vote=row.get("vote", False),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run asked: its blocks of examples and its systems.

    ``complete`` says that every example was asked for. ``version`` is the harness that ran it.
    """

    experiment: str
    complete: bool
    blocks: Sequence[BlockEntry]
    systems: Sequence[SystemEntry]
    version: str = field(default=__version__)

    def system(self, name: str) -> SystemEntry:
        """The entry of a system.

        Raises:
            KeyError: there is no such system.
        """
        for entry in self.systems:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object, keys in the order of the file."""
        return {
            "layout": LAYOUT,
            "version": self.version,
            "experiment": self.experiment,
            "complete": self.complete,
            "blocks": [block.to_json() for block in self.blocks],
            "systems": [system.to_json() for system in self.systems],
        }

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """The reverse of :meth:`to_json`; also reads manifests of older versions.

        Raises:
            ValueError: it is not such an object; the message names the key.
        """
        blocks = _rows(value, "blocks", _BLOCK_KEYS)
        systems = _rows(value, "systems", _SYSTEM_KEYS)
        try:
            return cls(
                experiment=value.get("experiment", ""),
                complete=value.get("complete", True),
                blocks=[
                    BlockEntry(
                        row["dataset"],
                        row["language"],
                        row["split"],
                        row["n"],
                        row["examples_sha256"],
                        row.get("altered", False),
                    )
                    for row in blocks
                ],
                systems=[SystemEntry.from_json(row) for row in systems],
                version=value.get("version", ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no usable `systems`: {error}") from None


def _rows(value: Any, key: str, needed: set[str]) -> list[dict[str, Any]]:
    rows = value.get(key) if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and needed <= row.keys() for row in rows
    ):
        raise ValueError(f"no usable `{key}`")
    return rows
