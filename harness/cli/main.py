"""The `harness` command: its verbs, and how errors are printed."""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import batch, cache, ls, serve, train, translate
from harness.errors import HarnessError, UsageError
from harness.terminal import visible
from harness.version import __version__

app = typer.Typer(
    name="harness",
    help="How well does a prompt, on a model, extract information from text in a language?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(ls.ls_app, name="ls")
app.add_typer(cache.app, name="cache")
app.add_typer(batch.app, name="batch")
app.command("check")(ls.check)
app.command("translate")(translate.translate)
app.command("serve")(serve.serve)
app.command("train")(train.train)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of local corpora (default: $HARNESS_DATA)."),
]
RuleOption = Annotated[
    str, typer.Option("--rule", help="Matching rule: gollie, strict, … An unknown name lists all.")
]
Dollars = Annotated[
    str | None,
    typer.Option(
        "--budget", help="The most that the run of this results folder may cost in all, in dollars."
    ),
]
File = Annotated[Path, typer.Argument(help="Experiment file, runs/NAME.toml.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most this many examples per language.")
]


def main() -> None:
    """Entry point: runs the command line and turns errors into one message and an exit code."""
    # Tables and corpora have letters that the encoding of a terminal or a pipe may lack.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A run makes hundreds of thousands of small objects and hardly any cycles. Collecting every
    # 700 objects, the default, takes 10 % of the time of a cached rerun.
    gc.set_threshold(20_000)
    try:
        app()
    except HarnessError as error:
        print(f"harness: {visible(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("harness: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (`harness … | head`): nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    file: File,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use stored answers only; call no model.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask everything again; stored answers are kept.")
    ] = False,
    retry: Annotated[
        str,
        typer.Option(
            "--retry",
            help="Ask again where the stored answer has one of these statuses: truncated,refused,…",
        ),
    ] = "",
    budget: Dollars = None,
    unpriced: Annotated[
        bool,
        typer.Option("--unpriced", help="With --budget: also ask models whose price is unknown."),
    ] = False,
    limit: LimitOption = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Results folder (default: beside FILE).")
    ] = None,
    rule: RuleOption = "gollie",
) -> None:
    """Ask every system for the answers that are not stored yet, and print the scored table."""
    from harness.experiment import load_experiment

    experiment = load_experiment(file)
    sys.exit(
        _run(
            experiment,
            rule=rule,
            offline=offline,
            refresh=refresh,
            retry=[name.strip() for name in retry.split(",") if name.strip()],
            budget=budget,
            unpriced=unpriced,
            limit=limit,
            data_dir=data_dir,
            out=out,
        )
    )


def _run(experiment: Any, *, rule: str, title: str | None = None, **options: Any) -> int:
    """Run an experiment, score it and print the table; returns the exit code."""
    from harness.cli.live_progress import LiveProgress
    from harness.report.compare import write_scores
    from harness.report.tables import print_comparison
    from harness.running.runner import run as run_experiment
    from harness.scoring.rules import find_rule

    find_rule(rule)
    with LiveProgress() as progress:
        result = run_experiment(experiment, progress=progress, **options)
    print_comparison(write_scores(result.folder, rule), title=title)
    progress.summary(result)
    for error in result.refused:
        print(f"harness: {visible(str(error))}", file=sys.stderr)
    return result.exit_code


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Results folder.")] = Path("runs/demo"),
) -> None:
    """Run a whole experiment on the shipped models and corpus: offline, no key, no download."""
    from harness.disk import shipped
    from harness.experiment import load_experiment
    from harness.models import settings_for
    from harness.serving.server import background_server

    title = "Demonstration: tiny models on a made-up corpus"
    experiment = load_experiment(shipped("runs") / "demo.toml")
    # One system asks the same model through a server and the SDK, like a hosted model.
    with background_server(settings_for("ctranslate2", {"model": "tiny-gollie-tf"})) as url:
        code = _run(experiment.at_address("demo", url), rule="gollie", title=title, out=out)
    print(f"Next: harness show {out} swa-test-001   ·   harness compare {out} --rule strict")
    sys.exit(code)


@app.command()
def preview(
    file: File,
    example: Annotated[
        str,
        typer.Option(
            "--example", "-n", help="The example to show: its number, counted from 1, or its id."
        ),
    ] = "1",
    language: Annotated[
        str | None, typer.Option("--language", help="Take the example from this language.")
    ] = None,
    budget: Dollars = None,
    limit: LimitOption = None,
    data_dir: DataDir = None,
) -> None:
    """Show each system's exact prompt, its tokens and price, and what is cached; send nothing."""
    from harness.cli.preview import preview as show_preview
    from harness.experiment import load_experiment
    from harness.running.budget import read_budget

    show_preview(
        load_experiment(file),
        example=example,
        language=language,
        limit=limit,
        data_dir=data_dir,
        budget=None if budget is None else read_budget(budget),
    )


@app.command()
def score(
    folder: Annotated[Path | None, typer.Argument(help="Results folder, runs/NAME.")] = None,
    rule: RuleOption = "gollie",
    tags: Annotated[
        Path | None,
        typer.Option("--tags", help="Score a file with lines `token gold predicted` instead."),
    ] = None,
) -> None:
    """Read stored replies again and score them, offline."""
    from harness.report.compare import score as score_folder
    from harness.report.tables import print_comparison, print_tag_scores

    if (folder is None) == (tags is None):
        raise UsageError("score needs either a results folder or --tags FILE.")
    if tags is not None:
        print_tag_scores(tags)
        return
    assert folder is not None
    print_comparison(score_folder(folder, rule=rule))


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Results folders.")],
    rule: RuleOption = "gollie",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The system that the others are compared with.")
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            "--columns",
            help="More columns: precision,recall,cost,… An unknown name lists all of them.",
        ),
    ] = "",
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="table, markdown, csv, json or latex.")
    ] = "table",
    fail_under: Annotated[
        float | None,
        typer.Option("--fail-under", help="Exit with 1 if the macro F1 of a system is below this."),
    ] = None,
) -> None:
    """Compare systems, of one run or of several: F1, intervals, paired differences, cost."""
    from harness.report.columns import find_columns
    from harness.report.compare import compare_rows
    from harness.report.tables import check_format, print_comparison

    check_format(format)
    find_columns(columns)
    comparison = compare_rows(folders, rule=rule, baseline=baseline)
    print_comparison(comparison, format=format, columns=columns)
    if fail_under is not None and (low := comparison.under(fail_under)):
        print(f"harness: macro F1 under {fail_under:g}: {', '.join(low)}.", file=sys.stderr)
        sys.exit(1)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Results folder, runs/NAME.")],
    example: Annotated[str, typer.Argument(help="Example id, or dataset/language/id.")],
    rule: RuleOption = "gollie",
) -> None:
    """Show one sentence through every stage, with its spans marked."""
    from harness.report.show import show as show_example
    from harness.scoring.rules import find_rule

    find_rule(rule)
    show_example(folder, example, rule=rule)
