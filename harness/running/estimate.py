"""What the requests of a run may take: tokens, money and time, before any is sent."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass

from harness.models.prices import Prices, answer_budget, estimate_tokens
from harness.money import add_costs
from harness.records import Prompt
from harness.running.plan import SystemPlan
from harness.running.unpriced import unpriced_reason
from harness.store import Store
from harness.store.ledger import Ledger

#: Bounds in nano-dollars, where they are known.
Range = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bounds for one system: requests, cached answers, tokens, nano-dollars and minutes.

    ``shared`` requests are those that an earlier system of the run asks for as well, ``waiting``
    ones those whose sentence has yet to be translated; their figures are of prompts in which the
    sentence itself stands in. ``out`` requests are with a batch already, and not among
    ``pending``.

    ``prompt_tokens`` is ``(low, high)`` over the requests still to send; ``answer_tokens`` the
    most that may come back, and ``largest`` the most that one call may take in all. ``price`` is
    ``(low, high)``: the low end takes no answer tokens into account, the high end the whole answer
    budget of every request; where it is unknown, ``unpriced`` says why. ``worst`` is what a budget
    holds back for them all and for those that are out, which no tokenizer can pass. ``minutes`` is
    what ``rpm`` and ``tpm`` take at least.
    """

    examples: int = 0
    pending: int = 0
    shared: int = 0
    cached: int = 0
    untranslated: int = 0
    waiting: int = 0
    out: int = 0
    prompt_tokens: tuple[int, int] = (0, 0)
    answer_tokens: int = 0
    largest: int = 0
    price: Range = (0, 0)
    unpriced: str | None = None
    worst: int | None = 0
    minutes: float = 0.0


def estimate(
    plan: SystemPlan, store: Store, prices: Prices, asked: Container[str] = ()
) -> Estimate:
    """What the pending requests of a system may take, less those that others ask for already."""
    held = Ledger(store).out(plan.pending)
    low = high = answers = largest = 0
    worst: int | None = sum(most for key, most in held.items() if key not in asked)
    fresh = [key for key in plan.pending if key not in asked]
    requests = [plan.pending[key] for key in fresh if key not in held]
    out = len(fresh) - len(requests)
    waiting = [(cell, index) for cell in plan.cells for index in cell.waiting]
    requests += waiting
    for cell, index in requests:
        prompt = cell.prompt(index)
        few, many = prompt_tokens(prompt)
        request = plan.backend.request(prompt)
        budget = answer_budget(request.body) or 0
        low, high, answers = low + few, high + many, answers + budget
        largest = max(largest, many + budget)
        worst = add_costs(worst, plan.worst_case(request))
    unpriced = unpriced_reason(plan.backend, prices) if requests else None
    price = plan.backend.price
    keys = [key for cell in plan.cells for key in cell.keys]
    return Estimate(
        examples=sum(len(cell.keys) for cell in plan.cells if cell.repeat == 0),
        pending=len(requests),
        shared=len(plan.pending) - len(fresh),
        cached=sum(plan.answered(cell) for cell in plan.cells),
        untranslated=keys.count(None) - len(waiting),
        waiting=len(waiting),
        out=out,
        prompt_tokens=(low, high),
        answer_tokens=answers,
        largest=largest,
        price=None
        if unpriced is not None or price is None
        else (price.token_cost(low, 0), price.token_cost(high, answers)),
        unpriced=unpriced,
        worst=worst,
        minutes=_minutes(plan, len(requests), low),
    )


def prompt_tokens(prompt: Prompt) -> tuple[int, int]:
    """Bounds on the tokens of a prompt, with all that is sent beside its text."""
    sent = (prompt.system or "") + prompt.text
    if prompt.response_format is not None:
        sent += json.dumps(prompt.response_format)
    return estimate_tokens(sent)


def total(prices: list[Range]) -> Range:
    """A sum with an unknown term is unknown."""
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return sum(low for low, _ in known), sum(high for _, high in known)


def _minutes(plan: SystemPlan, requests: int, tokens: int) -> float:
    if plan.batched:
        return 0.0
    limits = plan.system.settings.rate_limits
    by_requests = requests / limits.rpm if limits.rpm else 0.0
    return max(by_requests, tokens / limits.tpm if limits.tpm else 0.0)
