"""`harness batch`: what is out at providers, and stopping it."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import typer

from harness.cli.output import print_rows
from harness.errors import UsageError, unknown
from harness.terminal import visible

app = typer.Typer(help="List and cancel batches at providers.", no_args_is_help=True)


@app.command("ls")
def ls(
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no provider; say what was last seen.")
    ] = False,
    settled: Annotated[
        bool, typer.Option("--all", help="Those that are collected or given up, too.")
    ] = False,
) -> None:
    """List the batches that answers are still out with."""
    from harness.money import show_cost
    from harness.running.asking.cancel import batch_name, refresh_batches
    from harness.store import Store
    from harness.store.ledger import Ledger

    with Store() as store:
        ledger = Ledger(store)
        if not offline:
            asyncio.run(refresh_batches(ledger, _warn))
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
                for batch in ledger.batches(settled=settled)
            ],
            empty=f"No batch is out, by {store.path}.",
        )


@app.command("cancel")
def cancel(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As `harness batch ls` has it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are out.")] = False,
) -> None:
    """Stop batches, wait for that, and give back what they have not answered.

    What they have answered is paid for, and the next run in batch mode collects it.
    """
    from harness.running.asking.cancel import batch_name, cancel_batches
    from harness.store import Store
    from harness.store.ledger import Ledger

    if every == bool(names):
        raise UsageError("Name the batches to cancel, or give --all; one of them.")
    with Store() as store:
        ledger = Ledger(store)
        batches = {batch_name(batch): batch for batch in ledger.batches()}
        for name in names or ():
            if name not in batches:
                raise UsageError(unknown("batch", name, batches))
        chosen = batches.values() if every else [batches[name] for name in names or ()]
        if not chosen:
            print("No batch is out.")
        cancelled = cancel_batches(
            ledger, list(chosen), named=not every, report=_report, warn=_warn
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
