"""Systems side by side: F1 with intervals, paired differences, statuses, tokens and cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunFolderError, UsageError, unknown_name_message
from harness.money import dollars
from harness.report.columns import cell_figures, macro_figures
from harness.report.comparison import MACRO, Comparison, ScoreRow
from harness.report.signing import sign
from harness.results.folder import RunFolder
from harness.results.scored import Results, ScoredCell, load_results, reread
from harness.results.tally import Tally
from harness.scoring import Paired, Resampled, average, holm, micro, per_label, resample
from harness.scoring.rows import Row
from harness.scoring.rules import find_rule

if TYPE_CHECKING:
    import pandas as pd

# Fewer sentences are not tested: with five, even an exact sign test cannot reach 0.05.
_FEWEST = 6


def score(folder: str | Path, *, rule: str = "gollie") -> Comparison:
    """Read a folder's stored replies again, score them, and write ``scores.json``.

    Raises:
        UsageError: an unknown rule.
        RunFolderError: the folder holds no run, or is damaged.
    """
    find_rule(rule)
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

    comparison = compare_rows(folders, rule=rule, baseline=baseline)
    records = [row.as_record() for row in comparison.rows]
    return pd.DataFrame(records, columns=None if records else list(ScoreRow.names()))


def compare_rows(
    folders: Sequence[str | Path], *, rule: str = "gollie", baseline: str | None = None
) -> Comparison:
    """The comparison behind :func:`compare`, without pandas."""
    find_rule(rule)
    if not folders:
        raise UsageError("Nothing to compare: name at least one results folder.")
    results = [load_results(folder, rule) for folder in folders]
    _check_same_data(results)
    named = _named_systems(results)
    systems = list(named)
    if baseline is None:
        baseline = systems[0]
    elif baseline not in systems:
        raise UsageError("--baseline: " + unknown_name_message("system", baseline, systems))
    comparison = Comparison(rule, baseline, systems, [], {}, _notes(named))
    datasets = dict.fromkeys(block.dataset for r in results for block in r.manifest.blocks)
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
    names = [entry.name for r in results for entry in r.manifest.systems]
    named: dict[str, tuple[Results, str]] = {}
    for r in results:
        for entry in r.manifest.systems:
            own = entry.name
            label = own if names.count(own) == 1 else f"{r.folder.name}: {own}"
            while label in named:
                label += "'"
            named[label] = (r, own)
    return named


def _check_same_data(results: Sequence[Results]) -> None:
    """Paired tests need the same sentences: say so when two runs scored others."""
    seen: dict[str, tuple[str, str]] = {}
    for r in results:
        for block in r.manifest.blocks:
            mine = (block.examples_sha256, str(r.folder.path))
            digest, folder = seen.setdefault(block.place, mine)
            if digest != block.examples_sha256:
                raise RunFolderError(
                    f"{folder} and {r.folder.path} scored different examples of "
                    f"{block.place} (another split, limit, sample or version of the "
                    f"data): run both on the same ones to compare them."
                )


def _notes(named: _Named) -> list[str]:
    notes = []
    for name, (result, own) in named.items():
        cells = [cell for cell in result.cells.values() if cell.system == own]
        entry = result.manifest.system(own)
        left_out = entry.left_out
        asked = sum(b.n for b in result.manifest.blocks if b.place not in left_out)
        if entry.vote:
            notes.append(f"{name}: scored by the majority of {entry.repeats} answers.")
        unsent = sum(cell.unsent for cell in cells)
        if unsent:
            notes.append(f"{name}: incomplete, {unsent} examples not sent; run it again to go on.")
        missing = asked - unsent - sum(len(cell.rows) for cell in cells)
        if missing:
            notes.append(
                f"{name}: {missing} examples are missing from predictions.jsonl; run again."
            )
        if left_out:
            notes.append(
                f"{name}: left out, no translation: {len(left_out)} ({', '.join(left_out)})."
            )
        total = Tally()
        for cell in cells:
            total.add(cell.tally)
        if total.flags:
            listed = ", ".join(f"{flag} {number}" for flag, number in total.flags.items())
            notes.append(f"{name}: translations flagged: {listed}.")
    altered = {
        block.place
        for result, _ in named.values()
        for block in result.manifest.blocks
        if block.altered
    }
    if altered:
        notes.append(
            f"Not the pinned files: {', '.join(sorted(altered))}; see `harness check datasets`."
        )
    return notes


def _dataset_rows(dataset: str, named: _Named, rule: str, baseline: str) -> list[ScoreRow]:
    cells: dict[str, dict[str, ScoredCell]] = {}
    for name, (result, own) in named.items():
        for (place, language, system), cell in result.cells.items():
            if place == dataset and system == own and cell.rows:
                cells.setdefault(language, {})[name] = cell
    drawn = {language: _resampled(language, by_system) for language, by_system in cells.items()}
    rows: list[ScoreRow] = []
    for language, by_system in cells.items():
        for name, cell in by_system.items():
            result, own = named[name]
            row = _row(cell, name, rule, drawn[language][name])
            row.signature = sign(
                result, own, dataset, [language], row.n, rule, drawn[language][name]
            )
            # Systems share their resamples where they answered the same sentences.
            if (
                name != baseline
                and drawn[language].get(baseline) is drawn[language][name]
                and row.n >= _FEWEST
            ):
                _put_difference(row, drawn[language][name].paired(name, baseline))
            rows.append(row)
    _adjust(rows)
    # A part of a language is not a score of it: means are over what was asked as a whole.
    whole = {
        language: {name for name, cell in by_system.items() if not cell.unsent}
        for language, by_system in cells.items()
    }
    present = [name for name in named if any(name in systems for systems in whole.values())]
    shared = [language for language, systems in whole.items() if systems >= set(present)]
    for name in present if shared else ():
        result, own = named[name]
        own_rows = [row for row in rows if row.system == name and row.language in shared]
        own_cells = [cells[language][name] for language in shared]
        line = _macro_row(own_rows, own_cells, [drawn[language][name] for language in shared])
        line.signature = sign(result, own, dataset, shared, line.n, rule, drawn[shared[0]][name])
        if (
            name != baseline
            and baseline in present
            and line.n >= _FEWEST
            and all(drawn[x][baseline] is drawn[x][name] for x in shared)
        ):
            both = average([_only(drawn[x][name], name, baseline) for x in shared])
            _put_difference(line, both.paired(name, baseline))
        rows.append(line)
    return rows


def _resampled(language: str, by_system: Mapping[str, ScoredCell]) -> dict[str, Resampled]:
    """Each system's resamples: one object for all that answered the same sentences."""
    groups: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for name, cell in by_system.items():
        groups.setdefault(tuple(cell.ids), {})[name] = cell.rows
    return {
        name: resampled
        for group in groups.values()
        for resampled in [resample(group, stream=language)]
        for name in group
    }


def _only(resampled: Resampled, *names: str) -> Resampled:
    """The resamples of some of the systems."""
    places = [resampled.names.index(name) for name in names]
    return replace(
        resampled, names=names, observed=resampled.observed[places], f1=resampled.f1[places]
    )


def _row(cell: ScoredCell, name: str, rule: str, resampled: Resampled) -> ScoreRow:
    value = micro(cell.rows)
    interval = resampled.interval(name)
    return ScoreRow(
        dataset=cell.dataset,
        language=cell.language,
        system=name,
        rule=rule,
        n=len(cell.rows),
        precision=100 * value.precision,
        recall=100 * value.recall,
        f1=100 * value.f1,
        f1_low=100 * interval.low,
        f1_high=100 * interval.high,
        hallucinated=sum(row.hallucinated for row in cell.rows),
        labels={label: round(100 * s.f1, 6) for label, s in per_label(cell.rows).items()},
        english_f1=100 * micro(cell.english).f1 if cell.english else None,
        unsent=cell.unsent,
        repeats=cell.repeats,
        more=cell_figures(cell),
        **_spread([100 * f1 for f1 in cell.f1_repeats]),
        **_taken(cell.tally, value.f1),
    )


def _macro_row(
    rows: Sequence[ScoreRow], cells: Sequence[ScoredCell], resampled: Sequence[Resampled]
) -> ScoreRow:
    """The unweighted mean over one system's languages, each resampled within itself."""
    name, count = rows[0].system, len(rows)
    interval = average([_only(r, name) for r in resampled]).interval(name)
    tally = Tally()
    for cell in cells:
        tally.add(cell.tally)
    f1 = sum(row.f1 for row in rows) / count
    english = [row.english_f1 for row in rows if row.english_f1 is not None]
    return ScoreRow(
        dataset=rows[0].dataset,
        language=MACRO,
        system=name,
        rule=rows[0].rule,
        n=sum(row.n for row in rows),
        precision=sum(row.precision for row in rows) / count,
        recall=sum(row.recall for row in rows) / count,
        f1=f1,
        f1_low=100 * interval.low,
        f1_high=100 * interval.high,
        languages=count,
        hallucinated=sum(row.hallucinated for row in rows),
        english_f1=sum(english) / count if len(english) == count else None,
        repeats=rows[0].repeats,
        more=macro_figures(rows),
        # The i-th repeats of the languages make up the i-th mean.
        **_spread([statistics.fmean(of) for of in zip(*(r.f1_repeats for r in rows), strict=True)]),
        **_taken(tally, f1 / 100),
    )


def _spread(f1_repeats: Sequence[float]) -> dict[str, Any]:
    """The columns of the F1 of each repeat, in percent."""
    several = len(f1_repeats) > 1
    return {
        "f1_repeats": [round(f1, 6) for f1 in f1_repeats],
        "f1_sd": statistics.stdev(f1_repeats) if several else None,
    }


def _taken(tally: Tally, f1: float) -> dict[str, Any]:
    """A tally's columns; dollars an F1 point are unknown without a price or without a point."""
    known = tally.cost is not None
    return {
        "statuses": dict(tally.statuses),
        "flags": dict(tally.flags),
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "cached_tokens": tally.cached_tokens,
        "reasoning_tokens": tally.reasoning_tokens,
        "cost": dollars(tally.cost) if tally.cost is not None else None,
        "paid": dollars(tally.paid) if tally.paid is not None else None,
        "cost_per_point": (tally.cost or 0) / 1e9 / (100 * f1) if known and f1 > 0 else None,
    }


def _put_difference(row: ScoreRow, difference: Paired) -> None:
    row.difference = 100 * difference.difference
    row.difference_low = 100 * difference.low
    row.difference_high = 100 * difference.high
    row.p = difference.p


def _adjust(rows: Sequence[ScoreRow]) -> None:
    """Holm's correction of each system's p-values over the languages."""
    for system in dict.fromkeys(row.system for row in rows):
        tested = [(row, row.p) for row in rows if row.system == system and row.p is not None]
        for (row, _), adjusted in zip(tested, holm([p for _, p in tested]), strict=True):
            row.p_holm = adjusted
