"""What answers cost: integer nano-dollars inside, decimal strings at the edges.

An unknown price is ``None`` all the way, and a sum with an unknown term is unknown; it is never
counted as 0. The table is ``prices.toml``; its head says what the columns mean and how to
correct it.
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

from harness.errors import UsageError, unknown
from harness.money import dollars, nano_dollars
from harness.records import Usage

_MILLION = 1_000_000
_SHIPPED = Path(__file__).with_name("prices.toml")
_COLUMNS = ("input", "cached_input", "output", "batch")
# Tokens that an endpoint may put around a message; OpenAI's is known to add 3 or 4.
_AROUND = 16
# What names and settings are never part of a prompt; nor are numbers.
_NO_TEXT = frozenset({"model", "reasoning_effort", "stop"})
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one model, in integer nano-dollars per million tokens.

    ``batch`` is the fraction of them that a batch call costs, ``None`` where there is none.
    """

    input: int
    output: int
    cached_input: int
    batch: Decimal | None = None

    def batched(self) -> Price | None:
        """The prices of a batch call, ``None`` where there are none."""
        if self.batch is None:
            return None
        return Price(
            input=_rounded(self.input * self.batch),
            output=_rounded(self.output * self.batch),
            cached_input=_rounded(self.cached_input * self.batch),
        )

    def cost(self, usage: Usage) -> int | None:
        """The cost of one call in nano-dollars, rounded half up; ``None`` without counts.

        Cached tokens are part of the prompt's count and reasoning tokens of the answer's, as
        OpenAI's usage object has them; cached ones beyond the prompt's count are not believed.
        """
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        return self.of(usage.prompt_tokens - cached, usage.completion_tokens, cached)

    def of(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
        """The cost of so many tokens in nano-dollars, rounded half up."""
        millionths = (
            input_tokens * self.input
            + cached_tokens * self.cached_input
            + output_tokens * self.output
        )
        return (2 * millionths + _MILLION) // (2 * _MILLION)

    def worst(self, body: Mapping[str, Any]) -> int | None:
        """The most that the call of a request body can cost, in nano-dollars.

        No byte-level tokenizer makes more tokens than a text has bytes; what the endpoint puts
        around the messages is allowed for. ``None`` where the answer has no budget.
        """
        answer = answer_budget(body)
        if answer is None:
            return None
        sent = sum(len(text.encode("utf-8", "surrogatepass")) for text in _sent_texts(body))
        tokens = sent + _AROUND * (1 + len(body.get("messages", ())))
        # A price list may have tokens from the cache cost more, but never both prices.
        return self.of(0, answer) + max(self.of(tokens, 0), self.of(0, 0, tokens))


#: Prices of an experiment file: provider → model → price.
Prices = Mapping[str, Mapping[str, Price]]


def find_price(provider: str, model: str, own: Prices | None = None) -> Price | None:
    """The price of a provider's model, ``None`` where no table knows it.

    Tables in order of precedence: ``own`` (the experiment file's), the user's
    (``HARNESS_PRICES``, else ``prices.toml`` in the user configuration folder), then the one
    that ships. In each, the model's own row comes before that of the name without its date, and
    that before ``"*"``.

    Raises:
        UsageError: a price file that cannot be read.
    """
    names = (model, _SNAPSHOT.sub("", model), "*")
    for table in (own or {}, *(_load(path, path.stat().st_mtime_ns) for path in _files())):
        rows = table.get(provider, {})
        for name in names:
            if name in rows:
                return rows[name]
    return None


def read_prices(document: Mapping[str, Any], where: str) -> dict[str, dict[str, Price]]:
    """A table of prices as a file has it: provider → model → row; other keys are passed over.

    Raises:
        UsageError: a row that is no price; begins with ``where`` and names the row.
    """
    return {
        provider: {name: _price(row, f"{where}: {provider}.{name}") for name, row in rows.items()}
        for provider, rows in document.items()
        if isinstance(rows, Mapping)
    }


def answer_budget(body: Mapping[str, Any]) -> int | None:
    """The most tokens that may answer a request body, ``None`` where it sets no bound.

    Each of several completions has the whole budget, and ``best_of`` are paid for if one is kept.
    """
    budget = body.get("max_completion_tokens") or body.get("max_tokens")
    if not isinstance(budget, int):
        return None
    return budget * max(_count(body.get(name)) for name in ("n", "best_of"))


def _count(value: Any) -> int:
    """How many completions a parameter asks for, whatever a server may take for a number."""
    try:
        return max(1, math.ceil(float(value)))
    except (TypeError, ValueError, OverflowError):
        return 1


def _sent_texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Everything that may come to stand in the prompt, such as a schema, or tools."""
    for name, value in body.items():
        if name == "messages":
            yield from (message["content"] for message in value)
        elif name == "prompt":
            yield value
        elif name not in _NO_TEXT and value is not None and not isinstance(value, int | float):
            yield json.dumps(value)


def list_prices() -> list[tuple[str, str, str, str, str, str]]:
    """Every price known, as rows of provider, model, input, cached input, output and batch.

    In dollars per million tokens, sorted, batch as a fraction of that; a user's row stands in for
    the shipped one.

    Raises:
        UsageError: a price file that cannot be read.
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
    """Bounds on the tokens of a text under the byte-level tokenizers of hosted models.

    A heuristic for previews, made without any tokenizer. Runs of ASCII (English, code,
    guidelines, most of a Latin-script sentence) come to one token per 6 to per 2 characters:
    English prose lies near 4.5 and code near 3.5, Latin-script languages that the tokenizer has
    seen little of near 2.2. A word with any other character is taken at one token per 3
    characters at best and one per UTF-8 byte at worst, which no byte-level tokenizer exceeds.
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
            raise UsageError(f"{where}: " + unknown("column", column, _COLUMNS))
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
