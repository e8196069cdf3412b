"""What a server counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.serving.faults import KINDS

if TYPE_CHECKING:
    pass


@dataclass(slots=True)
class Stats:
    """What the server has seen. A request is known by its exact bytes.

    ``answered`` counts answers that were written to the end, by request; ``abandoned`` those
    whose client had gone.
    """

    attempts: Counter[bytes] = field(default_factory=Counter)
    answered: Counter[bytes] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def to_json(self) -> dict[str, Any]:
        """The counts, as ``/stats`` gives them."""
        return {
            "requests": self.attempts.total(),
            "distinct": len(self.attempts),
            "answered": self.answered.total(),
            "answered_twice": sum(count > 1 for count in self.answered.values()),
            "faults": {kind: self.faults[kind] for kind in KINDS},
            "abandoned": self.abandoned,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }
