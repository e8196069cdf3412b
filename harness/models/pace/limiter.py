"""When an attempt may be sent: slots, window, limits and pauses of one endpoint and key.

No HTTP here: whoever sends says what came back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from harness.models.pace.buckets import Allowance, Bucket
from harness.models.pace.buckets import Quota as Quota
from harness.models.pace.window import Window

# A server that asks for a longer pause is out of service as far as one run is concerned.
LONGEST_RETRY_AFTER_S = 600.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# So many storms in a row that pauses have long stopped growing.
_MOST_DOUBLINGS = 16


class Stopped(Exception):
    """A wait that was given up because the stream was stopped."""


class Pass:
    """The permission for one attempt. It holds a slot until it is released."""

    __slots__ = ("_back", "_cuts", "_number", "_pace", "_released", "_tokens")

    def __init__(self, pace: Pace, number: int, cuts: int, tokens: int) -> None:
        self._pace = pace
        self._number = number
        self._cuts = cuts
        self._tokens = tokens
        self._back = False
        self._released = False

    def back(
        self,
        *,
        used: int | None = None,
        throttled: bool = False,
        retry_after: float | None = None,
        quota: Quota | None = None,
    ) -> None:
        """The attempt came back; the first of several such calls counts.

        ``used`` are the tokens that it cost (0 for one that failed; ``None`` keeps what was
        reserved), ``throttled`` says that the server had too much to do, ``retry_after`` for how
        many seconds it asked, and ``quota`` what its headers said.
        """
        if not self._back:
            self._back = True
            self._pace._came(self, used, throttled, retry_after, quota)

    def release(self) -> None:
        """Let go of the slot; a second time does nothing."""
        if not self._released:
            self._released = True
            self._pace._let_go(self)


class _Waiter:
    __slots__ = ("let_in", "stop", "tokens")

    def __init__(self, tokens: int, stop: asyncio.Event, let_in: asyncio.Future[Pass]) -> None:
        self.tokens = tokens
        self.stop = stop
        self.let_in = let_in


class Pace:
    """What all calls to one endpoint under one key share. Limits are per minute.

    At most ``ceiling`` passes hold a slot, at most as many attempts are in flight as the
    :class:`~harness.models.pace.window.Window` allows; ``rpm`` and ``tpm`` are kept within 2 %, with
    every attempt as one request, and its tokens reserved when it is let in and settled when it is
    back; what the server announces is waited for, not run into; and when it turns most attempts
    away, all wait. Who waits is let in in the order of asking.

    Belongs to no event loop: several may use it, one after the other. ``clock`` is in seconds and
    never goes back.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ceiling = ceiling
        self._window = Window(ceiling)
        self._requests = Bucket(rpm, clock()) if rpm else None
        self._tokens = Bucket(tpm, clock()) if tpm else None
        self._told_requests = Allowance()
        self._told_tokens = Allowance()
        self._limited = bool(rpm or tpm)
        self._answered = False
        self._held = 0
        self._in_flight = 0
        self._tokens_in_flight = 0
        self._sent = 0
        self._resumes = -math.inf
        self._pauses = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[asyncio.Event, asyncio.Task[None]] = {}

    def adjust(self, ceiling: int, rpm: float | None, tpm: float | None) -> None:
        """Another system joins: ``ceiling`` is set, of two limits the stricter one holds."""
        self._ceiling = self._window.ceiling = ceiling
        now = self._clock()
        self._requests = _stricter(self._requests, rpm, now)
        self._tokens = _stricter(self._tokens, tpm, now)
        self._limited = self._limited or bool(rpm or tpm)

    @property
    def ceiling(self) -> int:
        """How many slots there are."""
        return self._ceiling

    @property
    def window(self) -> int:
        """How many attempts may be in flight at present."""
        return self._window.size

    @property
    def free(self) -> int:
        """How many attempts could enter now as far as slots go; none where someone waits."""
        if self._waiting:
            return 0
        return max(0, min(self._ceiling - self._held, self._window.limit - self._in_flight))

    @property
    def counts_tokens(self) -> bool:
        """Whether the ``tokens`` given to :meth:`enter` matter, or may turn out to."""
        return self._tokens is not None or self._told_tokens.known or not self._answered

    async def enter(self, tokens: int, stop: asyncio.Event) -> Pass:
        """Wait until an attempt may be sent that costs at most so many tokens.

        Raises:
            Stopped: ``stop`` is set.
        """
        if stop.is_set():
            raise Stopped
        if not self._waiting and self._delay(tokens) <= 0:
            return self._let_in(tokens)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Whoever waited on an earlier one is gone with it.
            self._loop = loop
            self._waiting.clear()
            self._watches.clear()
            self._timer, self._timer_at = None, math.inf
        waiter = _Waiter(tokens, stop, loop.create_future())
        self._waiting.append(waiter)
        if stop not in self._watches:
            self._watches[stop] = loop.create_task(self._give_up(stop))
        if len(self._waiting) == 1:
            self._admit()
        try:
            return await waiter.let_in
        except asyncio.CancelledError:
            if waiter.let_in.done() and not waiter.let_in.cancelled():
                # Let in and cancelled at once.
                unsent = waiter.let_in.result()
                unsent._tokens, used = 0, unsent._tokens
                self._tokens_in_flight -= used
                self._refund(used, self._clock())
                unsent.release()
            elif self._waiting:
                self._admit()
            raise

    def _delay(self, tokens: int) -> float:
        """Seconds until an attempt may enter; infinite until another comes back."""
        if self._held >= self._ceiling or self._in_flight >= self._window.limit:
            return math.inf
        if not self._limited:
            return 0.0
        now = self._clock()
        delay = self._resumes - now
        if self._requests is not None:
            delay = max(delay, self._requests.delay(1, now))
        if self._tokens is not None:
            delay = max(delay, self._tokens.delay(tokens, now))
        if self._told_requests.known:
            delay = max(delay, self._told_requests.delay(1, self._in_flight, now))
        if self._told_tokens.known:
            delay = max(delay, self._told_tokens.delay(tokens, self._tokens_in_flight, now))
        return delay

    def _let_in(self, tokens: int) -> Pass:
        if not self._in_flight:
            self._window.wake(self._clock())
        self._held += 1
        self._in_flight += 1
        self._tokens_in_flight += tokens
        self._sent += 1
        if self._in_flight >= self._window.limit:
            self._window.filled = True
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return Pass(self, self._sent, self._window.cuts, tokens)

    def _came(
        self,
        attempt: Pass,
        used: int | None,
        throttled: bool,
        retry_after: float | None,
        quota: Quota | None,
    ) -> None:
        now = self._clock()
        self._in_flight -= 1
        self._tokens_in_flight -= attempt._tokens
        if quota is not None:
            self._take_in(attempt._number, quota, now)
        self._answered = self._answered or used != 0
        if used is not None:
            self._refund(attempt._tokens - used, now)
        if throttled:
            self._pause(retry_after, self._window.came(attempt._cuts, True, now), now)
        elif used != 0:
            # What failed otherwise says nothing of how many attempts the server can take.
            if attempt._cuts == self._window.cuts:
                self._pauses = 0
            self._window.came(attempt._cuts, False, now)
        self._settle()

    def _let_go(self, attempt: Pass) -> None:
        self._held -= 1
        if not attempt._back:
            attempt._back = True
            self._in_flight -= 1
            self._tokens_in_flight -= attempt._tokens
        self._settle()

    def _refund(self, tokens: int, now: float) -> None:
        if self._tokens is not None:
            self._tokens.give_back(tokens, now)

    def _settle(self) -> None:
        """Something changed: let in whoever may enter now."""
        if self._waiting:
            self._admit()
        elif self._tokens is not None:
            self._tokens.spill()

    def _pause(self, retry_after: float | None, storm: bool, now: float) -> None:
        """One attempt was turned away; in a storm that holds for all."""
        if storm:
            longest = min(_FIRST_PAUSE_S * 2**self._pauses, _LONGEST_PAUSE_S)
            self._pauses = min(self._pauses + 1, _MOST_DOUBLINGS)
            pause = retry_after or longest
        elif now < self._resumes and retry_after:
            pause = retry_after
        else:
            return
        if pause <= LONGEST_RETRY_AFTER_S:
            self._limited = True
            self._resumes = max(self._resumes, now + pause)

    def _take_in(self, attempt: int, quota: Quota, now: float) -> None:
        for allowance, remaining, reset_s, limit in (
            (
                self._told_requests,
                quota.remaining_requests,
                quota.reset_requests_s,
                quota.limit_requests,
            ),
            (self._told_tokens, quota.remaining_tokens, quota.reset_tokens_s, quota.limit_tokens),
        ):
            if remaining is not None and reset_s is not None:
                allowance.told(attempt, remaining, reset_s, limit, now)
                self._limited = True

    def _admit(self) -> None:
        """Let in the first of those who wait, and the next, until one has to wait on.

        Nobody else is woken, so that the work is the same however many wait.
        """
        waiting = self._waiting
        while waiting:
            first = waiting[0]
            if not first.let_in.done():  # else given up or cancelled
                delay = self._delay(first.tokens)
                if delay > 0:
                    self._look_again(delay)
                    break
                first.let_in.set_result(self._let_in(first.tokens))
            waiting.popleft()
        else:
            self._look_again(math.inf)
            for watch in self._watches.values():
                watch.cancel()
            self._watches.clear()
        if self._tokens is not None:
            self._tokens.spill()

    def _look_again(self, delay: float) -> None:
        at = self._clock() + delay
        if self._timer is not None:
            if abs(at - self._timer_at) < 0.001:
                return
            self._timer.cancel()
            self._timer = None
        if delay < math.inf and self._loop is not None:
            self._timer, self._timer_at = self._loop.call_later(delay, self._timed), at

    def _timed(self) -> None:
        self._timer = None
        self._admit()

    async def _give_up(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for waiter in self._waiting:
            if waiter.stop is stop and not waiter.let_in.done():
                waiter.let_in.set_exception(Stopped())
        self._admit()


def _stricter(bucket: Bucket | None, per_minute: float | None, now: float) -> Bucket | None:
    if not per_minute or (bucket is not None and bucket.per_minute <= per_minute):
        return bucket
    return Bucket(per_minute, now)
