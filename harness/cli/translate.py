"""`harness translate`: translate the sentences of an experiment, and write them to a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def translate(
    file: Annotated[Path, typer.Argument(help="Experiment file, runs/NAME.toml.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a translation file (JSONL).")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Only this language; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most this many examples per language.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use stored translations only; call no model.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of local corpora.")
    ] = None,
) -> None:
    """Translate the sentences of an experiment that have no stored translation yet."""
    from harness.cli.live_progress import LiveProgress
    from harness.cli.output import print_rows
    from harness.experiment import load_experiment
    from harness.money import show_cost
    from harness.running.translation_stage import translate as translate_experiment
    from harness.store import Store
    from harness.terminal import visible

    experiment = load_experiment(file)
    if limit is not None:
        experiment = experiment.limited(limit)
    with Store(read_only=offline) as store, LiveProgress() as progress:
        result = translate_experiment(
            experiment,
            store,
            languages=language,
            offline=offline,
            data_dir=data_dir,
            out=out,
            progress=progress,
        )
    print_rows(
        ("English", "dataset", "language", "sentences", "translated", "to do", "flagged"),
        [
            (
                row.translation,
                row.dataset,
                row.language,
                str(row.sentences),
                str(row.translated),
                str(row.pending),
                ", ".join(f"{flag} {count}" for flag, count in row.flags.items()) or "–",
            )
            for row in result.rows
        ],
        empty="No sentences.",
    )
    outcomes = result.outcomes
    print(f"{outcomes.translated} sentences translated now · paid {show_cost(outcomes.cost)}")
    if out is not None and (pending := sum(row.pending for row in result.rows)):
        print(f"Did not write {out}: {pending} sentences are still to do. Give the command again.")
    elif out is not None:
        print(f"Wrote {result.written} translations to {out}.")
    for message, count in result.failures:
        print(f"  failed {count} ×: {visible(message)}")
    for error in outcomes.refusals:
        print(f"harness: {visible(str(error))}", file=sys.stderr)
    sys.exit(result.exit_code)
