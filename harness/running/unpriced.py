"""Models whose calls have no known highest price, and refusing a budget over them."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import UsageError
from harness.models.prices import Prices, find_price
from harness.models.protocol import Backend
from harness.records import Prompt


def unpriced_reason(backend: Backend, prices: Prices) -> str | None:
    """Why the highest price of a model's call is unknown; ``None`` where it is known.

    ``prices`` are those of the experiment file.
    """
    if backend.price is not None:
        bounded = backend.price.worst_case(backend.request(Prompt("", "", ())).body) is not None
        return None if bounded else "answers have no bound: give max_tokens"
    endpoint, model = backend.settings.endpoint, backend.settings.model
    if find_price(endpoint, model, prices) is not None:
        return f"the price of '{model}' at '{endpoint}' has no `batch` fraction"
    return (
        f"no price of '{model}' at '{endpoint}': give it in [prices.\"{endpoint}\"] of "
        f"the experiment, or in a price file (see `harness ls models`)"
    )


def refuse_unpriced(models: Iterable[tuple[str, Backend]], prices: Prices) -> None:
    """Refuse a budget over calls that it cannot hold back money for.

    Args:
        models: every model that the run may ask, with a name for the message.
        prices: those of the experiment file.

    Raises:
        UsageError: a price is unknown, or an answer's length has no bound.
    """
    for name, backend in models:
        reason = unpriced_reason(backend, prices)
        if reason is not None:
            raise UsageError(
                f"--budget: what '{name}' may cost is unknown ({reason}). Correct that, or let "
                f"such models run outside the budget with --unpriced."
            )
