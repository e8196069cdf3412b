"""The matching rules. A new rule is one :class:`Rule` in :data:`RULES`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import UnknownNameError, UsageError, unknown_name_message
from harness.records import Annotation
from harness.scoring.gollie import count_gollie
from harness.scoring.rows import Row
from harness.scoring.strict import count_strict

#: Class name to the names of its fields.
Fields = Mapping[str, tuple[str, ...]]
#: Reads a reply by itself: each element of its list, ``None`` for one that is no annotation, and
#: whether nothing could be read.
ReplyReader = Callable[[str, Fields], tuple[Sequence[Annotation | None], bool]]


class Count(Protocol):
    """Counts one sentence: gold and predictions against its text.

    ``dropped`` is the number of elements that were read and are no annotations of the schema;
    ``parse_error`` says that nothing could be read.
    """

    def __call__(
        self,
        text: str,
        gold: Sequence[Annotation],
        predicted: Sequence[Annotation],
        *,
        dropped: int = 0,
        parse_error: bool = False,
    ) -> Row:
        """The row of the sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """How predictions are matched with gold.

    ``filter`` and ``normalisation`` are what a signature says of it: what is taken out of the
    predictions before matching, and how surfaces are normalised before they are compared. A rule
    with ``read`` reads replies by itself, whatever our reader made of them.
    """

    name: str
    count: Count
    filter: str
    normalisation: str
    read: ReplyReader | None = None


def _read_published(reply: str, fields: Fields) -> tuple[Sequence[Annotation | None], bool]:
    from harness.reading.published import read_published

    return read_published(reply, fields)


#: The rules by name; the first one is the default.
RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        # The published filter and matching on what our reader read.
        Rule("gollie", count_gollie, "occurrence", "lower+strip"),
        # Character offsets, case kept, nothing filtered; docs/scoring.md defines it.
        Rule("strict", count_strict, "none", "nfc+strip+cjkspace"),
        # The same on what the public scripts would have read; for parity only.
        Rule("published", count_gollie, "occurrence", "lower+strip", _read_published),
    )
}


def find_rule(name: str) -> Rule:
    """The rule of a name.

    Raises:
        UnknownNameError: there is none; the message lists the choices.
    """
    if name not in RULES:
        raise UnknownNameError(unknown_name_message("matching rule", name, RULES))
    return RULES[name]


def count(
    text: str,
    gold: Sequence[Annotation],
    predicted: Sequence[Annotation],
    rule: str = "gollie",
    *,
    dropped: int = 0,
    parse_error: bool = False,
    reply_text: str | None = None,
    fields: Fields | None = None,
) -> Row:
    """The row of one sentence under a rule.

    Args:
        text: the example's text.
        predicted: the annotations of the scored stage, empty where the status does not
            contribute.
        dropped: the number of elements of that stage that are no annotations of the schema.
        parse_error: nothing could be read.
        reply_text: the reply, for a rule that reads replies by itself; such a rule ignores
            ``predicted``, ``dropped`` and ``parse_error``. Without a reply nothing is predicted.
        fields: the classes of the schema, for such a rule.

    Raises:
        UnknownNameError: there is no such rule.
        UsageError: the rule reads replies by itself, and ``fields`` is missing.
    """
    found = find_rule(rule)
    if found.read is None:
        return found.count(text, gold, predicted, dropped=dropped, parse_error=parse_error)
    if reply_text is None:
        return found.count(text, gold, ())
    if fields is None:
        raise UsageError(
            f"The rule '{rule}' reads the reply itself: pass fields=schema.fields() with it."
        )
    elements, unreadable = found.read(reply_text, fields)
    annotations = [element for element in elements if element is not None]
    junk = len(elements) - len(annotations)
    return found.count(text, gold, annotations, dropped=junk, parse_error=unreadable)
