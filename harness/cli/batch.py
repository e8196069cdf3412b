"""`harness batch`: list the batches at providers, and cancel them."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import typer

from harness.cli.output import print_rows
from harness.errors import UsageError, unknown_name_message
from harness.terminal import visible

app = typer.Typer(help="List and cancel batches at providers.", no_args_is_help=True)


@app.command("ls")
def ls(
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no provider; show the last known state.")
    ] = False,
    settled: Annotated[
        bool, typer.Option("--all", help="Also list batches that are collected or cancelled.")
    ] = False,
) -> None:
    """List the batches whose answers are not collected yet."""
    from harness.money import show_cost
    from harness.running.asking.cancel import batch_name, refresh_batches
    from harness.store import Store
    from harness.store.batch_tracker import BatchTracker

    with Store() as store:
        tracker = BatchTracker(store)
        if not offline:
            asyncio.run(refresh_batches(tracker, _warn))
        print_rows(
            (
                *("batch", "endpoint", "model", "status", "requests", "done", "failed"),
                *("to collect", "age", "at most"),
            ),
            [
                (
                    batch_name(batch),
                    batch.address.endpoint,
                    batch.address.model,
                    batch.status,
                    str(batch.requests),
                    "–" if batch.done is None else str(batch.done),
                    "–" if batch.failed is None else str(batch.failed),
                    str(batch.waiting),
                    _age(time.time() - batch.created),
                    show_cost(batch.reserved) if batch.waiting else "–",
                )
                for batch in tracker.batches(settled=settled)
            ],
            empty=f"No batch is out, according to {store.path}.",
        )


@app.command("cancel")
def cancel(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="The id that `harness batch ls` shows."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Cancel all open batches.")] = False,
) -> None:
    """Cancel batches, wait until they have stopped, and release their unanswered requests.

    Answers that a batch already has are paid for. The next run in batch mode collects them.
    """
    from harness.running.asking.cancel import batch_name, cancel_batches
    from harness.store import Store
    from harness.store.batch_tracker import BatchTracker

    if every == bool(names):
        raise UsageError("Give either the batches to cancel or --all.")
    with Store() as store:
        tracker = BatchTracker(store)
        batches = {batch_name(batch): batch for batch in tracker.batches()}
        for name in names or ():
            if name not in batches:
                raise UsageError(unknown_name_message("batch", name, batches))
        chosen = batches.values() if every else [batches[name] for name in names or ()]
        if not chosen:
            print("No batch is out.")
        cancelled = cancel_batches(
            tracker, list(chosen), named=not every, report=_report, warn=_warn
        )
        if not asyncio.run(cancelled):
            sys.exit(2)


def _report(line: str) -> None:
    print(line, flush=True)


def _warn(line: str) -> None:
    print(f"harness: {visible(line)}", file=sys.stderr)


def _age(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
