"""Scoring 10,000 sentences stays far below what a cached run may take.

Processor time is measured, and the limits are two to three times what is aimed at, since
other work may share the machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from harness.records import Annotation, Example
from harness.scoring import Row, count, examples_hash, resample


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Sentences of about 25 words, a third of them decomposed, with 1.5 mentions on average."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(200)] + [f"e\u0323\u0301{i}" for i in range(9)]
    made = []
    for index in range(10_000):
        tokens = rng.choices(words[: 200 + 9 * (index % 3 == 0)], k=25)
        text, gold = " ".join(tokens), []
        for place in sorted(rng.sample(range(25), rng.randrange(4))):
            start = len(" ".join(tokens[:place])) + (place > 0)
            offsets = (start, start + len(tokens[place]))
            gold.append(Annotation("X", {"span": tokens[place]}, offsets))
        made.append(Example(f"test-{index}", "d", "l", "test", text, gold=tuple(gold)))
    return made


def _best_of_3(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.parametrize(("rule", "limit"), [("gollie", 0.8), ("strict", 1.6)])
def test_counting(examples: list[Example], rule: str, limit: float) -> None:
    answers = [[Annotation(a.type, a.fields) for a in e.gold] for e in examples]
    pairs = list(zip(examples, answers, strict=True))
    assert _best_of_3(lambda: [count(e.text, e.gold, a, rule) for e, a in pairs]) < limit


def test_hashing(examples: list[Example]) -> None:
    assert _best_of_3(lambda: examples_hash(examples)) < 0.3


def test_resampling() -> None:
    rng = random.Random(0)
    systems = {
        name: [Row({"X": (rng.randrange(2), 2, 2)}) for _ in range(10_000)] for name in "abc"
    }
    assert _best_of_3(lambda: resample(systems)) < 0.9
