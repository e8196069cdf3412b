"""The rows of a comparison, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from harness.money import nano_dollars
from harness.results.manifest import LAYOUT
from harness.results.tally import Tally

#: The `language` of a row that is a mean over languages.
MACRO = "macro"


@dataclass(slots=True)
class ScoreRow:
    """One system on one dataset and language (or ``macro``). Scores are percentages.

    ``difference`` and what follows are against the baseline, paired by sentence; ``p`` is the
    paired bootstrap's, ``p_holm`` the same adjusted over the languages of the dataset.
    ``languages`` is how many a macro row averages. ``labels`` has the F1 of each class that
    occurs; ``english_f1`` is that of the English stage against the gold of the English, where the
    system has such a stage and the corpus such gold.

    ``n`` counts sentences, however often each was asked, and ``unsent`` those that were not asked
    in full, of which the row says nothing; counts of elements, statuses, tokens and cost are of
    all ``repeats``. ``f1_repeats`` is the F1 of each repeat and ``f1_sd`` their sample standard
    deviation; where one answer a sentence is scored, also a voted one, they are empty and
    ``None``. ``cost`` and ``paid`` are dollars: what the answers cost when they were asked for,
    and what the run paid of that. Tokens and dollars are ``None`` where they are unknown.
    ``more`` has the figures that a :class:`~harness.report.columns.Column` brings by itself.
    """

    dataset: str
    language: str
    system: str
    rule: str
    n: int
    precision: float
    recall: float
    f1: float
    f1_low: float
    f1_high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    languages: int = 1
    hallucinated: int = 0
    labels: dict[str, float] = field(default_factory=dict)
    english_f1: float | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    cost: str | None = None
    cost_per_point: float | None = None
    signature: str = ""
    paid: str | None = None
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    repeats: int = 1
    f1_sd: float | None = None
    f1_repeats: list[float] = field(default_factory=list)
    unsent: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def names(cls) -> Iterator[str]:
        """The names of the figures that every row has, in order."""
        return (f.name for f in fields(cls) if f.name != "more")

    @property
    def cost_nanos(self) -> int | None:
        """The cost in nano-dollars, ``None`` where unknown."""
        return None if self.cost is None else nano_dollars(self.cost)

    @property
    def paid_nanos(self) -> int | None:
        """What the run paid in nano-dollars, ``None`` where unknown."""
        return None if self.paid is None else nano_dollars(self.paid)

    def as_record(self) -> dict[str, Any]:
        """The row as a mapping, figures rounded to what they can carry."""
        record = {name: getattr(self, name) for name in self.names()} | self.more
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()}


@dataclass(slots=True)
class Comparison:
    """Rows of several systems under one rule; ``notes`` are what a reader must know of them."""

    rule: str
    baseline: str
    systems: list[str]
    rows: list[ScoreRow]
    totals: dict[str, Tally]
    notes: list[str]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Dataset and language of each line of a wide table, in order."""
        return list(dict.fromkeys((row.dataset, row.language) for row in self.rows))

    @property
    def signatures(self) -> dict[str, str]:
        """One signature a system and dataset."""
        found: dict[str, str] = {}
        several = len({row.dataset for row in self.rows}) > 1
        # The mean's signature stands for its languages', where there is one.
        for row in sorted(self.rows, key=lambda row: row.language != MACRO):
            name = f"{row.system} · {row.dataset}" if several else row.system
            found.setdefault(name, row.signature)
        return found

    def at(self, dataset: str, language: str, system: str) -> ScoreRow | None:
        """The row of a place and system, ``None`` if the system was left out there."""
        where = (dataset, language, system)
        return next((r for r in self.rows if (r.dataset, r.language, r.system) == where), None)

    def under(self, points: float) -> list[str]:
        """Systems whose macro F1 is not known to be at least ``points``, with the reason.

        A system without a mean, or with examples that were not asked, fails as well.
        """
        failed = []
        for dataset in dict.fromkeys(dataset for dataset, _ in self.places):
            for system in self.systems:
                own = [row for row in self.rows if (row.dataset, row.system) == (dataset, system)]
                row = self.at(dataset, MACRO, system)
                if any(row.unsent for row in own):
                    failed.append(f"{system} ({dataset}: incomplete)")
                elif row is None:
                    failed.append(f"{system} ({dataset}: no score)")
                elif row.f1 < points:
                    failed.append(f"{system} ({dataset}: {row.f1:.1f})")
        return failed or ([] if self.rows else ["nothing was scored"])

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON values; this is what ``scores.json`` holds."""
        return {
            "layout": LAYOUT,
            "rule": self.rule,
            "baseline": self.baseline,
            "notes": self.notes,
            "scores": [row.as_record() for row in self.rows],
        }
