"""Calls: a stream of them under one rate limiter.

Shared by every backend that waits for something. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from harness.models.pace.limiter import Permit, RateLimiter, StopRequested

K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")

# A call that sleeps occupies no slot, so another one starts meanwhile. This bounds all calls of a
# stream, as a multiple of the slots: a server that rejects everything is not sent the whole run.
_MOST_CALLS_PER_SLOT = 4
# Requests are made for at most this long before other tasks of the event loop run.
_LONGEST_BLOCK_S = 0.001


class Call:
    """One call: a permit of the :class:`RateLimiter` for each attempt, none while it sleeps."""

    __slots__ = ("_limiter", "_on_change", "_permit", "_started", "_stop", "lost_attempts")

    def __init__(
        self,
        limiter: RateLimiter,
        stop: asyncio.Event,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._limiter = limiter
        self._stop = stop
        self._permit: Permit | None = None
        self._started = False
        #: Attempts without an answer that may have been charged. The sender counts them.
        self.lost_attempts = 0
        # Called when a slot may be free; the argument says whether this call has just started.
        self._on_change = on_change

    async def begin_attempt(self, tokens: int = 0) -> Permit:
        """Wait for the permit of the next attempt. The permit of the last one is released.

        ``tokens`` is the most that the attempt may cost: those of the prompt, and the most that
        the answer may have. The slot stays occupied until :meth:`sleep`, or until the call's
        result has been taken.

        Raises:
            StopRequested: the stream was stopped meanwhile.
        """
        if self._permit is not None:
            self._permit.release()
        self._permit = await self._limiter.acquire(tokens, self._stop)
        if self._on_change is not None:
            self._on_change(not self._started)
        self._started = True
        return self._permit

    async def sleep(self, seconds: float) -> None:
        """Sleep without occupying a slot.

        Raises:
            StopRequested: the stream was stopped meanwhile.
        """
        self.release()
        if self._on_change is not None:
            self._on_change(False)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        if self._stop.is_set():
            raise StopRequested

    def release(self) -> None:
        """Free the slot, if one is occupied."""
        if self._permit is not None:
            self._permit.release()
            self._permit = None

    @property
    def started(self) -> bool:
        """Whether the first attempt has had its permit."""
        return self._started


class _CallPool(Generic[K, R, T]):
    """The calls of one stream that are under way: starts them and collects their results."""

    def __init__(
        self,
        requests: Iterable[tuple[K, R]],
        send: Callable[[R, Call], Awaitable[T]],
        limiter: RateLimiter,
        stop: asyncio.Event,
    ) -> None:
        self._source = iter(requests)
        self._send = send
        self._limiter = limiter
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        # Every call that may occupy a slot, and the finished ones that are not collected yet.
        self._calls: dict[asyncio.Task[T], tuple[K, Call]] = {}
        self.finished: list[asyncio.Task[T]] = []
        self._wake: asyncio.Future[None] | None = None
        self._exhausted = False
        # Calls that have not had their first permit.
        self._unstarted = 0
        # When other tasks last had the event loop.
        self._last_break = self._loop.time()

    @property
    def is_empty(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    async def start_calls(self) -> None:
        """Start calls while slots are free and requests are left."""
        while self._may_start():
            try:
                key, request = next(self._source)
            except StopIteration:
                self._exhausted = True
                return
            call = Call(self._limiter, self._stop, self._on_change)
            task = asyncio.ensure_future(self._send(request, call))
            self._calls[task] = key, call
            self._unstarted += 1
            task.add_done_callback(self._on_done)
            if self._loop.time() - self._last_break > _LONGEST_BLOCK_S:
                # Making a request takes time. Send these before the next one is made.
                await asyncio.sleep(0)
                self._last_break = self._loop.time()
                if self.finished:
                    return

    async def wait(self) -> None:
        """Wait until a call has finished, or a slot may be free."""
        self._wake = self._loop.create_future()
        await self._wake
        self._wake, self._last_break = None, self._loop.time()

    def collect(self) -> tuple[list[tuple[asyncio.Task[T], K, T]], BaseException | None]:
        """The results of the finished calls, and the first exception of one that failed.

        The calls with a result keep their slots until :meth:`release`.
        """
        results: list[tuple[asyncio.Task[T], K, T]] = []
        error: BaseException | None = None
        for task in self.finished:
            key, call = self._calls[task]
            self._unstarted -= not call.started
            if (exception := task.exception()) is None:
                results.append((task, key, task.result()))
                continue
            self.release(task)
            if not isinstance(exception, StopRequested):
                error = error or exception
        self.finished.clear()
        self._exhausted = self._exhausted or error is not None
        return results, error

    def release(self, task: asyncio.Task[T]) -> None:
        """Free the slot of a finished call."""
        self._calls.pop(task)[1].release()

    async def aclose(self) -> None:
        """Cancel the calls that are under way."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for _, call in self._calls.values():
            call.release()

    def _may_start(self) -> bool:
        most_calls = self._limiter.ceiling * _MOST_CALLS_PER_SLOT
        if self._exhausted or self._stop.is_set() or len(self._calls) >= most_calls:
            return False
        return self._limiter.free_slots > self._unstarted or not self._calls

    def _on_change(self, just_started: bool) -> None:
        self._unstarted -= just_started
        if self._limiter.free_slots > self._unstarted:
            self._wake_up()

    def _on_done(self, task: asyncio.Task[T]) -> None:
        self.finished.append(task)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def stream_calls(
    requests: Iterable[tuple[K, R]],
    send: Callable[[R, Call], Awaitable[T]],
    limiter: RateLimiter | int,
    stop: asyncio.Event | None = None,
    save: Callable[[Sequence[tuple[K, T]]], Awaitable[None]] | None = None,
) -> AsyncGenerator[tuple[K, T], None]:
    """Send every request, and yield (key, result) as calls complete.

    A request is read when a slot is free and no started call waits for a permit. At most four
    times as many calls as slots are under way, sleeping ones included. Slots bound the results
    that nobody has stored yet: a call keeps its slot until ``save`` has returned, or, without
    ``save``, until its result has been taken and the next one is asked for.

    Args:
        requests: pairs of a key and a request.
        send: makes one call. It begins each attempt with :meth:`Call.begin_attempt`, which takes
            a slot, and sleeps with :meth:`Call.sleep`, which frees it.
        limiter: the rate limiter, or a number of slots.
        stop: once it is set, no request is read, calls that wait or sleep end without a result,
            and attempts in flight are waited for.
        save: stores results. It is given those that have arrived together, before they are
            yielded.

    Raises:
        Exception: an exception of ``send``, after the results that arrived with it.

    Closing the stream cancels the calls that are under way.
    """
    stop = stop or asyncio.Event()
    limiter = RateLimiter(limiter) if isinstance(limiter, int) else limiter
    pool = _CallPool(requests, send, limiter, stop)
    try:
        while True:
            await pool.start_calls()
            if not pool.finished:
                if pool.is_empty:
                    return
                await pool.wait()
                continue
            results, error = pool.collect()
            if save is not None and results:
                await save([(key, result) for _, key, result in results])
                for task, _, _ in results:
                    pool.release(task)
                await pool.start_calls()
            for task, key, result in results:
                yield key, result
                if save is None:
                    pool.release(task)
                    await pool.start_calls()
            if error is not None:
                raise error
    finally:
        await pool.aclose()
