"""A reply read into annotations by stage, whatever shape the model gave it.

A reply is read, never evaluated. ``statements.py`` finds the lists in it, ``brackets.py`` reads
each list into a tree of brackets, ``strings.py`` reads the tokens and strings in it, and
``elements.py`` makes annotations of the tree. One rule with a name repairs each departure from the
canonical form. The table of rules is :data:`REPAIRS`; a prediction names the rules that it needed.
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

# The finish reasons that decide the status alone.
_STATUS_BY_FINISH = {
    "length": Status.TRUNCATED,
    "max_tokens": Status.TRUNCATED,
    "content_filter": Status.FILTERED,
    "refusal": Status.REFUSED,
}
# How refusals begin. English only: the instructions are, and so are refusals in practice.
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
# What may stand before a refusal's first word: quotes, headings, an object's key.
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
        text: what the model wrote after the prompt, which ends in ``<answers[0]> =``: a list
            without a name at its beginning belongs to ``answers[0]``.
        answers: the names of the lists in order. Only the last is ever scored; no other one
            stands in for it.
        fields: class name to field names in order. An element of another class is dropped.
            ``None`` accepts every class.
        finish_reason: the server's word for why the reply ended: ``length`` makes it
            ``truncated``, ``content_filter`` ``filtered``, ``refusal`` ``refused``.
        example_id: copied into the prediction.

    Returns:
        The annotations of every list that could be read, in order, duplicates kept and strings
        exactly as written. The status is ``ok`` where Python would have read the same, and
        ``repaired`` where a rule of :data:`REPAIRS` had to help. ``truncated``: the server said
        so, or the text ends inside a list; but where the server says ``stop``, every element is
        complete and only brackets are missing, they are put back. ``missing_stage``: lists
        were read, the scored one is not there. ``unparseable``: no list, or the scored one
        holds things but not one annotation. ``refused``: no list, and the reply begins as
        English refusals do. ``empty``: no text.
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
    """The prediction from the lists of a reply.

    ``cut`` says that the text ends inside the object that holds the lists.
    """
    stages: dict[str, tuple[Annotation, ...]] = {}
    for name in answers:
        if name not in lists:
            continue
        before = len(elements.dropped)
        group = lists[name]
        stages[name] = elements.annotations(group, name)
        if not group.closed:
            complete = not group.broken and all(
                item.reason != "incomplete" for item in elements.dropped[before:]
            )
            if complete and finish_reason == "stop":
                notes["unclosed_list"] = None
            else:
                cut = True
    scored = lists.get(answers[-1])
    status = _STATUS_BY_FINISH.get(finish_reason or "")
    if status is None and cut:
        status = Status.TRUNCATED
    if status is None:
        status = _status(text, stages, scored, elements)
    if status is Status.OK:
        if len(stages) < len(answers):
            notes["missing_intermediate"] = None
        if notes:
            status = Status.REPAIRED
    return Prediction(example_id, stages, status, tuple(notes), tuple(elements.dropped))


def _status(
    text: str,
    stages: Mapping[str, tuple[Annotation, ...]],
    scored: BracketNode | None,
    elements: AnnotationBuilder,
) -> Status:
    """The status of a reply that was not cut."""
    if scored is not None:
        unreadable = scored.items and not elements.any_annotation(scored)
        return Status.UNPARSEABLE if unreadable else Status.OK
    if stages:
        return Status.MISSING_STAGE
    if not _LETTERS.search(text):
        return Status.EMPTY
    opening = _OPENING.sub("", text[:200]).casefold().replace("’", "'")
    return Status.REFUSED if opening.startswith(_REFUSALS) else Status.UNPARSEABLE
