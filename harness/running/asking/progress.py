"""What a run tells whoever watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.records import Answer, Failure

if TYPE_CHECKING:
    from harness.running.plan import Cell, SystemPlan


class Progress:
    """Whoever watches; this one says nothing."""

    def downloading(self, path: str, done: int, total: int) -> None:
        """A corpus file is being fetched: bytes so far, bytes in all."""

    def translating(self, name: str, done: int, total: int) -> None:
        """A local model translates: its name, sentences done so far and in all."""

    def planned(self, plan: SystemPlan, keys: Sequence[str]) -> None:
        """A system is about to be asked for these keys."""

    def answered(self, cell: Cell, outcome: Answer | Failure) -> None:
        """One request of a cell came back."""

    def answered_elsewhere(self, cell: Cell) -> None:
        """A request of a cell that another process has had answered."""

    def note(self, text: str) -> None:
        """Something happened that whoever waits would like to know."""

    def stopping(self, *, batched: bool) -> None:
        """An interrupt came: nothing new is sent. Answers in flight are waited for, but not
        batches (``batched``): they go on at the provider."""

    def reading(self) -> None:
        """All asking is done; answers are read and scored."""
