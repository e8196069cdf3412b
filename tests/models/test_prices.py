from __future__ import annotations

import json
import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import money
from harness.errors import UsageError
from harness.models import prices
from harness.records import Usage

# Worked by hand from the dollar prices: tokens in, of which cached, tokens out, dollars.
GOLDEN = [
    ("gpt-4o", 1_000_000, 0, 0, "2.5"),
    ("gpt-4o", 0, 0, 1_000_000, "10"),
    ("gpt-4o", 1_000, 0, 100, "0.0035"),
    ("gpt-4o", 1_000, 600, 100, "0.00275"),
    ("gpt-4o-2024-08-06", 1_000, 600, 100, "0.00275"),
    ("gpt-4o-2024-05-13", 1_000, 600, 100, "0.0065"),
    ("gpt-4o-mini", 1, 0, 1, "0.00000075"),
    ("gpt-4o-mini", 1, 1, 0, "0.000000075"),
    ("gpt-4", 3, 0, 2, "0.00021"),
    ("gpt-3.5-turbo-1106", 1_000, 0, 1_000, "0.003"),
    ("gpt-5-nano", 1, 1, 0, "0.000000005"),
    ("o3", 10, 4, 7, "0.00007"),
]


@pytest.mark.parametrize(("model", "read", "cached", "written", "dollars"), GOLDEN)
def test_golden_costs(model: str, read: int, cached: int, written: int, dollars: str) -> None:
    price = prices.find_price("openai", model)
    assert price is not None
    cost = price.cost(Usage(read, written, cached))
    assert cost is not None
    assert money.dollars(cost) == dollars


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-99"),
        ("openai", "gpt-4o-2024-08"),
        ("openai", "gpt-4o-audio-preview"),
        ("http://127.0.0.1:8000/v1", "gpt-4o"),
        ("lab-vllm", "gpt-4o"),
        ("openai", ""),
    ],
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    assert prices.find_price(provider, model) is None


def test_the_script_is_known_to_cost_nothing() -> None:
    price = prices.find_price("scripted", "capitals")
    assert price is not None
    assert price.cost(Usage(10**6, 10**6)) == 0


def test_without_counts_there_is_no_cost() -> None:
    price = prices.find_price("openai", "gpt-4o")
    assert price is not None
    assert price.cost(Usage()) is None
    assert price.cost(Usage(prompt_tokens=5)) is None
    # More cached than read is not believed.
    assert price.cost(Usage(10, 0, cached_tokens=10**6)) == price.cost(Usage(10, 0, 10))


def test_half_a_nano_dollar_is_rounded_up() -> None:
    price = prices.Price(input=500_000, output=499_999, cached_input=0)
    assert price.token_cost(1, 0) == 1
    assert price.token_cost(0, 1) == 0
    assert price.token_cost(3, 0) == 2


def test_every_shipped_row_is_dated_sorted_and_sensible() -> None:
    assert prices.prices_as_of() >= "2026-01-01"
    shipped = Path(prices.__file__).with_name("prices.toml")
    rows = tomllib.loads(shipped.read_text("utf-8"), parse_float=Decimal)["openai"]
    assert len(rows) > 20
    for model, row in rows.items():
        assert row.get("cached_input", 0) < row["input"] <= row["output"], model
        assert row.get("batch", Decimal("0.5")) == Decimal("0.5"), model


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[openai]\n"gpt-4o" = { input = "1.10", output = 2 }\n'
        '["lab-vllm"]\n"*" = { input = 0, output = 0 }\n'
    )
    monkeypatch.setenv("HARNESS_PRICES", str(own))
    assert prices.find_price("openai", "gpt-4o-2024-08-06") == prices.Price(
        1_100_000_000, 2_000_000_000, 1_100_000_000
    )
    assert prices.find_price("openai", "gpt-4.1") is not None
    listed = prices.list_prices()
    assert ("openai", "gpt-4o", "1.1", "1.1", "2", "–") in listed
    assert ("openai", "gpt-4o-mini", "0.15", "0.075", "0.6", "0.5") in listed
    assert listed == sorted(listed)
    assert len({row[:2] for row in listed}) == len(listed)
    assert prices.find_price("lab-vllm", "anything") == prices.Price(0, 0, 0)
    os.utime(own, (1, 1))
    own.write_text('[openai]\n"gpt-4o" = { input = 3, output = 3 }\n')
    changed = prices.find_price("openai", "gpt-4o")
    assert changed is not None
    assert changed.input == 3_000_000_000


def test_the_configuration_folder_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_config_path", lambda name: tmp_path / name)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "prices.toml").write_text("[openai]\nm = { input = 1, output = 1 }\n")
    assert prices.find_price("openai", "m") is not None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("openai = [", "not a readable price file"),
        ("[openai]\nm = 3", "needs `input` and `output`"),
        ("[openai]\nm = { input = 1 }", "needs `input` and `output`"),
        (
            "[openai]\nm = { input = 1, output = 1, cashed_input = 1 }",
            "Did you mean 'cached_input'",
        ),
        ("[openai]\nm = { input = -1, output = 1 }", "openai.m.input: not an amount"),
        ("[openai]\nm = { input = nan, output = 1 }", "not an amount"),
        ("[openai]\nm = { input = true, output = 1 }", "not an amount"),
        ('[openai]\nm = { input = "cheap", output = 1 }', "not an amount"),
    ],
)
def test_a_wrong_price_file_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, problem: str
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(content)
    monkeypatch.setenv("HARNESS_PRICES", str(own))
    with pytest.raises(UsageError) as error:
        prices.find_price("openai", "m")
    assert problem in str(error.value)
    assert str(own) in str(error.value)


def test_a_price_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PRICES", "/nowhere/prices.toml")
    with pytest.raises(UsageError, match=r"HARNESS_PRICES names /nowhere/prices\.toml"):
        prices.find_price("openai", "gpt-4o")


@given(st.integers(-(10**18), 10**18))
def test_dollars_and_nano_dollars_are_inverse(nano: int) -> None:
    text = money.dollars(nano)
    assert "E" not in text.upper()
    assert Decimal(text) * 10**9 == nano
    assert money.nano_dollars(text) == nano


@pytest.mark.parametrize(
    ("more", "completions"),
    [
        ({}, 1),
        ({"best_of": 5}, 5),
        ({"best_of": 2, "n": 3}, 3),
        ({"best_of": "5"}, 5),
        ({"best_of": 2.5}, 3),
        *(({"best_of": odd}, 1) for odd in (None, 0, -3, "many", True, 1e400, [2])),
    ],
)
def test_each_of_several_completions_may_be_as_long_as_the_budget(
    more: dict[str, Any], completions: int
) -> None:
    body = {"model": "m", "prompt": "", "max_tokens": 10, **more}
    assert prices.answer_budget(body) == 10 * completions
    price = prices.Price(input=0, output=1_000_000, cached_input=0)
    assert price.worst_case(body) == 10 * completions
    assert price.worst_case({"model": "m", "prompt": "", "best_of": 3}) is None


def test_whatever_is_sent_may_come_to_stand_in_the_prompt() -> None:
    price = prices.Price(input=1_000_000, output=0, cached_input=0)

    def tokens(**more: Any) -> int:
        body = {"model": "m" * 99, "messages": [{"content": "é"}], "max_tokens": 9}
        worst = price.worst_case(body | more)
        assert worst is not None
        return worst

    least = tokens()
    assert least == 2 + 32
    numbers = {"temperature": 0.5, "seed": 7, "top_k": 5, "logprobs": True, "user": None}
    assert tokens(stop=["\n\n"], reasoning_effort="low", **numbers) == least
    tools = [{"type": "function", "function": {"name": "find", "description": "Finds é 😀."}}]
    for name in ("tools", "response_format", "chat_template_kwargs"):
        written = json.dumps(tools, ensure_ascii=False).encode()
        assert tokens(**{name: tools}) >= least + len(written)
    assert tokens(system="be brief") >= least + len("be brief")


@pytest.mark.parametrize("amount", ["free", "NaN", "inf", "0.0000000001", ""])
def test_what_is_no_amount_of_dollars(amount: str) -> None:
    with pytest.raises(UsageError, match="is not an amount of dollars"):
        money.nano_dollars(amount)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, "unknown"),
        (0, "$0"),
        (27_500, "$0.0000275"),
        (1_000_000, "$0.0010"),
        (12_345_678_901, "$12.3457"),
    ],
)
def test_costs_for_people(nano: int | None, shown: str) -> None:
    assert money.show_cost(nano) == shown


@given(st.text())
def test_token_bounds_are_ordered_and_never_above_the_bytes(text: str) -> None:
    low, high = prices.estimate_tokens(text)
    assert 0 <= low <= high
    assert high <= len(text.encode("utf-8", "surrogatepass")) + len(text.split(" ")) + 1
    assert (low > 0) == bool(text)


# Counts by cl100k_base, from memory of common examples: no tokenizer ran here.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("tiktoken is great!", 6),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("antidisestablishmentarianism", 6),
        ("お誕生日おめでとう", 9),
    ],
)
def test_token_bounds_hold_known_counts(text: str, tokens: int) -> None:
    low, high = prices.estimate_tokens(text)
    assert low <= tokens <= high
