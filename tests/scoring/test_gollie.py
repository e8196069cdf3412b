"""The published filter and matching: a golden table of worked examples, and a naive oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Annotation
from harness.scoring import Score, arguments, count, micro
from harness.scoring.gollie import keep


def mention(kind: str, span: str) -> Annotation:
    return Annotation(kind, {"span": span})


def loc(span: str) -> Annotation:
    return mention("Location", span)


def per(span: str) -> Annotation:
    return mention("Person", span)


def org(span: str) -> Annotation:
    return mention("Organization", span)


def born(first: str, second: str) -> Annotation:
    return Annotation("BornIn", {"arg1": first, "arg2": second})


def attack(trigger: str, **roles: str | tuple[str, ...]) -> Annotation:
    return Annotation("Attack", {"mention": trigger, **roles})


# Text, gold, predictions, elements dropped by the reader; then true positives, predicted,
# gold and hallucinated.
TABLE = {
    "two occurrences keep two of three": (
        "Paris visited Paris in May",
        [],
        [loc("Paris")] * 3,
        0,
        (0, 2, 0, 1),
    ),
    "one counter for all classes, case ignored": (
        "Paris visited Paris in May",
        [org("Paris")],
        [per("Paris"), loc("paris"), org("PARIS")],
        0,
        (0, 2, 1, 1),
    ),
    "order matters": (
        "Paris called",
        [per("Paris")],
        [loc("Paris"), per("Paris")],
        0,
        (0, 1, 1, 1),
    ),
    "the other order": (
        "Paris called",
        [per("Paris")],
        [per("Paris"), loc("Paris")],
        0,
        (1, 1, 1, 1),
    ),
    "inside a word": ("Paris called", [loc("Paris")], [loc("ari")], 0, (0, 1, 1, 0)),
    "empty surface": ("Paris called", [loc("Paris")], [loc("")] * 40, 0, (0, 40, 1, 0)),
    "leading space inside": (
        "Paris visited Paris in May",
        [loc("Paris")],
        [loc(" Paris")],
        0,
        (1, 1, 1, 0),
    ),
    "trailing space at the end": (
        "He left Paris",
        [loc("Paris")],
        [loc("Paris ")],
        0,
        (0, 0, 1, 1),
    ),
    "trailing space before a word": (
        "Paris called",
        [loc("Paris")],
        [loc("paris ")],
        0,
        (1, 1, 1, 0),
    ),
    "not in the text": ("Paris called", [loc("Paris")], [loc("Rome")], 0, (0, 0, 1, 1)),
    "surface that is no string": (
        "Paris called",
        [loc("Paris")],
        [Annotation("Location", {"span": ("Paris",)}), Annotation("Location", {})],
        0,
        (0, 0, 1, 2),
    ),
    "one of five is an annotation": (
        "Paris called",
        [loc("Paris")],
        [loc("Paris")],
        4,
        (1, 1, 1, 4),
    ),
    "unknown class uses no occurrence": (
        "Paris called",
        [loc("Paris")],
        [loc("Paris")],
        1,
        (1, 1, 1, 1),
    ),
    "known class outside the schema uses one": (
        "Paris called",
        [loc("Paris")],
        [mention("Date", "Paris"), loc("Paris")],
        0,
        (0, 1, 1, 1),
    ),
    "known class outside the schema is wrong": (
        "Paris in May",
        [loc("Paris")],
        [mention("Date", "May"), loc("Paris")],
        0,
        (1, 2, 1, 0),
    ),
    "inner white space is not collapsed": (
        "New York",
        [loc("New York")],
        [loc("New  York")],
        0,
        (0, 0, 1, 1),
    ),
    "nor is that of gold": (
        "New  York and New York",
        [loc("New York")],
        [loc("New  York")],
        0,
        (0, 1, 1, 0),
    ),
    "no normalisation": (
        "Kofi in Ìbàdàn",
        [loc("Ìbàdàn")],
        [loc("I\u0300ba\u0300da\u0300n")],
        0,
        (0, 0, 1, 1),
    ),
    "repeats are extra": (
        "Paris visited Paris in May",
        [loc("Paris")],
        [loc("Paris")] * 2,
        0,
        (1, 2, 1, 0),
    ),
    "gold is not filtered": ("Paris called", [loc("Rome")] * 2, [], 0, (0, 0, 2, 0)),
    "each match takes one gold copy": (
        "Paris visited Paris in May",
        [loc("Paris")] * 2,
        [loc("Paris")] * 2,
        0,
        (2, 2, 2, 0),
    ),
    "dropped ones go on raising the counter": (
        "Ada met ada",
        [per("Ada")] * 2,
        [per("Ada"), loc("ada"), loc("Ada"), per("Ada")],
        0,
        (1, 2, 2, 2),
    ),
    "relations are directed": (
        "a met b",
        [born("a", "b")],
        [born("a", "b"), born("A ", "b"), born("b", "a")],
        0,
        # "a " is in the text; of the three, two equal gold but gold has one copy.
        (1, 3, 1, 0),
    ),
    "relations have no count limit": (
        "a met b",
        [born("a", "b")],
        [born("a", "b")] * 5,
        0,
        (1, 5, 1, 0),
    ),
    "relation arguments are not stripped by the filter": (
        "he met b",
        [born("he", "b")],
        [born("he", "b ")],
        0,
        (0, 0, 1, 1),
    ),
    "events are limited by mention": (
        "They bombed it",
        [attack("bombed")],
        [attack("Bombed"), attack("bombed")],
        0,
        (1, 1, 1, 1),
    ),
    "event mentions keep their white space": (
        "They bombed it",
        [attack("bombed")],
        [attack("bombed ")],
        0,
        (0, 1, 1, 0),
    ),
    "event mention not in the text": (
        "They bombed it",
        [attack("bombed")],
        [attack("shelled")],
        0,
        (0, 0, 1, 1),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_worked_examples(name: str) -> None:
    text, gold, predicted, dropped, expected = TABLE[name]
    row = count(text, gold, predicted, dropped=dropped)
    score = micro([row])
    assert (score.tp, score.predicted, score.gold, row.hallucinated) == expected
    assert row.parsed == len(predicted) + dropped


def test_scores_of_the_worked_examples() -> None:
    """The fractions that are stated with the examples."""

    def of(name: str) -> Score:
        text, gold, predicted, _, _ = TABLE[name]
        return micro([count(text, gold, predicted)])

    repeats = of("repeats are extra")
    assert (repeats.precision, repeats.recall) == (0.5, 1.0)
    assert repeats.f1 == pytest.approx(2 / 3)
    assert of("known class outside the schema is wrong").precision == 0.5
    relations = of("relations are directed")
    assert (relations.precision, relations.recall, relations.f1) == (1 / 3, 1.0, 0.5)
    assert of("order matters").f1 == 0.0
    assert micro([count("Nothing here", [], [])]) == Score(0.0, 0.0, 0.0)


# Text, gold, predictions; then arguments that are right, predicted and gold.
ARGUMENTS = {
    "exact": (
        "Rebels hit the base",
        attack("hit", attacker=("Rebels",), target=("the base",)),
        attack("hit", attacker=("Rebels",), target=("the base",)),
        (2, 2, 2),
    ),
    "a longer filler earns nothing": (
        "Rebels hit the base",
        attack("hit", target=("base",)),
        attack("hit", target=("the base",)),
        (0, 1, 1),
    ),
    "case counts in arguments": (
        "Rebels hit the base",
        attack("hit", attacker=("Rebels",)),
        attack("hit", attacker=("rebels",)),
        (0, 1, 1),
    ),
    "role counts": (
        "Rebels hit the base",
        attack("hit", attacker=("Rebels",)),
        attack("hit", target=("Rebels",)),
        (0, 1, 1),
    ),
    "an invented filler is taken out": (
        "Rebels hit the base",
        attack("hit", attacker=("Rebels",)),
        attack("hit", attacker=("Rebels", "Martians")),
        (1, 1, 1),
    ),
    "a single string is a list of one": (
        "Rebels hit the base",
        attack("hit", attacker=("Rebels",)),
        attack("hit", attacker="Rebels"),
        (1, 1, 1),
    ),
    "a multiset by role": (
        "Rebels hit the base",
        attack("hit", target=("base", "base")),
        attack("hit", target=("base", "base", "base")),
        (2, 3, 2),
    ),
    "subtype is no argument": (
        "Rebels hit the base",
        attack("hit", subtype="Raid"),
        attack("hit", subtype="Rebels"),
        (0, 0, 0),
    ),
    "outside matched events nothing is right": (
        "Rebels hit the base",
        attack("base", attacker=("Rebels",)),
        attack("hit", attacker=("Rebels",)),
        (0, 1, 1),
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_event_arguments(name: str) -> None:
    text, gold, predicted, expected = ARGUMENTS[name]
    row = count(text, [gold], [predicted])
    assert row.arguments == expected
    score = arguments([row])
    assert (score.tp, score.predicted, score.gold) == expected
    assert row.hallucinated == 0


def test_event_matches_though_its_arguments_do_not() -> None:
    text, gold, predicted, _ = ARGUMENTS["case counts in arguments"]
    assert count(text, [gold], [predicted]).counts == {"Attack": (1, 1, 1)}


def test_counts_are_kept_by_class() -> None:
    row = count(
        "Ada of Kano met May",
        [per("Ada"), loc("Kano")],
        [per("Ada"), org("Kano"), mention("Date", "May")],
    )
    assert row.counts == {
        "Person": (1, 1, 1),
        "Location": (0, 0, 1),
        "Organization": (0, 1, 0),
        "Date": (0, 1, 0),
    }


def _naive(text: str, gold: list[Annotation], predicted: list[Annotation]) -> tuple[int, ...]:
    """The rules for entities, written once more without any bookkeeping."""
    kept: list[Annotation] = []
    for index, element in enumerate(predicted):
        if element.span.strip().lower() not in text.lower():
            continue
        key = element.span.lower()
        earlier = sum(other.span.lower() == key for other in predicted[: index + 1])
        if key == "" or text.lower().count(key) >= earlier:
            kept.append(element)
    left = [(a.type, a.span.strip().lower()) for a in gold]
    tp = 0
    for element in kept:
        identity = (element.type, element.span.strip().lower())
        if identity in left:
            left.remove(identity)
            tp += 1
    return tp, len(kept), len(gold), len(predicted) - len(kept)


_MENTIONS = st.lists(
    st.builds(mention, st.sampled_from(["Person", "Location"]), st.text("aB \u0130", max_size=3)),
    max_size=8,
)


@given(st.text("abAB \u0130", max_size=12), _MENTIONS, _MENTIONS)
def test_agrees_with_a_naive_oracle(
    text: str, gold: list[Annotation], predicted: list[Annotation]
) -> None:
    row = count(text, gold, predicted)
    score = micro([row])
    found = (score.tp, score.predicted, score.gold, row.hallucinated)
    assert found == _naive(text, gold, predicted)


def test_filter_keeps_order_and_objects() -> None:
    first, second = per("Ada"), loc("Kano")
    assert keep("Ada of Kano", [second, first]) == [second, first]
