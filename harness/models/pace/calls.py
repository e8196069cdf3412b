"""How calls are made: at their endpoint's pace, again after a failure, and never one too many.

Shared by every backend that waits for something; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from harness.models.pace.limiter import LONGEST_RETRY_AFTER_S, Pace, Pass
from harness.models.pace.limiter import Stopped as Stopped
from harness.records import Answer, Failure

if TYPE_CHECKING:
    from tenacity import RetryCallState

K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")

# Calls that sleep hold no slot, so others start meanwhile; this many times the slots may be under
# way in all. A server that turns everything away is thus not handed the whole run.
_SLEEPERS = 4
# For so long requests are made before whatever else waits for the event loop gets its turn.
_SLICE_S = 0.001
_LONGEST_BACKOFF_S = 30.0
# Attempts that the server turns away with a 429 are free of charge for so many first back-offs
# after the first of them: two minutes by default.
_PATIENCE = 240
_THROTTLED = 429


class Turn:
    """One call's way through a :class:`Pace`: a pass for each attempt, none while it sleeps."""

    __slots__ = ("_entered", "_pace", "_pass", "_stop", "_watch", "lost")

    def __init__(
        self, pace: Pace, stop: asyncio.Event, watch: Callable[[bool], None] | None = None
    ) -> None:
        self._pace = pace
        self._stop = stop
        self._pass: Pass | None = None
        self._entered = False
        #: Attempts that may have been charged though no answer came of them; whoever sends counts.
        self.lost = 0
        # Told when a slot may have come free, and whether the call has entered only now.
        self._watch = watch

    async def attempt(self, tokens: int = 0) -> Pass:
        """Wait until an attempt may be sent. To be called at the start of each.

        ``tokens`` is the most that it may cost: those of the prompt and the answer's budget. The
        slot is let go of by :meth:`nap`, or when the call's result has been taken.

        Raises:
            Stopped: the stream was stopped meanwhile.
        """
        if self._pass is not None:
            self._pass.release()
        self._pass = await self._pace.enter(tokens, self._stop)
        if self._watch is not None:
            self._watch(not self._entered)
        self._entered = True
        return self._pass

    async def nap(self, seconds: float) -> None:
        """Sleep without a slot.

        Raises:
            Stopped: the stream was stopped meanwhile.
        """
        self.release()
        if self._watch is not None:
            self._watch(False)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        if self._stop.is_set():
            raise Stopped

    def release(self) -> None:
        """Let go of the slot, if one is held."""
        if self._pass is not None:
            self._pass.release()
            self._pass = None

    @property
    def entered(self) -> bool:
        """Whether an attempt has been let in yet."""
        return self._entered


async def stream(
    requests: Iterable[tuple[K, R]],
    call: Callable[[R, Turn], Awaitable[T]],
    pace: Pace | int,
    stop: asyncio.Event | None = None,
    keep: Callable[[Sequence[tuple[K, T]]], Awaitable[None]] | None = None,
) -> AsyncGenerator[tuple[K, T], None]:
    """Call for every request, at a pace (a number: so many slots); yield results as they complete.

    ``requests`` is read when a slot is free and no call waits for anything else, such as a limit;
    at most four times the slots are under way, asleep or not. A call begins each attempt with
    ``turn.attempt``, which takes a slot, and sleeps with ``turn.nap``, which lets go of it. After
    the call the slot is kept until ``keep``, given all results that have come in, has returned;
    then they are yielded. Without ``keep`` it is kept until the result has been taken *and* the
    next one is asked for. So results that nobody has stored yet never outnumber the slots.

    An exception of a call is raised here, after the results that came in with it; closing the
    stream cancels what is under way. Once ``stop`` is set no request is taken, calls that wait or
    sleep are given up without a result, and those in flight are waited for.
    """
    source = iter(requests)
    stop = stop or asyncio.Event()
    pace = Pace(pace) if isinstance(pace, int) else pace
    loop = asyncio.get_running_loop()
    # Every call that may hold a slot, and those of them that have finished and not been looked at.
    calls: dict[asyncio.Task[T], tuple[K, Turn]] = {}
    finished: list[asyncio.Task[T]] = []
    wake: asyncio.Future[None] | None = None
    exhausted = False
    # Calls that have not entered yet.
    outside = 0
    # When others had the event loop last.
    since = loop.time()

    def look() -> None:
        if wake is not None and not wake.done():
            wake.set_result(None)

    def watch(entered: bool) -> None:
        nonlocal outside
        outside -= entered
        if pace.free > outside:
            look()

    def end(task: asyncio.Task[T]) -> None:
        finished.append(task)
        look()

    def may_start() -> bool:
        if exhausted or stop.is_set() or len(calls) >= pace.ceiling * _SLEEPERS:
            return False
        return pace.free > outside or not calls

    async def start() -> None:
        nonlocal exhausted, outside, since
        while may_start():
            try:
                key, request = next(source)
            except StopIteration:
                exhausted = True
                return
            turn = Turn(pace, stop, watch)
            task = asyncio.ensure_future(call(request, turn))
            calls[task] = key, turn
            outside += 1
            task.add_done_callback(end)
            if loop.time() - since > _SLICE_S:
                # Making requests takes time of its own: let these leave before the next.
                await asyncio.sleep(0)
                since = loop.time()
                if finished:
                    return

    try:
        while True:
            await start()
            if not finished:
                if not calls:
                    return
                wake = loop.create_future()
                await wake
                wake, since = None, loop.time()
                continue
            came: list[tuple[asyncio.Task[T], K, T]] = []
            error: BaseException | None = None
            for task in finished:
                key, turn = calls[task]
                outside -= not turn.entered
                if (raised := task.exception()) is None:
                    came.append((task, key, task.result()))
                    continue
                calls.pop(task)
                turn.release()
                if not isinstance(raised, Stopped):
                    error = error or raised
            finished.clear()
            exhausted = exhausted or error is not None
            if keep is not None and came:
                await keep([(key, result) for _, key, result in came])
                for task, _, _ in came:
                    calls.pop(task)[1].release()
                await start()
            for task, key, result in came:
                yield key, result
                if keep is None:
                    calls.pop(task)[1].release()
                    await start()
            if error is not None:
                raise error
    finally:
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for _, turn in calls.values():
            turn.release()


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
    turn: Turn,
    *,
    attempts: int,
    backoff_s: float,
) -> Answer | Failure:
    """Attempt until something other than :class:`TryAgain` comes of it, ``attempts`` times.

    ``attempt`` gets its own pass from ``turn``. Between two of them the turn naps, for as long as
    the server asked for where it did, else ``backoff_s`` doubled at each attempt up to 30 s; both
    with jitter on top, so that calls turned away together do not come back together. Attempts that
    met a 429 in the first ``240 * backoff_s`` seconds after the first of them do not count: a storm
    ends, and what waits it out has done nothing wrong. Where the last attempt fails as well,
    that is the call's :class:`Failure`. What comes of it has the ``lost`` of the turn.
    """
    try:
        # Nearly all calls end here, and tenacity takes longer than all the rest of a call.
        return _settled(await attempt(), 1, turn)
    except TryAgain as error:
        first = error
    from tenacity import AsyncRetrying, retry_if_exception_type

    clock = asyncio.get_running_loop().time
    made = free = 0
    throttled: float | None = None

    async def counted() -> Answer | Failure:
        nonlocal made
        made += 1
        if made == 1:
            raise first
        return await attempt()

    def stop(state: RetryCallState) -> bool:
        nonlocal free, throttled
        error = _error(state)
        if (error.retry_after or 0.0) > LONGEST_RETRY_AFTER_S:
            return True
        if error.status_code == _THROTTLED and throttled is None:
            throttled = clock()
        if throttled is not None and clock() - throttled < _PATIENCE * backoff_s:
            free += error.status_code == _THROTTLED
        return made - free >= attempts

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        if error.retry_after is not None:
            asked = error.retry_after * random.uniform(1.0, 1.1)
            # A server that asks for nothing at all is not asked again at once either.
            return max(asked, backoff_s * random.uniform(0.5, 1.0))
        longest: float = min(backoff_s * 2 ** min(made - 1, 30), _LONGEST_BACKOFF_S)
        return longest * random.uniform(0.5, 1.0)

    retrying = AsyncRetrying(
        stop=stop, wait=wait, sleep=turn.nap, retry=retry_if_exception_type(TryAgain), reraise=True
    )
    try:
        return _settled(await retrying(counted), made, turn)
    except TryAgain as error:
        return Failure(error.message, error.status_code, made, lost=turn.lost)


def _settled(outcome: Answer | Failure, made: int, turn: Turn) -> Answer | Failure:
    if isinstance(outcome, Failure):
        return replace(outcome, attempts=made, lost=turn.lost)
    return replace(outcome, lost=turn.lost) if turn.lost else outcome


def _error(state: RetryCallState) -> TryAgain:
    """Why the last attempt failed; asked only where another may be made."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TryAgain)
    return error
