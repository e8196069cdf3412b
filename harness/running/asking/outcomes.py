"""The outcomes of asking: which keys were answered, which failed, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import HarnessError
from harness.records import Failure
from harness.running.plan import Cell


@dataclass(slots=True)
class Outcomes:
    """The outcomes of all calls of a run, added to as they come in.

    ``places`` maps each key that this run had answered to the cell and index that asked for it.
    ``answered_elsewhere`` are keys that another process had answered meanwhile. ``failures`` maps
    keys to calls that failed for good. ``cost`` is in nano-dollars, ``None`` once a price is
    unknown. ``refusals`` has an error for each server or local model that answered no call at all.
    ``translated`` counts sentences. ``over_budget`` says that the next call might have passed the
    budget and was not made.
    """

    places: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    answered_elsewhere: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)
    cost: int | None = 0
    refusals: list[HarnessError] = field(default_factory=list)
    translated: int = 0
    interrupted: bool = False
    over_budget: bool = False

    def has_answer(self, key: str) -> bool:
        """Whether a key was answered in the course of the run, here or by another process."""
        return key in self.places or key in self.answered_elsewhere

    def is_settled(self, key: str) -> bool:
        """Whether a key was answered, or failed for good."""
        return self.has_answer(key) or key in self.failures

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be asked."""
        return self.interrupted or self.over_budget
