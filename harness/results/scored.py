"""A results folder read back as scored cells: the rows that every table is a sum over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.reading.readers import REPLY_READERS
from harness.records import Annotation, Dropped, Example, Status
from harness.results.folder import RunFolder
from harness.results.lines import Line, annotation_json, json_line, stage_rows
from harness.results.manifest import Manifest, SystemEntry
from harness.results.tally import Tally
from harness.scoring import Row, as_written, count, micro, vote
from harness.scoring.rules import find_rule

# The row of one line under the scored stage, and under the English one where that can be counted.
_Counted = tuple[Row, Row | None]


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

    def add(self, example_id: str, row: Row, english: Row | None) -> None:
        """Add the rows of an example."""
        self.ids.append(example_id)
        self.rows.append(row)
        if english is not None:
            self.english.append(english)


@dataclass(frozen=True, slots=True)
class Results:
    """A folder's cells under one matching rule, with its manifest."""

    folder: RunFolder
    manifest: Manifest
    cells: dict[tuple[str, str, str], ScoredCell]


def examples_by_place(folder: RunFolder) -> dict[tuple[str, str, str], Example]:
    """The folder's examples by dataset, language and id."""
    return {(e.dataset, e.language, e.id): e for e in folder.examples()}


def load_results(path: str | Path, rule: str) -> Results:
    """Read a folder and count every prediction under a rule.

    Raises:
        RunFolderError: the folder holds no run, or a file of it is damaged.
        UsageError: the rule reads replies by itself, and cannot read those of a system.
    """
    folder = RunFolder.open(path)
    manifest = folder.manifest()
    for entry in manifest.systems:
        check_countable(entry, rule)
    counter = _LineCounter(manifest, examples_by_place(folder), rule)
    for _ in folder.lines("predictions.jsonl", counter.add):
        pass
    return Results(folder, manifest, counter.cells)


def check_countable(system: SystemEntry, rule: str) -> None:
    """Refuse a rule that reads replies by itself for answers that it cannot read.

    Raises:
        UsageError: the system's answers are voted on, or not in Python.
    """
    wrong = "is scored by a vote over its repeats" if system.vote else None
    if system.format != "python":
        wrong = f"answers in {system.format}"
    if find_rule(rule).read is not None and wrong is not None:
        raise UsageError(
            f"System '{system.name}' {wrong}, and the rule '{rule}' reads single replies in "
            f"Python, as the published scripts did. Choose --rule gollie or --rule strict."
        )


class _LineCounter:
    """Counts the lines of ``predictions.jsonl``, in whatever order, into cells."""

    def __init__(
        self, manifest: Manifest, examples: Mapping[tuple[str, str, str], Example], rule: str
    ) -> None:
        self.cells: dict[tuple[str, str, str], ScoredCell] = {}
        self._examples = examples
        self._rule = rule
        self._systems = {entry.name: entry for entry in manifest.systems}
        self._keys: dict[str, set[str | None]] = {name: set() for name in self._systems}
        # By example: its lines, in short form, until all of its repeats have come.
        self._incomplete: dict[tuple[str, ...], dict[int | None, Any]] = {}
        # A hundred thousand sentences have some hundreds of different rows.
        self._rows: dict[Any, Row] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one line, given as its JSON object."""
        line = Line.from_json(row)
        system = self._systems[line.system]
        place = (line.dataset, line.language, line.system)
        example = self._examples[line.dataset, line.language, line.example_id]
        cell = self.cells.get(place)
        if cell is None:
            cell = self.cells[place] = ScoredCell(*place, system.repeats)
        keys = self._keys[line.system]
        cell.tally.add_line(line, counted=line.key in keys)
        keys.add(line.key)
        short: _Counted | str | None
        if line.status is Status.UNSENT:
            # It has no answer to score; the table says that it is incomplete.
            short = None
        elif system.vote:
            # As text it takes a fraction of the memory, and a block can have half a million lines.
            short = _ballot(line)
        else:
            short = self._count(example, line, system)
        repeats = self._with_repeats((*place, example.id), line, short, cell.repeats)
        if None in repeats:
            cell.unsent += 1
        elif repeats and system.vote:
            majority = voted_line([_from_ballot(line, text) for text in repeats], system)
            cell.add(example.id, *self._count(example, majority, system))
        elif repeats:
            self._add_repeats(cell, example.id, repeats)

    def _with_repeats(
        self, place: tuple[str, ...], line: Line, short: Any, repeats: int
    ) -> list[Any]:
        """The short forms of an example's lines in order of repeats; empty until all are here."""
        if repeats == 1:
            return [short]
        by_repeat = self._incomplete.setdefault(place, {})
        by_repeat[line.repeat] = short
        if len(by_repeat) < repeats:
            return []
        del self._incomplete[place]
        return [by_repeat[repeat] for repeat in range(repeats)]

    def _add_repeats(self, cell: ScoredCell, example_id: str, repeats: list[_Counted]) -> None:
        if len(repeats) == 1:
            cell.add(example_id, *repeats[0])
            return
        rows = [row for row, _ in repeats]
        english = [row for _, row in repeats if row is not None]
        pooled = self._shared(reduce(add, rows))
        cell.add(example_id, pooled, self._shared(reduce(add, english)) if english else None)
        sums = cell.by_repeat or [Row()] * len(rows)
        cell.by_repeat = [total + row for total, row in zip(sums, rows, strict=True)]

    def _count(self, example: Example, line: Line, system: SystemEntry) -> _Counted:
        row = count_line(example, line, system, self._rule)
        english = _count_english(example, line, system, self._rule)
        return self._shared(row), None if english is None else self._shared(english)

    def _shared(self, row: Row) -> Row:
        """One object for all rows of the same counts."""
        counts = tuple(row.counts.items())
        identity = (counts, row.hallucinated, row.parse_error, row.arguments, row.parsed)
        return self._rows.setdefault(identity, row)


def _ballot(line: Line) -> str:
    """What a vote needs of a line, as text."""
    dropped = [(d.stage, d.reason, d.item) for d in line.dropped]
    return json_line((str(line.status), line.stages, dropped, line.english))


def _from_ballot(line: Line, text: str) -> Line:
    """The reverse; everything else is that of ``line``, another repeat of the same example."""
    status, stages, dropped, english = json.loads(text)
    return replace(
        line,
        status=Status(status),
        stages=stages,
        dropped=tuple(Dropped(*d) for d in dropped),
        english=english,
    )


def count_line(example: Example, line: Line, system: SystemEntry, rule: str) -> Row:
    """The counts of one line of ``predictions.jsonl`` against its example, under a rule."""
    if find_rule(rule).read is not None:
        fields = system.prompts[example.dataset].fields
        return count(example.text, example.gold, (), rule, reply_text=line.reply, fields=fields)
    predicted = _scored_stage(line, system.answers[-1])
    return count(example.text, example.gold, predicted, rule, dropped=_dropped(line, system))


def _count_english(example: Example, line: Line, system: SystemEntry, rule: str) -> Row | None:
    """The counts of the English stage, where there is one and its gold is known."""
    if (
        len(system.answers) < 2
        or example.english is None
        or example.english_gold is None
        or line.english != example.english
        or find_rule(rule).read is not None
    ):
        return None
    predicted = _scored_stage(line, system.answers[0])
    return count(example.english, example.english_gold, predicted, rule)


def _scored_stage(line: Line, stage: str) -> tuple[Annotation, ...]:
    """What a line contributes of a stage: nothing where its status does not."""
    return line.stage(stage) or () if line.status.contributes else ()


def _dropped(line: Line, system: SystemEntry) -> int:
    """Elements of the scored list that are no annotations; one that was cut is not counted."""
    final = system.answers[-1]
    return sum(d.stage == final and d.reason != "incomplete" for d in line.dropped)


def voted_line(lines: Sequence[Line], system: SystemEntry) -> Line:
    """The majority of an example's lines, one a repeat in order, as a line of its own.

    The vote is taken on each list of the answer, and on what was dropped from it, among the lines
    whose status contributes; where none does, among all, and the status is the first one's.
    """
    voters = [line for line in lines if line.status.contributes]
    among = voters or lines
    stages = {}
    for name in system.answers:
        lists = [voter.stage(name) for voter in among]
        if any(annotations is not None for annotations in lists):
            majority = vote([annotations or () for annotations in lists], as_written)
            stages[name] = [annotation_json(annotation) for annotation in majority]
    return replace(
        lines[0],
        status=Status.OK if voters else lines[0].status,
        stages=stages,
        dropped=vote([voter.dropped for voter in among], lambda d: (d.stage, d.reason, d.item)),
    )


def reread(folder: RunFolder) -> None:
    """Read every stored reply again with this version's reader, and rewrite the lines."""
    systems = {entry.name: entry for entry in folder.manifest().systems}

    def read_again(row: dict[str, Any]) -> Line:
        line = Line.from_json(row)
        if line.reply is None:
            return line
        system = systems[line.system]
        prediction = REPLY_READERS[system.format](
            line.reply,
            system.answers,
            fields=system.prompts[line.dataset].fields,
            finish_reason=line.finish_reason,
            example_id=line.example_id,
        )
        return replace(
            line,
            status=prediction.status,
            stages=stage_rows(prediction),
            repairs=prediction.repairs,
            dropped=prediction.dropped,
        )

    folder.write_predictions(folder.lines("predictions.jsonl", read_again))
