"""Live progress of a run on standard error, and its closing lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from harness.asking import Progress
from harness.models.pricing import show_cost
from harness.records import Answer, Failure
from harness.runner import RunResult

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from harness.plan import Cell, SystemPlan


class LiveProgress(Progress):
    """One bar a system and language: done, cached, failed, cost so far, rate, time left.

    Bars appear only where there is something to send, and only on a terminal; elsewhere one
    line a system says what is being sent.
    """

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[int, TaskID] = {}
        self._failed: dict[int, int] = {}
        self._cost: int | None = 0
        self._failures: dict[str, int] = {}

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def downloading(self, path: str, done: int, total: int) -> None:
        if done >= total:
            print(f"fetched {path} ({total / 1000:.0f} kB)", file=sys.stderr)

    def planned(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        pending: dict[int, int] = {}
        for key in keys:
            cell, _ = plan.pending[key]
            pending[id(cell)] = pending.get(id(cell), 0) + 1
        if not sys.stderr.isatty():
            print(f"{plan.system.name}: sending {len(keys)} requests", file=sys.stderr)
            return
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        for cell in plan.cells:
            if id(cell) not in pending:
                continue
            block = cell.block
            self._tasks[id(cell)] = self._bars.add_task(
                f"{plan.system.name} · {block.dataset.name}/{block.language}",
                total=pending[id(cell)],
                cached=plan.answered(cell),
                failed=0,
                cost="",
            )

    def answered(self, cell: Cell, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Failure):
            self._failed[id(cell)] = self._failed.get(id(cell), 0) + 1
            self._failures[outcome.message] = self._failures.get(outcome.message, 0) + 1
        elif self._cost is not None:
            self._cost = None if outcome.cost is None else self._cost + outcome.cost
        if self._bars is not None:
            task = self._tasks[id(cell)]
            self._bars.update(
                task,
                advance=1,
                failed=self._failed.get(id(cell), 0),
                cost=show_cost(self._cost),
            )
            bar = self._bars.tasks[self._bars.task_ids.index(task)]
            if bar.finished:
                # A finished language makes room: a run may have more of them than lines.
                self._bars.update(task, visible=False)

    def stopping(self) -> None:
        self._say(
            "harness: stopping; waiting for the answers in flight (interrupt again to leave them)"
        )

    def reading(self) -> None:
        self._stop()

    def _say(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr)

    def summary(self, result: RunResult) -> None:
        """The closing lines: what was sent, cached and failed, what it cost, where it lies."""
        parts = [f"{result.examples} examples", f"{result.sent} requests answered"]
        parts.append(f"{result.cached} from the store")
        if result.failed:
            parts.append(f"{result.failed} failed")
        if result.unsent:
            parts.append(f"{result.unsent} not sent")
        if result.stale:
            parts.append(f"{result.stale} not asked anew")
        parts.append(f"paid {show_cost(result.cost)}")
        print(" · ".join(parts))
        for message, count in sorted(self._failures.items(), key=lambda item: -item[1])[:3]:
            print(f"  failed {count} ×: {message}")
        if not result.complete:
            print("The run is incomplete: give the same command again and it goes on from here.")
        elif result.failed:
            print("Failed calls cost nothing and are made again by the same command.")
        path = result.folder.path.absolute()
        here = Path.cwd()
        print(f"Results: {path.relative_to(here) if path.is_relative_to(here) else path}")


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Rate(TextColumn):
        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: BarTask) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    # Names come from the user's file and from corpora: never read as markup.
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[cached]} cached", markup=False),
        TextColumn("{task.fields[failed]} failed", markup=False),
        TextColumn("{task.fields[cost]}", markup=False),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
