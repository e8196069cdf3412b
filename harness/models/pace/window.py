"""How many attempts may be in flight: as many as help, found by trying.

Growth is TCP's: doubling while it pays (slow start), then in small steps (AIMD; Chiu and Jain,
1989), and only in rounds that used the whole window (RFC 7661). Shrinking is DCTCP's (RFC 8257):
in proportion to how many attempts of a round were turned away, so that stray refusals cost little
and a storm halves the window once, however many calls it hit.
"""

from __future__ import annotations

import math

_START = 32
# A step of growth, in parts of the window. A tenth of all attempts turned away at random takes a
# twentieth of the window off at each round; a step makes up for a little more than that.
_STEP = 1 / 16
# Growth in steps is judged when it has come so far, in parts of the window before…
_FAR = 1.4
# …or after so many rounds…
_ROUNDS = 8
# …and has helped where throughput is more than this, in parts of what it was.
_HELPED = 1.1
# Where it has not, so many rounds pass before the next try; twice as many after each failure.
_HOLD = 10
_LONGEST_HOLD = 160
# Up to this share of attempts turned away, and what chance adds, growth goes on: they are strays.
_STRAY = 0.1
# A storm has turned away this part of the window. It takes that many: the first to come back are
# often refusals, since these take no time.
_STORM = 1 / 4
# After a pause this part of the window begins, and doubles at each round.
_RESUME = 1 / 8


class Window:
    """The number of attempts that may be in flight, between one and ``ceiling``.

    A round ends after as many outcomes as the window held when it began. Outcomes of attempts
    sent before the last cut do not count for the next one. ``limit`` is the number to heed: the
    window less what this round has had turned away, whose places stay empty until it ends.
    ``cuts`` counts the cuts; an attempt keeps the number it was sent under. ``filled`` is set by
    whoever sends once the limit is reached.
    """

    def __init__(self, ceiling: int) -> None:
        self.cuts = 0
        self.filled = False
        self._ceiling = ceiling
        self._size = float(min(ceiling, _START))
        # Up to here growth is a return, and not judged.
        self._target = 0.0
        self._doubling = True
        # The window, and the outcomes a second, that growth is compared with.
        self._base: tuple[float, float] | None = None
        self._age = 0
        self._held = 0
        self._hold = _HOLD
        # Nothing has come back since the last storm but refusals.
        self._storm = False
        self._open(0.0)

    @property
    def size(self) -> int:
        """The window itself."""
        return int(self._size)

    @property
    def ceiling(self) -> int:
        """What the window never passes."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int) -> None:
        if ceiling > self._ceiling:
            self._base, self._doubling, self._held = None, True, 0
        self._ceiling = ceiling
        self._size = min(self._size, float(ceiling))
        self._set_limit()

    def wake(self, now: float) -> None:
        """The first attempt after nothing was in flight: throughput is measured from here."""
        self._began, self._answered, self.filled = now, 0, False

    def came(self, cuts: int, throttled: bool, now: float) -> bool:
        """One attempt, sent under ``cuts``, came back. Whether a storm has begun, or goes on.

        It has once more attempts of a round were turned away than answered, and enough of them.
        The window is cut then, and the caller is to pause.
        """
        if not throttled:
            self._answered += 1
        if cuts != self.cuts:
            return False
        if throttled:
            self._throttled += 1
            if self._throttled > self._good and (
                self._storm or self._throttled >= self._storm_from
            ):
                self._break_off(now)
                return True
            self._set_limit()
        else:
            self._good += 1
            self._storm = False
        if self._good + self._throttled >= self._quorum:
            self._end(now)
        return False

    def _open(self, now: float) -> None:
        self._quorum = int(self._size)
        self._storm_from = max(2, min(4, self._quorum), self._quorum * _STORM)
        self._strays = self._quorum * _STRAY + math.sqrt(self._quorum)
        self._good = self._throttled = 0
        self.wake(now)
        self._set_limit()

    def _set_limit(self) -> None:
        self.limit = max(1, int(self._size) - self._throttled)

    def _break_off(self, now: float) -> None:
        if not self._storm:
            self._cut(hard=True)
        self._storm = True
        self.cuts += 1
        self._size = max(1.0, self._target * _RESUME)
        self._open(now)

    def _cut(self, *, hard: bool) -> None:
        share = self._throttled / (self._good + self._throttled)
        self._size = max(1.0, self._size * (1 - share / 2))
        if hard:
            self._target = self._size
            self._base, self._doubling, self._held = None, False, 0

    def _end(self, now: float) -> None:
        during = self._size
        strays = self._throttled <= self._strays
        if self._throttled:
            self._cut(hard=not strays)
            self.cuts += 1
        if self.filled and strays:
            self._grow(during, self._answered / max(now - self._began, 1e-9))
        self._open(now)

    def _grow(self, during: float, rate: float) -> None:
        """After a round of the window ``during`` that gave ``rate`` answers a second."""
        grown = self._size + max(1.0, during * _STEP)
        if self._size < self._target:
            grown = min(self._target, 2 * self._size)
        elif self._held:
            self._held -= 1
            # Not more than what was held, but what a cut took off comes back.
            grown = min(grown, self._ceiling if self._base is None else self._base[0])
            if not self._held:
                self._base = None
        elif self._base is None or self._judge(during, rate):
            if self._base is None:
                self._base, self._age = (during, rate), 0
            if self._doubling:
                grown = 2 * self._size
        else:
            assert self._base is not None
            self._doubling = False
            self._held, self._hold = self._hold, min(2 * self._hold, _LONGEST_HOLD)
            grown = min(self._size, self._base[0])
        self._size = min(grown, float(self._ceiling))

    def _judge(self, during: float, rate: float) -> bool:
        """Whether growth has helped, or it is too early to tell."""
        assert self._base is not None
        size, before = self._base
        self._age += 1
        far = during >= size * (2 if self._doubling else _FAR)
        at_ceiling = during >= self._ceiling
        if not (far or at_ceiling or self._age >= _ROUNDS):
            return True
        if rate > before * _HELPED or (at_ceiling and during < size * _FAR):
            self._base, self._age, self._hold = (during, rate), 0, _HOLD
            return True
        return False
