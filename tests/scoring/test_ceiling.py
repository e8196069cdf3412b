"""What gold itself scores: by hand, and on real corpora."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data import load_dataset
from harness.errors import UnknownNameError
from harness.records import Annotation, Example
from harness.scoring import RULES, Score, ceiling, count, micro


def _example(text: str, *spans: tuple[int, int]) -> Example:
    gold = tuple(Annotation("X", {"span": text[a:b]}, (a, b)) for a, b in spans)
    return Example("0", "own", "swa", "test", text, gold=gold)


@pytest.mark.parametrize("rule", RULES)
def test_a_plain_corpus_reaches_1(rule: str) -> None:
    assert ceiling([_example("Ada of Kano", (0, 3), (7, 11))], rule).f1 == 1.0


def test_what_strict_cannot_reach() -> None:
    second_only = _example("Kano met Kano", (9, 13))
    inside_a_word = _example("Kanowa", (0, 4))
    assert ceiling([second_only, inside_a_word]) == Score.of(0, 2, 2)
    assert ceiling([second_only, inside_a_word], "gollie").f1 == 1.0
    with pytest.raises(UnknownNameError):
        ceiling([], "exact")


# Dataset, language, split; gold mentions, and those of them found under strict. The rules
# gollie and published reach all of them in every corpus.
REAL = [
    ("masakhaner2", "yor", "test", 1697, 1684),
    ("masakhaner2", "swa", "test", 3732, 3714),
    ("uner", "zh_gsd", "test", 767, 748),
]


@pytest.mark.parametrize(("dataset", "language", "split", "gold", "found"), REAL)
def test_real_corpora(
    corpora: Path, dataset: str, language: str, split: str, gold: int, found: int
) -> None:
    examples = load_dataset(dataset, language, split, data_dir=corpora)
    assert ceiling(examples, "strict") == Score.of(found, gold, gold)
    assert ceiling(examples, "gollie") == Score.of(gold, gold, gold)


def test_yoruba_answered_in_nfc(corpora: Path) -> None:
    """1,207 of 1,697 gold mentions are not NFC: one rule loses them, the other none."""
    examples = load_dataset("masakhaner2", "yor", "test", data_dir=corpora)

    def score(rule: str) -> Score:
        rows = []
        for example in examples:
            answer = [
                replace(a, fields={"span": unicodedata.normalize("NFC", a.span)}, offsets=None)
                for a in example.gold
            ]
            rows.append(count(example.text, example.gold, answer, rule))
        return micro(rows)

    assert score("strict") == ceiling(examples, "strict")
    gollie = score("gollie")
    # A few NFC surfaces are found inside longer words, and are then wrong.
    assert gollie.tp == 1697 - 1207
    assert gollie.recall == pytest.approx(0.289, abs=0.001)
