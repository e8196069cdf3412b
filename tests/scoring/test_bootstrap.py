"""Intervals and tests against plain Python, hand-made cases, and their meaning."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownNameError, UsageError
from harness.scoring import (
    Paired,
    Resampled,
    Row,
    average,
    holm,
    interval,
    micro,
    paired,
    resample,
)


def rows_of(n: int, right: float, seed: int) -> list[Row]:
    """Sentences of 0 to 3 gold entities, each found or replaced by a wrong one."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        gold = rng.randrange(4)
        tp = sum(rng.random() < right for _ in range(gold))
        rows.append(Row({"A": (tp, gold, gold)} if gold else {}))
    return rows


def _plain_f1(rows: list[Row], drawn: list[int]) -> float:
    tp = sum(rows[i].counts.get("A", (0, 0, 0))[0] for i in drawn)
    both = sum(sum(rows[i].counts.get("A", (0, 0, 0))[1:]) for i in drawn)
    return 2 * tp / both if both else 0.0


def _plain_percentile(values: list[float], percent: float) -> float:
    values = sorted(values)
    at = percent / 100 * (len(values) - 1)
    below = int(at)
    above = min(below + 1, len(values) - 1)
    return values[below] + (at - below) * (values[above] - values[below])


@pytest.mark.parametrize(
    ("n", "times"),
    [(1, 7), (13, 200), (2000, 600)],  # the last takes more than one chunk of draws
)
def test_interval_equals_a_slow_oracle(n: int, times: int) -> None:
    a, b = rows_of(n, 0.7, 1), rows_of(n, 0.6, 2)
    rng = np.random.default_rng([5, zlib.crc32(b"swa")])
    draws = [[int(i) for i in drawn] for drawn in rng.integers(0, n, size=(times, n))]
    f1_a = [_plain_f1(a, drawn) for drawn in draws]
    f1_b = [_plain_f1(b, drawn) for drawn in draws]

    result = resample({"a": a, "b": b}, times=times, seed=5, stream="swa")
    assert result.f1[0].tolist() == pytest.approx(f1_a, abs=1e-12)
    assert result.f1[1].tolist() == pytest.approx(f1_b, abs=1e-12)
    ends = result.interval("a")
    assert ends.low == pytest.approx(_plain_percentile(f1_a, 2.5), abs=1e-12)
    assert ends.high == pytest.approx(_plain_percentile(f1_a, 97.5), abs=1e-12)

    everything = list(range(n))
    difference = _plain_f1(a, everything) - _plain_f1(b, everything)
    gaps = [x - y for x, y in zip(f1_a, f1_b, strict=True)]
    extreme = sum(abs(gap - difference) >= abs(difference) - 1e-12 for gap in gaps)
    test = result.paired("a", "b")
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.low == pytest.approx(_plain_percentile(gaps, 2.5), abs=1e-12)
    assert test.high == pytest.approx(_plain_percentile(gaps, 97.5), abs=1e-12)
    assert test.p == (1 + extreme) / (1 + times)


def test_interval_agrees_with_draws_of_another_generator() -> None:
    rows = rows_of(300, 0.7, 3)
    rng = random.Random(0)
    f1 = [_plain_f1(rows, rng.choices(range(300), k=300)) for _ in range(1000)]
    ends = interval(rows)
    assert ends.low == pytest.approx(_plain_percentile(f1, 2.5), abs=0.01)
    assert ends.high == pytest.approx(_plain_percentile(f1, 97.5), abs=0.01)
    assert ends.low < micro(rows).f1 < ends.high


def test_observed_is_the_micro_score() -> None:
    rows = rows_of(100, 0.5, 4)
    assert resample({"a": rows}).observed[0] == pytest.approx(micro(rows).f1, abs=1e-15)


def test_equal_systems_have_p_1() -> None:
    rows = rows_of(200, 0.7, 5)
    assert paired(rows, list(rows)) == Paired(0.0, 0.0, 0.0, 1.0)
    nothing = [Row({})] * 20
    assert paired(nothing, nothing) == Paired(0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_has_the_smallest_p() -> None:
    test = paired(rows_of(400, 0.9, 6), rows_of(400, 0.5, 7))
    assert test.p == 1 / 1001
    assert 0 < test.low < test.difference < test.high
    assert paired(rows_of(400, 0.9, 6), rows_of(400, 0.5, 7), times=99).p == 1 / 100


def test_one_sentence_that_differs_is_no_evidence() -> None:
    a = rows_of(400, 0.7, 8)
    b = [*a[:-1], Row({"A": (0, 3, 3)})]
    assert paired(a, b).p > 0.3


@given(st.integers(0, 50))
def test_swapping_the_systems_mirrors_the_test(seed: int) -> None:
    a, b = rows_of(40, 0.7, seed), rows_of(40, 0.6, seed + 1000)
    there, back = paired(a, b, times=60), paired(b, a, times=60)
    assert there.p == back.p
    assert there.difference == -back.difference
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


def test_p_counts_both_tails_of_the_shifted_differences() -> None:
    """By hand: d = 0.1 and d* - d = -0.1, 0.0, 0.1, 0.3, -0.2, so four are as far out as d."""
    f1 = np.array([[0.5, 0.6, 0.7, 0.9, 0.4], [0.5] * 5])
    result = Resampled(("a", "b"), np.array([0.6, 0.5]), f1)
    assert result.paired("a", "b").p == (1 + 4) / (1 + 5)


def test_p_values_are_level_where_there_is_no_difference() -> None:
    """Of 200 pairs that differ by chance alone, about 5 % may have p <= 0.05."""
    seeds = range(200)
    hits = [paired(rows_of(120, 0.7, s), rows_of(120, 0.7, s + 5000), times=200).p for s in seeds]
    assert 0.01 <= np.mean([p <= 0.05 for p in hits]) <= 0.10


def test_draws_depend_on_seed_stream_and_size_only() -> None:
    rows = rows_of(50, 0.7, 9)
    first = resample({"a": rows, "b": rows_of(50, 0.2, 1)}, stream="swa")
    assert np.array_equal(first.f1[0], resample({"x": rows}, stream="swa").f1[0])
    assert not np.array_equal(first.f1[0], resample({"x": rows}, stream="yor").f1[0])
    assert not np.array_equal(first.f1[0], resample({"x": rows}, stream="swa", seed=1).f1[0])


def test_macro_resamples_within_each_language() -> None:
    languages = {name: rows_of(80, 0.7, i) for i, name in enumerate(("swa", "yor", "hau"))}
    parts = [
        resample({"a": rows, "b": rows_of(80, 0.5, 11)}, stream=name)
        for name, rows in languages.items()
    ]
    mean = average(parts)
    assert mean.observed[0] == pytest.approx(np.mean([micro(r).f1 for r in languages.values()]))
    assert np.array_equal(mean.f1, (parts[0].f1 + parts[1].f1 + parts[2].f1) / 3)
    ends, one = mean.interval("a"), parts[0].interval("a")
    assert ends.high - ends.low < one.high - one.low
    assert mean.paired("a", "b").p == 1 / 1001


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm(p_values: list[float], expected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(expected)


def test_no_sentences() -> None:
    assert interval([]) == interval([Row({})])
    assert paired([], []).p == 1.0


def test_errors_name_the_next_action() -> None:
    with pytest.raises(UsageError, match=r"a: 2, b: 1.*sentences that they share"):
        paired([Row()] * 2, [Row()])
    with pytest.raises(UsageError, match="at least 1 resample"):
        interval([Row()], times=0)
    with pytest.raises(UnknownNameError, match=r"system 'c'.*Choices: a"):
        resample({"a": [Row()]}).interval("c")
    with pytest.raises(UsageError, match="at least one language"):
        average([])
    with pytest.raises(UsageError, match="same systems"):
        average([resample({"a": [Row()]}), resample({"b": [Row()]})])
