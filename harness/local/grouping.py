"""Which prompts are answered together: those that begin alike, and are of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Tokens = Sequence[int]

# A shorter beginning is not worth an engine's separate pass over it.
_SHORTEST_PREFIX = 8
# A split has to save this part of what the whole costs; small savings only make small batches.
_WORTH = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Prompts that share their first ``prefix`` tokens, as indices, longest first."""

    prefix: int
    members: tuple[int, ...]


def groups(prompts: Sequence[Tokens]) -> list[Group]:
    """Put prompts together so that few tokens are computed, shared beginnings once.

    The prompts of one system and schema share all up to their text: one group. Where several
    schemas are asked at once each gets its own. Every prompt keeps at least one token of its
    own behind the shared ones.
    """
    order = sorted(range(len(prompts)), key=lambda i: list(prompts[i]))
    shared = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    found = []
    for start, end in _split(shared, 0, len(order)):
        members = sorted(order[start:end], key=lambda i: (-len(prompts[i]), i))
        prefix = min(shared[start : end - 1], default=0)
        prefix = min(prefix, len(prompts[members[-1]]) - 1)
        found.append(Group(prefix if prefix >= _SHORTEST_PREFIX else 0, tuple(members)))
    return found


def _split(shared: Sequence[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of sorted prompts that are best computed together.

    ``shared[i]`` is how many tokens prompts i and i + 1 have in common; sorted prompts of a
    range have the least of theirs in common. A group of n saves n - 1 passes over that.
    """
    waiting = [(start, end)] if end > start else []
    while waiting:
        start, end = waiting.pop()
        inner = shared[start : end - 1]
        before = _running_least(inner)
        after = _running_least(inner[::-1])[::-1]
        whole = (end - start - 1) * min(inner, default=0)
        best, cut = 0.0, 0
        for i in range(len(inner)):
            # Left of this cut are i + 1 prompts, with i common beginnings among them.
            left = i * before[i - 1] if i else 0
            right = (len(inner) - i - 1) * after[i + 1] if i + 1 < len(inner) else 0
            if left + right - whole > best:
                best, cut = left + right - whole, start + i + 1
        if cut and best > _WORTH * (whole + best):
            waiting += [(cut, end), (start, cut)]
        else:
            yield start, end


def _running_least(values: Sequence[int]) -> list[int]:
    least: list[int] = []
    for value in values:
        least.append(min(value, least[-1]) if least else value)
    return least


def _common(one: Tokens, other: Tokens) -> int:
    """How many tokens two prompts have in common from their beginning."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))
