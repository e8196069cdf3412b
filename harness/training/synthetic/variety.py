"""New sentences from those of the patterns, so that a model cannot learn the patterns by heart.

What tells the class of a name is the few words around it and the name itself. A model that has
seen a few hundred patterns a hundred times each goes by the whole pattern instead, and is lost
where there is none it knows. So sentences are cut and joined to others, and words that stand
further from a name are exchanged; what is left to go by is what should be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from harness.records import Annotation, Example

_LOWER = re.compile(r"(?<= )[^\W\d_]+(?= )")
# So many words stay with a name when a sentence is cut.
_BEFORE = (1, 2, 3)
_AFTER = (1, 2, 2)


def spliced(first: Example, second: Example, rng: random.Random) -> Example:
    """The beginning of one sentence and the end of another; English only, its own translation.

    Where they cannot be cut, it is the first sentence.
    """
    heads, tails = _cuts(first, rng.choice(_AFTER), 0), _cuts(second, 0, rng.choice(_BEFORE))
    # With a name on either side where that can be: most cuts would leave none.
    heads = [cut for cut in heads if any(_offsets(a)[1] <= cut for a in first.gold)] or heads
    tails = [cut for cut in tails if any(_offsets(a)[0] >= cut for a in second.gold)] or tails
    if not heads or not tails:
        return first
    head, tail = rng.choice(heads), rng.choice(tails)
    text = first.text[:head] + second.text[tail:]
    gold = [a for a in first.gold if _offsets(a)[1] <= head]
    for annotation in second.gold:
        start, end = _offsets(annotation)
        if start >= tail:
            moved = start - tail + head, end - tail + head
            gold.append(replace(annotation, offsets=moved))
    return replace(first, text=text, gold=tuple(gold), english=text, english_gold=tuple(gold))


def exchanged(example: Example, share: float, rng: random.Random, words: Sequence[str]) -> Example:
    """The example with so many of its text's lower-case words replaced by any of ``words``.

    Words next to a name stay. An English example stays its own translation.
    """
    taken = [_offsets(a) for a in example.gold]
    text, gold, end, shift = "", list(example.gold), 0, 0
    for found in _LOWER.finditer(example.text):
        start, stop = found.span()
        near = any(start <= last + 2 and first <= stop + 2 for first, last in taken)
        if near or not found[0].islower() or rng.random() >= share:
            continue
        word = rng.choice(words)
        text += example.text[end:start] + word
        end = stop
        shift = len(text) - end
        for index, (first, last) in enumerate(taken):
            if first >= end:
                gold[index] = replace(gold[index], offsets=(first + shift, last + shift))
    text += example.text[end:]
    if example.language != "eng":
        return replace(example, text=text, gold=tuple(gold))
    return replace(example, text=text, gold=tuple(gold), english=text, english_gold=tuple(gold))


def _cuts(example: Example, after: int, before: int) -> list[int]:
    """The spaces where a sentence may be cut: outside names, so many words away from them."""
    cuts = []
    spaces = [found.start() for found in re.finditer(" ", example.text)]
    for number, space in enumerate(spaces):
        # The words between the last name before the cut, or the next one, and the cut.
        since = spaces[max(number - after, 0)] if after else space
        until = spaces[min(number + before, len(spaces) - 1)] if before else space
        if all(end <= since or start > until for start, end in map(_offsets, example.gold)):
            cuts.append(space)
    return cuts


def _offsets(annotation: Annotation) -> tuple[int, int]:
    assert annotation.offsets is not None, "synthetic text knows its offsets"
    return annotation.offsets
