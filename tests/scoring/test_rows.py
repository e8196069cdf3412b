"""Scores as arithmetic over rows."""

from __future__ import annotations

import pytest

from harness.scoring import (
    Row,
    Score,
    micro,
    per_label,
)
from harness.scoring.rows import totals

ROWS = [
    Row({"PER": (1, 2, 1), "LOC": (0, 0, 2)}, hallucinated=1, parsed=3),
    Row({}, parse_error=True),
    Row({"LOC": (2, 3, 2), "Date": (0, 1, 0)}, hallucinated=1, parsed=5),
]


def test_micro_sums_before_it_divides() -> None:
    score = micro(ROWS)
    assert (score.tp, score.predicted, score.gold) == (3, 6, 5)
    assert (score.precision, score.recall) == (3 / 6, 3 / 5)
    assert score.f1 == pytest.approx(2 * 3 / (6 + 5))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((0, 3, 0), (0.0, 0.0, 0.0)),
        ((0, 0, 3), (0.0, 0.0, 0.0)),
        ((0, 2, 3), (0.0, 0.0, 0.0)),
        ((1, 2, 1), (0.5, 1.0, 2 / 3)),
        ((4, 4, 4), (1.0, 1.0, 1.0)),
    ],
)
def test_quotients(counts: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    score = Score.of(*counts)
    assert (score.precision, score.recall) == expected[:2]
    assert score.f1 == pytest.approx(expected[2], abs=1e-15)


def test_per_label() -> None:
    labels = per_label(ROWS)
    assert list(labels) == ["Date", "LOC", "PER"]
    assert labels["LOC"] == Score.of(2, 3, 4)


def test_arrays_hold_the_same_counts() -> None:
    assert totals(ROWS).tolist() == [[1, 2, 3], [0, 0, 0], [2, 4, 2]]
    assert totals([]).shape == (0, 3)


def test_a_sum_of_rows_scores_as_the_rows_do() -> None:
    total = ROWS[0] + ROWS[1] + ROWS[2]
    assert total.counts == {"PER": (1, 2, 1), "LOC": (2, 3, 4), "Date": (0, 1, 0)}
    assert (total.hallucinated, total.parsed, total.parse_error) == (2, 8, True)
    assert micro([total]) == micro(ROWS)
    assert per_label([total]) == per_label(ROWS)
    assert Row() + ROWS[0] == ROWS[0]
    event = Row(arguments=(1, 2, 3))
    assert (event + event).arguments == (2, 4, 6)
