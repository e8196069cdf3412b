"""A results folder read back as scored cells: the rows that every table is a sum over."""

from __future__ import annotations

from collections.abc import Iterable
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

    ``cost`` is what the answers cost when they were asked for, cached or not. Tokens and cost
    are ``None`` as soon as one answer's are unknown.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    cost: int | None = 0

    def add_line(self, line: dict[str, Any], *, counted: bool) -> None:
        """Take in one line of ``predictions.jsonl``.

        ``counted`` says that the answer stands beside another sentence of the system already:
        equal prompts are asked and paid for once.
        """
        status = line["status"]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        for flag in (line.get("translation") or {}).get("flags", ()):
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if line["reply"] is None or counted:
            return
        usage = line["usage"] or {}
        price = line["cost"]
        self.prompt_tokens = _sum(self.prompt_tokens, usage.get("prompt_tokens"))
        self.completion_tokens = _sum(self.completion_tokens, usage.get("completion_tokens"))
        self.cost = _sum(self.cost, None if price is None else nano_dollars(price))

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        for mine, theirs in ((self.statuses, other.statuses), (self.flags, other.flags)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        self.prompt_tokens = _sum(self.prompt_tokens, other.prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, other.completion_tokens)
        self.cost = _sum(self.cost, other.cost)


def _sum(total: int | None, term: int | None) -> int | None:
    """A sum with an unknown term is unknown."""
    return None if total is None or term is None else total + term


@dataclass(slots=True)
class ScoredCell:
    """One system on one dataset and language: a row of counts an example, in file order.

    ``english`` are the rows of the stage before the scored one, counted against the gold of the
    English, where the corpus carries both.
    """

    dataset: str
    language: str
    system: str
    ids: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    english: list[Row] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def unsent(self) -> int:
        """How many of its examples were not asked."""
        return self.tally.statuses.get(Status.UNSENT, 0)


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
    rows = folder.lines("examples.jsonl", example_from)
    return {(e.dataset, e.language, e.id): e for e in rows}


def load_results(path: str | Path, rule: str) -> Results:
    """Read a folder and count every prediction under a rule.

    Raises:
        RunFolderError: the folder holds no run, or a file of it is damaged.
    """
    folder = RunFolder.open(path)
    manifest = folder.manifest()
    examples = load_examples(folder)
    systems = {entry["name"]: entry for entry in manifest["systems"]}
    cells: dict[tuple[str, str, str], ScoredCell] = {}
    counted: set[tuple[str, str]] = set()

    def take(line: dict[str, Any]) -> None:
        key = (line["dataset"], line["language"], line["system"])
        example = examples[(line["dataset"], line["language"], line["example_id"])]
        row = count_line(example, line, systems[line["system"]], rule)
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = ScoredCell(*key)
        place = (line["system"], line["key"])
        cell.tally.add_line(line, counted=place in counted)
        counted.add(place)
        # What was not asked yet has no answer to score; the table says that it is incomplete.
        if line["status"] != Status.UNSENT:
            cell.ids.append(example.id)
            cell.rows.append(row)
            if (stage := _count_english(example, line, systems[line["system"]], rule)) is not None:
                cell.english.append(stage)

    for _ in folder.lines("predictions.jsonl", take):
        pass
    return Results(folder, manifest, cells)


def count_line(example: Example, line: dict[str, Any], system: dict[str, Any], rule: str) -> Row:
    """The counts of one line of `predictions.jsonl` against its example, under a rule."""
    fields = system["prompts"][example.dataset]["fields"]
    if rule == "published":
        # The published scripts read the reply themselves, whatever our reader made of it.
        return count(example.text, example.gold, (), rule, reply_text=line["reply"], fields=fields)
    predicted: Iterable[Annotation] = ()
    if Status(line["status"]).contributes:
        predicted = map(annotation_from, line["stages"].get(system["answers"][-1], ()))
    return count(example.text, example.gold, tuple(predicted), rule, dropped=_dropped(line, system))


def _count_english(
    example: Example, line: dict[str, Any], system: dict[str, Any], rule: str
) -> Row | None:
    """The counts of the English stage, where there is one and its gold is known."""
    if (
        len(system["answers"]) < 2
        or example.english is None
        or example.english_gold is None
        or line.get("english") != example.english
        or rule == "published"
    ):
        return None
    found: Iterable[Annotation] = ()
    if Status(line["status"]).contributes:
        found = map(annotation_from, line["stages"].get(system["answers"][0], ()))
    return count(example.english, example.english_gold, tuple(found), rule)


def _dropped(line: dict[str, Any], system: dict[str, Any]) -> int:
    """Elements of the scored list that are no annotations; one that was cut is not counted."""
    final = system["answers"][-1]
    return sum(d["stage"] == final and d["reason"] != "incomplete" for d in line["dropped"])


def reread(folder: RunFolder) -> None:
    """Read every stored reply again with this version's reader, and rewrite the lines."""
    systems = {entry["name"]: entry for entry in folder.manifest()["systems"]}

    def again(line: dict[str, Any]) -> dict[str, Any]:
        if line["reply"] is None:
            return line
        system = systems[line["system"]]
        fields = system["prompts"][line["dataset"]]["fields"]
        prediction = parse_reply(
            line["reply"],
            system["answers"],
            fields={name: tuple(names) for name, names in fields.items()},
            finish_reason=line["finish_reason"],
            example_id=line["example_id"],
        )
        return line | prediction_json(prediction)

    with folder.writing("predictions.jsonl") as file:
        for line in folder.lines("predictions.jsonl", again):
            file.write(json_line(line))
