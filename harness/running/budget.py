"""The money of one run: reserved before a call is sent, settled when it comes back."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from harness.errors import UsageError
from harness.models import open_backend
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.prices import Prices, find_price, nano_dollars
from harness.models.protocol import Settings
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

    def hold(self, worst: int) -> None:
        """Hold back what is out already, whether there is room for it or not."""
        self.reserved += worst

    def settle(self, reserved: int, spent: int | None) -> None:
        """A call came back: ``spent`` instead of what was held back for it.

        A cost that nobody knows is taken to be all that was held back.
        """
        self.reserved -= reserved
        self.spent += reserved if spent is None else spent


def why_unpriced(settings: Settings, prices: Prices) -> str | None:
    """Why nobody can say what a model's calls may cost at most; ``None`` where one can.

    ``prices`` are those of the experiment file.
    """
    backend = open_backend(settings, prices)
    if backend.price is not None:
        bounded = backend.price.worst(backend.request(Prompt("", "", ()))["body"]) is not None
        return None if bounded else "answers have no bound: give max_tokens"
    provider = settings.endpoint if isinstance(settings, OpenAISettings) else settings.backend
    if find_price(provider, settings.model, prices) is not None:
        return f"the price of '{settings.model}' at '{provider}' has no `batch` fraction"
    return (
        f"no price of '{settings.model}' at '{provider}': give it in [prices.\"{provider}\"] of "
        f"the experiment, or in a price file (see `harness ls models`)"
    )


def refuse_unpriced(asked: Iterable[tuple[str, Settings]], prices: Prices) -> None:
    """Refuse a budget over calls that it cannot hold back money for.

    Args:
        asked: what the models to be asked are called, and their settings.
        prices: those of the experiment file.

    Raises:
        UsageError: a price is unknown, or an answer's length has no bound.
    """
    for name, settings in asked:
        why = why_unpriced(settings, prices)
        if why is not None:
            raise UsageError(
                f"--budget: nobody knows what '{name}' may cost ({why}). Mend that, or let such "
                f"models run outside the budget with --unpriced."
            )


def read_budget(amount: str | Decimal) -> int:
    """A budget in dollars as nano-dollars.

    Raises:
        UsageError: not an amount, or less than nothing.
    """
    limit = nano_dollars(amount)
    if limit < 0:
        raise UsageError(f"--budget {amount}: less than nothing. Write it as 12.50.")
    return limit
