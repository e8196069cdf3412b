"""Models whose calls have no known highest price, and refusing a budget over them."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import UsageError
from harness.models import open_backend
from harness.models.prices import Prices, find_price
from harness.models.protocol import Settings
from harness.records import Prompt


def why_unpriced(settings: Settings, prices: Prices) -> str | None:
    """Why nobody can say what a model's calls may cost at most; ``None`` where one can.

    ``prices`` are those of the experiment file.
    """
    backend = open_backend(settings, prices)
    if backend.price is not None:
        bounded = backend.price.worst(backend.request(Prompt("", "", ())).body) is not None
        return None if bounded else "answers have no bound: give max_tokens"
    provider = settings.endpoint
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
