"""`harness cache`: look into the answer store, and move answers in and out of it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import print_rows
from harness.errors import UsageError

app = typer.Typer(help="Look into the answer store, export and import it.", no_args_is_help=True)

Model = Annotated[str | None, typer.Option("--model", help="Only answers of this model.")]
Kind = Annotated[
    str | None, typer.Option("--kind", help="Only this kind: completion, translation.")
]


@app.command("ls")
def ls(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 20,
    model: Model = None,
    kind: Kind = None,
) -> None:
    """List the newest answers."""
    from harness.money import show_cost
    from harness.store import Store, recent

    with Store() as store:
        entries = recent(store, limit, model=model, kind=kind)
        print_rows(
            ("key", "kind", "model", "endpoint", "created (UTC)", "seconds", "cost"),
            [
                (
                    e.key[:12],
                    e.kind,
                    e.model,
                    e.endpoint,
                    f"{e.created:%Y-%m-%d %H:%M:%S}",
                    f"{e.latency_s:.2f}",
                    show_cost(e.cost),
                )
                for e in entries
            ],
            empty=f"No answers in {store.path}.",
        )


@app.command()
def stats() -> None:
    """Sum up the store by model and endpoint."""
    from harness.money import show_cost
    from harness.store import Store
    from harness.store import stats as totals_of

    with Store() as store:
        totals = totals_of(store)
        print(f"{store.path}")
        print_rows(
            ("model", "endpoint", "kind", "answers", "MB", "cost", "no price", "first", "last"),
            [
                (
                    t.model,
                    t.endpoint,
                    t.kind,
                    str(t.answers),
                    f"{t.stored_bytes / 1e6:.1f}",
                    show_cost(t.cost) + (" + unknown" if t.unpriced else ""),
                    str(t.unpriced),
                    f"{t.first:%Y-%m-%d}",
                    f"{t.last:%Y-%m-%d}",
                )
                for t in totals
            ],
            empty="No answers yet.",
        )


@app.command()
def explain(
    target: Annotated[
        str, typer.Argument(help="A key (its first digits do), or an experiment file.")
    ],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of local corpora.")
    ] = None,
) -> None:
    """Say what is stored under a key, or why an experiment's requests are not answered yet."""
    from harness.store import Store
    from harness.store import explain as explain_target

    with Store() as store:
        if re.fullmatch(r"[0-9a-fA-F]{4,64}", target) and not Path(target).exists():
            print(explain_target(store, _whole_key(store, target)))
        else:
            _explain_experiment(store, Path(target), data_dir)


def _whole_key(store: object, start: str) -> str:
    from harness.store import Store, find_keys

    assert isinstance(store, Store)
    keys = find_keys(store, start)
    if len(keys) == 1:
        return keys[0]
    if not keys:
        raise UsageError(f"No stored key begins with {start}. `harness cache ls` lists some.")
    raise UsageError(f"Several keys begin with {start}: {', '.join(k[:16] for k in keys)}.")


def _explain_experiment(store: object, file: Path, data_dir: Path | None) -> None:
    from harness.experiment import load_experiment
    from harness.running.planning import make_plan
    from harness.running.prepare import prepare
    from harness.store import Store
    from harness.store import explain as explain_request

    assert isinstance(store, Store)
    run = prepare(load_experiment(file), store, data_dir=data_dir)
    for plan in make_plan(run, store):
        examples = sum(len(cell.keys) for cell in plan.cells)
        if waiting := sum(len(cell.pending_translations) for cell in plan.cells):
            print(f"{plan.system.name}: {waiting} sentences are not translated yet.")
        print(f"{plan.system.name}: {len(plan.pending)} of {examples} answers are missing.")
        for cell, index in list(plan.pending.values())[:1]:
            example = cell.block.examples[index]
            print(f"The first, {example.dataset}/{example.language}/{example.id}:")
            print(explain_request(store, plan.request(cell, index)))


@app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Answers older than this: 90d, 12h.")
    ] = None,
    model: Model = None,
    kind: Kind = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Answers with a newer one beside them.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Really remove; without it, only count.")
    ] = False,
) -> None:
    """Remove answers that meet all the conditions given; counts only, unless --yes."""
    from harness.money import show_cost
    from harness.store import Store
    from harness.store import prune as prune_store

    with Store() as store:
        pruned = prune_store(
            store,
            older_than=_age(older_than) if older_than else None,
            model=model,
            kind=kind,
            superseded=superseded,
            dry_run=not yes,
        )
    what = f"{pruned.answers} answers ({pruned.stored_bytes / 1e6:.1f} MB)"
    what += f" that cost {show_cost(pruned.cost)}"
    if pruned.unpriced:
        what += f" and {pruned.unpriced} of unknown price"
    print(f"Removed {what}." if yes else f"Would remove {what}. Add --yes to do it.")


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,5})([dh])", text)
    if not match:
        raise UsageError(f"--older-than {text}: write days or hours, such as 90d or 12h.")
    number = int(match[1])
    return timedelta(days=number) if match[2] == "d" else timedelta(hours=number)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="JSONL file to write.")],
    model: Model = None,
    kind: Kind = None,
    experiment: Annotated[
        Path | None,
        typer.Option("--experiment", help="Only the answers that this experiment file uses."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of local corpora.")
    ] = None,
) -> None:
    """Write answers to one JSONL file, so that others can recompute a table without a key."""
    from harness.store import Store, export_answers

    with Store() as store:
        keys = None
        if experiment is not None:
            from harness.experiment import load_experiment
            from harness.running.planning import make_plan
            from harness.running.prepare import prepare

            run = prepare(load_experiment(experiment), store, data_dir=data_dir)
            plans = make_plan(run, store)
            keys = [k for plan in plans for cell in plan.cells for k in cell.keys if k is not None]
            for translator in run.stored_translators:
                keys += translator.keys(run.blocks)
        count = export_answers(store, file, keys=keys, model=model, kind=kind)
    print(f"Wrote {count} answers to {file}.")


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="JSONL file written by export.")]) -> None:
    """Add the answers of an exported file to the store; every key is checked."""
    from harness.store import Store, import_answers

    with Store() as store:
        imported = import_answers(store, file)
        print(f"{imported.added} answers added to {store.path}, {imported.present} were there.")
