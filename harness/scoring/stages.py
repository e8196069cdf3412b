"""Where the errors of a two-stage answer come from: the English stage, or the step after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.scoring.rows import Row, Score, micro


@dataclass(frozen=True, slots=True)
class Attribution:
    """How the English stage of two-stage answers did, and how much of it came through.

    ``english`` and ``final`` are the micro scores of the two stages. ``missed`` is the number
    of gold annotations that the final list lacks and ``missed_in_english`` how many of them
    the English list lacked already; ``spurious`` and ``spurious_in_english`` likewise for
    wrong predictions.
    """

    english: Score
    final: Score
    missed: int
    missed_in_english: int
    spurious: int
    spurious_in_english: int


def attribute(english: Sequence[Row], final: Sequence[Row]) -> Attribution:
    """Attribute the errors of the final list to the English stage, by rows of both stages.

    One row a sentence on both sides: English predictions counted against the English gold of
    the translation, final ones against the text's own gold. Surfaces differ between the
    languages, so errors are paired by class within a sentence: of ``m`` misses of a class in
    the final list, ``min(m, misses of that class in the English list)`` are held to be
    inherited. This is an upper bound: two misses of one class need not be the same entity.

    Raises :class:`UsageError` where the two sides differ in length.
    """
    if len(english) != len(final):
        raise UsageError(
            f"The stages have {len(english)} and {len(final)} rows; give one row per sentence."
        )
    missed = missed_before = spurious = spurious_before = 0
    for before, after in zip(english, final, strict=True):
        for label, (tp, predicted, gold) in after.counts.items():
            tp_en, predicted_en, gold_en = before.counts.get(label, (0, 0, 0))
            missed += gold - tp
            missed_before += min(gold - tp, gold_en - tp_en)
            spurious += predicted - tp
            spurious_before += min(predicted - tp, predicted_en - tp_en)
    return Attribution(
        micro(english), micro(final), missed, missed_before, spurious, spurious_before
    )
