"""Errors of a two-stage answer, attributed to its first stage."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.scoring import Attribution, Row, attribute, micro


def test_errors_are_paired_by_class_within_a_sentence() -> None:
    english = [
        Row({"P": (1, 2, 2), "L": (0, 1, 1)}),  # misses a P and an L; a wrong P and a wrong L
        Row({"P": (1, 1, 1)}),
    ]
    final = [
        Row({"P": (0, 2, 2), "O": (0, 1, 0)}),  # misses 2 P, one held inherited; 2 wrong P, 1 O
        Row({"P": (0, 0, 1)}),  # a miss that the English stage had right
    ]
    assert attribute(english, final) == Attribution(
        english=micro(english),
        final=micro(final),
        missed=3,
        missed_in_english=1,
        spurious=3,
        spurious_in_english=1,
    )


def test_a_perfect_final_list_inherits_nothing() -> None:
    result = attribute([Row({"P": (0, 0, 1)})], [Row({"P": (1, 1, 1)})])
    assert (result.missed, result.missed_in_english) == (0, 0)
    assert (result.english.f1, result.final.f1) == (0.0, 1.0)


def test_stages_of_different_length() -> None:
    with pytest.raises(UsageError, match="2 and 1 rows"):
        attribute([Row(), Row()], [Row()])
