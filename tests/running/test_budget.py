"""A budget is never passed, stops a run cleanly, and a higher one goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from harness.models.prices import Price
from harness.money import nano_dollars
from harness.running.budget import Budget
from harness.store import Store
from tests.conftest import Ran, Served
from tests.helpers.faulty_server import start
from tests.helpers.loopback_server import completion
from tests.helpers.thread_server import hosted

Harness = Callable[..., Ran]
Serve = Callable[..., Served]

# One answer of the scripted server costs about a cent at these prices.
PRICES = {"input": "10", "output": "30"}


def experiment(
    folder: Path, url: str, *, prices: dict[str, str] | None = None, **system: Any
) -> Path:
    """Twenty demonstration sentences, asked of one server."""
    table = {
        "name": "A",
        "backend": "openai",
        "model": "capitals",
        "strategy": "direct",
        "base_url": url,
        "provider": "priced",
        "concurrency": 4,
    } | system
    lines = ['[[datasets]]\nname = "demo"\nlanguages = ["swa"]\nlimit = 20\n', "[[systems]]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    if prices is not None:
        lines += ["[prices.priced]", "capitals = { "]
        lines[-1] += ", ".join(f'{k} = "{v}"' for k, v in prices.items()) + " }"
    path = folder / "x.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "x" / "predictions.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def paid(folder: Path) -> Decimal:
    return sum((Decimal(r["cost"]) for r in rows(folder) if r["cost"] is not None), Decimal(0))


def test_a_budget_holds_back_what_a_call_may_cost() -> None:
    budget = Budget(100, spent=20)
    assert budget.reserve(50)
    assert budget.reserve(30)
    assert not budget.reserve(1)
    budget.settle(50, 10)
    assert (budget.spent, budget.reserved) == (30, 30)
    # What nobody knows is taken for the worst.
    budget.settle(30, None)
    assert (budget.spent, budget.reserved) == (60, 0)
    assert budget.reserve(40)
    assert Budget().reserve(10**30)


@given(
    limit=st.integers(0, 1000),
    calls=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 100)), max_size=30),
)
def test_no_order_of_calls_passes_the_limit(limit: int, calls: list[tuple[int, int]]) -> None:
    budget = Budget(limit)
    flying: list[tuple[int, int]] = []
    for worst, percent in calls:
        if budget.reserve(worst):
            flying.append((worst, worst * percent // 100))
        elif flying:
            budget.settle(*flying.pop(0))
        assert budget.spent + sum(spent for _, spent in flying) <= limit
    for call in flying:
        budget.settle(*call)
    assert budget.spent <= limit
    assert budget.reserved == 0


@given(st.text(), st.text(), st.integers(1, 4096))
def test_no_byte_level_tokenizer_passes_the_worst_case(system: str, user: str, answer: int) -> None:
    price = Price(input=3_000_000, output=7_000_000, cached_input=1_000_000)
    body = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "max_tokens": answer,
    }
    sent = len((system + user).encode())
    worst = price.worst_case(body)
    assert worst is not None
    assert worst >= price.token_cost(sent + 3 * 3, answer)
    assert price.worst_case({k: v for k, v in body.items() if k != "max_tokens"}) is None


@pytest.mark.parametrize("budget", ["0", "0.03", "0.055", "0.1"])
def test_the_run_stops_before_the_call_that_might_pass_it(
    harness: Harness, serve: Serve, tmp_path: Path, budget: str
) -> None:
    served = serve()
    file = experiment(tmp_path, served.url, prices=PRICES)
    ran = harness("run", file, "--budget", budget)
    assert ran.code == 4
    assert "Stopped by the budget" in ran.out
    answered = [row for row in rows(tmp_path) if row["status"] != "unsent"]
    assert served.stats()["answered"] == len(answered) < 20
    assert paid(tmp_path) <= Decimal(budget)
    # Again with the same budget: the run's own earlier spending counts.
    again = harness("run", file, "--budget", budget)
    assert again.code == 4
    assert paid(tmp_path) <= Decimal(budget)
    # A higher one goes on from there, and pays for nothing twice.
    assert harness("run", file, "--budget", "5").code == 0
    assert (served.stats()["answered"], served.stats()["answered_twice"]) == (20, 0)
    with Store() as store:
        payer = (tmp_path / "x" / ".payer").read_text()
        assert store.spent(payer) == nano_dollars(paid(tmp_path))


def test_almost_all_of_a_budget_is_used(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    file = experiment(tmp_path, served.url, prices=PRICES)
    assert harness("run", file, "--budget", "0.08").code == 4
    left = Decimal("0.08") - paid(tmp_path)
    costs = [Decimal(row["cost"]) for row in rows(tmp_path) if row["cost"]]
    # What is left is less than one call's worst case: 512 tokens of answer, every byte a token.
    assert len(costs) > 3
    assert 0 <= left < Decimal(30) * 512 / 10**6 + Decimal(10) * 4000 / 10**6


def test_two_processes_of_one_folder_have_one_budget(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve(latency_s=0.1)
    file = experiment(tmp_path, served.url, prices=PRICES, concurrency=2)
    # So that both have the payer of one folder.
    assert harness("run", file, "--budget", "0").code == 4
    both = [start(tmp_path, "run", file, "--budget", "0.08") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 4, err
    with Store() as store:
        spent = store.spent((tmp_path / "x" / ".payer").read_text())
    assert 0 < spent <= nano_dollars("0.08")
    assert served.stats()["answered_twice"] == 0


def test_a_refresh_counts_anew(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    file = experiment(tmp_path, served.url, prices=PRICES)
    assert harness("run", file).code == 0
    whole = str(paid(tmp_path) + Decimal("0.06"))
    assert harness("run", file, "--refresh", "--budget", whole).code == 0
    assert served.stats()["answered"] == 40


def test_unknown_prices_are_refused(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    file = experiment(tmp_path, served.url)
    ran = harness("run", file, "--budget", "1")
    assert ran.code == 2
    assert "what 'A' may cost is unknown (no price of 'capitals' at 'priced'" in ran.err
    assert served.stats()["requests"] == 0
    assert harness("run", file, "--budget", "1", "--unpriced").code == 0


def test_an_answer_without_bound_is_refused(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    file = experiment(tmp_path, serve().url, prices=PRICES, drop=["max_tokens"])
    ran = harness("run", file, "--budget", "1")
    assert ran.code == 2
    assert "answers have no bound: give max_tokens" in ran.err
    out = harness("preview", file, "--budget", "1").out
    assert "price unknown (answers have no bound: give max_tokens)" in out
    assert "A run refuses a budget over calls whose price or length nobody knows" in out


def test_a_price_without_batch_says_so(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    file = experiment(tmp_path, serve().url, prices=PRICES, mode="batch")
    ran = harness("run", file, "--budget", "1")
    assert ran.code == 2
    assert "the price of 'capitals' at 'priced' has no `batch` fraction" in ran.err
    file.write_text(file.read_text().replace('"30" }', '"30", batch = 50 }'))
    assert "a fraction of the price is needed, such as 0.5" in harness("run", file).err


@pytest.mark.parametrize("amount", ["nan", "-", "1.0000000001", "-5"])
def test_a_budget_is_an_amount(harness: Harness, tmp_path: Path, serve: Serve, amount: str) -> None:
    ran = harness("run", experiment(tmp_path, serve().url, prices=PRICES), f"--budget={amount}")
    assert ran.code == 2
    assert "Write it as 12.50" in ran.err


def test_preview_states_the_worst_case(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    file = experiment(tmp_path, serve().url, prices=PRICES)
    assert "The run stops, to go on" in harness("preview", file, "--budget", "0.1").out
    assert "The run fits, whatever is answered" in harness("preview", file, "--budget", "5").out
    harness("run", file)
    out = harness("preview", file, "--budget", "5").out
    assert f"${paid(tmp_path):.4f} spent by this results folder" in out
    assert "worst case of the rest $0" in out


def test_preview_says_how_long_the_limits_take(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    file = experiment(tmp_path, serve().url, prices=PRICES, rpm=10, tpm=100)
    out = harness("preview", file).out
    assert "at least" in out
    assert "tpm = 100 is less than one call may take" in out


def test_half_price_in_a_batch() -> None:
    price = Price(input=5, output=100, cached_input=3, batch=Decimal("0.5"))
    assert price.batched() == Price(input=3, output=50, cached_input=2)
    assert Price(input=5, output=100, cached_input=3).batched() is None


def test_an_answer_without_usage_counts_as_the_worst_case(harness: Harness, tmp_path: Path) -> None:
    answered = 0

    async def silent(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        body = completion(" []\n")
        del body["usage"]
        return web.json_response(body)

    with hosted(silent) as url:
        file = experiment(tmp_path, url, prices=PRICES)
        assert harness("run", file, "--budget", "0.1").code == 4
        before = answered
        # Also in the next process, which knows of it from the store alone.
        assert harness("run", file, "--budget", "0.1").code == 4
    assert 0 < before == answered < 20


def test_answers_that_were_lost_count_as_the_worst_case(harness: Harness, tmp_path: Path) -> None:
    attempts = 0

    async def garbled(request: web.Request) -> web.Response:
        nonlocal attempts
        attempts += 1
        if attempts % 2:
            return web.Response(text='{"choices": [', content_type="application/json")
        return web.json_response(completion(" []\n"))

    with hosted(garbled) as url:
        file = experiment(tmp_path, url, prices=PRICES, concurrency=1, backoff_s=0.001)
        assert harness("run", file, "--budget", "0.3").code == 4
    with Store() as store:
        spent = store.spent((tmp_path / "x" / ".payer").read_text())
    # Each first attempt may have been charged; only those under way take it past the budget.
    assert nano_dollars("0.25") < spent <= nano_dollars("0.6")
    assert attempts < 30


def test_calls_that_came_to_nothing_hold_nothing_back(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve()
    file = experiment(tmp_path, serve(key_expires_after=0).url, prices=PRICES)
    # The second system has the room that the first one's refused calls had been given.
    text, prices = file.read_text().split("[prices.")
    good = text[text.index("[[systems]]") :].replace('"A"', '"B"')
    good = good.replace("base_url", f'base_url = "{served.url}"\n#')
    file.write_text(f"{text}{good}\n[prices.{prices}")
    ran = harness("run", file, "--budget", "0.15")
    assert ran.code == 2
    assert served.stats()["answered"] == 20
