"""The keys that a run asks for while no other process does: claimed, kept, and given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Self

from harness.errors import StoreError
from harness.store.leases import ClaimResult, LeaseOwner
from harness.store.writer import Writer

# A holder says that it is alive this often, and takes itself for gone, well before others do,
# where it could not.
_BEAT_S = 5.0
_LATE_S = 30.0
# Between two looks at what others are asking for.
_LOOK_S = 0.5


class Lease:
    """Claims of one system of a run. Use it as an asynchronous context manager."""

    def __init__(self, writer: Writer, since: datetime | None, stop: asyncio.Event) -> None:
        self._writer = writer
        self._owner = LeaseOwner(since)
        self._stop = stop
        self._heard = _clocks()
        self._taken_for_gone = False
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._beating is not None:
            self._beating.cancel()
        # Whoever is told to leave at once does not wait for the disk: the process is soon gone,
        # and its claims with it.
        if kind is not asyncio.CancelledError:
            await self.release()

    @property
    def lost(self) -> bool:
        """Whether others may have taken over, so that nothing more may be sent.

        A process that was stopped for a while, or a machine that slept, finds that out here: one
        of its clocks went on without it.
        """
        late = any(now - then > _LATE_S for now, then in zip(_clocks(), self._heard, strict=True))
        return late or self._taken_for_gone

    async def take(self, keys: Sequence[str]) -> ClaimResult:
        """Claim what is free of the keys.

        Raises:
            StoreError: the store cannot be written.
        """
        taken = await self._writer.do(partial(self._owner.take, keys=keys))
        self._heard, self._taken_for_gone = _clocks(), False
        return taken

    async def wait(
        self, keys: Sequence[str], found: Callable[[Iterable[str]], None]
    ) -> Sequence[str]:
        """Wait until some of the keys are free, and return those that have no answer by then.

        ``found`` is told of those that have.
        """
        while keys and not self._stop.is_set():
            answered, free = await self._writer.do(partial(self._owner.poll, keys=keys))
            found(key for key in keys if key in answered)
            keys = [key for key in keys if key not in answered]
            if free:
                break
            if not answered:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._stop.wait()
        return keys

    async def release(self) -> None:
        """Give everything back. What cannot be given back lapses."""
        with suppress(StoreError):
            await self._writer.do(self._owner.release)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            with suppress(StoreError):
                if await self._writer.do(self._owner.renew):
                    self._heard = _clocks()
                else:
                    self._taken_for_gone = True


def _clocks() -> tuple[float, float]:
    """Neither alone will do: one stands still while a machine sleeps, the other may be set."""
    return time.monotonic(), time.time()
