"""What a run would send and cost, through the real path up to the moment of sending."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.data.block import Block
from harness.errors import UnknownNameError, UsageError
from harness.experiment import Experiment
from harness.models.prices import Prices, prices_as_of
from harness.money import add_costs, show_cost
from harness.records import Status
from harness.running.estimate import Estimate, Range, estimate, prompt_tokens, total_price
from harness.running.plan import Cell, SystemPlan
from harness.running.planning import make_plan
from harness.running.prepare import prepare
from harness.running.runner import results_folder
from harness.running.translation_stage import model_plan
from harness.store import Store
from harness.terminal import visible
from harness.translation import ModelTranslator, StoredTranslator
from harness.translation.flags import FLAGS


def preview(
    experiment: Experiment,
    *,
    example: str = "1",
    language: str | None = None,
    limit: int | None = None,
    data_dir: Path | None = None,
    budget: int | None = None,
) -> None:
    """Print, for every system, its figures and the exact prompt of one example; send nothing.

    Args:
        example: its number from 1 (within ``language``, else within the whole run), or its id.
        budget: nano-dollars that the worst case is held against.
    """
    if limit is not None:
        experiment = experiment.limited(limit)
    with Store() as store:
        run = prepare(experiment, store, data_dir=data_dir)
        plans = make_plan(run, store)
        blocks, prices = run.blocks, run.prices
        estimates = [_print_translator(t, blocks, store, prices) for t in run.stored_translators]
        asked: set[str] = set()
        figures_of = []
        for plan in plans:
            figures_of.append(estimate(plan, store, prices, asked))
            asked.update(plan.pending)
        estimates += figures_of
        payer = results_folder(experiment, None).payer
        spent = 0 if payer is None else store.spent(payer)
    block, index = _pick(blocks, example, language)
    place = f"{block.dataset.name}/{block.language}/{visible(block.examples[index].id)}"
    for plan, figures in zip(plans, figures_of, strict=True):
        _print_figures(plan, figures)
        cell = next((c for c in plan.cells if c.block is block), None)
        _print_prompt(plan, cell, index, place)
    price = total_price([figures.price for figures in estimates])
    print(
        f"All systems: {_price(price)} (shipped prices are of {prices_as_of()}). Nothing was sent."
    )
    if budget is not None:
        worst: int | None = 0
        for figures in estimates:
            worst = add_costs(worst, figures.worst)
        waiting = any(figures.awaiting_translation for figures in estimates)
        _print_budget(budget, spent, worst, waiting=waiting)


def _print_budget(budget: int, spent: int, worst: int | None, *, waiting: bool) -> None:
    """The worst case against a budget; all in nano-dollars."""
    print(
        f"Budget {show_cost(budget)}: {show_cost(spent)} spent by this results folder, worst case "
        f"of the rest {show_cost(worst)} (every byte a token, every answer at its full length)"
    )
    if worst is None:
        print(
            "A run refuses a budget over calls whose price or length nobody knows, unless "
            "--unpriced is given."
        )
    elif spent + worst <= budget:
        unless = "translations are longer than their sentences, or " if waiting else ""
        print(f"The run fits, whatever is answered, unless {unless}answers are lost on the way.")
    else:
        print("The run stops, to go on with a higher budget, if a call might pass it.")


def _print_translator(
    translator: StoredTranslator, blocks: Sequence[Block], store: Store, prices: Prices
) -> Estimate:
    """What is translated already, and how it looks; returns what the rest will take."""
    made = waiting = 0
    flags: Counter[str] = Counter()
    for block in blocks:
        english = translator.translate(block)
        waiting += len(english.pending_keys)
        found = [translation for translation in english.translations if translation is not None]
        made += len(found)
        flags.update(flag for translation in found for flag in translation.flags)
    print(f"=== English: {translator.source} {translator.identity}")
    print(f"    {made} of {made + waiting} sentences have a translation")
    if flags:
        listed = ", ".join(f"{flag} {flags[flag]}" for flag in FLAGS if flags[flag])
        print(f"    flagged: {listed}")
    figures = Estimate()
    if waiting:
        print(
            f"    {waiting} of {made + waiting} are not translated yet; `harness translate FILE` "
            f"does it, and so does a run"
        )
        if isinstance(translator, ModelTranslator):
            figures = estimate(model_plan(translator, blocks), store, prices)
            _print_tokens(figures)
    print()
    return figures


def _pick(blocks: Sequence[Block], example: str, language: str | None) -> tuple[Block, int]:
    if language is not None:
        blocks = [block for block in blocks if block.language == language]
        if not blocks:
            raise UnknownNameError(f"--language {language}: not a language of this experiment.")
    count = sum(len(block.examples) for block in blocks)
    if example.isdecimal():
        number = int(example) - 1
        for block in blocks:
            if 0 <= number < len(block.examples):
                return block, number
            number -= len(block.examples)
        raise UsageError(f"--example {example}: there are {count} examples; give 1 to {count}.")
    for block in blocks:
        for index, candidate in enumerate(block.examples):
            if candidate.id == example:
                return block, index
    raise UnknownNameError(f"--example {example}: no such id, and not a number from 1 to {count}.")


def _print_figures(plan: SystemPlan, figures: Estimate) -> None:
    system, awaiting = plan.system, figures.awaiting_translation
    print(f"=== {system.name}: {system.backend} {system.settings.model}, ", end="")
    print(f"strategy {plan.template.name}, wrap {system.wrap}")
    asked = f", asked {system.repeats} times" if system.repeats > 1 else ""
    print(
        f"    {figures.examples} examples{asked}: {figures.cached} cached, "
        f"{figures.pending} requests to send"
        + (f", {figures.batched} out with a batch" if figures.batched else "")
        + (f", {figures.shared} shared with a system above" if figures.shared else "")
        + (f", {awaiting} of them not translated yet" if awaiting else "")
        + (f", {figures.untranslated} untranslated" if figures.untranslated else "")
    )
    if plan.left_out:
        print(f"    left out, no translation: {', '.join(plan.left_out)}")
    _print_tokens(figures)
    tpm = system.settings.rate_limits.tpm
    if figures.minutes:
        print(f"    at least {_clock(figures.minutes)} within its limits")
        if tpm and figures.largest > tpm:
            print(
                f"    tpm = {tpm:g} is less than one call may take "
                f"({figures.largest:,} tokens): they go one by one"
            )


def _clock(minutes: float) -> str:
    hours, rest = divmod(math.ceil(minutes), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def _print_tokens(figures: Estimate) -> None:
    low, high = figures.prompt_tokens
    print(
        f"    tokens in {low:,}–{high:,} (estimated), out at most {figures.answer_tokens:,}; "
        f"price {_price(figures.price)}" + (f" ({figures.unpriced})" if figures.unpriced else "")
    )


def _price(price: Range) -> str:
    if price is None:
        return "unknown"
    return f"{show_cost(price[0])}–{show_cost(price[1])}"


def _print_prompt(plan: SystemPlan, cell: Cell | None, index: int, place: str) -> None:
    if cell is None:
        print(f"--- {place}: left out for this system, its language has no translation\n")
        return
    if index in cell.pending_translations:
        print(f"--- {place}: not translated yet; as it is with the sentence standing in:")
    elif cell.keys[index] is None:
        print(f"--- {place}: {Status.UNTRANSLATED}, no prompt is made\n")
        return
    prompt = cell.prompt(index)
    few, many = prompt_tokens(prompt)
    key = cell.keys[index]
    if key is not None:
        cached = "cached" if key not in plan.pending else "not cached"
        print(
            f"--- {place}: {len(prompt.text.encode())} bytes, {few}–{many} tokens, {cached}, "
            f"sha256 {cell.prompt_hashes[index]}"
        )
    if prompt.system is not None:
        print(f"[system]\n{visible(prompt.system)}\n[user]")
    sys.stdout.write(visible(prompt.text))
    print("\n")
