"""A results folder read back as scored cells: the rows that every table is a sum over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.models.pricing import nano_dollars
from harness.prompting.parse import parse_reply
from harness.records import Annotation, Example, Status
from harness.runs import RunFolder, annotation_from, example_from, json_line, prediction_json
from harness.scoring import Row, count


@dataclass(slots=True)
class Tally:
    """What answers took: statuses, translation flags, tokens, and nano-dollars.

    ``cost`` is what the answers cost when they were asked for, cached or not; ``None`` as soon
    as one price is unknown.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int | None = 0

    def add_line(self, line: dict[str, Any]) -> None:
        """Take in one line of ``predictions.jsonl``."""
        status = line["status"]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        for flag in (line.get("translation") or {}).get("flags", ()):
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if line["reply"] is None:
            return
        usage = line["usage"] or {}
        self.prompt_tokens += usage.get("prompt_tokens") or 0
        self.completion_tokens += usage.get("completion_tokens") or 0
        price = line["cost"]
        self.cost = None if self.cost is None or price is None else self.cost + nano_dollars(price)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        for mine, theirs in ((self.statuses, other.statuses), (self.flags, other.flags)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        both = self.cost is not None and other.cost is not None
        self.cost = self.cost + other.cost if both else None  # type: ignore[operator]


@dataclass(slots=True)
class ScoredCell:
    """One system on one dataset and language: a row of counts an example, in file order."""

    dataset: str
    language: str
    system: str
    ids: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Results:
    """A folder's cells under one matching rule, with its manifest."""

    folder: RunFolder
    manifest: dict[str, Any]
    cells: dict[tuple[str, str, str], ScoredCell]

    def system(self, name: str) -> dict[str, Any]:
        """The manifest's entry of a system."""
        return next(entry for entry in self.manifest["systems"] if entry["name"] == name)


def load_examples(folder: RunFolder) -> dict[tuple[str, str, str], Example]:
    """The folder's examples by dataset, language and id."""
    rows = map(example_from, folder.lines("examples.jsonl"))
    return {(e.dataset, e.language, e.id): e for e in rows}


def load_results(path: str | Path, rule: str) -> Results:
    """Read a folder and count every prediction under a rule.

    Raises:
        RunFolderError: the folder holds no run, or a file of it is damaged.
    """
    folder = RunFolder.open(path)
    manifest = folder.read_json("manifest.json")
    examples = load_examples(folder)
    systems = {entry["name"]: entry for entry in manifest["systems"]}
    cells: dict[tuple[str, str, str], ScoredCell] = {}
    for line in folder.lines("predictions.jsonl"):
        key = (line["dataset"], line["language"], line["system"])
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = ScoredCell(*key)
        cell.tally.add_line(line)
        if line["status"] == Status.UNSENT:
            # Not asked yet: it has no answer to score, and the table says the run is incomplete.
            continue
        example = examples[(line["dataset"], line["language"], line["example_id"])]
        cell.ids.append(example.id)
        cell.rows.append(count_line(example, line, systems[line["system"]], rule))
    return Results(folder, manifest, cells)


def count_line(example: Example, line: dict[str, Any], system: dict[str, Any], rule: str) -> Row:
    """The counts of one line of `predictions.jsonl` against its example, under a rule."""
    fields = system["prompts"][example.dataset]["fields"]
    if rule == "published":
        # The published scripts read the reply themselves, whatever our reader made of it.
        return count(
            example.text, example.gold, (), rule, reply_text=line["reply"] or "", fields=fields
        )
    predicted: Iterable[Annotation] = ()
    if Status(line["status"]).contributes:
        predicted = map(annotation_from, line["stages"].get(system["answers"][-1], ()))
    return count(example.text, example.gold, tuple(predicted), rule, dropped=_dropped(line, system))


def _dropped(line: dict[str, Any], system: dict[str, Any]) -> int:
    """Elements of the scored list that the reader could not take for annotations."""
    return sum(d["stage"] == system["answers"][-1] for d in line["dropped"])


def reread(folder: RunFolder) -> None:
    """Read every stored reply again with this version's reader, and rewrite the lines."""
    systems = {entry["name"]: entry for entry in folder.read_json("manifest.json")["systems"]}
    with folder.writing("predictions.jsonl") as file:
        for line in _reread_lines(folder, systems):
            file.write(json_line(line))


def _reread_lines(folder: RunFolder, systems: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for line in folder.lines("predictions.jsonl"):
        if line["reply"] is not None:
            system = systems[line["system"]]
            prediction = parse_reply(
                line["reply"],
                system["answers"],
                fields={
                    name: tuple(fields)
                    for name, fields in system["prompts"][line["dataset"]]["fields"].items()
                },
                finish_reason=line["finish_reason"],
                example_id=line["example_id"],
            )
            line |= prediction_json(prediction)
        yield line
