"""Leases on keys: of several processes on one store, only one asks for a key at a time."""

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

# Seconds between two heartbeats, and seconds without one after which a process takes its own
# lease for expired. Other processes wait longer before they do.
_HEARTBEAT_S = 5.0
_EXPIRY_S = 30.0
# Seconds between two looks at the keys that other processes ask for.
_POLL_S = 0.5


class Lease:
    """The keys that one system of a run has claimed, kept by a heartbeat.

    Use it as an asynchronous context manager; leaving it releases the keys.
    """

    def __init__(self, writer: Writer, since: datetime | None, stop: asyncio.Event) -> None:
        self._writer = writer
        self._owner = LeaseOwner(since)
        self._stop = stop
        self._last_heartbeat = _clocks()
        self._expired = False
        self._heartbeat_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._heartbeat_task = asyncio.create_task(self._send_heartbeats())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
        # A second interrupt does not wait for the disk: the process ends soon, and its claims
        # expire with it.
        if kind is not asyncio.CancelledError:
            await self.release()

    @property
    def lost(self) -> bool:
        """Whether another process may have taken over, so that nothing more may be sent.

        A process that was stopped for a while, or a machine that slept, notices it here: one of
        its two clocks went on.
        """
        pairs = zip(_clocks(), self._last_heartbeat, strict=True)
        return self._expired or any(now - then > _EXPIRY_S for now, then in pairs)

    async def take(self, keys: Sequence[str]) -> ClaimResult:
        """Claim the free ones of the keys.

        Raises:
            StoreError: the store cannot be written.
        """
        result = await self._writer.do(partial(self._owner.take, keys=keys))
        self._last_heartbeat, self._expired = _clocks(), False
        return result

    async def wait(
        self, keys: Sequence[str], record_answered: Callable[[Iterable[str]], None]
    ) -> Sequence[str]:
        """Wait until some of the keys are free, and return those without an answer by then.

        ``record_answered`` is given the keys that another process has had answered.
        """
        while keys and not self._stop.is_set():
            answered, any_free = await self._writer.do(partial(self._owner.poll, keys=keys))
            record_answered(key for key in keys if key in answered)
            keys = [key for key in keys if key not in answered]
            if any_free:
                break
            if not answered:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._stop.wait()
        return keys

    async def release(self) -> None:
        """Release all keys. Where the store cannot be written, the lease expires by itself."""
        with suppress(StoreError):
            await self._writer.do(self._owner.release)

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            with suppress(StoreError):
                if await self._writer.do(self._owner.renew):
                    self._last_heartbeat = _clocks()
                else:
                    self._expired = True


def _clocks() -> tuple[float, float]:
    """Both clocks: the first stands still while a machine sleeps, the second may be set."""
    return time.monotonic(), time.time()
