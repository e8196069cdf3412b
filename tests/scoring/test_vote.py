"""The majority of several answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Annotation
from harness.scoring import as_written, vote


def letters(*answers: str) -> str:
    return "".join(vote(answers, str))


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        ([], ""),
        (["ab"], "ab"),
        (["ab", "bc", "b"], "b"),
        # Half is not a majority.
        (["a", "b"], ""),
        (["a", "a", "b", "b"], ""),
        (["a", "a", "a", "b"], "a"),
        # An empty answer has a vote.
        (["a", "", ""], ""),
        (["a", "a", ""], "a"),
        # As often as more than half have it at least that often.
        (["aaa", "aa", "a"], "aa"),
        (["aa", "a", ""], "a"),
        (["aa", "aa", "a", "a"], "a"),
        # Each answer differs, yet all of what they share by two is kept, in order of appearance.
        (["ab", "bc", "ca"], "abc"),
        (["ba", "ab", "ab"], "ba"),
        (["bxa", "aab", "baa"], "baa"),
    ],
)
def test_what_is_kept(answers: Sequence[str], kept: str) -> None:
    assert letters(*answers) == kept


def test_annotations_are_one_as_they_are_written() -> None:
    def person(span: str) -> list[Annotation]:
        return [Annotation("Person", {"span": span})]

    assert vote([person("Ada"), person("Ada"), person("ada")], as_written) == person("Ada")
    assert vote([person("Ada"), person("ada "), person("ada")], as_written) == []
    assert vote([person("Ada"), [Annotation("Place", {"span": "Ada"})]], as_written) == []
    event = Annotation("E", {"mention": "met", "who": ("Ada", "Bo")})
    turned = Annotation("E", {"who": ("Ada", "Bo"), "mention": "met"})
    other = Annotation("E", {"who": ("Bo", "Ada"), "mention": "met"})
    assert vote([[event], [turned], [other]], as_written) == [event]


several = st.lists(st.text("abcd", max_size=6), max_size=7)


@given(st.text("abcd", max_size=8), st.integers(1, 7))
def test_equal_answers_are_their_own_majority(answer: str, times: int) -> None:
    assert letters(*[answer] * times) == answer


@given(several, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_changes_the_order_only(
    answers: list[str], random: Random
) -> None:
    shuffled = random.sample(answers, len(answers))
    assert Counter(letters(*answers)) == Counter(letters(*shuffled))


@given(several)
def test_every_number_has_its_majority(answers: list[str]) -> None:
    kept = Counter(letters(*answers))
    for letter in "abcd":
        numbers = [answer.count(letter) for answer in answers]
        reached = [n for n in range(1, 9) if 2 * sum(m >= n for m in numbers) > len(numbers)]
        assert kept[letter] == max(reached, default=0)
