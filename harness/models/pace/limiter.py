"""The rate limiter: when an attempt may be sent to one endpoint under one key.

It combines concurrency slots, the concurrency window, limits per minute and pauses. It knows
nothing of HTTP: the sender reports what the server answered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from harness.models.pace.buckets import FixedWindow, ServerQuota, TokenBucket
from harness.models.pace.window import ConcurrencyWindow

# A server that asks for a longer pause is out of service for the rest of a run.
LONGEST_RETRY_AFTER_S = 600.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# Bounds the exponent of the pause; the pause itself stops growing long before.
_MOST_DOUBLINGS = 16


class StopRequested(Exception):
    """A wait ended because the caller's stop event was set."""


class Permit:
    """The permission to send one attempt. It occupies a slot until :meth:`release`."""

    __slots__ = ("_completed", "_epoch", "_limiter", "_number", "_released", "_tokens")

    def __init__(self, limiter: RateLimiter, number: int, epoch: int, tokens: int) -> None:
        self._limiter = limiter
        self._number = number
        self._epoch = epoch
        self._tokens = tokens
        self._completed = False
        self._released = False

    def complete(
        self,
        *,
        used_tokens: int | None = None,
        throttled: bool = False,
        retry_after_s: float | None = None,
        quota: ServerQuota | None = None,
    ) -> None:
        """Report how the attempt ended. Only the first report counts.

        Args:
            used_tokens: the tokens that the attempt cost, 0 if it failed. ``None`` means unknown:
                the whole reservation counts as used.
            throttled: whether the server was too busy (429).
            retry_after_s: the pause that the server asked for, in seconds.
            quota: the limits that the response announced.
        """
        if not self._completed:
            self._completed = True
            self._limiter._complete(self, used_tokens, throttled, retry_after_s, quota)

    def release(self) -> None:
        """Free the slot. A second call has no effect."""
        if not self._released:
            self._released = True
            self._limiter._release(self)


class _Waiter:
    __slots__ = ("permit", "stop", "tokens")

    def __init__(self, tokens: int, stop: asyncio.Event, permit: asyncio.Future[Permit]) -> None:
        self.tokens = tokens
        self.stop = stop
        self.permit = permit


class RateLimiter:
    """Grants the permits of all calls to one endpoint under one key.

    - At most ``ceiling`` permits occupy a slot at a time.
    - At most as many attempts are in flight as the
      :class:`~harness.models.pace.window.ConcurrencyWindow` allows.
    - ``rpm`` and ``tpm`` (per minute) are kept within 2 %. Every attempt counts as one request.
      Its tokens are reserved when the permit is granted, and corrected when it is completed.
    - Limits that the server announces are waited for, so that attempts are not throttled.
    - While the server throttles most attempts, all wait.

    Permits are granted in the order of request. The limiter belongs to no event loop: several may
    use it, one after the other. ``clock`` is in seconds and never goes back.
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
        self._window = ConcurrencyWindow(ceiling)
        self._request_bucket = TokenBucket(rpm, clock()) if rpm else None
        self._token_bucket = TokenBucket(tpm, clock()) if tpm else None
        self._server_requests = FixedWindow()
        self._server_tokens = FixedWindow()
        # Whether anything but slots and window may delay an attempt.
        self._rate_limited = bool(rpm or tpm)
        self._any_answer = False
        self._slots_taken = 0
        self._in_flight = 0
        self._tokens_in_flight = 0
        self._attempt_count = 0
        self._paused_until = -math.inf
        self._consecutive_pauses = 0
        self._waiters: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_watchers: dict[asyncio.Event, asyncio.Task[None]] = {}

    def adjust(self, ceiling: int, rpm: float | None, tpm: float | None) -> None:
        """Set the ceiling for another system. Of the old and the new limits the stricter hold."""
        self._ceiling = self._window.ceiling = ceiling
        now = self._clock()
        self._request_bucket = _stricter(self._request_bucket, rpm, now)
        self._token_bucket = _stricter(self._token_bucket, tpm, now)
        self._rate_limited = self._rate_limited or bool(rpm or tpm)

    @property
    def ceiling(self) -> int:
        """The number of slots."""
        return self._ceiling

    @property
    def window_size(self) -> int:
        """The number of attempts that may be in flight at present."""
        return self._window.size

    @property
    def free_slots(self) -> int:
        """The number of attempts that slots and window admit now; 0 while somebody waits."""
        if self._waiters:
            return 0
        free = min(self._ceiling - self._slots_taken, self._window.limit - self._in_flight)
        return max(0, free)

    @property
    def counts_tokens(self) -> bool:
        """Whether the tokens of an attempt matter, or may matter once the server has answered."""
        return self._token_bucket is not None or self._server_tokens.known or not self._any_answer

    async def acquire(self, tokens: int, stop: asyncio.Event) -> Permit:
        """Wait until an attempt that costs at most ``tokens`` tokens may be sent.

        Raises:
            StopRequested: ``stop`` is set.
        """
        if stop.is_set():
            raise StopRequested
        if not self._waiters and self._delay(tokens) <= 0:
            return self._grant(tokens)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._enter_loop(loop)
        waiter = _Waiter(tokens, stop, loop.create_future())
        self._waiters.append(waiter)
        if stop not in self._stop_watchers:
            self._stop_watchers[stop] = loop.create_task(self._end_waits_on(stop))
        if len(self._waiters) == 1:
            self._grant_waiters()
        try:
            return await waiter.permit
        except asyncio.CancelledError:
            if waiter.permit.done() and not waiter.permit.cancelled():
                self._take_back(waiter.permit.result())
            elif self._waiters:
                self._grant_waiters()
            raise

    def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget the waiters of an earlier event loop: they ended with it."""
        self._loop = loop
        self._waiters.clear()
        self._stop_watchers.clear()
        self._timer, self._timer_at = None, math.inf

    def _take_back(self, unused: Permit) -> None:
        """Undo a permit whose waiter was cancelled in the moment of the grant."""
        unused._tokens, reserved = 0, unused._tokens
        self._tokens_in_flight -= reserved
        self._refund(reserved, self._clock())
        unused.release()

    def _delay(self, tokens: int) -> float:
        """Seconds until an attempt may be sent; infinite if another has to end first."""
        if self._slots_taken >= self._ceiling or self._in_flight >= self._window.limit:
            return math.inf
        if not self._rate_limited:
            return 0.0
        now = self._clock()
        delay = self._paused_until - now
        if self._request_bucket is not None:
            delay = max(delay, self._request_bucket.delay(1, now))
        if self._token_bucket is not None:
            delay = max(delay, self._token_bucket.delay(tokens, now))
        if self._server_requests.known:
            delay = max(delay, self._server_requests.delay(1, self._in_flight, now))
        if self._server_tokens.known:
            delay = max(delay, self._server_tokens.delay(tokens, self._tokens_in_flight, now))
        return delay

    def _grant(self, tokens: int) -> Permit:
        if not self._in_flight:
            self._window.restart_clock(self._clock())
        self._slots_taken += 1
        self._in_flight += 1
        self._tokens_in_flight += tokens
        self._attempt_count += 1
        if self._in_flight >= self._window.limit:
            self._window.filled = True
        if self._request_bucket is not None:
            self._request_bucket.take(1)
        if self._token_bucket is not None:
            self._token_bucket.take(tokens)
        return Permit(self, self._attempt_count, self._window.epoch, tokens)

    def _complete(
        self,
        permit: Permit,
        used_tokens: int | None,
        throttled: bool,
        retry_after_s: float | None,
        quota: ServerQuota | None,
    ) -> None:
        now = self._clock()
        self._in_flight -= 1
        self._tokens_in_flight -= permit._tokens
        if quota is not None:
            self._record_quota(permit._number, quota, now)
        self._any_answer = self._any_answer or used_tokens != 0
        if used_tokens is not None:
            self._refund(permit._tokens - used_tokens, now)
        if throttled:
            self._pause(retry_after_s, self._window.record(permit._epoch, True, now), now)
        elif used_tokens != 0:
            # Other failures say nothing about how many attempts the server can take.
            if permit._epoch == self._window.epoch:
                self._consecutive_pauses = 0
            self._window.record(permit._epoch, False, now)
        self._on_capacity_change()

    def _release(self, permit: Permit) -> None:
        self._slots_taken -= 1
        if not permit._completed:
            permit._completed = True
            self._in_flight -= 1
            self._tokens_in_flight -= permit._tokens
        self._on_capacity_change()

    def _refund(self, tokens: int, now: float) -> None:
        if self._token_bucket is not None:
            self._token_bucket.refund(tokens, now)

    def _on_capacity_change(self) -> None:
        if self._waiters:
            self._grant_waiters()
        elif self._token_bucket is not None:
            self._token_bucket.discard_excess()

    def _pause(self, retry_after_s: float | None, storm: bool, now: float) -> None:
        """React to a throttled attempt: in a storm, all attempts pause."""
        if storm:
            backoff = min(_FIRST_PAUSE_S * 2**self._consecutive_pauses, _LONGEST_PAUSE_S)
            self._consecutive_pauses = min(self._consecutive_pauses + 1, _MOST_DOUBLINGS)
            pause = retry_after_s or backoff
        elif now < self._paused_until and retry_after_s:
            pause = retry_after_s
        else:
            return
        if pause <= LONGEST_RETRY_AFTER_S:
            self._rate_limited = True
            self._paused_until = max(self._paused_until, now + pause)

    def _record_quota(self, attempt: int, quota: ServerQuota, now: float) -> None:
        if quota.remaining_requests is not None and quota.reset_requests_s is not None:
            self._rate_limited = True
            self._server_requests.update(
                attempt,
                quota.remaining_requests,
                quota.reset_requests_s,
                quota.limit_requests,
                now,
            )
        if quota.remaining_tokens is not None and quota.reset_tokens_s is not None:
            self._rate_limited = True
            self._server_tokens.update(
                attempt, quota.remaining_tokens, quota.reset_tokens_s, quota.limit_tokens, now
            )

    def _grant_waiters(self) -> None:
        """Grant permits to the waiters in turn, until one has to wait longer.

        Only the first waiter is examined, so the work per grant does not depend on their number.
        """
        waiters = self._waiters
        while waiters:
            first = waiters[0]
            if not first.permit.done():  # otherwise it was cancelled or stopped
                delay = self._delay(first.tokens)
                if delay > 0:
                    self._set_timer(delay)
                    break
                first.permit.set_result(self._grant(first.tokens))
            waiters.popleft()
        else:
            self._set_timer(math.inf)
            for watcher in self._stop_watchers.values():
                watcher.cancel()
            self._stop_watchers.clear()
        if self._token_bucket is not None:
            self._token_bucket.discard_excess()

    def _set_timer(self, delay: float) -> None:
        due = self._clock() + delay
        if self._timer is not None:
            if abs(due - self._timer_at) < 0.001:
                return
            self._timer.cancel()
            self._timer = None
        if delay < math.inf and self._loop is not None:
            self._timer, self._timer_at = self._loop.call_later(delay, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        self._grant_waiters()

    async def _end_waits_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for waiter in self._waiters:
            if waiter.stop is stop and not waiter.permit.done():
                waiter.permit.set_exception(StopRequested())
        self._grant_waiters()


def _stricter(
    bucket: TokenBucket | None, per_minute: float | None, now: float
) -> TokenBucket | None:
    if not per_minute or (bucket is not None and bucket.per_minute <= per_minute):
        return bucket
    return TokenBucket(per_minute, now)
