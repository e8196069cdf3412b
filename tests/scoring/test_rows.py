"""Scores as arithmetic over rows."""

from __future__ import annotations

import numpy as np
import pytest

from harness.scoring import (
    Row,
    Score,
    hallucinated_share,
    macro,
    macro_over_labels,
    micro,
    parse_error_share,
    per_label,
    table,
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


def test_per_label_and_the_mean_over_labels() -> None:
    labels = per_label(ROWS)
    assert list(labels) == ["Date", "LOC", "PER"]
    assert labels["LOC"] == Score.of(2, 3, 4)
    # Date has no gold and is left out of the mean.
    mean = macro_over_labels(ROWS)
    assert mean.f1 == pytest.approx((labels["LOC"].f1 + labels["PER"].f1) / 2)
    assert macro_over_labels([Row({"Date": (0, 1, 0)})]).f1 == 0.0


def test_macro_is_unweighted() -> None:
    mean = macro([Score.of(1, 1, 1), Score.of(0, 100, 100)])
    assert (mean.precision, mean.recall, mean.f1) == (0.5, 0.5, 0.5)
    assert (mean.tp, mean.predicted, mean.gold) == (1, 101, 101)
    assert macro([]) == Score(0.0, 0.0, 0.0)


def test_arrays_hold_the_same_counts() -> None:
    array = table(ROWS)
    assert array.shape == (3, 3, 3)
    assert array.sum(axis=(0, 1)).tolist() == [3, 6, 5]
    assert array[2].tolist() == [[0, 1, 0], [2, 3, 2], [0, 0, 0]]
    assert table(ROWS, ["PER"])[:, 0].tolist() == [[1, 2, 1], [0, 0, 0], [0, 0, 0]]
    assert totals(ROWS).tolist() == [[1, 2, 3], [0, 0, 0], [2, 4, 2]]
    assert totals([]).shape == (0, 3)
    assert np.array_equal(table(ROWS).sum(axis=1), totals(ROWS))


def test_shares() -> None:
    assert hallucinated_share(ROWS) == 2 / 8
    assert parse_error_share(ROWS) == 1 / 3
    assert hallucinated_share([]) == parse_error_share([]) == 0.0


def test_a_sum_of_rows_scores_as_the_rows_do() -> None:
    total = ROWS[0] + ROWS[1] + ROWS[2]
    assert total.counts == {"PER": (1, 2, 1), "LOC": (2, 3, 4), "Date": (0, 1, 0)}
    assert (total.hallucinated, total.parsed, total.parse_error) == (2, 8, True)
    assert micro([total]) == micro(ROWS)
    assert per_label([total]) == per_label(ROWS)
    assert Row() + ROWS[0] == ROWS[0]
    event = Row(arguments=(1, 2, 3))
    assert (event + event).arguments == (2, 4, 6)
