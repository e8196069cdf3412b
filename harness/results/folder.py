"""A run's results folder: what is in it, written and read back.

``experiment.toml`` (resolved), ``manifest.json`` (what was asked: hashes and names that the
signature prints), ``examples.jsonl`` (texts and gold, so that a folder can be scored and shown
anywhere), ``predictions.jsonl`` (one line an example and system), ``scores.json``,
``environment.json``. Every file is written beside its place and then moved into it, so that a
reader never sees half a file; the paid answers themselves are in the store.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from harness.disk import replacing
from harness.errors import RunFolderError
from harness.records import Example
from harness.results.lines import Line, example_from, example_json, json_line
from harness.results.manifest import LAYOUT, Manifest

# Holds the moment from which on answers count as refreshed.
_REFRESH = ".refresh"
# Holds the name under which the store adds up what this folder's run has paid.
_PAYER = ".payer"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The results folder of one run."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A folder that holds a run, given as itself or as its experiment file.

        Raises:
            RunFolderError: there is no run in it.
        """
        folder = Path(path)
        if folder.suffix == ".toml" and not folder.is_dir():
            folder = folder.with_suffix("")
        if not os.path.isfile(folder / "manifest.json"):
            runs = sorted(str(run.path) for run in list_runs())
            raise RunFolderError(
                f"{folder}: no results here (no manifest.json). Make them with `harness run FILE`."
                + (f" Results folders: {', '.join(runs)}." if runs else "")
            )
        return cls(folder)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def experiment(self) -> str:
        """The name of the experiment whose results are here.

        Raises:
            RunFolderError: the manifest is missing or damaged.
        """
        return str(self.read_json("manifest.json").get("experiment"))

    def holds(self, experiment: Path) -> bool:
        """Whether a file is this folder's own resolved experiment."""
        resolved = self.path / "experiment.toml"
        return experiment == resolved and os.path.isfile(self.path / "manifest.json")

    def prepare(self, experiment: str) -> None:
        """Make the folder for an experiment's results, and make sure that it can be written to.

        Raises:
            RunFolderError: it cannot, or it holds the results of another experiment; nothing has
                been asked or paid yet.
        """
        # Path.is_file raises where a name is too long for the file system.
        if os.path.isfile(self.path / "manifest.json") and self.experiment != experiment:
            raise RunFolderError(
                f"{self.path}: holds the results of experiment '{self.experiment}', not of "
                f"'{experiment}'. Choose another folder with --out DIR."
            )
        probe = self.path / f".write-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunFolderError(
                f"{self.path}: results cannot be written here ({error.strerror}). "
                f"Choose another folder with --out DIR."
            ) from None

    def refresh_started(self) -> datetime | None:
        """When a refresh began that was not brought to an end."""
        try:
            return datetime.fromisoformat((self.path / _REFRESH).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def start_refresh(self, moment: datetime) -> None:
        """Note when a refresh began, so that it can go on after an interruption."""
        with self.writing(_REFRESH) as file:
            file.write(moment.isoformat())

    def end_refresh(self) -> None:
        """Nothing is left to go on with."""
        (self.path / _REFRESH).unlink(missing_ok=True)

    @property
    def payer(self) -> str | None:
        """What the store knows this folder's run by, to add up what it pays."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.path / _PAYER).read_text("utf-8").strip() or None
        return None

    def start_paying(self, *, anew: bool) -> str:
        """The folder's payer, made where there is none yet or what is paid counts ``anew``."""
        name = self.payer
        if name is None or anew:
            name = uuid.uuid4().hex
            with self.writing(_PAYER) as file:
                file.write(name)
        return name

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[str]]:
        """A file of this folder, moved into place when the block ends without an error."""
        try:
            # A reply may hold a lone surrogate, which UTF-8 cannot: as `\\udc80` it is what JSON
            # itself would write for it.
            with (
                replacing(self.path / name) as part,
                part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
            ):
                yield file
        except OSError as error:
            raise RunFolderError(
                f"{self.path / name}: cannot be written ({error.strerror}). Every answer paid for "
                f"is in the store: free the disk or choose --out DIR, and run again."
            ) from None

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file of this folder."""
        with self.writing(name) as file:
            file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read one JSON file of this folder.

        Raises:
            RunFolderError: it is missing, damaged, or of a newer layout.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be read ({error.strerror}). Run the experiment again: "
                f"answers come from the store."
            ) from None
        except (ValueError, RecursionError) as error:
            raise _damaged(path, 1, error) from None
        layout = value.get("layout", LAYOUT) if isinstance(value, dict) else LAYOUT
        if isinstance(layout, int) and layout > LAYOUT:
            raise RunFolderError(
                f"{path}: written by a newer version (layout {layout}, this one reads {LAYOUT}). "
                f"Update the harness."
            )
        return value

    def manifest(self) -> Manifest:
        """The manifest: what was asked.

        Raises:
            RunFolderError: it is missing, damaged, or of a newer layout.
        """
        value = self.read_json("manifest.json")
        try:
            return Manifest.from_json(value)
        except ValueError as error:
            raise _damaged(self.path / "manifest.json", 1, error) from None

    def remove_manifest(self) -> None:
        """Make this no run's folder while its files are written: half of a run would else be
        taken for a whole one."""
        (self.path / "manifest.json").unlink(missing_ok=True)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, with which the folder holds a run."""
        self.write_json("manifest.json", manifest.to_json())

    def examples(self) -> Iterator[Example]:
        """The examples of the run, in order.

        Raises:
            RunFolderError: as :meth:`lines`.
        """
        return self.lines("examples.jsonl", example_from)

    def predictions(self) -> Iterator[Line]:
        """The lines of ``predictions.jsonl``, in order.

        Raises:
            RunFolderError: as :meth:`lines`.
        """
        return self.lines("predictions.jsonl", Line.from_json)

    def write_examples(self, examples: Iterable[Example]) -> None:
        """Write ``examples.jsonl``."""
        with self.writing("examples.jsonl") as file:
            file.writelines(json_line(example_json(example)) for example in examples)

    def write_predictions(self, lines: Iterable[Line]) -> None:
        """Write ``predictions.jsonl``."""
        with self.writing("predictions.jsonl") as file:
            file.writelines(json_line(line.to_json()) for line in lines)

    def lines(self, name: str, read: Callable[[dict[str, Any]], T]) -> Iterator[T]:
        """What ``read`` makes of each object of one JSONL file of this folder.

        Raises:
            RunFolderError: the file is missing or damaged, or ``read`` could not make sense of a
                line; the message names file and line.
        """
        path = self.path / name
        number = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    number += 1
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not an object")
                    yield read(row)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({error.strerror}).") from None
        except KeyError as error:
            raise _damaged(path, number, ValueError(f"no {error}")) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, number, error) from None


def _damaged(path: Path, line: int, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{path}:{line}: damaged ({error}). Run the experiment again: answers come from the store."
    )


def list_runs() -> list[RunFolder]:
    """The results folders under ``./runs``, by name."""
    return [RunFolder(path.parent) for path in sorted(Path("runs").glob("*/manifest.json"))]
