"""The optional columns of a table. A new column is one :class:`Column` in :data:`COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError, unknown_name_message
from harness.money import show_cost
from harness.report.comparison import ScoreRow
from harness.results.scored import ScoredCell


@dataclass(frozen=True, slots=True)
class Column:
    """A column that ``--columns`` can ask for.

    ``text`` writes the figure of a row. Where :class:`ScoreRow` has no such figure, the column
    brings it: ``of_cell`` takes it from a scored cell, and ``of_macro`` makes that of a mean row
    of those of its languages. Such a figure stands in CSV and JSON too, under ``name``, and in
    ``row.more[name]``.
    """

    name: str
    title: str
    text: Callable[[ScoreRow], str]
    align: Literal["left", "right"] = "right"
    of_cell: Callable[[ScoredCell], Any] | None = None
    of_macro: Callable[[Sequence[Any]], Any] | None = None


def cell_figures(cell: ScoredCell) -> dict[str, Any]:
    """The figures of a cell that columns bring by themselves."""
    return {c.name: c.of_cell(cell) for c in COLUMNS.values() if c.of_cell is not None}


def macro_figures(rows: Sequence[ScoreRow]) -> dict[str, Any]:
    """The same of a mean over rows of languages; ``None`` where a column makes no mean."""
    return {
        c.name: None if c.of_macro is None else c.of_macro([row.more[c.name] for row in rows])
        for c in COLUMNS.values()
        if c.of_cell is not None
    }


def find_columns(names: str | Iterable[str]) -> list[Column]:
    """The columns of these names, or of a comma-separated text.

    Raises:
        UsageError: there is no such column; the message lists the choices.
    """
    parts = names.split(",") if isinstance(names, str) else names
    wanted = [name.strip() for name in parts if name.strip()]
    for name in wanted:
        if name not in COLUMNS:
            raise UsageError("--columns: " + unknown_name_message("column", name, COLUMNS))
    return [COLUMNS[name] for name in wanted]


def counts_text(counts: Mapping[str, int]) -> str:
    """``ok:298 repaired:2``."""
    return " ".join(f"{name}:{count}" for name, count in counts.items()) or "–"


def number_text(number: int | None) -> str:
    """The number, or ``unknown``."""
    return "unknown" if number is None else str(number)


def _tokens(cell: ScoreRow) -> str:
    thought = f" ({cell.reasoning_tokens} reasoning)" if cell.reasoning_tokens else ""
    return f"{number_text(cell.prompt_tokens)}/{number_text(cell.completion_tokens)}{thought}"


def _cost(cell: ScoreRow) -> str:
    part = "" if cell.paid == cell.cost else f" (paid {show_cost(cell.paid_nanos)})"
    return show_cost(cell.cost_nanos) + part


def _cost_per_point(cell: ScoreRow) -> str:
    return "unknown" if cell.cost_per_point is None else f"${cell.cost_per_point:.6f}"


def _labels(cell: ScoreRow) -> str:
    return " ".join(f"{name}:{f1:.1f}" for name, f1 in cell.labels.items()) or "–"


#: The columns by name, in the order in which help lists them.
COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("precision", "P", lambda cell: f"{cell.precision:.1f}"),
        Column("recall", "R", lambda cell: f"{cell.recall:.1f}"),
        Column("labels", "F1 by class", _labels, align="left"),
        Column(
            "english",
            "F1 of the English",
            lambda cell: "–" if cell.english_f1 is None else f"{cell.english_f1:.1f}",
        ),
        Column("statuses", "statuses", lambda cell: counts_text(cell.statuses), align="left"),
        Column("flags", "flags", lambda cell: counts_text(cell.flags), align="left"),
        Column("tokens", "tokens in/out", _tokens),
        Column("cost", "cost", _cost),
        Column("cost_per_point", "$/F1 point", _cost_per_point),
    )
}
