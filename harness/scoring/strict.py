"""Our own rule: by character offsets, case kept, nothing filtered away.

A reply names surfaces, not places. Mentions of one surface are therefore assigned, in the
order they were given and whatever their classes, to the occurrences of that surface from
left to right. A mention that finds no place is a false positive. ``docs/scoring.md`` has the
definition with examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence

from harness.records import Annotation
from harness.scoring.positions import Positions, Span, normalise
from harness.scoring.rows import Counts, Row
from harness.shapes import ARGUMENTS, MENTION, SPAN, Shape, roles, shape, text_of

# An event without a trigger is compared by its class alone.
_NO_TRIGGER: Span = (-1, -1)


def count_strict(
    text: str,
    gold: Sequence[Annotation],
    predicted: Sequence[Annotation],
    *,
    dropped: int = 0,
    parse_error: bool = False,
) -> Row:
    """The row of one sentence.

    Gold is taken where its ``offsets`` say (code points of ``text``), and through the same
    assignment as predictions where it has none. ``hallucinated`` counts the predictions
    without a place, which stay among the predicted, and ``dropped``.
    """
    if not gold and not predicted:
        return Row(hallucinated=dropped, parse_error=parse_error, parsed=dropped)
    positions = Positions(text)
    at_offsets = [a.offsets and positions.of(a.offsets) for a in gold]
    by_text = _Assignment(positions, {place for place in at_offsets if place})
    expected = [
        _identity(element, place or by_text.place(element), positions)
        for element, place in zip(gold, at_offsets, strict=True)
    ]
    assignment = _Assignment(positions)
    found = [_identity(element, assignment.place(element), positions) for element in predicted]

    sums: dict[str, list[int]] = {}
    arguments = [0, 0, 0]
    still_open: dict[Hashable, list[Annotation]] = {}
    for element, identity in zip(gold, expected, strict=True):
        sums.setdefault(element.type, [0, 0, 0])[2] += 1
        arguments[2] += _arguments(element).total()
        if identity is not None:
            still_open.setdefault(identity, []).append(element)
    for element, identity in zip(predicted, found, strict=True):
        total = sums.setdefault(element.type, [0, 0, 0])
        total[1] += 1
        arguments[1] += _arguments(element).total()
        if identity is not None and (candidates := still_open.get(identity)):
            total[0] += 1
            arguments[0] += (_arguments(candidates.pop(0)) & _arguments(element)).total()
    counts: dict[str, Counts] = {label: (t[0], t[1], t[2]) for label, t in sums.items()}
    return Row(
        counts,
        sum(identity is None for identity in found) + dropped,
        parse_error,
        (arguments[0], arguments[1], arguments[2]),
        len(predicted) + dropped,
    )


class _Assignment:
    """Hands out the occurrences of each surface once, from left to right."""

    def __init__(self, positions: Positions, taken: Collection[Span] = ()) -> None:
        self._positions = positions
        self._taken = taken
        self._left: dict[Hashable, Iterator[Span]] = {}

    def place(self, element: Annotation) -> Span | None:
        """The next free place of an element's surface; ``None`` where there is none."""
        kind = shape(element)
        if kind is Shape.RELATION:
            return None
        surface = normalise(text_of(element, SPAN if kind is Shape.ENTITY else MENTION) or "")
        if kind is Shape.EVENT and not surface:
            return _NO_TRIGGER
        # One word may trigger events of several classes, so that they do not compete for it.
        key: Hashable = (element.type, surface) if kind is Shape.EVENT else surface
        if key not in self._left:
            self._left[key] = self._positions.occurrences(surface)
        return next((place for place in self._left[key] if place not in self._taken), None)


def _identity(element: Annotation, place: Span | None, positions: Positions) -> Hashable | None:
    """What two annotations must share to be equal; ``None`` for one that the text lacks."""
    if shape(element) is not Shape.RELATION:
        return None if place is None else (element.type, place)
    pair = [normalise(text_of(element, name) or "") for name in ARGUMENTS]
    if any(next(positions.occurrences(argument), None) is None for argument in pair):
        return None
    return element.type, *pair


def _arguments(element: Annotation) -> Counter[tuple[str, str]]:
    """The arguments of an event as a multiset of role and normalised surface."""
    if shape(element) is not Shape.EVENT:
        return Counter()
    return Counter(
        (role, normalise(filler)) for role, fillers in roles(element) for filler in fillers
    )
