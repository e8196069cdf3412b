"""A results folder read back as scored cells: the rows that every table is a sum over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.reading.formats import FORMATS
from harness.records import Annotation, Example, Status
from harness.results.folder import RunFolder
from harness.results.lines import (
    annotation_from,
    annotation_json,
    example_from,
    json_line,
    prediction_json,
)
from harness.results.tally import Tally
from harness.scoring import Row, as_written, count, micro, vote
from harness.scoring.rules import find_rule

# One outcome's rows, under the scored stage and under the English one where that can be counted.
_Counted = tuple[Row, Row | None]
# What is kept of a line until the others that it votes with have come.
_VOTING = ("status", "stages", "dropped", "english")


@dataclass(slots=True)
class ScoredCell:
    """One system on one dataset and language: a row of counts an example, in file order.

    An example's row is the sum over its repeats, or that of their vote; one of whose repeats
    some were not asked is ``unsent`` and has no row. ``by_repeat`` has the sums of each repeat
    over the same examples, and nothing where there is one answer an example. ``english`` are the
    rows of the stage before the scored one, counted against the gold of the English, where the
    corpus carries both.
    """

    dataset: str
    language: str
    system: str
    repeats: int = 1
    ids: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    english: list[Row] = field(default_factory=list)
    by_repeat: list[Row] = field(default_factory=list)
    unsent: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def f1_repeats(self) -> list[float]:
        """The F1 of each repeat, as a fraction; empty where there is one answer an example."""
        return [micro([row]).f1 for row in self.by_repeat]

    def take(self, example_id: str, row: Row, english: Row | None) -> None:
        """Take in what is scored of an example."""
        self.ids.append(example_id)
        self.rows.append(row)
        if english is not None:
            self.english.append(english)


@dataclass(frozen=True, slots=True)
class Results:
    """A folder's cells under one matching rule, with its manifest."""

    folder: RunFolder
    manifest: dict[str, Any]
    cells: dict[tuple[str, str, str], ScoredCell]

    def system(self, name: str) -> dict[str, Any]:
        """The manifest's entry of a system."""
        return next(entry for entry in self.manifest["systems"] if entry["name"] == name)


def repeats_of(system: Mapping[str, Any]) -> int:
    """How often a system of the manifest was asked each prompt; older manifests do not say."""
    return int(system.get("repeats", 1))


def is_voted(system: Mapping[str, Any]) -> bool:
    """Whether the vote over a system's repeats is what is scored."""
    return bool(system.get("vote", False))


def format_of(system: Mapping[str, Any]) -> str:
    """What a system's answers are written in."""
    return str(system.get("format", "python"))


def load_examples(folder: RunFolder) -> dict[tuple[str, str, str], Example]:
    """The folder's examples by dataset, language and id."""
    rows = folder.lines("examples.jsonl", example_from)
    return {(e.dataset, e.language, e.id): e for e in rows}


def load_results(path: str | Path, rule: str) -> Results:
    """Read a folder and count every prediction under a rule.

    Raises:
        RunFolderError: the folder holds no run, or a file of it is damaged.
        UsageError: the rule is ``published`` and a system has what those scripts had not.
    """
    folder = RunFolder.open(path)
    manifest = folder.manifest()
    for entry in manifest["systems"]:
        check_countable(entry, rule)
    loader = _Loader(manifest, load_examples(folder), rule)
    for _ in folder.lines("predictions.jsonl", loader.take):
        pass
    return Results(folder, loader.manifest, loader.cells)


def check_countable(system: Mapping[str, Any], rule: str) -> None:
    """Refuse a rule that reads replies by itself for answers that it cannot read.

    Raises:
        UsageError: the system's answers are voted on, or not in Python.
    """
    wrong = "is scored by a vote over its repeats" if is_voted(system) else None
    if format_of(system) != "python":
        wrong = f"answers in {format_of(system)}"
    if find_rule(rule).read is not None and wrong is not None:
        raise UsageError(
            f"System '{system['name']}' {wrong}, and the rule '{rule}' reads single replies in "
            f"Python, as the published scripts did. Choose --rule gollie or --rule strict."
        )


class _Loader:
    """Takes in the lines of ``predictions.jsonl``, in whatever order, and keeps their counts."""

    def __init__(
        self, manifest: dict[str, Any], examples: Mapping[tuple[str, str, str], Example], rule: str
    ) -> None:
        self.manifest = manifest
        self.cells: dict[tuple[str, str, str], ScoredCell] = {}
        self._examples = examples
        self._rule = rule
        self._systems = {entry["name"]: entry for entry in manifest["systems"]}
        self._keys: dict[str, set[str]] = {name: set() for name in self._systems}
        # By example, what is kept of its lines until its other repeats have come.
        self._waiting: dict[tuple[str, ...], dict[int, Any]] = {}
        # A hundred thousand sentences have some hundreds of different rows.
        self._rows: dict[Any, Row] = {}

    def take(self, line: dict[str, Any]) -> None:
        """Take in one line."""
        name = line["system"]
        system = self._systems[name]
        place = (line["dataset"], line["language"], name)
        example = self._examples[line["dataset"], line["language"], line["example_id"]]
        cell = self.cells.get(place)
        if cell is None:
            cell = self.cells[place] = ScoredCell(*place, repeats_of(system))
        key, keys = line["key"], self._keys[name]
        cell.tally.add_line(line, counted=key in keys)
        keys.add(key)
        kept: _Counted | str | None
        if Status(line["status"]) is Status.UNSENT:
            # It has no answer to score; the table says that it is incomplete.
            kept = None
        elif is_voted(system):
            # As text it takes a fraction of the memory, and a block can have half a million lines.
            kept = json_line({name: line.get(name) for name in _VOTING})
        else:
            kept = self._count(example, line, system)
        every = self._together((*place, example.id), line, kept, cell.repeats)
        if None in every:
            cell.unsent += 1
        elif every and is_voted(system):
            line = voted_line([json.loads(text) for text in every], system)
            cell.take(example.id, *self._count(example, line, system))
        elif every:
            self._take_repeats(cell, example.id, every)

    def _together(
        self, place: tuple[str, ...], line: dict[str, Any], kept: Any, repeats: int
    ) -> list[Any]:
        """What was kept of an example's repeats, in order, with the last of them; until then []."""
        if repeats == 1:
            return [kept]
        mine = self._waiting.setdefault(place, {})
        mine[line["repeat"]] = kept
        if len(mine) < repeats:
            return []
        del self._waiting[place]
        return [mine[repeat] for repeat in range(repeats)]

    def _take_repeats(self, cell: ScoredCell, example_id: str, every: list[_Counted]) -> None:
        if len(every) == 1:
            cell.take(example_id, *every[0])
            return
        rows = [row for row, _ in every]
        english = [row for _, row in every if row is not None]
        pooled = self._same(reduce(add, rows))
        cell.take(example_id, pooled, self._same(reduce(add, english)) if english else None)
        so_far = cell.by_repeat or [Row()] * len(rows)
        cell.by_repeat = [total + row for total, row in zip(so_far, rows, strict=True)]

    def _count(self, example: Example, line: dict[str, Any], system: dict[str, Any]) -> _Counted:
        row = count_line(example, line, system, self._rule)
        english = _count_english(example, line, system, self._rule)
        return self._same(row), None if english is None else self._same(english)

    def _same(self, row: Row) -> Row:
        """One object for all rows of the same counts."""
        counts = tuple(row.counts.items())
        identity = (counts, row.hallucinated, row.parse_error, row.arguments, row.parsed)
        return self._rows.setdefault(identity, row)


def count_line(example: Example, line: dict[str, Any], system: dict[str, Any], rule: str) -> Row:
    """The counts of one line of `predictions.jsonl` against its example, under a rule."""
    if find_rule(rule).read is not None:
        fields = system["prompts"][example.dataset]["fields"]
        return count(example.text, example.gold, (), rule, reply_text=line["reply"], fields=fields)
    predicted = _stage(line, system["answers"][-1])
    return count(example.text, example.gold, predicted, rule, dropped=_dropped(line, system))


def _count_english(
    example: Example, line: dict[str, Any], system: dict[str, Any], rule: str
) -> Row | None:
    """The counts of the English stage, where there is one and its gold is known."""
    if (
        len(system["answers"]) < 2
        or example.english is None
        or example.english_gold is None
        or line.get("english") != example.english
        or find_rule(rule).read is not None
    ):
        return None
    found = _stage(line, system["answers"][0])
    return count(example.english, example.english_gold, found, rule)


def _stage(line: dict[str, Any], stage: str) -> tuple[Annotation, ...]:
    """What a line contributes of a stage: nothing where its status does not."""
    if not Status(line["status"]).contributes:
        return ()
    return tuple(map(annotation_from, line["stages"].get(stage, ())))


def _dropped(line: dict[str, Any], system: dict[str, Any]) -> int:
    """Elements of the scored list that are no annotations; one that was cut is not counted."""
    if not line["dropped"]:
        return 0
    final = system["answers"][-1]
    return sum(d["stage"] == final and d["reason"] != "incomplete" for d in line["dropped"])


def voted_line(lines: Sequence[dict[str, Any]], system: dict[str, Any]) -> dict[str, Any]:
    """The majority of an example's lines, one a repeat in order, as a line of its own.

    The vote is taken on each list of the answer, and on what was dropped from it, among the lines
    whose status contributes; where none does, among all, and the status is the first one's. The
    line has the status, stages, dropped elements and English of one in ``predictions.jsonl``.
    """
    voters = [line for line in lines if Status(line["status"]).contributes]
    among = voters or lines
    stages = {}
    for name in system["answers"]:
        lists = [voter["stages"].get(name) for voter in among]
        if any(found is not None for found in lists):
            kept = vote([list(map(annotation_from, found or ())) for found in lists], as_written)
            stages[name] = list(map(annotation_json, kept))
    return {
        "status": str(Status.OK) if voters else lines[0]["status"],
        "stages": stages,
        "dropped": vote(
            [voter["dropped"] for voter in among], lambda d: (d["stage"], d["reason"], d["item"])
        ),
        "english": lines[0].get("english"),
    }


def reread(folder: RunFolder) -> None:
    """Read every stored reply again with this version's reader, and rewrite the lines."""
    systems = {entry["name"]: entry for entry in folder.manifest()["systems"]}

    def again(line: dict[str, Any]) -> dict[str, Any]:
        if line["reply"] is None:
            return line
        system = systems[line["system"]]
        fields = system["prompts"][line["dataset"]]["fields"]
        prediction = FORMATS[format_of(system)](
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
