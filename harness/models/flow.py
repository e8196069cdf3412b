"""How calls are made: so many at a time, again after a failure, and never one too many.

Shared by every backend that waits for something; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from harness.records import Answer, Failure

if TYPE_CHECKING:
    from tenacity import RetryCallState

K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")

#: Sleeps without holding a slot.
Nap = Callable[[float], Awaitable[None]]

# Calls that sleep hold no slot, so others start meanwhile; this many times the concurrency may
# be under way in all. A server that turns everything away is thus not handed the whole run.
_SLEEPERS = 4
_LONGEST_BACKOFF_S = 30.0
# A server that asks for a longer pause is out of service as far as one run is concerned.
_LONGEST_RETRY_AFTER_S = 600.0


class Stopped(Exception):
    """A call that was given up while it slept, because the stream was stopped."""


async def stream(
    requests: Iterable[tuple[K, R]],
    call: Callable[[R, Nap], Awaitable[T]],
    concurrency: int,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[tuple[K, T], None]:
    """Call for every request, ``concurrency`` at a time; yield results as they complete.

    A call holds a slot from its start until its result has been taken *and* the next one is
    asked for, so that results that nobody has stored yet never outnumber the slots. ``call`` is
    given a ``nap`` that lets go of the slot while it sleeps. An exception of a call is raised
    here; closing the stream cancels what is under way. Once ``stop`` is set no request is taken
    and sleeping calls are given up without a result; those in flight are waited for.
    """
    source = iter(requests)
    stop = stop or asyncio.Event()
    slots = asyncio.Semaphore(concurrency)
    # Finished calls, and None where a slot came free because its call sleeps.
    events: asyncio.Queue[tuple[K, asyncio.Task[T]] | None] = asyncio.Queue()
    running: set[asyncio.Task[T]] = set()
    exhausted = False

    async def nap(seconds: float) -> None:
        slots.release()
        events.put_nowait(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        if stop.is_set():
            raise Stopped
        await slots.acquire()

    def finished(key: K, task: asyncio.Task[T]) -> None:
        events.put_nowait((key, task))

    try:
        while True:
            while (
                not (exhausted or stop.is_set() or slots.locked())
                and len(running) < concurrency * _SLEEPERS
            ):
                try:
                    key, request = next(source)
                except StopIteration:
                    exhausted = True
                    break
                await slots.acquire()  # at once: it is not locked
                task = asyncio.ensure_future(call(request, nap))
                running.add(task)
                task.add_done_callback(partial(finished, key))
                if not slots.locked():
                    # Making a request takes time of its own: let this one leave before the next.
                    await asyncio.sleep(0)
            if not running:
                return
            event = await events.get()
            if event is None:
                continue
            key, task = event
            running.discard(task)
            if isinstance(task.exception(), Stopped):
                continue  # it let go of its slot when it fell asleep
            yield key, task.result()
            slots.release()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class TryAgain(Exception):
    """An attempt that failed in a way that another may not.

    ``retry_after`` are the seconds that the server asked to wait, if it did.
    """

    def __init__(
        self, message: str, status_code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.retry_after = retry_after


async def persist(
    attempt: Callable[[], Awaitable[Answer | Failure]],
    nap: Nap,
    *,
    attempts: int,
    backoff_s: float,
) -> Answer | Failure:
    """Attempt until something other than :class:`TryAgain` comes of it, ``attempts`` times.

    Waits as long as the server asked for where it did, else ``backoff_s`` doubled at each
    attempt up to 30 s; both with jitter on top, so that calls turned away together do not come
    back together. Where the last attempt fails as well, that is the call's :class:`Failure`.
    """
    from tenacity import AsyncRetrying, retry_if_exception_type

    def stop(state: RetryCallState) -> bool:
        return state.attempt_number >= attempts or (_asked(state) or 0.0) > _LONGEST_RETRY_AFTER_S

    def wait(state: RetryCallState) -> float:
        asked = _asked(state)
        if asked is not None:
            return asked * random.uniform(1.0, 1.1)
        longest: float = min(backoff_s * 2 ** (state.attempt_number - 1), _LONGEST_BACKOFF_S)
        return longest * random.uniform(0.5, 1.0)

    made = 0

    async def counted() -> Answer | Failure:
        nonlocal made
        made += 1
        return await attempt()

    retrying = AsyncRetrying(
        stop=stop, wait=wait, sleep=nap, retry=retry_if_exception_type(TryAgain), reraise=True
    )
    try:
        outcome: Answer | Failure = await retrying(counted)
    except TryAgain as error:
        return Failure(error.message, error.status_code, made)
    return replace(outcome, attempts=made) if isinstance(outcome, Failure) else outcome


def _asked(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, TryAgain) else None
