"""One row of counts per sentence; every score is arithmetic over rows.

A row is all that a score needs of a sentence (its sufficient statistics), so that corpus
scores, scores per class, means over languages, intervals and tests are sums over the same
rows and can never disagree with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# True positives, predicted, gold.
Counts = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """What one sentence adds to a score.

    ``counts`` maps a class to ``(true positives, predicted, gold)``; a class that occurs on
    neither side is absent. ``arguments`` counts event arguments in the same order, over all
    classes and roles. ``parsed`` is the number of elements that were read, before any filter,
    and ``hallucinated`` those of them that the text does not have or the schema does not know:
    under ``gollie`` and ``published`` they are taken out of ``predicted``, under ``strict``
    those with a class of the schema stay in it as false positives. ``parse_error`` says that
    the reply could not be read.
    """

    counts: Mapping[str, Counts] = field(default_factory=dict)
    hallucinated: int = 0
    parse_error: bool = False
    arguments: Counts = (0, 0, 0)
    parsed: int = 0

    def __add__(self, other: Row) -> Row:
        """The row of both together: two answers about one sentence, or two sentences."""
        counts = dict(self.counts)
        for label, theirs in other.counts.items():
            counts[label] = _sum(counts.get(label, (0, 0, 0)), theirs)
        return Row(
            counts,
            self.hallucinated + other.hallucinated,
            self.parse_error or other.parse_error,
            _sum(self.arguments, other.arguments),
            self.parsed + other.parsed,
        )


def _sum(a: Counts, b: Counts) -> Counts:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 as fractions of 1, with the counts they came from.

    Where a denominator is 0 the quotient is 0: without gold and without predictions F1 is
    0.0, not 1. For a mean of scores the counts are sums.
    """

    precision: float
    recall: float
    f1: float
    tp: int = 0
    predicted: int = 0
    gold: int = 0

    @classmethod
    def of(cls, tp: int, predicted: int, gold: int) -> Score:
        """The score of summed counts; F1 is ``2 P R / (P + R)``."""
        precision = tp / predicted if predicted else 0.0
        recall = tp / gold if gold else 0.0
        # In this order of operations the result equals seqeval's bit for bit.
        f1 = 2.0 * precision * recall / (precision + recall) if tp else 0.0
        return cls(precision, recall, f1, tp, predicted, gold)


def micro(rows: Iterable[Row]) -> Score:
    """The score of all classes and sentences together: counts are summed, then divided."""
    tp = predicted = gold = 0
    for row in rows:
        for t, p, g in row.counts.values():
            tp += t
            predicted += p
            gold += g
    return Score.of(tp, predicted, gold)


def per_label(rows: Iterable[Row]) -> dict[str, Score]:
    """The score of each class that occurs in gold or predictions, by name."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        for label, (t, p, g) in row.counts.items():
            total = sums.setdefault(label, [0, 0, 0])
            total[0] += t
            total[1] += p
            total[2] += g
    return {label: Score.of(*sums[label]) for label in sorted(sums)}


def arguments(rows: Iterable[Row]) -> Score:
    """The score of event arguments, which count only inside matched events."""
    tp = predicted = gold = 0
    for row in rows:
        tp += row.arguments[0]
        predicted += row.arguments[1]
        gold += row.arguments[2]
    return Score.of(tp, predicted, gold)


def totals(rows: Sequence[Row]) -> NDArray[np.float64]:
    """All classes of each sentence summed: an array ``[sentences, 3]`` of whole numbers.

    They are floats because they are made for matrix products, where whole numbers below
    2**53 stay exact.
    """
    import numpy as np

    sums = []
    for row in rows:
        tp = predicted = gold = 0
        for t, p, g in row.counts.values():
            tp += t
            predicted += p
            gold += g
        sums.append((tp, predicted, gold))
    return np.array(sums, dtype=np.float64).reshape(len(rows), 3)
