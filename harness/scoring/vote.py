"""Self-consistency over spans: the majority of several answers to one prompt.

After Wang et al. 2023, "Self-Consistency Improves Chain of Thought Reasoning in Language Models",
with the vote taken on each annotation, since an answer here is a list and not one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from harness.records import Annotation

T = TypeVar("T")


def as_written(annotation: Annotation) -> Hashable:
    """What makes two annotations one in a vote: class and fields, character by character."""
    return annotation.type, frozenset(annotation.fields.items())


def vote(answers: Sequence[Sequence[T]], same: Callable[[T], Hashable]) -> list[T]:
    """The elements that more than half of the answers have; none without answers.

    Answers are multisets: an element is kept as often as more than half of them have it at least
    that often. The order is that of the first answer, then what it lacks in that of the second,
    and so on; which elements are kept does not depend on the order of the answers. ``same`` gives
    the identity of an element, :func:`as_written` that of an annotation.
    """
    counts = [Counter(map(same, answer)) for answer in answers]
    # Of an element's numbers in the answers, the highest that more than half of them reach.
    kept = {
        element: sorted((count[element] for count in counts), reverse=True)[len(counts) // 2]
        for element in set().union(*counts)
    }
    taken: Counter[Hashable] = Counter()
    majority = []
    for answer in answers:
        seen: Counter[Hashable] = Counter()
        for item in answer:
            element = same(item)
            seen[element] += 1
            if taken[element] < seen[element] <= kept[element]:
                taken[element] += 1
                majority.append(item)
    return majority
