"""Prices of models, and what an answer costs in integer nano-dollars.

An unknown price is ``None`` everywhere, and a sum with an unknown term is unknown: it is never
counted as 0. The shipped table is ``prices.toml``, whose first lines explain the columns and how
to correct a price.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown_name_message
from harness.money import dollars, nano_dollars
from harness.records import Usage

_MILLION = 1_000_000
_SHIPPED = Path(__file__).with_name("prices.toml")
_COLUMNS = ("input", "cached_input", "output", "batch")
# The most tokens that an endpoint adds to a message; OpenAI's is known to add 3 or 4.
_MESSAGE_OVERHEAD = 16
# Keys of a body whose text is never part of the prompt; nor are numbers.
_NOT_IN_PROMPT = frozenset({"model", "reasoning_effort", "stop"})
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one model, in integer nano-dollars per million tokens.

    ``batch`` is the fraction of them that a batch call costs, ``None`` if that is unknown.
    """

    input: int
    output: int
    cached_input: int
    batch: Decimal | None = None

    def batched(self) -> Price | None:
        """The prices of a batch call, ``None`` if they are unknown."""
        if self.batch is None:
            return None
        return Price(
            input=_rounded(self.input * self.batch),
            output=_rounded(self.output * self.batch),
            cached_input=_rounded(self.cached_input * self.batch),
        )

    def cost(self, usage: Usage) -> int | None:
        """The cost of one call in nano-dollars, rounded half up; ``None`` without token counts.

        As in OpenAI's usage object, cached tokens are part of the prompt's count and reasoning
        tokens part of the answer's. Cached tokens in excess of the prompt's count are ignored.
        """
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        return self.token_cost(usage.prompt_tokens - cached, usage.completion_tokens, cached)

    def token_cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
        """The cost of these numbers of tokens in nano-dollars, rounded half up."""
        millionths = (
            input_tokens * self.input
            + cached_tokens * self.cached_input
            + output_tokens * self.output
        )
        return (2 * millionths + _MILLION) // (2 * _MILLION)

    def worst_case(self, body: Mapping[str, Any]) -> int | None:
        """The most that the call of a request body can cost, in nano-dollars.

        A byte-level tokenizer makes at most one token per byte of text. An allowance covers the
        tokens that the endpoint adds to the messages. ``None`` if the answer is not bounded.
        """
        answer = answer_budget(body)
        if answer is None:
            return None
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in _prompt_texts(body))
        prompt = size + _MESSAGE_OVERHEAD * (1 + len(body.get("messages", ())))
        # A cached token may cost more than another one, but no token has both prices.
        return self.token_cost(0, answer) + max(
            self.token_cost(prompt, 0), self.token_cost(0, 0, prompt)
        )


#: Prices of an experiment file: provider → model → price.
Prices = Mapping[str, Mapping[str, Price]]


def find_price(provider: str, model: str, own: Prices | None = None) -> Price | None:
    """The price of a provider's model, ``None`` if no table has it.

    The tables in order of precedence: ``own`` (the experiment file's), the user's
    (``HARNESS_PRICES``, otherwise ``prices.toml`` in the user configuration folder), the shipped
    one. In each of them the row of the model's full name comes first, then that of the name
    without its date, then ``"*"``.

    Raises:
        UsageError: a price file cannot be read.
    """
    names = (model, _SNAPSHOT.sub("", model), "*")
    for table in (own or {}, *(_load(path, path.stat().st_mtime_ns) for path in _files())):
        rows = table.get(provider, {})
        for name in names:
            if name in rows:
                return rows[name]
    return None


def read_prices(document: Mapping[str, Any], where: str) -> dict[str, dict[str, Price]]:
    """The prices of a parsed price file: provider → model → price. Other keys are ignored.

    Raises:
        UsageError: a row is no price. The message begins with ``where`` and names the row.
    """
    return {
        provider: {name: _price(row, f"{where}: {provider}.{name}") for name, row in rows.items()}
        for provider, rows in document.items()
        if isinstance(rows, Mapping)
    }


def answer_budget(body: Mapping[str, Any]) -> int | None:
    """The most tokens that the answer to a request body may have, ``None`` if it sets no bound.

    Each of several completions (``n``) has the whole budget. All of ``best_of`` are paid for.
    """
    budget = body.get("max_completion_tokens") or body.get("max_tokens")
    if not isinstance(budget, int):
        return None
    return budget * max(_count(body.get(name)) for name in ("n", "best_of"))


def _count(value: Any) -> int:
    """The number of completions that ``n`` or ``best_of`` asks for; 1 for anything but a number."""
    try:
        return max(1, math.ceil(float(value)))
    except (TypeError, ValueError, OverflowError):
        return 1


def _prompt_texts(body: Mapping[str, Any]) -> Iterator[str]:
    """All text that may become part of the prompt, including a schema or tools."""
    for name, value in body.items():
        if name == "messages":
            yield from (message["content"] for message in value)
        elif name == "prompt":
            yield value
        elif (
            name not in _NOT_IN_PROMPT and value is not None and not isinstance(value, int | float)
        ):
            yield json.dumps(value)


def list_prices() -> list[tuple[str, str, str, str, str, str]]:
    """All known prices, as sorted rows of provider, model, input, cached input, output and batch.

    Prices are in dollars per million tokens, batch as a fraction of them. A user's row replaces
    the shipped one.

    Raises:
        UsageError: a price file cannot be read.
    """
    known = {
        (provider, model): price
        for path in reversed(_files())
        for provider, rows in _load(path, path.stat().st_mtime_ns).items()
        for model, price in rows.items()
    }
    return [
        (
            *(provider, model, dollars(p.input), dollars(p.cached_input), dollars(p.output)),
            "–" if p.batch is None else str(p.batch),
        )
        for (provider, model), p in sorted(known.items())
    ]


def prices_as_of() -> str:
    """The date of the shipped table, ``YYYY-MM-DD``."""
    with _SHIPPED.open("rb") as file:
        return str(tomllib.load(file)["as_of"])


def estimate_tokens(text: str) -> tuple[int, int]:
    """The least and the most tokens of a text under the byte-level tokenizers of hosted models.

    A heuristic for previews, without a tokenizer. A run of ASCII (English, code, guidelines, most
    of a Latin-script sentence) is taken to have 2 to 6 characters per token. English prose has
    about 4.5, code about 3.5, and a Latin-script language that is rare in the tokenizer's training
    data about 2.2. A word with any other character is taken to have at least one token per 3
    characters, and at most one per UTF-8 byte, which no byte-level tokenizer exceeds.
    """
    if text.isascii():
        return -(-len(text) // 6), -(-len(text) // 2)
    low = high = 0
    for word in text.split(" "):
        if word.isascii():
            low += len(word) + 1
            high += (len(word) + 1) * 3
        else:
            low += 2 * len(word)
            high += 6 * len(word.encode("utf-8", "surrogatepass")) + 6
    return -(-low // 6), -(-high // 6)


def _files() -> list[Path]:
    named = os.environ.get("HARNESS_PRICES")
    if named:
        own = Path(named).expanduser()
        if not own.is_file():
            raise UsageError(
                f"HARNESS_PRICES names {own}, which is not there. Correct or unset the variable."
            )
        return [own, _SHIPPED]
    from platformdirs import user_config_path

    own = user_config_path("harness") / "prices.toml"
    return [own, _SHIPPED] if own.is_file() else [_SHIPPED]


@lru_cache(maxsize=8)
def _load(path: Path, _modified: int) -> dict[str, dict[str, Price]]:
    try:
        with path.open("rb") as file:
            document = tomllib.load(file, parse_float=Decimal)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable price file: {error}.") from None
    return read_prices(document, str(path))


def _rounded(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_HALF_UP))


def _price(row: Any, where: str) -> Price:
    if not isinstance(row, Mapping) or not {"input", "output"} <= row.keys():
        raise UsageError(f"{where}: a price needs `input` and `output`, in dollars per million.")
    for column in row:
        if column not in _COLUMNS:
            raise UsageError(f"{where}: " + unknown_name_message("column", column, _COLUMNS))
    amounts = {column: _amount(row[column], f"{where}.{column}") for column in row}
    if amounts.get("batch", 0) > 1:
        raise UsageError(f"{where}.batch: a fraction of the price is needed, such as 0.5.")
    return Price(
        input=nano_dollars(amounts["input"]),
        output=nano_dollars(amounts["output"]),
        cached_input=nano_dollars(amounts.get("cached_input", amounts["input"])),
        batch=amounts.get("batch"),
    )


def _amount(value: Any, where: str) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise InvalidOperation
        amount = Decimal(value)
        if not amount.is_finite() or amount < 0:
            raise InvalidOperation
    except InvalidOperation:
        raise UsageError(f"{where}: not an amount of dollars. Write it as 2.50.") from None
    return amount
