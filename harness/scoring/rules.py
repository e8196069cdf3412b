"""The three matching rules, by name.

- ``gollie``: the published filter and matching on what our parser read. The default.
- ``strict``: character offsets, case kept, nothing filtered; ``docs/scoring.md`` defines it.
- ``published``: ``gollie`` on what the public scripts would have read; for parity only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import UnknownNameError, UsageError, unknown
from harness.records import Annotation
from harness.scoring import gollie, strict
from harness.scoring.rows import Row

RULES = ("gollie", "strict", "published")


def check_rule(rule: str) -> str:
    """The name itself; raises :class:`UnknownNameError` for one that is no rule."""
    if rule not in RULES:
        raise UnknownNameError(unknown("matching rule", rule, RULES))
    return rule


def count(
    text: str,
    gold: Sequence[Annotation],
    predicted: Sequence[Annotation],
    rule: str = "gollie",
    *,
    dropped: int = 0,
    parse_error: bool = False,
    reply_text: str | None = None,
    fields: Mapping[str, tuple[str, ...]] | None = None,
) -> Row:
    """The row of one sentence under a rule.

    ``text`` is the example's text and ``predicted`` the annotations of the scored stage, empty
    where the status does not contribute. ``dropped`` is the number of elements of that stage
    that the parser left out as no annotation of the schema; ``parse_error`` says that it could
    read nothing. The rule ``published`` reads ``reply_text`` itself, given ``fields`` (class
    name to field names), and ignores ``predicted``, ``dropped`` and ``parse_error``; without a
    reply nothing is predicted.

    Raises :class:`UnknownNameError` for an unknown rule, :class:`UsageError` where
    ``published`` lacks ``fields``.
    """
    if rule == "gollie":
        return gollie.count(text, gold, predicted, dropped=dropped, parse_error=parse_error)
    if rule == "strict":
        return strict.count(text, gold, predicted, dropped=dropped, parse_error=parse_error)
    check_rule(rule)
    if reply_text is None:
        return gollie.count(text, gold, ())
    if fields is None:
        raise UsageError(
            "The rule 'published' reads the reply itself: pass fields=schema.fields() with it."
        )
    from harness.reading.published import read_published

    elements, unreadable = read_published(reply_text, fields)
    annotations = [element for element in elements if element is not None]
    junk = len(elements) - len(annotations)
    return gollie.count(text, gold, annotations, dropped=junk, parse_error=unreadable)
