from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.store import canonical, identity, normalise_base_url, table_key
from harness.store.key import DENIED
from tests.helpers.stored_answers import request

# With lone surrogates, which a damaged corpus may hold.
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=5)


class Colour(StrEnum):
    RED = "red"


def test_the_key_of_a_request_stays_what_it_is() -> None:
    """Worked out by hand: a change here makes every stored answer unreachable."""
    asked = {
        "repeat": 0,
        "endpoint": "openai",
        "body": {"temperature": 0.0, "model": "gpt-4o", "prompt": 'Kanò\n"x"', "top_p": 0.1},
        "timeout": 30,
    }
    text = (
        r'{"body":{"model":"gpt-4o","prompt":"Kan\u00f2\n\"x\"","temperature":0,"top_p":0.1},'
        r'"endpoint":"openai","repeat":0}'
    )
    assert canonical(identity(asked)) == text
    # printf '%s' '…' | sha256sum
    assert table_key(asked) == "ea7926ebd1a40b0f8988aff0892333dfc00cf407ca5392136c983599235dc0e1"


@given(OBJECTS)
def test_canonical_json_is_a_fixed_point(value: dict[str, Any]) -> None:
    text = canonical(value)
    assert text.isascii()
    assert canonical(json.loads(text)) == text


@given(OBJECTS, st.randoms())
def test_the_order_of_fields_does_not_matter(value: dict[str, Any], random: Any) -> None:
    def shuffled(item: Any) -> Any:
        if isinstance(item, dict):
            names = list(item)
            random.shuffle(names)
            return {name: shuffled(item[name]) for name in names}
        return [shuffled(each) for each in item] if isinstance(item, list) else item

    assert canonical(shuffled(value)) == canonical(value)


@given(OBJECTS, OBJECTS)
def test_different_values_have_different_texts(one: dict[str, Any], other: dict[str, Any]) -> None:
    # json.dumps as oracle; it tells 0 from 0.0 and -0.0, which the key must not.
    def oracle(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: oracle(item) for name, item in value.items()}
        if isinstance(value, list):
            return [oracle(item) for item in value]
        return int(value) if isinstance(value, float) and value == int(value) else value

    same = json.dumps(oracle(one), sort_keys=True) == json.dumps(oracle(other), sort_keys=True)
    assert (canonical(one) == canonical(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, 0.0), (0, -0.0), (1, 1.0), ((1, 2), [1, 2]), ("red", Colour.RED), (10**22, 1e22)],
)
def test_one_value_has_one_text(one: Any, other: Any) -> None:
    assert canonical({"x": one}) == canonical({"x": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        (0.1, 0.2),
        ("\u00e9", "e\u0301"),
        ([], {}),
        (2**53, 2**53 + 1),
    ],
)
def test_values_that_differ_have_two_texts(one: Any, other: Any) -> None:
    assert canonical({"x": one}) != canonical({"x": other})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (float("nan"), "body.x[1] is nan"),
        (float("-inf"), "body.x[1] is -inf"),
        (Path("x"), "body.x[1] is of type"),
        (b"x", "body.x[1] is of type bytes"),
        ({1: 2}, "body.x[1][1]"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(value: Any, named: str) -> None:
    with pytest.raises(UsageError) as error:
        table_key({"body": {"x": [0, value]}})
    assert named in str(error.value)


def test_a_request_is_a_table() -> None:
    with pytest.raises(UsageError, match="table of fields, not list"):
        table_key([1])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(DENIED))
def test_denied_fields_do_not_change_the_key(name: str) -> None:
    plain = request(1)
    for spelling in (name, name.upper(), name.replace("_", "-")):
        assert table_key(plain | {spelling: 17}) == table_key(plain)
        assert table_key(request(1, **{spelling: 17})) == table_key(plain)
        assert table_key(request(1, extra_body={"top_k": 5, spelling: 17})) == table_key(
            request(1, extra_body={"top_k": 5})
        )


@pytest.mark.parametrize("name", sorted(DENIED))
def test_deeper_down_the_same_names_are_part_of_the_question(name: str) -> None:
    def schema(*names: str) -> dict[str, Any]:
        properties = {each: {"type": "string"} for each in names}
        return {"type": "json_schema", "json_schema": {"schema": {"properties": properties}}}

    assert table_key(request(1, response_format=schema("a", name))) != table_key(
        request(1, response_format=schema("a"))
    )


@given(name=st.text(min_size=1, max_size=12), value=JSON)
def test_every_other_field_changes_the_key(name: str, value: Any) -> None:
    folded = name.lower().replace("-", "_")
    if folded in DENIED or folded in ("endpoint", "family", "body", "repeat") or "header" in folded:
        return
    assert table_key(request(1) | {name: value}) != table_key(request(1))


def test_each_part_of_a_request_is_in_its_key() -> None:
    variants = [
        request(1),
        request(2),
        request(1, repeat=1),
        request(1, model="gpt-4o-mini"),
        request(1, temperature=0.7),
        request(1, seed=1),
        request(1, n_probs=1),
        request(1) | {"endpoint": "lab"},
        request(1) | {"family": "completions"},
        request(1) | {"headers": {"X-Route": "a"}},
    ]
    assert len({table_key(each) for each in variants}) == len(variants)


SECRET = "sk-do-not-keep-me"


@pytest.mark.parametrize("carrier", ["headers", "extra_headers", "default_headers", "extra_query"])
@pytest.mark.parametrize(
    "name",
    ["Authorization", "api-key", "X-API-Key", "Cookie", "x-goog-api-key", "X-Auth-Token", "sig"],
)
@pytest.mark.parametrize("inside", [False, True])
def test_credentials_never_enter(carrier: str, name: str, inside: bool) -> None:
    table = {carrier: {name: SECRET, "X-Route": "a"}}
    asked = request(1, **table) if inside else request(1) | table
    kept = canonical(identity(asked))
    assert SECRET not in kept
    assert "X-Route" in kept
    # A table with nothing but a credential in it is no table.
    bare = {carrier: {name: SECRET}}
    assert table_key(request(1, **bare) if inside else request(1) | bare) == table_key(request(1))


def test_headers_that_are_no_table_are_refused_without_repeating_them() -> None:
    with pytest.raises(UsageError, match="extra_headers is a table") as error:
        table_key(request(1, extra_headers=[["Authorization", SECRET]]))
    assert SECRET not in str(error.value)


def test_an_address_with_a_key_in_it_is_cleaned() -> None:
    asked = request(1) | {"base_url": f"https://me:{SECRET}@api.example.org/v1?key={SECRET}"}
    assert SECRET not in canonical(identity(asked))
    assert table_key(asked) == table_key(request(1) | {"base_url": "https://api.example.org/v1/"})


def test_identity_is_the_same_when_taken_twice_and_leaves_the_request_alone() -> None:
    asked = request(1, api_key=SECRET, extra_headers={"Authorization": SECRET})
    before = json.dumps(asked)
    once = identity(asked)
    assert identity(once) == once
    assert json.dumps(asked) == before


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.org/v1", "https://api.example.org/v1"),
        ("HTTPS://API.Example.ORG/v1/", "https://api.example.org/v1"),
        ("https://api.example.org:443/v1", "https://api.example.org/v1"),
        ("http://api.example.org:80/", "http://api.example.org"),
        ("http://api.example.org:443/v1", "http://api.example.org:443/v1"),
        ("http://127.0.0.1:8000/v1//", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://user:pw@host/V1?key=a#b", "http://host/V1"),
        (" http://host/v1 ", "http://host/v1"),
    ],
)
def test_an_address_has_one_spelling(url: str, expected: str) -> None:
    assert normalise_base_url(url) == expected
    assert normalise_base_url(expected) == expected


@pytest.mark.parametrize(
    "url", ["", "api.example.org/v1", "/v1", f"http://host:{SECRET}/v1", "http://"]
)
def test_an_incomplete_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match="not a complete address") as error:
        normalise_base_url(url)
    assert SECRET not in str(error.value)
