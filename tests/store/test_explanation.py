from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.store import Store, explain, table_key
from harness.store.explanation import _common, compare_requests
from tests.helpers.stored_answers import GUIDELINES, as_request, put, request


def test_a_stored_request_is_explained_by_its_answers(store: Store) -> None:
    put(store, 1, "first")
    key = put(store, 1, "second")
    for target in (key, as_request(request(1))):
        explained = explain(store, target)
        assert explained.key == key
        assert len(explained.answers) == 2
        assert explained.answers[0].created > explained.answers[1].created
        assert explained.neighbours == ()
        assert "is stored: 2 answer(s)" in str(explained)
        assert "gpt-4o (openai)" in str(explained)


@pytest.mark.parametrize(
    ("asked", "differences"),
    [
        (request(1, temperature=0.7), ["body.temperature: 0 → 0.7"]),
        (request(1, model="gpt-4o-mini"), ["body.model: 'gpt-4o' → 'gpt-4o-mini'"]),
        (request(1, repeat=3), ["repeat: 0 → 3"]),
        (request(1, seed=7), ["body.seed: (absent) → 7"]),
        (request(1, stop=["]"]), ["body.stop[0]: (absent) → ']'"]),
        (
            request(1, max_tokens=True, temperature=None) | {"endpoint": "lab"},
            [
                "body.max_tokens: 512 → True",
                "body.temperature: 0 → None",
                "endpoint: 'openai' → 'lab'",
            ],
        ),
    ],
)
def test_the_fields_that_differ_are_named(
    store: Store, asked: dict[str, Any], differences: list[str]
) -> None:
    # Among neighbours that differ in other ways: other sentences, other prompts, other models.
    for number in range(5):
        put(store, number)
        put(store, number, model="another")
    explained = explain(store, as_request(asked))
    assert explained.answers == ()
    assert list(explained.neighbours[0].differences) == differences
    assert explained.neighbours[0].key == table_key(request(1))
    for difference in differences:
        assert difference in str(explained)


def test_a_change_in_a_long_text_is_pointed_at(store: Store) -> None:
    for number in range(5):
        put(store, number)
    asked = request(3)
    message = asked["body"]["messages"][1]
    position = message["content"].index("real or made up", 700)
    message["content"] = message["content"].replace("real or made up", "real only")
    (difference,) = explain(store, as_request(asked)).neighbours[0].differences
    first = message["content"].index("real only") + len("real o")
    assert position > first
    assert difference.startswith(
        f"body.messages[1].content: first difference at character {first}:"
    )
    assert "real or made up" in difference
    assert "real only" in difference
    assert len(difference) < 300


def test_the_nearest_sentence_is_found_when_the_guidelines_change(store: Store) -> None:
    for number in range(50):
        put(store, number)
    asked = request(17)
    message = asked["body"]["messages"][1]
    message["content"] = message["content"].replace(GUIDELINES, GUIDELINES + "# One more line.\n")
    assert explain(store, as_request(asked)).neighbours[0].key == table_key(request(17))


def test_fields_that_never_count_are_no_difference(store: Store) -> None:
    key = put(store, 1)
    assert explain(store, as_request(request(1, timeout=3) | {"api_key": "x"})).key == key
    assert explain(store, as_request(request(1, timeout=3) | {"api_key": "x"})).answers


def test_nothing_to_compare_with(store: Store) -> None:
    assert str(explain(store, as_request(request(1)))).endswith(
        "is not stored, and the store is empty."
    )
    put(store, 1)
    with pytest.raises(UsageError, match="explain the request itself"):
        explain(store, table_key(request(2)))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        explain(store, "gpt-4o")


def test_only_so_many_are_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.explanation._SAME_MODEL", 5)
    monkeypatch.setattr("harness.store.explanation._LAST_ROWS", 10)
    first = put(store, 0)
    for number in range(1, 40):
        put(store, number, model="m" if number % 2 else "other")
    explained = explain(store, as_request(request(100, model="m")), limit=3)
    assert explained.examined == 5
    assert [near.key for near in explained.neighbours[:1]] != [first]
    assert len(explained.neighbours) == 3
    # The same prompt is found however long ago it was asked.
    assert explain(store, as_request(request(0, temperature=1))).neighbours[0].key == first


def test_a_hostile_request_does_nothing_to_a_terminal(store: Store) -> None:
    put(store, 1, **{"evil\x1b[2J": "x\x1b[2J"})
    text = str(explain(store, as_request(request(1, **{"evil\x1b[2J": 1}))))
    assert "\x1b" not in text
    assert r"body.['evil\x1b[2J']" in text


@given(st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_the_common_beginning(one: str, other: str) -> None:
    pairs = list(zip(one, other, strict=False))
    expected = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert _common(one, other) == expected


# Short ones, and long ones that differ far from their beginning.
TEXTS = st.builds(
    lambda text, n: "x" * n + text, st.text("ab", max_size=3), st.just(0) | st.just(2000)
)


@given(TEXTS, TEXTS)
def test_the_distance_is_zero_for_equal_requests_only(one: str, other: str) -> None:
    distance, differences = compare_requests({"x": one}, {"x": other})
    assert (distance == 0) == (one == other) == (differences == ())
