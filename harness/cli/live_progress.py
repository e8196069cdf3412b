"""Live progress of a run on standard error, and its closing lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.money import show_cost
from harness.records import Answer, Failure
from harness.running.asking.progress import Progress
from harness.running.recording import RunResult
from harness.terminal import visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from harness.running.plan import Cell, SystemPlan

# Seconds between two lines of progress without a terminal.
_LINE_INTERVAL_S = 10.0
# The most languages that are drawn below their system; the others are counted.
_MAX_LANGUAGES = 10


@dataclass(slots=True)
class _Count:
    """The progress of one language."""

    name: str
    total: int = 0
    done: int = 0
    failed: int = 0


@dataclass(slots=True)
class _System(_Count):
    """The progress of one system, and of its languages by the ``id`` of their block.

    ``cached`` counts the examples that need no request. ``cost`` is in nano-dollars, and ``None``
    once a price is unknown. ``started`` is in seconds of the monotonic clock.
    """

    cached: int = 0
    cost: int | None = 0
    languages: dict[int, _Count] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def rate(self) -> float:
        """Answers per second since the start: a mean, since answers come in bursts."""
        return self.done / max(time.monotonic() - self.started, 0.001)


class LiveProgress(Progress):
    """Progress of a run on standard error.

    On a terminal each system has a line of totals, and below it a line for every unfinished
    language. When the system is done, its line of totals stays. Without a terminal one line says
    what is sent, and while answers come another follows at most every 10 seconds.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._system = _System("")
        self._last_line = 0.0
        self._failures: dict[str, int] = {}

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.reading()

    def downloading(self, path: str, done: int, total: int) -> None:
        if done >= total:
            self._print(f"fetched {path} ({total / 1000:.0f} kB)")

    def translating(self, name: str, done: int, total: int) -> None:
        if not done:
            self._begin(_System(_name(f"translating with {name}"), total), f"{total} sentences")
        self._system.done = done
        self._print_progress_line()

    def planned(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        # As the closing lines count them: whatever needs no request of its own is cached.
        examples = sum(key is not None for cell in plan.cells for key in cell.keys)
        system = _System(_name(plan.system.name), len(keys), cached=examples - len(keys))
        for key in keys:
            cell, _ = plan.pending[key]
            if id(cell.block) not in system.languages:
                name = f"  {cell.block.language} ({cell.block.dataset.name})"
                system.languages[id(cell.block)] = _Count(_name(name))
            system.languages[id(cell.block)].total += 1
        self._begin(system, f"sending {system.total} requests")

    def answered(self, cell: Cell, outcome: Answer | Failure) -> None:
        # Called thousands of times a second, so it only counts; another thread draws.
        system = self._system
        language = system.languages[id(cell.block)]
        system.done += 1
        language.done += 1
        if isinstance(outcome, Failure):
            system.failed += 1
            language.failed += 1
            self._failures[outcome.message] = self._failures.get(outcome.message, 0) + 1
        elif system.cost is not None:
            system.cost = None if outcome.cost is None else system.cost + outcome.cost
        self._print_progress_line()

    def answered_elsewhere(self, cell: Cell) -> None:
        self._system.done += 1
        self._system.languages[id(cell.block)].done += 1
        self._print_progress_line()

    def note(self, text: str) -> None:
        self._print(visible(text))

    def stopping(self, *, batched: bool) -> None:
        what = (
            "leaving; batches go on at the provider"
            if batched
            else "waiting for the answers in flight (interrupt again to leave them)"
        )
        self._print(f"harness: stopping; {what}")

    def reading(self) -> None:
        self._close()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _begin(self, system: _System, what: str) -> None:
        self._close()
        self._system, self._last_line = system, system.started
        if self._live is None and sys.stderr.isatty():
            self._live = self._open()
        if self._live is None:
            self._print(f"{system.name}: {what}")

    def _print_progress_line(self) -> None:
        """Without a terminal, print a line of progress every ten seconds."""
        if self._live is None and time.monotonic() - self._last_line >= _LINE_INTERVAL_S:
            system, self._last_line = self._system, time.monotonic()
            self._print(
                f"{system.name}: {system.done} of {system.total}, {system.failed} failed, "
                f"{show_cost(system.cost)}, {_per_second(system.rate())}"
            )

    def _open(self) -> Live | None:
        """The live display, or ``None`` on a terminal that cannot move its cursor."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        if not console.is_interactive:
            return None
        live = Live(get_renderable=self._draw, console=console, transient=True)
        live.start()
        return live

    def _close(self) -> None:
        """Leave the system's line of totals on the screen, without its languages."""
        system, self._system = self._system, _System("")
        if self._live is not None and system.total:
            duration = _clock(time.monotonic() - system.started)
            self._live.refresh()  # Otherwise the last lines would be drawn again below.
            self._live.console.print(self._line(system, system, f"in {duration}"))

    def _print(self, text: str) -> None:
        if self._live is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def _draw(self) -> Group:
        """The lines of the live display."""
        from rich.console import Group

        system = self._system
        if self._live is None or not system.total:
            return Group()
        time_left = "-:-- left"
        if system.done:
            time_left = f"{_clock((system.total - system.done) / system.rate())} left"
        # Copies, because another thread changes the counts while they are drawn.
        counts = [replace(count) for count in system.languages.values()]
        unfinished = [count for count in counts if count.done < count.total]
        # One line is for the system, one for the number of the others, one for the cursor.
        shown = unfinished[: max(1, min(_MAX_LANGUAGES, self._live.console.height - 3))]
        lines = [self._line(system, system, time_left), *(self._line(c, system) for c in shown)]
        if len(unfinished) > len(shown):
            lines.append(self._line(_Count(f"  and {len(unfinished) - len(shown)} more"), system))
        return Group(*lines)

    def _line(self, count: _Count, system: _System, time_left: str = "") -> Text:
        """A line whose columns are as wide as the largest numbers of the system.

        The name is shortened on a narrow terminal, and is never read as markup.
        """
        from rich.text import Text

        assert self._live is not None
        wide, width = len(str(system.total)), self._live.console.width
        gap = "  " if width > 100 else " "
        figures = [" " * (2 * wide + 1), "", ""]
        if count.total:
            done = f"{count.done:>{wide}}/{count.total}"
            figures = [f"{done:<{2 * wide + 1}}", "", f"{count.failed:>{wide}} failed"]
        if system.cached:
            cached = f"{system.cached} cached"
            figures[1] = cached if count is system else " " * len(cached)
        text = Text(count.name, no_wrap=True)
        room = width - 34 - len(gap.join(figures))
        text.truncate(max(10, min(24, room)), overflow="ellipsis", pad=True)
        if count is system:
            cost = f"cost {show_cost(system.cost)}"
            figures += [f"{cost:<12}", f"{_per_second(system.rate()):>6}", time_left]
        text.append("".join(gap + figure for figure in figures if figure))
        text.truncate(width, overflow="ellipsis")
        return text

    def summary(self, result: RunResult) -> None:
        """Print the closing lines: numbers of requests and failures, cost, and results folder."""
        parts = [f"{result.examples} examples", f"{result.sent} requests answered"]
        parts.append(f"{result.cached} from the store")
        if result.translated:
            parts.append(f"{result.translated} sentences translated")
        if result.failed:
            parts.append(f"{result.failed} failed")
        if result.unsent:
            parts.append(f"{result.unsent} not sent")
        if result.stale:
            parts.append(f"{result.stale} not asked again")
        paid = f"paid {show_cost(result.cost)}"
        if result.cached:
            paid += f" (the answers from the store had cost {show_cost(result.stored)})"
        parts.append(paid)
        print(" · ".join(parts))
        for message, count in sorted(self._failures.items(), key=lambda item: -item[1])[:3]:
            print(f"  failed {count} ×: {visible(message)}")
        if result.over_budget:
            print(
                "Stopped by the budget: the next call might have exceeded it. Every paid answer is "
                "stored. To continue, give the same command with a higher --budget."
            )
        elif not result.complete:
            condition = "after correcting the error, " if result.refused else ""
            print(f"The run is incomplete: {condition}give the same command again to continue.")
        elif result.failed:
            print("Failed calls cost nothing. The same command makes them again.")
        path = result.folder.path.absolute()
        here = Path.cwd()
        print(f"Results: {path.relative_to(here) if path.is_relative_to(here) else path}")


def _name(name: str) -> str:
    """A name fit for one line of a terminal."""
    return visible(name).replace("\n", " ").replace("\t", " ")


def _per_second(rate: float) -> str:
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
