"""Money: integer nano-dollars inside, decimal strings of dollars outside. Unknown is ``None``."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from harness.errors import UsageError

NANO = 1_000_000_000


def dollars(nano: int) -> str:
    """Nano-dollars as an exact decimal string of dollars: ``1250000 -> "0.00125"``."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, rest = divmod(nano, NANO)
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")


def nano_dollars(amount: str | int | Decimal) -> int:
    """Dollars as exact nano-dollars; the inverse of :func:`dollars`.

    Raises:
        UsageError: the amount is not finite, or not a whole number of nano-dollars.
    """
    try:
        value = Decimal(amount) * NANO
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != value.to_integral_value():
        raise UsageError(f"'{amount}' is not an amount of dollars. Write it as 12.50.")
    return int(value)


def add_costs(total: int | None, cost: int | None) -> int | None:
    """The sum of two amounts, unknown (``None``) if one of them is unknown."""
    return None if total is None or cost is None else total + cost


def show_cost(nano: int | None) -> str:
    """A cost as a user reads it: ``$12.3456``, or ``unknown``.

    Less than a tenth of a cent is shown exactly: ``$0.0000275``.
    """
    if nano is None:
        return "unknown"
    return f"${Decimal(nano) / NANO:.4f}" if nano >= NANO // 1000 else f"${dollars(nano)}"
