"""A comparison as a terminal table, Markdown, LaTeX, CSV or JSON.

CSV and JSON are long (one row a dataset, language and system, every figure); the others are
wide: a row a language, a column a system, with its difference from the baseline.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.errors import UsageError, unknown_name_message
from harness.money import show_cost
from harness.report.columns import Column, counts_text, find_columns, number_text
from harness.report.comparison import Comparison, ScoreRow
from harness.results.tally import Tally
from harness.terminal import inert, unmarked, visible

TABLE_FORMATS = ("table", "markdown", "csv", "json", "latex")


def check_format(name: str) -> None:
    """Raise UsageError unless ``name`` is a format."""
    if name not in TABLE_FORMATS:
        raise UsageError("--format: " + unknown_name_message("format", name, TABLE_FORMATS))


def print_comparison(
    comparison: Comparison,
    *,
    format: str = "table",  # noqa: A002
    columns: str | Iterable[str] = (),
    title: str | None = None,
) -> None:
    """Print a comparison to standard output; notes go to standard error for data formats.

    ``columns`` are names of :data:`~harness.report.columns.COLUMNS`.
    """
    if format == "table":
        _print_table(comparison, find_columns(columns), title)
        return
    print(render_comparison(comparison, format=format, columns=columns), end="")
    for note in comparison.notes:
        print(f"harness: {visible(note)}", file=sys.stderr)


def render_comparison(
    comparison: Comparison,
    *,
    format: str,  # noqa: A002
    columns: str | Iterable[str] = (),
) -> str:
    """A comparison as text in one of the data formats (all but ``table``)."""
    if format == "csv":
        return _csv(comparison)
    if format == "json":
        return json.dumps(comparison.as_json(), indent=2, ensure_ascii=False) + "\n"
    header, rows = wide(comparison, find_columns(columns))
    if format == "markdown":
        return _markdown(header, rows)
    return _latex(header, rows)


def _csv(comparison: Comparison) -> str:
    records = [row.as_record() for row in comparison.rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, _record_names(comparison), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: _cell(value) for key, value in record.items()})
    return out.getvalue()


def _record_names(comparison: Comparison) -> list[str]:
    more = dict.fromkeys(name for row in comparison.rows for name in row.more)
    return [*ScoreRow.names(), *more]


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return inert(value) if isinstance(value, str) else value


def wide(comparison: Comparison, columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the wide table, as text: a line a language, systems side by side."""
    several = len({row.dataset for row in comparison.rows}) > 1
    header = (["dataset"] if several else []) + ["language", "n"]
    for system in comparison.systems:
        header += [visible(system), *_figure_titles(comparison, columns, system)[1:]]
    rows: list[list[str]] = []
    for dataset, language in comparison.places:
        cells = [comparison.at(dataset, language, system) for system in comparison.systems]
        there = [cell for cell in cells if cell is not None]
        sizes = sorted({cell.n for cell in there})
        # Systems differ in size only where a run is not complete.
        n = f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
        line = ([visible(dataset)] if several else []) + [_place(there[0]), n]
        for system, cell in zip(comparison.systems, cells, strict=True):
            line += _figures(comparison, columns, system, cell)
        rows.append(line)
    return header, rows


def narrow(comparison: Comparison, columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """The same for a narrow terminal: a line a language and system."""
    several = len({row.dataset for row in comparison.rows}) > 1
    other = next((s for s in comparison.systems if s != comparison.baseline), "")
    header = (["dataset"] if several else []) + ["language", "system", "n"]
    header += _figure_titles(comparison, columns, other)
    rows = []
    for dataset, language in comparison.places:
        for system in comparison.systems:
            cell = comparison.at(dataset, language, system)
            if cell is None:
                continue
            line = ([visible(dataset)] if several else []) + [_place(cell), visible(system)]
            figures = _figures(comparison, columns, system, cell)
            if len(comparison.systems) > 1 and system == comparison.baseline:
                figures.insert(1, "")
            rows.append([*line, str(cell.n), *figures])
    return header, rows


def _figure_titles(comparison: Comparison, columns: Sequence[Column], system: str) -> list[str]:
    delta = ["Δ (p)"] if len(comparison.systems) > 1 and system != comparison.baseline else []
    return ["F1", *delta, *(column.title for column in columns)]


def _figures(
    comparison: Comparison, columns: Sequence[Column], system: str, cell: ScoreRow | None
) -> list[str]:
    figures = [_f1(cell)]
    if len(comparison.systems) > 1 and system != comparison.baseline:
        figures.append(_difference(cell))
    return figures + ["–" if cell is None else column.text(cell) for column in columns]


def _f1(cell: ScoreRow | None) -> str:
    if cell is None:
        return "–"
    if cell.unsent:
        return f"{cell.f1:.1f} of {cell.n}/{cell.n + cell.unsent}"
    spread = "" if cell.f1_sd is None else f" ±{cell.f1_sd:.1f}"
    return f"{cell.f1:.1f}{spread} [{cell.f1_low:.1f}, {cell.f1_high:.1f}]"


def _place(row: ScoreRow) -> str:
    return f"macro ({row.languages})" if row.language == "macro" else row.language


def _difference(cell: ScoreRow | None) -> str:
    if cell is None or cell.difference is None or cell.p is None:
        return "–"
    p = cell.p if cell.p_holm is None else cell.p_holm
    star = "*" if p < 0.05 else ""
    shown = "<0.001" if p < 0.001 else f"{p:.3f}"
    return f"{cell.difference:+.1f} ({shown}){star}"


def _print_table(comparison: Comparison, columns: Sequence[Column], title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    header, rows = wide(comparison, columns)
    if sys.stdout.isatty() and _width(header, rows) > console.width:
        header, rows = narrow(comparison, columns)
    # As wide as it needs to be, also in a pipe: a cut figure helps nobody.
    console.width = max(console.width, _width(header, rows))
    repeated = any(row.f1_sd is not None for row in comparison.rows)
    heading = "F1 ±deviation over repeats" if repeated else "F1"
    heading += f" [95 % interval], rule {comparison.rule}"
    if len(comparison.systems) > 1:
        heading += f"; Δ from '{visible(comparison.baseline)}'"
        heading += " (paired bootstrap p, Holm over languages)"
    table = Table(box=box.SIMPLE, pad_edge=False)
    left = {"dataset", "language", "system"}
    left |= {column.title for column in columns if column.align == "left"}
    for name in header:
        justify: Literal["left", "right"] = "left" if name in left else "right"
        table.add_column(Text(name), justify=justify, no_wrap=True)
    for row in rows:
        style = "bold" if any(cell.startswith("macro (") for cell in row[:2]) else ""
        table.add_row(*(Text(cell, style=style) for cell in row))
    # Text objects throughout: a system may be called "[red]" and that is its name.
    for line in (title, heading):
        if line:
            console.print(Text(line), soft_wrap=True)
    console.print(table)
    for line in _footer(comparison):
        console.print(Text(visible(line)), soft_wrap=True)


def _width(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    columns = zip(header, *rows, strict=True)
    return sum(max(map(cell_len, column)) + 3 for column in columns) + 1


def _footer(comparison: Comparison) -> list[str]:
    lines = [
        f"{name}: {counts_text(total.statuses)} · {_used(total)} · {_money(total)}"
        for name, total in comparison.totals.items()
    ]
    lines.extend(comparison.notes)
    lines.extend(f"{name}  {signature}" for name, signature in comparison.signatures.items())
    return lines


def _used(total: Tally) -> str:
    """Tokens for people; servers that do not speak of cached or reasoning tokens show none."""
    cached = f" ({_short(total.cached_tokens)} cached)" if total.cached_tokens else ""
    thought = f" ({_short(total.reasoning_tokens)} reasoning)" if total.reasoning_tokens else ""
    into, out = _short(total.prompt_tokens), _short(total.completion_tokens)
    return f"tokens {into} in{cached}, {out} out{thought}"


def _money(total: Tally) -> str:
    """What the run paid, and what the answers cost that were in the store already."""
    if total.paid is None:
        return "cost unknown"
    stored = None if total.cost is None else total.cost - total.paid
    paid = f"paid {show_cost(total.paid)}"
    return paid if stored == 0 else f"{paid} · from the store {show_cost(stored)}"


def _short(number: int | None) -> str:
    """``9999``, ``80.4k``, ``1.2M``, or ``unknown``."""
    if number is None or number < 10_000:
        return number_text(number)
    return f"{number / 1e3:.1f}k" if number < 999_950 else f"{number / 1e6:.1f}M"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(unmarked, cells)) + " |"

    rule = ["---" if name in ("dataset", "language") else "---:" for name in header]
    return "\n".join([line(header), line(rule), *map(line, rows)]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$", "–": "--", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _latex(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"

    layout = "".join("l" if name in ("dataset", "language") else "r" for name in header)
    body = [r"\begin{tabular}{" + layout + "}", r"\toprule", line(header), r"\midrule"]
    return "\n".join([*body, *map(line, rows), r"\bottomrule", r"\end{tabular}"]) + "\n"


def print_tag_scores(path: Path) -> None:
    """Score a file of ``token gold predicted`` lines by offsets and print the figures."""
    from harness.scoring.tags import read_tags, score_tags

    gold, predicted = read_tags(path)
    scores = score_tags(gold, predicted)
    print(f"{'':<16}{'precision':>10}{'recall':>10}{'f1':>10}")
    for name, value in [("micro", scores.micro), *sorted(scores.labels.items())]:
        print(
            f"{name:<16}{100 * value.precision:>10.2f}{100 * value.recall:>10.2f}"
            f"{100 * value.f1:>10.2f}"
        )
