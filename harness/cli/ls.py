"""`harness ls` and `harness check`: lists of what is available, and checks of corpus files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import print_rows
from harness.errors import UsageError, unknown_name_message
from harness.terminal import visible

ls_app = typer.Typer(help="List datasets, models, prompts or runs.", no_args_is_help=True)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of local corpora (default: $HARNESS_DATA)."),
]


@ls_app.command("datasets")
def ls_datasets(data_dir: DataDir = None) -> None:
    """List every dataset and language, and where its files are."""
    from harness.data import describe

    print_rows(
        ("dataset", "language", "name", "splits", "NLLB", "licence"),
        [
            (
                row.dataset,
                row.language,
                row.name,
                ", ".join(f"{split} ({where})" for split, where in row.where.items()),
                row.nllb or "–",
                row.licence,
            )
            for row in describe(data_dir)
        ],
        empty="The catalogue is empty.",
    )


@ls_app.command("models")
def ls_models() -> None:
    """List the backends, the scripted rules, and the models that have a price."""
    from harness.models import BACKENDS
    from harness.models.prices import list_prices, prices_as_of
    from harness.serving.script import RULES

    print(f"Backends: {', '.join(BACKENDS)}. Scripted rules: {', '.join(RULES)}.")
    print(f"Prices in dollars per million tokens, as of {prices_as_of()}:")
    header = ("provider", "model", "input", "cached input", "output", "batch")
    print_rows(header, list_prices(), empty="No prices.")


@ls_app.command("prompts")
def ls_prompts() -> None:
    """List templates, schemas and chat wrappers, and where each comes from."""
    from harness.prompting.listing import list_prompts as prompt_rows
    from harness.prompting.schema import list_schemas

    print("Templates (prompts/<task>/<strategy>.j2) and chat wrappers (prompts/chat/):")
    print_rows(
        ("task", "strategy", "answers", "uses English", "origin", "sha256"),
        [
            (
                row.task,
                row.strategy,
                row.error or ", ".join(row.answers) or "–",
                "yes" if row.uses_english else "no",
                row.origin,
                row.sha256,
            )
            for row in prompt_rows()
        ],
        empty="None.",
    )
    print("Schemas (prompts/schemas/<name>.py):")
    print_rows(
        ("schema", "classes", "origin", "sha256"),
        [
            (row.name, row.error or _first_names(row.classes), row.origin, row.sha256)
            for row in list_schemas()
        ],
        empty="None.",
    )


def _first_names(names: Sequence[str]) -> str:
    """The first six names, and their number if there are more."""
    return ", ".join(names[:6]) + (f", … ({len(names)} in all)" if len(names) > 6 else "")


@ls_app.command("runs")
def ls_runs() -> None:
    """List the experiment files in ./runs and their results folders."""
    from harness.results.folder import list_runs

    done = {run.path for run in list_runs()}
    files = {path.with_suffix("") for path in Path("runs").glob("*.toml")}
    print_rows(
        ("experiment", "results"),
        [
            (
                f"{path}.toml" if path in files else "–",
                str(path) if path in done else "none yet",
            )
            for path in sorted(files | done)
        ],
        empty="No experiment files in ./runs.",
    )


def check(
    kind: Annotated[str, typer.Argument(help="What to check: datasets.")] = "datasets",
    names: Annotated[list[str] | None, typer.Argument(help="Only these datasets.")] = None,
    data_dir: DataDir = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download missing files first.")] = False,
) -> None:
    """Check every corpus file on this machine: checksum, counts, oddities, and ceiling.

    The ceiling is the F1 of the gold itself under the rule `strict`, without its offsets. Exits
    with 1 if a file cannot be read or is not the pinned one.
    """
    from harness.data import check as check_datasets
    from harness.scoring import ceiling

    if kind != "datasets":
        raise UsageError(unknown_name_message("thing to check", kind, ("datasets",)))
    reports = list(
        check_datasets(
            names or (),
            data_dir=data_dir,
            fetch=fetch,
            ceiling=lambda examples: 100 * ceiling(examples).f1,
        )
    )
    print_rows(
        ("file", "checksum", "sentences", "tokens", "entities", "no entity", "ceiling", "notes"),
        [
            (
                f"{r.dataset}/{r.language}/{r.split} ({r.where})",
                r.checksum,
                str(r.sentences),
                str(r.tokens),
                " ".join(f"{name}:{n}" for name, n in _entity_counts(r.entities)),
                str(r.no_entity),
                "–" if r.ceiling is None else f"{r.ceiling:.2f}",
                " ".join(f"{name}:{n}" for name, n in {**r.left_out, **r.oddities}.items() if n),
            )
            for r in reports
            if r.error is None
        ],
        empty="No file could be read."
        if reports
        else "No corpus files here yet: name a folder with --data-dir, or add --fetch.",
    )
    failures = [r for r in reports if not r.ok]
    for r in failures:
        message = r.error or f"{r.path}: is not the pinned file (its SHA-256 differs)"
        print(f"harness: {visible(message)}", file=sys.stderr)
    if failures:
        sys.exit(1)


def _entity_counts(entities: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts by class, or only their sum if there are more than six classes."""
    return list(entities.items()) if len(entities) <= 6 else [("all", sum(entities.values()))]
