"""Limits of requests and of tokens a minute: our own, and those that a server announces.

Our own are token buckets (RFC 2697 calls them committed rate and burst size). The libraries were
looked at: aiolimiter 1.3, limits 5.8 and pyrate-limiter 4.5 can neither give back what a call
reserved and did not use nor let a call through that is larger than a burst, and their burst is a
whole minute's worth.
"""

from __future__ import annotations

from dataclasses import dataclass

# The longest that a server's reset is believed without having a look.
_LONGEST_WAIT_S = 60.0
# How late a timer may fire.
_LATE_S = 0.05
# Less than this is nothing: what rounding leaves over of an amount.
_NOTHING = 1e-6


class Bucket:
    """So much a minute, at an even rate.

    It holds a hundredth of a minute's worth, so that no minute has more than about 1 % above the
    limit, or one unit where that is more; and a little on top, so that a timer that fires late
    loses nothing. What is larger than the bucket goes when it is full and leaves a debt.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._capacity = max(per_minute / 100, 1.0) + _LATE_S * self._rate
        self._level = self._capacity
        self._filled = now

    def delay(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        return missing / self._rate if missing > _NOTHING else 0.0

    def take(self, amount: float) -> None:
        """Take so much, just after :meth:`delay` was nothing."""
        self._level -= amount

    def give_back(self, amount: float, now: float) -> None:
        """Settle a reservation that was larger than what was used (less than nothing: smaller).

        What is given back may stand above the rim for as long as someone waits for it: cut off
        there, a part of each refund would be lost, and the limit never be reached.
        """
        self._fill(now)
        self._level += amount

    def spill(self) -> None:
        """Nobody waits: what stands above the rim is lost."""
        self._level = min(self._level, self._capacity)

    def _fill(self, now: float) -> None:
        if self._level < self._capacity:
            more = (now - self._filled) * self._rate
            self._level = min(self._capacity, self._level + more)
        self._filled = now


@dataclass(frozen=True, slots=True)
class Quota:
    """What ``x-ratelimit-*`` headers said, ``None`` where they are silent. Resets in seconds."""

    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_requests: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    limit_tokens: int | None = None


class Allowance:
    """What a server said of one of its limits.

    What remains, less what is in flight, may be sent; the rest waits for the reset, and then has
    the limit (where the server does not name it, the most that ever remained). That is right for
    fixed windows, and for token buckets whose reset is the time until they are full. Where the
    reset is more than a minute away, one attempt a minute has a look: it may be the time until a
    bucket of a day is full, and in part it is so all the time.
    """

    def __init__(self) -> None:
        self.known = False
        self._left = 0.0
        self._limit = 0.0
        self._reset = 0.0
        self._look = 0.0
        self._told_by = -1

    def told(
        self, attempt: int, remaining: float, reset_s: float, limit: float | None, now: float
    ) -> None:
        """Take in what came with an attempt (by number, in the order of sending).

        What a later attempt was told is newer, even where it came back first.
        """
        if attempt < self._told_by:
            return
        self.known, self._told_by = True, attempt
        self._limit = max(limit or self._limit, remaining, 1.0)
        self._left = remaining
        self._reset = now + max(reset_s, 0.0)
        self._look = min(self._reset, now + _LONGEST_WAIT_S)

    def delay(self, amount: float, in_flight: float, now: float) -> float:
        """Seconds until so much may be sent, as far as is known now."""
        amount = min(amount, self._limit)
        if now >= self._look:
            if now >= self._reset:
                self._left = self._limit
                # Nobody says when the next one is; whoever is answered is told.
                self._reset = now + _LONGEST_WAIT_S
            else:
                self._left = max(self._left, in_flight + amount)
            self._look = min(max(self._reset, now), now + _LONGEST_WAIT_S)
        if amount <= self._left - in_flight:
            return 0.0
        return self._look - now
