"""What came of asking."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import HarnessError
from harness.records import Failure
from harness.running.plan import Cell


@dataclass(slots=True)
class Outcomes:
    """What came of asking.

    ``paid`` maps each key that was answered to the place that asked; ``failures`` holds what
    failed for good; ``cost`` is in nano-dollars, ``None`` once a price is unknown; ``refused``
    are why servers and local models answered no call at all. ``translated`` counts sentences.
    ``over_budget`` says that the next call might have passed the budget and was not made;
    ``found`` are keys that another process had answered meanwhile.
    """

    paid: dict[str, tuple[Cell, int]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    cost: int | None = 0
    interrupted: bool = False
    refused: list[HarnessError] = field(default_factory=list)
    translated: int = 0
    over_budget: bool = False
    found: set[str] = field(default_factory=set)

    def came(self, key: str) -> bool:
        """Whether a key was answered in the course of the run, here or elsewhere."""
        return key in self.paid or key in self.found

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be asked."""
        return self.interrupted or self.over_budget
