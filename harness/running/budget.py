"""The money of one run: reserved before a call is sent, settled when it comes back."""

from __future__ import annotations

from decimal import Decimal

from harness.errors import UsageError
from harness.money import nano_dollars


class Budget:
    """At most ``limit`` nano-dollars for a whole run, of which earlier parts have ``spent`` some.

    The worst case of every call in flight is reserved until its cost is known, so that the limit
    is never passed. Without a limit everything fits.
    """

    def __init__(self, limit: int | None = None, spent: int = 0) -> None:
        self.limit = limit
        self.spent = spent
        self.reserved = 0

    def reserve(self, worst: int) -> bool:
        """Reserve what a call may cost; ``False``, reserving nothing, if it may pass the limit."""
        if self.limit is not None and self.spent + self.reserved + worst > self.limit:
            return False
        self.reserved += worst
        return True

    def hold(self, worst: int) -> None:
        """Reserve what is out already, whether there is room for it or not."""
        self.reserved += worst

    def settle(self, reserved: int, spent: int | None) -> None:
        """Replace what was ``reserved`` for a call by what it cost.

        An unknown cost (``None``) counts as all that was reserved.
        """
        self.reserved -= reserved
        self.spent += reserved if spent is None else spent


def read_budget(amount: str | Decimal) -> int:
    """A budget in dollars as nano-dollars.

    Raises:
        UsageError: not an amount, or less than nothing.
    """
    limit = nano_dollars(amount)
    if limit < 0:
        raise UsageError(f"--budget {amount}: less than nothing. Write it as 12.50.")
    return limit
