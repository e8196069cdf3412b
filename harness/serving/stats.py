"""The counts of the loopback server."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from harness.serving.script import FAULTS

#: What ``/stats`` counts as a fault: failed attempts of the script, and refusals of its server.
FAULT_KINDS = (*FAULTS, "storm", "expired", "limit")


@dataclass(slots=True)
class Stats:
    """The counts since the server started. Requests with the same bytes are the same request.

    ``attempts`` and ``answered`` count by the SHA-256 of a request. ``answered`` counts answers
    that were written to the end, ``abandoned`` requests whose client left before that.
    """

    attempts: Counter[bytes] = field(default_factory=Counter)
    answered: Counter[bytes] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def begin_attempt(self, digest: bytes) -> int:
        """Count an attempt at a request; returns the number of attempts before it."""
        self.attempts[digest] += 1
        return self.attempts[digest] - 1

    def to_json(self) -> dict[str, Any]:
        """The counts, as ``/stats`` gives them."""
        return {
            "requests": self.attempts.total(),
            "distinct": len(self.attempts),
            "answered": self.answered.total(),
            "answered_twice": sum(count > 1 for count in self.answered.values()),
            "faults": {kind: self.faults[kind] for kind in FAULT_KINDS},
            "abandoned": self.abandoned,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }
