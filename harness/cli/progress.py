"""Live progress of a run on standard error, and its closing lines."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from harness.asking import Progress
from harness.models.pricing import show_cost
from harness.records import Answer, Failure
from harness.report.terminal import visible
from harness.runner import RunResult

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from harness.plan import Cell, SystemPlan

# Seconds between two lines where there is no terminal, and those that a rate looks back over:
# long enough to even out answers that come in bursts.
_EVERY = 10.0
_WINDOW = 60.0
# So many languages are drawn beneath their system; of the others only the number.
_LANGUAGES = 10
_NAME = 24


@dataclass(slots=True)
class _Count:
    """How far one language, or a whole system, is."""

    name: str
    total: int = 0
    done: int = 0
    failed: int = 0


@dataclass(slots=True)
class _System(_Count):
    """The system that is being asked.

    ``cached`` are its examples that need no request, ``cost`` is in nano-dollars (``None`` once a
    price is unknown), ``samples`` are ``(seconds, done)`` of the last minute, one a second.
    """

    cached: int = 0
    cost: int | None = 0
    languages: dict[int, _Count] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, cell: Cell, outcome: Answer | Failure) -> None:
        failed = isinstance(outcome, Failure)
        for count in (self, self.languages[id(cell)]):
            count.done += 1
            count.failed += failed
        if not isinstance(outcome, Failure) and self.cost is not None:
            self.cost = None if outcome.cost is None else self.cost + outcome.cost

    def sample(self, now: float) -> None:
        if not self.samples or now - self.samples[-1][0] >= 1:
            self.samples.append((now, self.done))
            while len(self.samples) > 1 and self.samples[1][0] <= now - _WINDOW:
                self.samples.popleft()

    def rate(self, now: float) -> float:
        """Answers a second: over the last minute, or since the start where that is shorter."""
        since, done = self.started, 0
        if now - since > _WINDOW and self.samples and self.done > self.samples[0][1]:
            since, done = self.samples[0]
        return (self.done - done) / max(now - since, 0.001)


class LiveProgress(Progress):
    """What is being asked, and how far it is.

    On a terminal each system has a line of totals, with a line for every unfinished language
    beneath it; when the system is done its line of totals stays. Elsewhere one line says what is
    sent, and another follows every ten seconds while answers come.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._system: _System | None = None
        self._said = 0.0
        self._failures: dict[str, int] = {}

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.reading()

    def downloading(self, path: str, done: int, total: int) -> None:
        if done >= total:
            self._say(f"fetched {path} ({total / 1000:.0f} kB)")

    def planned(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        self._close()
        # As the closing lines count them: whatever needs no request of its own is cached.
        asked = sum(key is not None for cell in plan.cells for key in cell.keys)
        system = _System(_line(plan.system.name), len(keys), cached=asked - len(keys))
        for key in keys:
            cell, _ = plan.pending[key]
            if id(cell) not in system.languages:
                name = f"{cell.block.dataset.name}/{cell.block.language}"
                system.languages[id(cell)] = _Count(_line(name))
            system.languages[id(cell)].total += 1
        self._system = system
        self._said = system.started
        if self._live is None and sys.stderr.isatty():
            self._live = self._open()
        if self._live is None:
            self._say(f"{system.name}: sending {system.total} requests")

    def answered(self, cell: Cell, outcome: Answer | Failure) -> None:
        system = self._system
        assert system is not None
        if isinstance(outcome, Failure):
            self._failures[outcome.message] = self._failures.get(outcome.message, 0) + 1
        system.add(cell, outcome)
        now = time.monotonic()
        system.sample(now)
        if self._live is None and now - self._said >= _EVERY:
            self._said = now
            self._say(
                f"{system.name}: {system.done} of {system.total}, {system.failed} failed, "
                f"{show_cost(system.cost)}, {_rate(system.rate(now))}"
            )

    def stopping(self) -> None:
        self._say(
            "harness: stopping; waiting for the answers in flight (interrupt again to leave them)"
        )

    def reading(self) -> None:
        self._close()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _open(self) -> Live | None:
        """The moving part of the screen; ``None`` on a terminal that cannot move its cursor."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        if not console.is_interactive:
            return None
        live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=4, transient=True
        )
        live.start()
        return live

    def _close(self) -> None:
        """Leave the system's line of totals on the screen, and nothing of its languages."""
        system, self._system = self._system, None
        if self._live is not None and system is not None:
            self._live.console.print(self._totals(system, closed=True))

    def _say(self, text: str) -> None:
        if self._live is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def _draw(self) -> Group:
        """The lines as they are now; called by the drawing thread, which only reads the counts."""
        from rich.console import Group
        from rich.text import Text

        system = self._system
        if system is None or self._live is None:
            return Group()
        lines = [self._totals(system)]
        going = [count for count in system.languages.values() if count.done < count.total]
        room = max(1, min(_LANGUAGES, self._live.console.height - 4))
        lines += [self._text(f"  {count.name}", _figures(count, system)) for count in going[:room]]
        if len(going) > room:
            lines.append(Text(f"  and {len(going) - room} more", "dim"))
        return Group(*lines)

    def _totals(self, system: _System, *, closed: bool = False) -> Text:
        now = time.monotonic()
        rate = system.rate(now)
        figures = _figures(system, system, f"{system.cached} cached")
        figures += f"  cost {show_cost(system.cost):<9}{_rate(rate):>8}"
        if closed:
            figures += f"  in {_clock(now - system.started)}"
        elif rate:
            figures += f"  {_clock((system.total - system.done) / rate)} left"
        return self._text(system.name, figures, "bold")

    def _text(self, name: str, figures: str, style: str = "") -> Text:
        """One line; the name gets what the figures leave of a narrow terminal."""
        from rich.text import Text

        assert self._live is not None
        width = self._live.console.width
        text = Text(name, style)
        text.truncate(max(8, min(_NAME, width - 72)), overflow="ellipsis", pad=True)
        text.append(figures)
        text.truncate(width, overflow="ellipsis")
        return text

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
            print(f"  failed {count} ×: {visible(message)}")
        if not result.complete:
            print("The run is incomplete: give the same command again and it goes on from here.")
        elif result.failed:
            print("Failed calls cost nothing and are made again by the same command.")
        path = result.folder.path.absolute()
        here = Path.cwd()
        print(f"Results: {path.relative_to(here) if path.is_relative_to(here) else path}")


def _line(name: str) -> str:
    """A name fit for one line of a terminal."""
    return visible(name).replace("\n", " ").replace("\t", " ")


def _figures(count: _Count, system: _System, cached: str = "") -> str:
    """Done, cached and failed, in columns as wide as the system's largest numbers."""
    wide = len(str(system.total))
    done = f"{count.done:>{wide}}/{count.total:<{wide}}"
    cached = f"{cached:>{len(str(system.cached)) + 7}}"
    return f"  {done}  {cached}  {count.failed:>{wide}} failed"


def _rate(rate: float) -> str:
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
