"""The rule by offsets: a golden table of worked examples."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Annotation
from harness.scoring import arguments, count, micro


def at(kind: str, text: str, span: str, occurrence: int = 0) -> Annotation:
    """A gold annotation at the n-th place where a text has a string."""
    start = -1
    for _ in range(occurrence + 1):
        start = text.index(span, start + 1)
    return Annotation(kind, {"span": span}, (start, start + len(span)))


def said(kind: str, span: str) -> Annotation:
    return Annotation(kind, {"span": span})


PARIS = "Paris visited Paris in May"
CHINESE = "在 北京 大学 的 北京 人"
YORUBA = unicodedata.normalize("NFD", "Wọ́n rí Adé àti Olú ní Ìbàdàn")
THAI = "ฉันอยู่ที่กรุงเทพ"

# Text, gold, predictions; then true positives, predicted, gold, and those without a place.
TABLE = {
    "found": (PARIS, [at("P", PARIS, "Paris")], [said("P", "Paris")], (1, 1, 1, 0)),
    "the first mention is the first occurrence": (
        PARIS,
        [at("L", PARIS, "Paris", 1)],
        [said("L", "Paris")],
        (0, 1, 1, 0),
    ),
    "mentions of one surface go left to right, whatever their class": (
        PARIS,
        [at("P", PARIS, "Paris"), at("L", PARIS, "Paris", 1)],
        [said("P", "Paris"), said("L", "Paris")],
        (2, 2, 2, 0),
    ),
    "in the other order both are wrong": (
        PARIS,
        [at("P", PARIS, "Paris"), at("L", PARIS, "Paris", 1)],
        [said("L", "Paris"), said("P", "Paris")],
        (0, 2, 2, 0),
    ),
    "beyond the last occurrence": (
        PARIS,
        [at("L", PARIS, "Paris"), at("L", PARIS, "Paris", 1)],
        [said("L", "Paris")] * 3,
        (2, 3, 2, 1),
    ),
    "not there, and not filtered away": (
        PARIS,
        [at("L", PARIS, "Paris")],
        [said("L", "Rome")],
        (0, 1, 1, 1),
    ),
    "case is kept": (PARIS, [at("L", PARIS, "Paris")], [said("L", "paris")], (0, 1, 1, 1)),
    "inside a word": (PARIS, [at("L", PARIS, "Paris")], [said("L", "Par")], (0, 1, 1, 1)),
    "an occurrence inside a word is passed over": (
        "Parisian Paris",
        [at("L", "Parisian Paris", "Paris", 1)],
        [said("L", "Paris")],
        (1, 1, 1, 0),
    ),
    "empty surface": (PARIS, [], [said("L", " ")], (0, 1, 0, 1)),
    "outer white space is not compared": (
        PARIS,
        [at("L", PARIS, "Paris")],
        [said("L", " Paris ")],
        (1, 1, 1, 0),
    ),
    "inner white space is": (
        "in New York",
        [at("L", "in New York", "New York")],
        [said("L", "New  York")],
        (0, 1, 1, 1),
    ),
    "a known class outside the schema uses an occurrence": (
        "Paris called",
        [at("L", "Paris called", "Paris")],
        [said("Date", "Paris"), said("L", "Paris")],
        (0, 2, 1, 1),
    ),
    "before an apostrophe": (
        "Nigeria's",
        [at("L", "Nigeria's", "Nigeria")],
        [said("L", "Nigeria")],
        (1, 1, 1, 0),
    ),
    "decomposed text, composed answer": (
        YORUBA,
        [at("L", YORUBA, unicodedata.normalize("NFD", "Ìbàdàn"))],
        [said("L", unicodedata.normalize("NFC", "Ìbàdàn"))],
        (1, 1, 1, 0),
    ),
    "composed text, decomposed answer": (
        unicodedata.normalize("NFC", YORUBA),
        [at("L", unicodedata.normalize("NFC", YORUBA), "Ìbàdàn")],
        [said("L", unicodedata.normalize("NFD", "Ìbàdàn"))],
        (1, 1, 1, 0),
    ),
    "a letter without its marks is another letter": (YORUBA, [], [said("L", "Wọn")], (0, 1, 0, 1)),
    "a mark is never cut off": ("Wọ\u0301", [], [said("L", "Wọ")], (0, 1, 0, 1)),
    "spaces between Chinese tokens": (
        CHINESE,
        [at("O", CHINESE, "北京 大学"), at("L", CHINESE, "北京", 1)],
        [said("O", "北京大学"), said("L", "北京")],
        # 北京 stands first inside 北京大学, where it was not annotated.
        (1, 2, 2, 0),
    ),
    "the second mention of it": (
        CHINESE,
        [at("O", CHINESE, "北京 大学"), at("L", CHINESE, "北京", 1)],
        [said("O", "北京 大学"), said("L", "北京"), said("L", "北京")],
        (2, 3, 2, 0),
    ),
    "anywhere in Thai": (
        THAI,
        [at("L", THAI, "กรุงเทพ")],
        [said("L", "กรุงเทพ")],
        (1, 1, 1, 0),
    ),
    "gold without offsets is assigned alike": (
        PARIS,
        [said("L", "Paris")],
        [said("L", "Paris"), said("L", "Paris")],
        (1, 2, 1, 0),
    ),
    "and leaves the places of gold with offsets alone": (
        PARIS,
        [said("L", "Paris"), at("P", PARIS, "Paris")],
        [said("P", "Paris"), said("L", "Paris")],
        (2, 2, 2, 0),
    ),
    "gold that the text lacks is never found": (
        PARIS,
        [said("L", "Rome")],
        [said("L", "Rome")],
        (0, 1, 1, 1),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_worked_examples(name: str) -> None:
    text, gold, predicted, expected = TABLE[name]
    row = count(text, gold, predicted, "strict")
    score = micro([row])
    assert (score.tp, score.predicted, score.gold, row.hallucinated) == expected
    assert row.parsed == len(predicted)


def test_dropped_elements_are_hallucinated_but_not_predicted() -> None:
    row = count(PARIS, [], [said("L", "Rome")], "strict", dropped=3)
    assert (row.counts, row.hallucinated, row.parsed) == ({"L": (0, 1, 0)}, 4, 4)
    empty = count(PARIS, [], [], "strict", dropped=2, parse_error=True)
    assert (empty.hallucinated, empty.parsed, empty.parse_error) == (2, 2, True)


def test_relations_compare_surfaces_exactly() -> None:
    def born(first: str, second: str) -> Annotation:
        return Annotation("BornIn", {"arg1": first, "arg2": second})

    text = "Adé of Kano"
    predicted = [
        born(unicodedata.normalize("NFD", "Adé"), " Kano"),  # right
        born("Adé", "Kano"),  # a repeat
        born("Kano", "Adé"),  # the other way round
        born("adé", "Kano"),  # another case
        born("Adé", "Lagos"),  # not in the text
    ]
    row = count(text, [born("Adé", "Kano")], predicted, "strict")
    assert row.counts == {"BornIn": (1, 5, 1)}
    assert row.hallucinated == 2


def test_events_are_placed_by_their_trigger() -> None:
    def event(kind: str, trigger: str, place: int | None = None, **roles: object) -> Annotation:
        offsets = None if place is None else (place, place + len(trigger))
        return Annotation(kind, {"mention": trigger, **roles}, offsets)  # type: ignore[dict-item]

    text = "Rebels hit the base and hit Kano"
    gold = [
        event("Attack", "hit", 24, target=("Kano",)),
        event("Harm", "hit", 7, target=("the base",)),
    ]
    # One word may trigger events of two classes: they do not compete for an occurrence.
    predicted = [
        event("Harm", "hit", target=("the base",), attacker=("Martians",)),
        event("Attack", "hit", target=("Kano",)),
    ]
    row = count(text, gold, predicted, "strict")
    assert row.counts == {"Attack": (0, 1, 1), "Harm": (1, 1, 1)}
    assert row.arguments == (1, 3, 2)
    second = count(text, gold, [*predicted, event("Attack", "hit", target="Kano")], "strict")
    assert second.counts["Attack"] == (1, 2, 1)
    assert arguments([second]).tp == 2
    assert count(text, gold[:1], [event("Attack", "Hit")], "strict").hallucinated == 1


def test_an_event_without_a_trigger_is_compared_by_class() -> None:
    gold = Annotation("Attack", {"attacker": ("Rebels",)})
    row = count("Rebels came", [gold], [Annotation("Attack", {"attacker": "Rebels"})], "strict")
    assert row.counts == {"Attack": (1, 1, 1)}
    assert row.arguments == (1, 1, 1)


_Form = Literal["NFC", "NFD"]
_FORMS: st.SearchStrategy[_Form] = st.sampled_from(["NFC", "NFD"])
_WORDS = st.lists(st.sampled_from(["Ada", "Kano", "e\u0301", "ẹ", "北", "京", "."]), max_size=8)


@given(_WORDS, _FORMS, _FORMS)
def test_normal_forms_do_not_matter(words: list[str], one: _Form, other: _Form) -> None:
    """Gold on every token, answered in order: always perfect, in any two normal forms."""
    tokens = [unicodedata.normalize(one, word) for word in words]
    text = " ".join(tokens)
    gold, offset = [], 0
    for token in tokens:
        gold.append(Annotation("X", {"span": token}, (offset, offset + len(token))))
        offset += len(token) + 1
    predicted = [said("X", unicodedata.normalize(other, token)) for token in tokens]
    score = micro([count(text, gold, predicted, "strict")])
    assert (score.tp, score.predicted, score.gold) == (len(words),) * 3
