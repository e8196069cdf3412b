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
from harness.store.batch_tracker import BatchTracker

#: Bounds in nano-dollars, where they are known.
Range = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bounds for one system: requests, tokens, nano-dollars and minutes.

    Requests: ``pending`` are to be sent. ``shared`` ones are asked by an earlier system of the
    run. ``batched`` ones are in a batch already, and not among ``pending``. Those in
    ``awaiting_translation`` belong to sentences that are not translated yet; their figures are
    those of prompts in which the sentence itself stands in. ``cached`` and ``untranslated`` count
    examples.

    Tokens: ``prompt_tokens`` is ``(low, high)`` over the pending requests, ``answer_tokens`` the
    most that may come back, and ``largest`` the most that one call may take in all.

    Money: ``price`` is ``(low, high)``. The low end has no answer tokens; the high end has the
    whole answer budget of every request. Where the price is unknown, ``unpriced`` says why.
    ``worst`` is what a budget reserves for the pending and the batched requests; no tokenizer can
    pass it. ``minutes`` is the least that ``rpm`` and ``tpm`` allow.
    """

    examples: int = 0
    pending: int = 0
    shared: int = 0
    cached: int = 0
    untranslated: int = 0
    awaiting_translation: int = 0
    batched: int = 0
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
    batched = BatchTracker(store).out(plan.pending)
    low = high = answers = largest = 0
    worst: int | None = sum(cost for key, cost in batched.items() if key not in asked)
    own_keys = [key for key in plan.pending if key not in asked]
    places = [plan.pending[key] for key in own_keys if key not in batched]
    batched_count = len(own_keys) - len(places)
    awaiting = [(cell, index) for cell in plan.cells for index in cell.pending_translations]
    places += awaiting
    for cell, index in places:
        prompt = cell.prompt(index)
        few, many = prompt_tokens(prompt)
        request = plan.backend.request(prompt)
        budget = answer_budget(request.body) or 0
        low, high, answers = low + few, high + many, answers + budget
        largest = max(largest, many + budget)
        worst = add_costs(worst, plan.worst_case(request))
    unpriced = unpriced_reason(plan.backend, prices) if places else None
    price = plan.backend.price
    keys = [key for cell in plan.cells for key in cell.keys]
    return Estimate(
        examples=sum(len(cell.keys) for cell in plan.cells if cell.repeat == 0),
        pending=len(places),
        shared=len(plan.pending) - len(own_keys),
        cached=sum(plan.answered(cell) for cell in plan.cells),
        untranslated=keys.count(None) - len(awaiting),
        awaiting_translation=len(awaiting),
        batched=batched_count,
        prompt_tokens=(low, high),
        answer_tokens=answers,
        largest=largest,
        price=None
        if unpriced is not None or price is None
        else (price.token_cost(low, 0), price.token_cost(high, answers)),
        unpriced=unpriced,
        worst=worst,
        minutes=_minutes(plan, len(places), low),
    )


def prompt_tokens(prompt: Prompt) -> tuple[int, int]:
    """Bounds on the tokens of a prompt, with all that is sent beside its text."""
    sent = (prompt.system or "") + prompt.text
    if prompt.response_format is not None:
        sent += json.dumps(prompt.response_format)
    return estimate_tokens(sent)


def total_price(prices: list[Range]) -> Range:
    """The sum of price ranges; a sum with an unknown term is unknown."""
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
