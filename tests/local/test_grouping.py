from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from harness.local.grouping import groups


def _cost(prompts: list[list[int]]) -> int:
    return sum(
        g.prefix + sum(len(prompts[i]) - g.prefix for i in g.members) for g in groups(prompts)
    )


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), max_size=30))
def test_every_prompt_is_in_one_group_with_a_token_of_its_own(prompts: list[list[int]]) -> None:
    found = groups(prompts)
    assert sorted(i for g in found for i in g.members) == list(range(len(prompts)))
    for group in found:
        members = [prompts[i] for i in group.members]
        assert all(m[: group.prefix] == members[0][: group.prefix] for m in members)
        assert all(len(m) > group.prefix for m in members)
        assert [len(m) for m in members] == sorted(map(len, members), reverse=True)
    assert _cost(prompts) <= sum(map(len, prompts))


def _prompts(schema: int, count: int, shared: int = 200) -> list[list[int]]:
    draw = random.Random(schema)
    return [
        [0, *[schema] * shared, *(draw.randrange(100, 200) for _ in range(draw.randrange(5, 40)))]
        for _ in range(count)
    ]


def test_prompts_of_one_schema_are_one_group() -> None:
    (group,) = groups(_prompts(1, 100))
    assert group.prefix >= 201


def test_each_schema_has_its_own_group_in_any_order() -> None:
    prompts = _prompts(1, 30) + _prompts(2, 40) + _prompts(3, 50)
    random.Random(0).shuffle(prompts)
    found = groups(prompts)
    assert sorted(len(g.members) for g in found) == [30, 40, 50]
    assert all(g.prefix >= 201 for g in found)


def test_one_odd_prompt_does_not_cost_the_others_their_group() -> None:
    prompts = [[0, 9, 9, 9], *_prompts(1, 30), *_prompts(2, 30), [0, 7] + [5] * 300]
    assert _cost(prompts) < sum(map(len, prompts)) / 3


def test_prompts_that_begin_apart_are_one_group_without_a_prefix() -> None:
    (group,) = groups([[i, *range(20 + i)] for i in range(12)])
    assert group.prefix == 0


def test_copies_of_a_prompt_keep_a_token_each() -> None:
    (group,) = groups([list(range(50))] * 4)
    assert group.prefix == 49
    (group,) = groups([[1], [1]])
    assert group.prefix == 0
