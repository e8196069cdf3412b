"""The highest score that a corpus allows under a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.records import Example
from harness.scoring.rows import Score, micro
from harness.scoring.rules import find_rule


def ceiling(examples: Iterable[Example], rule: str = "strict") -> Score:
    """What gold itself scores as an answer: its surfaces in order, offsets thrown away.

    Below 1 where a surface occurs earlier in the text than it is annotated, or where gold
    lies inside a word. Under ``published`` a perfect reply is read as it was written, so that
    its ceiling is that of ``gollie``.

    Raises:
        UnknownNameError: there is no such rule.
    """
    count = find_rule(rule).count
    return micro(
        count(
            example.text,
            example.gold,
            [replace(annotation, offsets=None) for annotation in example.gold],
        )
        for example in examples
    )
