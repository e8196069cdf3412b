"""What answers took: statuses, tokens and money, summed so that unknown stays unknown."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.money import add_costs
from harness.records import Usage
from harness.results.lines import Line

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Tally:
    """Statuses and translation flags by number, tokens, and nano-dollars.

    ``cost`` is what the answers cost when they were asked for and ``paid`` what the run that
    wrote the folder paid of it; the rest came from the store. ``cached_tokens`` are among the
    prompt's and ``reasoning_tokens`` among the completion's. A sum is ``None`` as soon as one
    answer's part is unknown.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    cost: int | None = 0
    paid: int | None = 0

    def add_line(self, line: Line, *, counted: bool) -> None:
        """Take in one line of ``predictions.jsonl``.

        ``counted`` says that the answer stands beside another sentence of the system already:
        equal prompts are asked and paid for once.
        """
        status = str(line.status)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        for flag in line.translation.flags if line.translation is not None else ():
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if line.reply is None:
            return
        # Of equal prompts one was sent, and that need not be the first.
        if not line.cached:
            self.paid = add_costs(self.paid, line.cost)
        if counted:
            return
        self.cost = add_costs(self.cost, line.cost)
        usage = line.usage or Usage()
        for name in _TOKENS:
            setattr(self, name, add_costs(getattr(self, name), getattr(usage, name)))

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        for mine, theirs in ((self.statuses, other.statuses), (self.flags, other.flags)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        for name in (*_TOKENS, "cost", "paid"):
            setattr(self, name, add_costs(getattr(self, name), getattr(other, name)))
