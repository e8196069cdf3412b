"""The published filter and matching, as the GoLLIE-TF evaluation defines them.

Restated from observing the public evaluation code of GoLLIE and GoLLIE-TF; defects
included, since scores of this rule are compared with published ones. ``docs/scoring.md``
explains it with examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.records import Annotation
from harness.scoring.rows import Counts, Row
from harness.shapes import ARGUMENTS, MENTION, SPAN, Shape, roles, shape, text_of


def count_gollie(
    text: str,
    gold: Sequence[Annotation],
    predicted: Sequence[Annotation],
    *,
    dropped: int = 0,
    parse_error: bool = False,
) -> Row:
    """The row of one sentence: predictions are filtered, then matched; gold is not filtered.

    ``dropped`` is the number of elements that were read but are no annotation of the schema;
    they count as hallucinated and never use up an occurrence.
    """
    kept = keep(text, predicted)
    counts, arguments = match(gold, kept)
    parsed = len(predicted) + dropped
    return Row(counts, parsed - len(kept), parse_error, arguments, parsed)


def keep(text: str, predicted: Iterable[Annotation]) -> list[Annotation]:
    """The predictions that the text is held to contain, in order.

    A surface must be a substring of the text, case ignored, anywhere, also inside a word.
    Then the n-th element with one surface, whatever its class, stays only if the surface
    occurs n times. Events lose the arguments that are not in the text.
    """
    lowered = text.lower()
    seen: dict[str, int] = {}
    kept = []
    for element in predicted:
        grounded, key = _grounded(element, lowered)
        if grounded is None:
            continue
        if key:  # An empty surface is never limited.
            seen[key] = seen.get(key, 0) + 1
            # The counter goes on rising for elements that are dropped here.
            if lowered.count(key) < seen[key]:
                continue
        kept.append(grounded)
    return kept


def _grounded(element: Annotation, lowered: str) -> tuple[Annotation | None, str | None]:
    """The element as far as the text has it, and the key of its count limit.

    The key is not stripped of white space although the search before it is.
    """
    match shape(element):
        case Shape.ENTITY:
            span = text_of(element, SPAN)
            if span is None or span.strip().lower() not in lowered:
                return None, None
            return element, span.lower()
        case Shape.RELATION:
            for name in ARGUMENTS:
                argument = text_of(element, name)
                if argument is None or argument.lower() not in lowered:
                    return None, None
            return element, None
        case Shape.EVENT:
            mention = text_of(element, MENTION) or ""
            if mention.lower() not in lowered:
                return None, None
            fields = dict(element.fields)
            for role, fillers in roles(element):
                fields[role] = tuple(filler for filler in fillers if filler.lower() in lowered)
            return Annotation(element.type, fields, element.offsets), mention.lower()


def match(
    gold: Sequence[Annotation], kept: Sequence[Annotation]
) -> tuple[dict[str, Counts], Counts]:
    """Counts by class, and those of event arguments, of one sentence's multisets.

    Each prediction that equals a gold element still open closes it; nothing is deduplicated.
    Equality is an equivalence relation, so that the order cannot change the counts.
    """
    sums: dict[str, list[int]] = {}
    arguments = [0, 0, 0]
    still_open: dict[tuple[str, ...], list[Annotation]] = {}
    for element in gold:
        sums.setdefault(element.type, [0, 0, 0])[2] += 1
        arguments[2] += _number_of_arguments(element)
        still_open.setdefault(_identity(element), []).append(element)
    for element in kept:
        total = sums.setdefault(element.type, [0, 0, 0])
        total[1] += 1
        arguments[1] += _number_of_arguments(element)
        candidates = still_open.get(_identity(element))
        if candidates:
            total[0] += 1
            arguments[0] += _shared_arguments(candidates.pop(0), element)
    counts = {label: (total[0], total[1], total[2]) for label, total in sums.items()}
    return counts, (arguments[0], arguments[1], arguments[2])


def _identity(element: Annotation) -> tuple[str, ...]:
    """What must be equal for two annotations to be equal; a mention keeps its white space."""
    match shape(element):
        case Shape.ENTITY:
            return element.type, element.span.strip().lower()
        case Shape.RELATION:
            pair = (text_of(element, name) or "" for name in ARGUMENTS)
            return element.type, *(argument.strip().lower() for argument in pair)
        case Shape.EVENT:
            return element.type, (text_of(element, MENTION) or "").lower()


def _number_of_arguments(element: Annotation) -> int:
    if shape(element) is not Shape.EVENT:
        return 0
    return sum(len(fillers) for _, fillers in roles(element))


def _shared_arguments(gold: Annotation, predicted: Annotation) -> int:
    """Arguments of two matched events that agree by role, exactly and with their case."""
    if shape(gold) is not Shape.EVENT:
        return 0
    expected = dict(roles(gold))
    return sum(
        (Counter(fillers) & Counter(expected.get(role, ()))).total()
        for role, fillers in roles(predicted)
    )
