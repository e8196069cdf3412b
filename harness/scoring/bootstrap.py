"""Intervals and paired tests by bootstrap over sentences.

Sentences are drawn with replacement, as many as there are, and the micro F1 of all classes
is recomputed from the drawn rows (Efron and Tibshirani 1993; Koehn 2004 for corpus scores).
All systems see the same draws, so that their differences are paired.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UnknownNameError, UsageError, unknown_name_message
from harness.scoring.rows import Row, totals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: How many resamples are drawn, and the seed of the draws, where nothing else is asked for.
RESAMPLES = 1000
SEED = 0
# Draws held at once: 8 MB of indices, whatever the number of sentences.
_DRAWS_AT_ONCE = 1 << 20
# Differences of F1 closer than this are one value computed along two ways.
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval, as fractions of 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """A difference of F1 (first minus second, as a fraction), its interval and p-value."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """F1 of several systems on the same sentences, as observed and in every resample.

    ``observed`` is an array ``[systems]`` and ``f1`` an array ``[systems, resamples]``, in
    the order of ``names``. ``seed`` is that of the draws.
    """

    names: tuple[str, ...]
    observed: NDArray[np.float64]
    f1: NDArray[np.float64]
    seed: int = SEED

    @property
    def times(self) -> int:
        """How many resamples were drawn."""
        return int(self.f1.shape[1])

    def interval(self, name: str, confidence: float = 0.95) -> Interval:
        """The percentile interval of a system's F1."""
        return _percentiles(self.f1[self._index(name)], confidence)

    def paired(self, a: str, b: str, confidence: float = 0.95) -> Paired:
        """The difference ``a - b``: its percentile interval and two-sided p-value.

        With ``d`` the observed difference and ``d*`` that of each of B resamples,
        ``p = (1 + #{|d* - d| >= |d|}) / (1 + B)``: the resamples are shifted by ``d`` to have
        the null hypothesis' mean 0, and both tails count (the shifted bootstrap of
        Berg-Kirkpatrick, Burkett and Klein 2012, with absolute values for its one tail). The 1
        counts the observation itself, so that p is never 0 (Davison and Hinkley 1997). Equal
        systems have p = 1, and p is the same for ``b - a``.
        """
        import numpy as np

        first, second = self._index(a), self._index(b)
        difference = float(self.observed[first] - self.observed[second])
        resampled = self.f1[first] - self.f1[second]
        extreme = np.count_nonzero(np.abs(resampled - difference) >= abs(difference) - _SAME)
        p = (1 + int(extreme)) / (1 + len(resampled))
        ends = _percentiles(resampled, confidence)
        return Paired(difference, ends.low, ends.high, p)

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise UnknownNameError(unknown_name_message("system", name, self.names))
        return self.names.index(name)


def resample(
    systems: Mapping[str, Sequence[Row]],
    *,
    times: int = RESAMPLES,
    seed: int = SEED,
    stream: str = "",
) -> Resampled:
    """The micro F1 of each system in ``times`` bootstrap resamples of the sentences.

    Every system has one row per sentence, in the same order. The draws depend on ``seed``,
    ``stream`` and the number of sentences only; ``stream`` names what the sentences are (a
    language), so that languages of one size are still drawn independently of each other.

    Raises:
        UsageError: systems differ in their number of sentences, or fewer than one resample is
            asked for.
    """
    import numpy as np

    if times < 1:
        raise UsageError(
            f"The bootstrap needs at least 1 resample, not {times}; {RESAMPLES} is usual."
        )
    names = tuple(systems)
    sizes = {name: len(rows) for name, rows in systems.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise UsageError(
            f"Paired scores need the same sentences for every system ({listed}). "
            "Compare them on the sentences that they share."
        )
    n = next(iter(sizes.values()), 0)
    sums = np.hstack([totals(rows) for rows in systems.values()]) if names else np.zeros((0, 0))
    observed = _f1(sums.sum(axis=0).reshape(1, len(names), 3))[0]
    drawn = np.zeros((times, len(names) * 3))
    if n:
        rng = np.random.default_rng([seed, zlib.crc32(stream.encode())])
        chunk = max(1, _DRAWS_AT_ONCE // n)
        for at in range(0, times, chunk):
            size = min(chunk, times - at)
            draws = rng.integers(0, n, size=(size, n))
            # How often each sentence was drawn; sums of whole numbers, hence exact.
            draws += np.arange(size)[:, None] * n
            weights = np.bincount(draws.ravel(), minlength=size * n).reshape(size, n)
            drawn[at : at + size] = weights.astype(np.float64) @ sums
    return Resampled(names, observed, _f1(drawn.reshape(times, len(names), 3)).T, seed)


def average(languages: Sequence[Resampled]) -> Resampled:
    """The unweighted mean over languages, each resampled within itself.

    Raises:
        UsageError: the languages do not have the same systems in the same order, or not the same
            number of resamples.
    """
    import numpy as np

    if not languages:
        raise UsageError("A mean over languages needs at least one language.")
    first = languages[0]
    for other in languages[1:]:
        if other.names != first.names or other.f1.shape != first.f1.shape:
            raise UsageError(
                "A mean over languages needs the same systems and resamples in each of them; "
                f"found {', '.join(first.names)} and {', '.join(other.names)}."
            )
    return Resampled(
        first.names,
        np.mean([language.observed for language in languages], axis=0),
        np.mean([language.f1 for language in languages], axis=0),
        first.seed,
    )


def interval(
    rows: Sequence[Row],
    *,
    times: int = RESAMPLES,
    seed: int = SEED,
    stream: str = "",
    confidence: float = 0.95,
) -> Interval:
    """The percentile bootstrap interval of one system's micro F1."""
    return resample({"": rows}, times=times, seed=seed, stream=stream).interval("", confidence)


def paired(
    a: Sequence[Row],
    b: Sequence[Row],
    *,
    times: int = RESAMPLES,
    seed: int = SEED,
    stream: str = "",
    confidence: float = 0.95,
) -> Paired:
    """The difference in micro F1 of two systems on the same sentences: ``a - b``."""
    both = resample({"a": a, "b": b}, times=times, seed=seed, stream=stream)
    return both.paired("a", "b", confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; the results never fall below a smaller
    one's and never pass 1 (Holm 1979). A difference is held significant at a level where its
    adjusted p-value is at most that level.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of summed counts ``[..., 3]``: ``2 tp / (predicted + gold)``, 0 where that is 0/0."""
    import numpy as np

    below = sums[..., 1] + sums[..., 2]
    return np.divide(2.0 * sums[..., 0], below, out=np.zeros_like(below), where=below > 0)


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    """The ends that leave equal tails outside, interpolated linearly between resamples."""
    import numpy as np

    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(float(low), float(high))
