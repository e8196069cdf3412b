"""Replies in Python, in any form that models use, read into annotations by stage.

A reply is parsed and never evaluated. ``statements.py`` finds the lists, ``brackets.py`` reads
each list into a tree of brackets, ``strings.py`` reads the tokens and strings, and
``elements.py`` builds annotations from the tree. Each departure from the canonical form is
repaired by one rule of the table :data:`REPAIRS`. A prediction names the rules that it needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.reading.brackets import BracketNode
from harness.reading.elements import DROP_REASONS, AnnotationBuilder
from harness.reading.repairs import REPAIRS, RepairNotes
from harness.reading.statements import StatementReader
from harness.records import Annotation, Prediction, Status

__all__ = ["DROP_REASONS", "REPAIRS", "make_prediction", "parse_reply"]

# The finish reasons that determine the status.
_STATUS_BY_FINISH = {
    "length": Status.TRUNCATED,
    "max_tokens": Status.TRUNCATED,
    "content_filter": Status.FILTERED,
    "refusal": Status.REFUSED,
}
# The beginnings of refusals. The instructions are English, and so are refusals in practice.
_REFUSALS = (
    "as a language model",
    "as an ai",
    "i am not able to",
    "i am sorry",
    "i am unable to",
    "i apologize",
    "i can not",
    "i can't",
    "i cannot",
    "i do not feel comfortable",
    "i don't feel comfortable",
    "i must decline",
    "i won't",
    "i will not",
    "i'm afraid",
    "i'm not able to",
    "i'm sorry",
    "i'm unable to",
    "my apologies",
    "sorry",
    "unfortunately, i",
)
# Quotes, marks of a heading and the key of an object may stand before a refusal.
_OPENING = re.compile(r"""\A[ \t\r\n*#>"'“”]*+(?:\{\s*+"\w*+"\s*+:\s*+")?+""")
_LETTERS = re.compile(r"[^\s\x00\ufeff\u200b-\u200f\u2060]")


def parse_reply(
    text: str,
    answers: Sequence[str] = ("result", "final_result"),
    *,
    fields: Mapping[str, tuple[str, ...]] | None = None,
    finish_reason: str | None = None,
    example_id: str = "",
) -> Prediction:
    """Read a reply; no input raises, and the time is linear in its length.

    Args:
        text: the model's reply. The prompt ends in ``<answers[0]> =``, so that a list without a
            name at the beginning belongs to ``answers[0]``.
        answers: the names of the lists, in order. Only the last list is scored, and no other list
            replaces it.
        fields: class name to field names, in order. An element of another class is dropped.
            ``None`` accepts every class.
        finish_reason: the server's reason for the end of the reply. ``length`` gives the status
            ``truncated``, ``content_filter`` ``filtered``, ``refusal`` ``refused``.
        example_id: copied into the prediction.

    Returns:
        The annotations of every list that could be read, in order, with duplicates, and with
        strings exactly as written. The ``finish_reason`` may determine the status; otherwise it is

        - ``ok``: Python would read the same annotations.
        - ``repaired``: a rule of :data:`REPAIRS` was needed.
        - ``truncated``: the text ends inside a list. But if ``finish_reason`` is ``stop``, every
          element is complete and only brackets are missing, then the brackets are repaired.
        - ``missing_stage``: there are lists, but not the scored one.
        - ``unparseable``: there is no list, or the scored list has elements but no annotation.
        - ``refused``: there is no list, and the reply begins like an English refusal.
        - ``empty``: there is no text.
    """
    notes: RepairNotes = {}
    elements = AnnotationBuilder(text, fields, notes)
    lists = StatementReader(text, answers, elements, notes).read()
    return make_prediction(text, answers, lists, elements, notes, finish_reason, example_id)


def make_prediction(
    text: str,
    answers: Sequence[str],
    lists: Mapping[str, BracketNode],
    elements: AnnotationBuilder,
    notes: RepairNotes,
    finish_reason: str | None,
    example_id: str,
    *,
    cut: bool = False,
) -> Prediction:
    """The prediction from the lists of a reply, by the names of the answers.

    ``cut`` says that the text ends inside the JSON object that holds the lists.
    """
    stages: dict[str, tuple[Annotation, ...]] = {}
    for name in answers:
        if name not in lists:
            continue
        drop_count = len(elements.dropped)
        group = lists[name]
        stages[name] = elements.annotations(group, name)
        if not group.closed:
            complete = not group.broken and all(
                item.reason != "incomplete" for item in elements.dropped[drop_count:]
            )
            if complete and finish_reason == "stop":
                notes["unclosed_list"] = None
            else:
                cut = True
    scored_list = lists.get(answers[-1])
    status = _STATUS_BY_FINISH.get(finish_reason or "")
    if status is None and cut:
        status = Status.TRUNCATED
    if status is None:
        status = _status(text, stages, scored_list, elements)
    if status is Status.OK:
        if len(stages) < len(answers):
            notes["missing_intermediate"] = None
        if notes:
            status = Status.REPAIRED
    return Prediction(example_id, stages, status, tuple(notes), tuple(elements.dropped))


def _status(
    text: str,
    stages: Mapping[str, tuple[Annotation, ...]],
    scored_list: BracketNode | None,
    elements: AnnotationBuilder,
) -> Status:
    """The status of a reply that is not cut."""
    if scored_list is not None:
        unreadable = scored_list.items and not elements.any_annotation(scored_list)
        return Status.UNPARSEABLE if unreadable else Status.OK
    if stages:
        return Status.MISSING_STAGE
    if not _LETTERS.search(text):
        return Status.EMPTY
    opening = _OPENING.sub("", text[:200]).casefold().replace("’", "'")
    return Status.REFUSED if opening.startswith(_REFUSALS) else Status.UNPARSEABLE
