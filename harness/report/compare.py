"""Systems side by side: F1 with intervals, paired differences, statuses, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunFolderError, UsageError, unknown
from harness.models.pricing import dollars
from harness.report.results import Results, ScoredCell, Tally, load_results, reread
from harness.runs import LAYOUT, RunFolder
from harness.scoring import RULES, holm
from harness.scoring.bootstrap import Paired, Resampled, paired, resample
from harness.scoring.signature import signature

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("precision", "recall", "statuses", "flags", "tokens", "cost", "cost_per_point")
MACRO = "macro"


def check_rule(rule: str) -> None:
    """Raise UsageError unless ``rule`` is a matching rule."""
    if rule not in RULES:
        raise UsageError("--rule: " + unknown("rule", rule, RULES))


def check_columns(columns: str | Iterable[str]) -> list[str]:
    """The columns that a comma-separated text names.

    Raises:
        UsageError: one is not a column.
    """
    names = columns.split(",") if isinstance(columns, str) else columns
    found = [name.strip() for name in names if name.strip()]
    for name in found:
        if name not in COLUMNS:
            raise UsageError("--columns: " + unknown("column", name, COLUMNS))
    return found


@dataclass(slots=True)
class ScoreRow:
    """One system on one dataset and language (or ``macro``). Scores are percentages.

    ``difference`` and what follows are against the baseline, paired by sentence; ``p`` is the
    paired bootstrap's, ``p_holm`` the same adjusted over the languages of the dataset.
    ``languages`` is how many a macro row averages.
    """

    dataset: str
    language: str
    system: str
    rule: str
    n: int
    precision: float
    recall: float
    f1: float
    f1_low: float
    f1_high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    languages: int = 1
    hallucinated: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: str | None = None
    cost_per_point: float | None = None
    signature: str = ""

    @classmethod
    def columns(cls) -> Iterator[str]:
        """The names of the columns, in order."""
        return (f.name for f in fields(cls))

    @property
    def cost_nanos(self) -> int | None:
        """The cost in nano-dollars, ``None`` where unknown."""
        return None if self.cost is None else int(Decimal(self.cost) * 10**9)

    def as_record(self) -> dict[str, Any]:
        """The row as a mapping, figures rounded to what they can carry."""
        record = {name: getattr(self, name) for name in self.columns()}
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()}


@dataclass(slots=True)
class Comparison:
    """Rows of several systems under one rule; ``notes`` are what a reader must know of them."""

    rule: str
    baseline: str
    systems: list[str]
    rows: list[ScoreRow]
    totals: dict[str, Tally]
    notes: list[str]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Dataset and language of each line of a wide table, in order."""
        return list(dict.fromkeys((row.dataset, row.language) for row in self.rows))

    @property
    def signatures(self) -> dict[str, str]:
        """One signature a system and dataset."""
        found = {}
        several = len({row.dataset for row in self.rows}) > 1
        for row in self.rows:
            name = f"{row.system} · {row.dataset}" if several else row.system
            found.setdefault(name, row.signature)
        return found

    def at(self, dataset: str, language: str, system: str) -> ScoreRow | None:
        """The row of a place and system, ``None`` if the system was left out there."""
        where = (dataset, language, system)
        return next((r for r in self.rows if (r.dataset, r.language, r.system) == where), None)

    def under(self, points: float) -> list[str]:
        """Systems whose macro F1 is under ``points``, with their figure."""
        return [
            f"{row.system} ({row.dataset}: {row.f1:.1f})"
            for row in self.rows
            if row.language == MACRO and row.f1 < points
        ]

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON values; this is what ``scores.json`` holds."""
        return {
            "layout": LAYOUT,
            "rule": self.rule,
            "baseline": self.baseline,
            "notes": self.notes,
            "scores": [row.as_record() for row in self.rows],
        }


def score(folder: str | Path, *, rule: str = "gollie") -> Comparison:
    """Read a folder's stored replies again, score them, and write ``scores.json``.

    Raises:
        UsageError: an unknown rule.
        RunFolderError: the folder holds no run, or is damaged.
    """
    check_rule(rule)
    run = RunFolder.open(folder)
    reread(run)
    return write_scores(run, rule)


def write_scores(folder: RunFolder, rule: str) -> Comparison:
    """Score a folder as it stands and write ``scores.json``."""
    comparison = compare_rows([folder.path], rule=rule)
    folder.write_json("scores.json", comparison.as_json())
    return comparison


def compare(
    *folders: str | Path, rule: str = "gollie", baseline: str | None = None
) -> pd.DataFrame:
    """Compare the systems of one or several results folders.

    Returns:
        One row a dataset, language and system, and one a dataset and system with
        ``language = "macro"`` (the unweighted mean over the languages that all systems have);
        the columns are :class:`ScoreRow`'s, scores in percent.

    Raises:
        UsageError: an unknown rule or baseline, or no folder.
        RunFolderError: a folder holds no run, or two runs scored different data.
    """
    import pandas as pd

    check_rule(rule)
    comparison = compare_rows(folders, rule=rule, baseline=baseline)
    return pd.DataFrame([row.as_record() for row in comparison.rows], columns=list(ScoreRow.columns()))


def compare_rows(
    folders: Sequence[str | Path], *, rule: str = "gollie", baseline: str | None = None
) -> Comparison:
    """The comparison behind :func:`compare`, without pandas."""
    if not folders:
        raise UsageError("Nothing to compare: name at least one results folder.")
    results = [load_results(folder, rule) for folder in folders]
    _check_same_data(results)
    named = _named_systems(results)
    systems = list(named)
    if baseline is None:
        baseline = systems[0]
    elif baseline not in systems:
        raise UsageError("--baseline: " + unknown("system", baseline, systems))
    comparison = Comparison(rule, baseline, systems, [], {}, _notes(named))
    datasets = dict.fromkeys(block["dataset"] for r in results for block in r.manifest["blocks"])
    for dataset in datasets:
        comparison.rows.extend(_dataset_rows(dataset, named, rule, baseline))
    for name, (result, own) in named.items():
        total = comparison.totals[name] = Tally()
        for cell in result.cells.values():
            if cell.system == own:
                total.add(cell.tally)
    return comparison


_Named = Mapping[str, tuple[Results, str]]


def _named_systems(results: Sequence[Results]) -> _Named:
    """System names that tell every system apart: with the folder's name where two share one."""
    names = [entry["name"] for r in results for entry in r.manifest["systems"]]
    named: dict[str, tuple[Results, str]] = {}
    for r in results:
        for entry in r.manifest["systems"]:
            own = entry["name"]
            label = own if names.count(own) == 1 else f"{r.folder.name}: {own}"
            while label in named:
                label += "'"
            named[label] = (r, own)
    return named


def _check_same_data(results: Sequence[Results]) -> None:
    """Paired tests need the same sentences: say so when two runs scored others."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for r in results:
        for block in r.manifest["blocks"]:
            place = (block["dataset"], block["language"])
            digest, folder = seen.setdefault(place, (block["examples_sha256"], str(r.folder.path)))
            if digest != block["examples_sha256"]:
                raise RunFolderError(
                    f"{folder} and {r.folder.path} scored different examples of "
                    f"{place[0]}/{place[1]} (another split, limit, sample or version of the "
                    f"data): run both on the same ones to compare them."
                )


def _notes(named: _Named) -> list[str]:
    notes = []
    for name, (result, own) in named.items():
        entry = result.system(own)
        unsent = sum(
            cell.tally.statuses.get("unsent", 0)
            for cell in result.cells.values()
            if cell.system == own
        )
        if unsent:
            notes.append(f"{name}: incomplete, {unsent} examples not sent; run it again to go on.")
        if entry["left_out"]:
            notes.append(
                f"{name}: left out, no translation: {len(entry['left_out'])} "
                f"({', '.join(entry['left_out'])})."
            )
        flags: dict[str, int] = {}
        for cell in result.cells.values():
            if cell.system == own:
                for flag, number in cell.tally.flags.items():
                    flags[flag] = flags.get(flag, 0) + number
        if flags:
            listed = ", ".join(f"{flag} {number}" for flag, number in flags.items())
            notes.append(f"{name}: translations flagged: {listed}.")
    return notes


def _dataset_rows(dataset: str, named: _Named, rule: str, baseline: str) -> list[ScoreRow]:
    cells: dict[str, dict[str, ScoredCell]] = {}
    for name, (result, own) in named.items():
        for (place, language, system), cell in result.cells.items():
            if place == dataset and system == own and cell.rows:
                cells.setdefault(language, {})[name] = cell
    signatures = {
        name: signature_of(result, own, dataset, rule)
        for name, (result, own) in named.items()
        if any(name in by_system for by_system in cells.values())
    }
    resampled = {
        language: {name: resample(cell.rows) for name, cell in by_system.items()}
        for language, by_system in cells.items()
    }
    rows: list[ScoreRow] = []
    for language, by_system in cells.items():
        for name, cell in by_system.items():
            base = by_system.get(baseline)
            row = _row(cell, name, rule, resampled[language][name], signatures[name])
            if base is not None and name != baseline and base.ids == cell.ids:
                _put_difference(
                    row, paired(resampled[language][baseline], resampled[language][name])
                )
            rows.append(row)
    _adjust(rows)
    present = [n for n in named if any(n in by_system for by_system in cells.values())]
    shared = [language for language, by_system in cells.items() if set(by_system) == set(present)]
    if shared:
        rows.extend(_macro_rows(dataset, present, shared, rows, resampled, baseline, rule))
    return rows


def _row(
    cell: ScoredCell, name: str, rule: str, resampled: Resampled, signature: str
) -> ScoreRow:
    value = resampled.score
    low, high = resampled.interval()
    tally = cell.tally
    return ScoreRow(
        cell.dataset,
        cell.language,
        name,
        rule,
        len(cell.rows),
        100 * value.precision,
        100 * value.recall,
        100 * value.f1,
        100 * low,
        100 * high,
        hallucinated=sum(row.hallucinated for row in cell.rows),
        statuses=dict(tally.statuses),
        flags=dict(tally.flags),
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cost=None if tally.cost is None else dollars(tally.cost),
        cost_per_point=_per_point(tally.cost, value.f1),
        signature=signature,
    )


def _per_point(cost: int | None, f1: float) -> float | None:
    """Dollars an F1 point; unknown where the price is, or where there is no point."""
    return None if cost is None or f1 <= 0 else cost / 1e9 / (100 * f1)


def _put_difference(row: ScoreRow, difference: Paired) -> None:
    row.difference = 100 * difference.difference
    row.difference_low = 100 * difference.low
    row.difference_high = 100 * difference.high
    row.p = difference.p


def _adjust(rows: Sequence[ScoreRow]) -> None:
    """Holm's correction of each system's p-values over the languages."""
    for system in dict.fromkeys(row.system for row in rows):
        tested = [row for row in rows if row.system == system and row.p is not None]
        for row, adjusted in zip(tested, holm([row.p for row in tested if row.p is not None]), strict=True):
            row.p_holm = adjusted


def _macro_rows(
    dataset: str,
    systems: Sequence[str],
    languages: Sequence[str],
    rows: Sequence[ScoreRow],
    resampled: Mapping[str, Mapping[str, Resampled]],
    baseline: str,
    rule: str,
) -> list[ScoreRow]:
    """Unweighted means over the languages that every system has."""
    macro: list[ScoreRow] = []
    means = {
        name: Resampled.mean([resampled[language][name] for language in languages])
        for name in systems
    }
    for name in systems:
        own = [row for row in rows if row.system == name and row.language in languages]
        low, high = means[name].interval()
        tally = Tally()
        for row in own:
            tally.add(
                Tally(row.statuses, row.flags, row.prompt_tokens, row.completion_tokens, row.cost_nanos)
            )
        f1 = means[name].score.f1
        line = ScoreRow(
            dataset,
            MACRO,
            name,
            rule,
            sum(row.n for row in own),
            sum(row.precision for row in own) / len(own),
            sum(row.recall for row in own) / len(own),
            100 * f1,
            100 * low,
            100 * high,
            languages=len(languages),
            hallucinated=sum(row.hallucinated for row in own),
            statuses=tally.statuses,
            flags=tally.flags,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            cost=None if tally.cost is None else dollars(tally.cost),
            cost_per_point=_per_point(tally.cost, f1),
            signature=own[0].signature,
        )
        if baseline in means and name != baseline:
            _put_difference(line, paired(means[baseline], means[name]))
        macro.append(line)
    return macro
