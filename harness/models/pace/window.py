"""The concurrency window: how many attempts may be in flight, found by trial.

The window grows as TCP's does. It doubles while that raises throughput (slow start), then grows in
small steps (AIMD; Chiu and Jain, 1989), and only after rounds that used the whole window (RFC
7661). It shrinks as DCTCP's does (RFC 8257): in proportion to the share of a round's attempts that
were throttled. So a few stray 429s cost little, and a storm halves the window once, however many
calls it hits.
"""

from __future__ import annotations

import math

_INITIAL_SIZE = 32
# One step of growth, as a share of the window. If 10 % of all attempts are throttled at random,
# each round shrinks the window by 5 %; a step is slightly larger than that.
_STEP = 1 / 16
# Step-wise growth is judged once the window has grown by this factor…
_JUDGED_GROWTH = 1.4
# …or after this many rounds.
_JUDGED_ROUNDS = 8
# Growth has helped if throughput has risen by more than this factor.
_HELPFUL_GAIN = 1.1
# Growth that has not helped is tried again after this many rounds, doubled after each failure.
_HOLD_ROUNDS = 10
_LONGEST_HOLD_ROUNDS = 160
# Up to this share of throttled attempts, plus a margin for chance, the window still grows.
_STRAY_SHARE = 0.1
# A storm is declared only once this share of the window was throttled. A lower one would be
# reached too easily: a 429 takes the server no time, so the first responses are often 429s.
_STORM_SHARE = 1 / 4
# After a pause the window starts at this share of its target size and doubles each round.
_RESTART_SHARE = 1 / 8


class ConcurrencyWindow:
    """The number of attempts that may be in flight, between 1 and ``ceiling``.

    A round ends after as many outcomes as the window allowed when the round began.

    ``limit`` is the number to obey: the window less the attempts throttled in this round, whose
    places stay empty until the round ends. ``epoch`` counts the reductions of the window. An
    attempt carries the epoch in which it was sent; an outcome from an earlier epoch does not
    reduce the window again. The sender sets ``filled`` when it reaches the limit.
    """

    def __init__(self, ceiling: int) -> None:
        self.epoch = 0
        self.filled = False
        self._ceiling = ceiling
        self._size = float(min(ceiling, _INITIAL_SIZE))
        # Growth up to this size is recovery after a reduction, and not judged.
        self._recovery_size = 0.0
        self._slow_start = True
        # The window and the answers per second that growth is compared with.
        self._baseline: tuple[float, float] | None = None
        self._baseline_rounds = 0
        self._hold_rounds_left = 0
        self._hold_rounds = _HOLD_ROUNDS
        # Since the last reduction by a storm every outcome was throttled.
        self._in_storm = False
        self._begin_round(0.0)

    @property
    def size(self) -> int:
        """The window itself."""
        return int(self._size)

    @property
    def ceiling(self) -> int:
        """The largest size of the window."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: int) -> None:
        if ceiling > self._ceiling:
            self._baseline, self._slow_start, self._hold_rounds_left = None, True, 0
        self._ceiling = ceiling
        self._size = min(self._size, float(ceiling))
        self._set_limit()

    def restart_clock(self, now: float) -> None:
        """Measure throughput from now on. To be called for the first attempt after idle time."""
        self._measured_from, self._answers, self.filled = now, 0, False

    def record(self, epoch: int, throttled: bool, now: float) -> bool:
        """Record the outcome of an attempt that was sent in ``epoch``.

        Returns whether a storm begins or goes on: more attempts of this round were throttled than
        answered, and enough of them. The window is then reduced, and the caller has to pause.
        """
        if not throttled:
            self._answers += 1
        if epoch != self.epoch:
            return False
        if throttled:
            self._throttled += 1
            if self._throttled > self._accepted and (
                self._in_storm or self._throttled >= self._storm_threshold
            ):
                self._reduce_for_storm(now)
                return True
            self._set_limit()
        else:
            self._accepted += 1
            self._in_storm = False
        if self._accepted + self._throttled >= self._round_length:
            self._end_round(now)
        return False

    def _begin_round(self, now: float) -> None:
        self._round_length = int(self._size)
        self._storm_threshold = max(
            2, min(4, self._round_length), self._round_length * _STORM_SHARE
        )
        self._most_strays = self._round_length * _STRAY_SHARE + math.sqrt(self._round_length)
        self._accepted = self._throttled = 0
        self.restart_clock(now)
        self._set_limit()

    def _set_limit(self) -> None:
        self.limit = max(1, int(self._size) - self._throttled)

    def _reduce_for_storm(self, now: float) -> None:
        if not self._in_storm:
            self._reduce(congested=True)
        self._in_storm = True
        self.epoch += 1
        self._size = max(1.0, self._recovery_size * _RESTART_SHARE)
        self._begin_round(now)

    def _reduce(self, *, congested: bool) -> None:
        share = self._throttled / (self._accepted + self._throttled)
        self._size = max(1.0, self._size * (1 - share / 2))
        if congested:
            self._recovery_size = self._size
            self._baseline, self._slow_start, self._hold_rounds_left = None, False, 0

    def _end_round(self, now: float) -> None:
        round_size = self._size
        only_strays = self._throttled <= self._most_strays
        if self._throttled:
            self._reduce(congested=not only_strays)
            self.epoch += 1
        if self.filled and only_strays:
            self._grow(round_size, self._answers / max(now - self._measured_from, 1e-9))
        self._begin_round(now)

    def _grow(self, round_size: float, rate: float) -> None:
        """Grow after a round of the window ``round_size`` with ``rate`` answers a second."""
        grown = self._size + max(1.0, round_size * _STEP)
        if self._size < self._recovery_size:
            grown = min(self._recovery_size, 2 * self._size)
        elif self._hold_rounds_left:
            self._hold_rounds_left -= 1
            # What a reduction took off is restored, but the window does not pass the held size.
            grown = min(grown, self._ceiling if self._baseline is None else self._baseline[0])
            if not self._hold_rounds_left:
                self._baseline = None
        elif self._baseline is None or self._may_grow_on(round_size, rate):
            if self._baseline is None:
                self._baseline, self._baseline_rounds = (round_size, rate), 0
            if self._slow_start:
                grown = 2 * self._size
        else:
            assert self._baseline is not None
            self._slow_start = False
            self._hold_rounds_left = self._hold_rounds
            self._hold_rounds = min(2 * self._hold_rounds, _LONGEST_HOLD_ROUNDS)
            grown = min(self._size, self._baseline[0])
        self._size = min(grown, float(self._ceiling))

    def _may_grow_on(self, round_size: float, rate: float) -> bool:
        """Whether growth since the baseline has helped, or it is too early to tell."""
        assert self._baseline is not None
        base_size, base_rate = self._baseline
        self._baseline_rounds += 1
        grown_enough = round_size >= base_size * (2 if self._slow_start else _JUDGED_GROWTH)
        at_ceiling = round_size >= self._ceiling
        if not (grown_enough or at_ceiling or self._baseline_rounds >= _JUDGED_ROUNDS):
            return True
        if rate > base_rate * _HELPFUL_GAIN or (
            at_ceiling and round_size < base_size * _JUDGED_GROWTH
        ):
            self._baseline, self._baseline_rounds = (round_size, rate), 0
            self._hold_rounds = _HOLD_ROUNDS
            return True
        return False
