"""Grouping prompts for prefix sharing: those of a group share a prefix, longest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Tokens = Sequence[int]

# A shorter prefix is not worth a forward pass of its own.
_SHORTEST_PREFIX = 8
# The least part of the tokens saved by sharing that a split has to add: small savings only make
# small batches.
_MIN_GAIN = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Indices of prompts that share their first ``prefix`` tokens, longest prompt first."""

    prefix: int
    members: tuple[int, ...]


def groups(prompts: Sequence[Tokens]) -> list[Group]:
    """Group prompts by their prefixes so that few tokens are computed, each prefix once.

    The prompts of one system and schema share all tokens before their sentence and are one group;
    prompts of several schemas are one group each. Every prompt has at least one token after the
    prefix.
    """
    order = sorted(range(len(prompts)), key=lambda i: list(prompts[i]))
    shared = [_common_prefix(prompts[a], prompts[b]) for a, b in pairwise(order)]
    result = []
    for start, end in _split(shared, 0, len(order)):
        members = sorted(order[start:end], key=lambda i: (-len(prompts[i]), i))
        prefix = min(shared[start : end - 1], default=0)
        prefix = min(prefix, len(prompts[members[-1]]) - 1)
        result.append(Group(prefix if prefix >= _SHORTEST_PREFIX else 0, tuple(members)))
    return result


def _split(shared: Sequence[int], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges (start, end) of sorted prompts that are the groups.

    ``shared[i]`` is the number of tokens that prompts i and i + 1 share. The sorted prompts of a
    range share the minimum of these. A group of n prompts saves n - 1 passes over its prefix.
    """
    pending_ranges = [(start, end)] if end > start else []
    while pending_ranges:
        start, end = pending_ranges.pop()
        inner = shared[start : end - 1]
        before = _running_minimum(inner)
        after = _running_minimum(inner[::-1])[::-1]
        whole = (end - start - 1) * min(inner, default=0)
        best, cut = 0.0, 0
        for i in range(len(inner)):
            # Left of this cut are i + 1 prompts, which save i passes over their prefix.
            left = i * before[i - 1] if i else 0
            right = (len(inner) - i - 1) * after[i + 1] if i + 1 < len(inner) else 0
            if left + right - whole > best:
                best, cut = left + right - whole, start + i + 1
        if cut and best > _MIN_GAIN * (whole + best):
            pending_ranges += [(cut, end), (start, cut)]
        else:
            yield start, end


def _running_minimum(values: Sequence[int]) -> list[int]:
    minima: list[int] = []
    for value in values:
        minima.append(min(value, minima[-1]) if minima else value)
    return minima


def _common_prefix(one: Tokens, other: Tokens) -> int:
    """The length of the longest common prefix of two prompts, in tokens."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))
