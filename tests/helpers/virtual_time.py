"""An event loop in virtual time, which passes only while all tasks wait: hours in seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """The virtual time in seconds. It advances when a loop would wait; loops may share it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _TimeSkippingSelector(selectors.DefaultSelector):
    clock: Clock

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "deadlock: all tasks wait and no timer is set"
        self.clock.now += max(0.0, timeout)
        return super().select(0)


class _VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        selector = _TimeSkippingSelector()
        selector.clock = clock
        self._virtual = clock
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual.now


def run(main: Callable[[Clock], Coroutine[Any, Any, T]], clock: Clock | None = None) -> T:
    """Run ``main(clock)`` in virtual time; returns its result."""
    clock = clock or Clock()
    with asyncio.Runner(loop_factory=lambda: _VirtualTimeLoop(clock)) as runner:
        return runner.run(main(clock))
