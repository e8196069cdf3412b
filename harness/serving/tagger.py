"""A small tagger that stands in for a model: it reads the prompt, and nothing but the prompt.

It knows a little English: capital letters, titles, words such as "University", a handful of
places. It never sees gold, so what it answers is sometimes wrong, and the strategies come out
differently for the reasons that they do with models: cues are there in English and not in the
text, and a name that is spelled differently there is lost on the way.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PERSON, ORGANIZATION, LOCATION = "Person", "Organization", "Location"


class TaggedMention(NamedTuple):
    """A span and its class; ``sure`` where a cue said so and it is not only capital letters."""

    kind: str
    span: str
    sure: bool


def _words(text: str, separator: str | None = None) -> frozenset[str]:
    return frozenset(text.split(separator))


_TITLES = _words(
    "mr mrs ms dr prof professor president minister senator governor king queen chief judge "
    "captain general colonel bishop pastor coach mayor ambassador sheikh imam sir madam"
)
_ORGANIZATIONS = _words(
    "university college school ministry bank party company ltd inc corporation council committee "
    "commission court hospital police army union association federation parliament senate "
    "assembly agency authority board institute foundation club fc united city's newspaper radio "
    "television airlines church group organisation organization network cooperative"
)
_PLACES = _words("river lake mount mountain street road avenue county province island valley park")
_LINKS = _words("of de da do del la bin al el van von and for")
_PREPOSITIONS = _words("in at from near across around outside inside into towards toward")
_SPEECH = _words("said says told added asked explained promised replied thinks wrote plays won")
_DATES = _words(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may "
    "june july august september october november december christmas easter ramadan"
)
_PLACE_NAMES = _words(
    "africa, europe, asia, america, london, paris, berlin, rome, madrid, moscow, beijing, "
    "tokyo, delhi, mumbai, washington, jerusalem, dublin, lisbon, vienna, lagos, abuja, kano, "
    "ibadan, nairobi, mombasa, kampala, kigali, lusaka, harare, accra, kumasi, dakar, bamako, "
    "ouagadougou, cotonou, johannesburg, durban, pretoria, addis ababa, dar es salaam, "
    "dodoma, lilongwe, blantyre, gaborone, maputo, kinshasa, cairo, nigeria, kenya, uganda, "
    "tanzania, rwanda, zambia, zimbabwe, malawi, ghana, senegal, mali, togo, benin, botswana, "
    "cameroon, ethiopia, mozambique, south africa, burkina faso, ivory coast, egypt, sudan, "
    "somalia, germany, france, spain, italy, portugal, russia, ukraine, china, japan, india, "
    "brazil, mexico, usa, us, uk, united states, united kingdom, new york, cape town",
    ", ",
)
_ADJECTIVE = re.compile(r"(?:ian|ean|ese|ish|can)s?$")
_SENTENCE_END = frozenset(".!?:\"'“”«»-–—")
_EDGES = "\"'“”‘’«»()[]{},;:!?…"

# A statement of the prompt, on one line or wrapped in parentheses: a literal holds no newline, so
# a sentence that looks like one cannot be taken for it.
_STATEMENT = r"^{name} = (?:\(\n {{4}})?((?:\"|').*)$"
# Lines by which the prompt says what is wanted, and which a model writes itself as it goes on.
_FUSION = "# (2) generate annotation for text"
_ENGLISH_LIST = (
    "# The annotation instances that take place in the eng_text above are listed here\nresult ="
)
_FINAL_LIST = (
    "# The annotation instances that take place in the text above are listed here\nfinal_result ="
)
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)


def answer(prompt: str) -> str:
    """What the tagger writes after a prompt that ends in ``result =`` (or ``eng_text =``)."""
    known = set(_CLASS.findall(prompt))
    text = _string(prompt, "text") or ""
    english = _string(prompt, "eng_text")
    steps = prompt[prompt.rfind("\ntext = ") + 1 :]
    if steps.endswith("eng_text ="):
        # Asked to translate, which it cannot: the text itself stands in for its translation.
        listed = _list(tag(text), known)
        return f" {_quote(text)}\n\n{_ENGLISH_LIST} {listed}\n\n{_FINAL_LIST} {listed}\n"
    if english is None:
        return f" {_list(tag(text), known)}\n"
    if _FUSION in steps:
        mentions = tag(english)
        fused = fuse(mentions, text)
        return f" {_list(mentions, known)}\n\n{_FINAL_LIST} {_list(fused, known)}\n"
    return f" {_list(correct(tag(text), tag(english)), known)}\n"


def tag(text: str) -> list[TaggedMention]:
    """Find names by their capital letters and class them by English cues."""
    mentions = []
    tokens = text.split()
    for start, end in _capitalised(tokens):
        words = [
            token.strip(_EDGES).removesuffix("'s").removesuffix("’s") for token in tokens[start:end]
        ]
        words[-1] = words[-1].rstrip(".") if len(words[-1].rstrip(".")) > 1 else words[-1]
        before = tokens[start - 1].strip(_EDGES).lower() if start else ""
        after = tokens[end].strip(_EDGES).lower() if end < len(tokens) else ""
        mention = _classify([word for word in words if word], before, after)
        if mention is not None:
            mentions.append(mention)
    return mentions


def fuse(english: Sequence[TaggedMention], text: str) -> list[TaggedMention]:
    """Carry the mentions of the English text over to the text, and add what is sure there.

    A mention is carried to the same letters in any case, else to the most similar run of capital
    letters, else it is dropped.
    """
    own = tag(text)
    fused: list[TaggedMention] = []
    for mention in english:
        match = re.search(rf"(?<!\w){re.escape(mention.span)}(?!\w)", text, re.IGNORECASE)
        if match:
            fused.append(TaggedMention(mention.kind, match.group(), True))
            continue
        spans = [m.span for m in own]
        near = difflib.get_close_matches(mention.span, spans, n=1, cutoff=0.7)
        if near:
            fused.append(TaggedMention(mention.kind, near[0], True))
    taken = " ".join(mention.span for mention in fused)
    fused += [mention for mention in own if mention.sure and mention.span not in taken]
    return fused


def correct(own: Sequence[TaggedMention], english: Sequence[TaggedMention]) -> list[TaggedMention]:
    """The text's own mentions, with the class that the English gives to the same letters."""
    kinds = {mention.span.lower(): mention.kind for mention in english}
    return [mention._replace(kind=kinds.get(mention.span.lower(), mention.kind)) for mention in own]


def _capitalised(tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Runs of capitalised tokens, as ``(start, end)``; a link ("of") may stand inside one."""
    start = 0
    while start < len(tokens):
        if not _is_name(tokens[start]):
            start += 1
            continue
        end = start + 1
        while end < len(tokens) and not _closes(tokens[end - 1]):
            if _is_name(tokens[end]):
                end += 1
            elif (
                tokens[end].lower() in _LINKS
                and end + 1 < len(tokens)
                and _is_name(tokens[end + 1])
                and _words(" ".join(tokens[start:end]).lower()) & _ORGANIZATIONS
            ):
                end += 2
            else:
                break
        opens = start == 0 or tokens[start - 1][-1] in _SENTENCE_END
        # Every sentence begins with a capital: alone, that says nothing.
        if not (opens and end == start + 1) or _stands_alone(tokens[start : end + 1]):
            yield start, end
        start = end


def _stands_alone(tokens: Sequence[str]) -> bool:
    """Whether the first of these tokens, at the head of a sentence, is a name all the same."""
    word = tokens[0].strip(_EDGES)
    known = word.isupper() or word.lower() in _PLACE_NAMES
    return known or (len(tokens) > 1 and tokens[1].lower() in _SPEECH)


def _is_name(token: str) -> bool:
    word = token.strip(_EDGES)
    return bool(word) and word[0].isupper() and word.lower() not in _DATES and word != "I"


def _closes(token: str) -> bool:
    """Whether a run ends after this token: at a comma, or at a full stop that is no initial's."""
    return token[-1] in ",;:!?" or (token[-1] == "." and len(token) > 4)


def _classify(words: list[str], before: str, after: str) -> TaggedMention | None:
    titled = False
    while words and words[0].lower().rstrip(".") in _TITLES:
        titled = True
        words = words[1:]
    if not words:
        return None
    span = " ".join(words)
    lower = {word.lower().rstrip(".") for word in words}
    single = words[0] if len(words) == 1 else ""
    if titled:
        return TaggedMention(PERSON, span, True)
    if span.lower() in _PLACE_NAMES:
        return TaggedMention(LOCATION, span, True)
    if lower & _ORGANIZATIONS:
        return TaggedMention(ORGANIZATION, span, True)
    if lower & _PLACES:
        return TaggedMention(LOCATION, span, True)
    if single and _ADJECTIVE.search(single):
        return None
    if single.isupper() and len(single) > 1:
        return TaggedMention(ORGANIZATION, span, True)
    if after in _SPEECH or before in _TITLES:
        return TaggedMention(PERSON, span, True)
    if before in _PREPOSITIONS:
        return TaggedMention(LOCATION, span, True)
    return TaggedMention(LOCATION if single and before in ("to", "of") else PERSON, span, False)


def _string(prompt: str, name: str) -> str | None:
    """The string last assigned to a name in the prompt, ``None`` where there is none."""
    found = re.findall(_STATEMENT.format(name=name), prompt, re.MULTILINE)
    try:
        value = ast.literal_eval(found[-1]) if found else None
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) else None


def _list(mentions: Sequence[TaggedMention], known: set[str]) -> str:
    lines = [
        f"    {kind}(span={_quote(span)}),"
        for kind, span in dict.fromkeys((m.kind, m.span) for m in mentions)
        if kind in known
    ]
    return "\n".join(["[", *lines, "]"]) if lines else "[]"


def _quote(text: str) -> str:
    # Every escape of JSON is one of Python's.
    return json.dumps(text, ensure_ascii=False)
