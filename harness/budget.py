"""The money of one run: reserved before a call is sent, settled when it comes back."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import UsageError
from harness.models import open_backend
from harness.models.base import Settings
from harness.models.pricing import Prices
from harness.records import Prompt


class Budget:
    """At most ``limit`` nano-dollars for a whole run, ``spent`` of which earlier parts of it paid.

    What calls in flight may cost at worst is held back until they have come back, so that the
    limit is never passed, whatever they turn out to cost. Without a limit everything fits.
    """

    def __init__(self, limit: int | None = None, spent: int = 0) -> None:
        self.limit = limit
        self.spent = spent
        self.reserved = 0

    def reserve(self, worst: int) -> bool:
        """Hold back what a call may cost; ``False`` (and nothing held) if it may pass the limit."""
        if self.limit is not None and self.spent + self.reserved + worst > self.limit:
            return False
        self.reserved += worst
        return True

    def settle(self, reserved: int, spent: int | None) -> None:
        """A call came back: ``spent`` instead of what was held back for it.

        A cost that nobody knows is taken to be all that was held back.
        """
        self.reserved -= reserved
        self.spent += reserved if spent is None else spent


def refuse_unpriced(asked: Iterable[tuple[str, Settings]], prices: Prices) -> None:
    """Refuse a budget over calls that it cannot hold back money for.

    Args:
        asked: what the models to be asked are called, and their settings.
        prices: those of the experiment file.

    Raises:
        UsageError: a price is unknown, or an answer's length has no bound.
    """
    for name, settings in asked:
        backend = open_backend(settings, prices)
        if backend.price is None:
            raise UsageError(
                f"--budget: nobody knows what '{name}' ({settings.model}) costs. Give its price in "
                f"[prices] of the experiment or in a price file (see `harness ls models`), or let "
                f"such models run outside the budget with --unpriced."
            )
        if backend.price.worst(backend.request(Prompt("", "", ()))["body"]) is None:
            raise UsageError(
                f"--budget: '{name}' sets no bound to its answers. Give max_tokens or "
                f"max_completion_tokens, or let it run outside the budget with --unpriced."
            )
