"""The highest score that a corpus allows under a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.records import Example
from harness.scoring.rows import Score, micro
from harness.scoring.rules import check_rule, count


def ceiling(examples: Iterable[Example], rule: str = "strict") -> Score:
    """What gold itself scores as an answer: its surfaces in order, offsets thrown away.

    Below 1 where a surface occurs earlier in the text than it is annotated, or where gold
    lies inside a word. Under ``published`` a perfect reply is read as it was written, so that
    its ceiling is that of ``gollie``. Raises :class:`UnknownNameError` for an unknown rule.
    """
    matching = "strict" if check_rule(rule) == "strict" else "gollie"
    return micro(
        count(
            example.text,
            example.gold,
            [replace(annotation, offsets=None) for annotation in example.gold],
            matching,
        )
        for example in examples
    )
