"""Limits of requests and of tokens a minute: the user's own, and those that a server announces.

The user's own limits are token buckets (RFC 2697: a committed rate and a burst size). Three
libraries do not fit: aiolimiter 1.3, limits 5.8 and pyrate-limiter 4.5 cannot refund what a call
reserved and did not use, cannot admit a call larger than the burst, and allow a burst of a whole
minute's worth.
"""

from __future__ import annotations

from dataclasses import dataclass

# The longest wait for an announced reset. Then one attempt checks whether the limit still holds.
_LONGEST_WAIT_S = 60.0
# How late a timer may fire.
_TIMER_DELAY_S = 0.05
# A smaller amount is a rounding error.
_EPSILON = 1e-6


class TokenBucket:
    """A limit per minute, spread evenly over the minute.

    The capacity is a hundredth of a minute's worth, at least one unit: no minute exceeds the limit
    by more than about 1 %, or by one unit where that is more. A little capacity is added for
    timers that fire late. An amount larger than the capacity is granted when the bucket is full,
    and leaves a negative level.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._capacity = max(per_minute / 100, 1.0) + _TIMER_DELAY_S * self._rate
        self._level = self._capacity
        self._filled_at = now

    def delay(self, amount: float, now: float) -> float:
        """Seconds until this amount may be taken."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        return missing / self._rate if missing > _EPSILON else 0.0

    def take(self, amount: float) -> None:
        """Take an amount. :meth:`delay` has to be 0 for it."""
        self._level -= amount

    def refund(self, amount: float, now: float) -> None:
        """Return the part of a reservation that was not used; a negative amount takes more.

        The level may exceed the capacity while somebody waits. If it were cut off at once, part of
        each refund would be lost, and throughput would stay below the limit.
        """
        self._fill(now)
        self._level += amount

    def discard_excess(self) -> None:
        """Cut the level off at the capacity. To be called when nobody waits."""
        self._level = min(self._level, self._capacity)

    def _fill(self, now: float) -> None:
        if self._level < self._capacity:
            gain = (now - self._filled_at) * self._rate
            self._level = min(self._capacity, self._level + gain)
        self._filled_at = now


@dataclass(frozen=True, slots=True)
class ServerQuota:
    """The ``x-ratelimit-*`` headers of one response; ``None`` for a missing one.

    Resets are in seconds from the response.
    """

    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_requests: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    limit_tokens: int | None = None


class FixedWindow:
    """One limit that a server announces, modelled as a fixed window.

    What remains, less what is in flight, may be sent. The rest waits for the reset, which restores
    the limit; if the server does not name the limit, that is the largest remainder seen so far.
    The model is exact for fixed windows. It also fits token buckets whose reset is the time until
    they are full. A reset may be more than a minute away, for example where a bucket takes a day
    to fill and is partly full long before: then one attempt a minute is admitted as a check.
    """

    def __init__(self) -> None:
        #: Whether the server has announced this limit.
        self.known = False
        self._remaining = 0.0
        self._limit = 0.0
        self._reset_at = 0.0
        self._check_at = 0.0
        self._newest_attempt = -1

    def update(
        self, attempt: int, remaining: float, reset_s: float, limit: float | None, now: float
    ) -> None:
        """Record what the response to an attempt announced.

        ``attempt`` is the attempt's number in the order of sending. Responses may arrive in
        another order: one to an earlier attempt than the newest seen is ignored.
        """
        if attempt < self._newest_attempt:
            return
        self.known, self._newest_attempt = True, attempt
        self._limit = max(limit or self._limit, remaining, 1.0)
        self._remaining = remaining
        self._reset_at = now + max(reset_s, 0.0)
        self._check_at = min(self._reset_at, now + _LONGEST_WAIT_S)

    def delay(self, amount: float, in_flight: float, now: float) -> float:
        """Seconds until this amount may be sent, as far as is known now."""
        amount = min(amount, self._limit)
        if now >= self._check_at:
            if now >= self._reset_at:
                self._remaining = self._limit
                # The next reset is unknown until the next response.
                self._reset_at = now + _LONGEST_WAIT_S
            else:
                self._remaining = max(self._remaining, in_flight + amount)
            self._check_at = min(max(self._reset_at, now), now + _LONGEST_WAIT_S)
        if amount <= self._remaining - in_flight:
            return 0.0
        return self._check_at - now
