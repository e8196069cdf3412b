"""Sentence patterns with slots, and how a name joins the words before it.

A pattern stands in six languages (or one) with the same slots, ``{PER}``, ``{LOC2}``, …. A form
of a name may carry a mark ``|``: what stands before it is the English or Portuguese article
(``the|World Bank``, ``o|Brasil``), which is not part of the name, or the isiZulu noun prefix
(``i|Jalimane``: *iJalimane*, *eJalimane*), which is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LANGUAGES = ("eng", "swa", "hau", "yor", "zul", "por")

# A filled slot: start and end in the text, and the slot.
Mark = tuple[int, int, str]

_SLOT = re.compile(r"\{([A-Z]+\d?)\}")
_PREFIX = re.compile(r"[A-Za-z-]+$")
_CAPITAL_PREFIX = re.compile(r"[A-Z][a-z]*-?[A-Z]")
_VOWELS = frozenset("aeiouAEIOU")
_ARTICLES = frozenset(("a", "an", "the", "this", "that", "every", "no", "their", "its"))
# The preposition within a Portuguese word, and its contractions with an article.
_WITHIN = {
    word: preposition
    for preposition, words in {
        "": "a o as os",
        "de": "de da do das dos",
        "em": "em na no nas nos",
        "a": "à ao às aos",
        "por": "por pela pelo pelas pelos",
    }.items()
    for word in words.split()
}
_STEMS = {"": "", "de": "d", "em": "n", "por": "pel"}
_TO = {"a": "à", "as": "às", "o": "ao", "os": "aos"}


@dataclass(frozen=True, slots=True)
class SlotTemplate:
    """A pattern in one language, cut at its slots: ``(words before, prefix, slot)``, and the rest.

    ``prefix`` is the isiZulu prefix written as one word with the name.
    """

    language: str
    source: str
    pieces: tuple[tuple[str, str, str], ...]
    rest: str

    @property
    def words(self) -> list[str]:
        """What stands before, between and behind the slots."""
        return [*(before + prefix for before, prefix, _ in self.pieces), self.rest]


@dataclass(frozen=True)
class Pattern:
    """One row of a table: its templates by language, and whether training never sees it."""

    templates: Mapping[str, SlotTemplate]
    held_out: bool = False

    @cached_property
    def slots(self) -> list[str]:
        """Its slots, each once, in the order of the English."""
        return list(dict.fromkeys(slot for _, _, slot in self.templates["eng"].pieces))


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated table by column; an empty cell is the English, no article."""
    header, *lines = path.read_text("utf-8").splitlines()
    columns = header.split("\t")
    rows = []
    for line in lines:
        cells = line.split("\t")
        cells += [""] * (len(columns) - len(cells))
        row = dict(zip(columns, cells, strict=True))
        english = row["eng"].rpartition("|")[2]
        rows.append({column: cell or english for column, cell in row.items()})
    return rows


def read_patterns(path: Path) -> list[Pattern]:
    """The patterns of a table; every tenth is held out of training."""
    return [
        Pattern({code: template(code, source) for code, source in row.items()}, at % 10 == 9)
        for at, row in enumerate(read_table(path))
    ]


def template(language: str, source: str) -> SlotTemplate:
    """The pattern as it stands in a table, cut at its slots."""
    pieces, at = [], 0
    for found in _SLOT.finditer(source):
        before, prefix = source[at : found.start()], ""
        if language == "zul" and (ends := _PREFIX.search(before)):
            before, prefix = before[: ends.start()], ends.group()
        pieces.append((before, prefix, found.group(1)))
        at = found.end()
    return SlotTemplate(language, source, tuple(pieces), source[at:])


def fill(pattern: SlotTemplate, forms: Mapping[str, str]) -> tuple[str, list[Mark]]:
    """The text with the forms in its slots, and where each lies.

    A time that begins it gets a capital.
    """
    join = _JOINS.get(pattern.language, _plain)
    text, marks = "", []
    for before, prefix, slot in pattern.pieces:
        text += before
        text, name = join(text, prefix, forms[slot], slot)
        if slot == "TIME" and not text:
            name = name[:1].upper() + name[1:]
        marks.append((len(text), len(text) + len(name), slot))
        text += name
    return text + pattern.rest, marks


def _plain(text: str, prefix: str, form: str, slot: str) -> tuple[str, str]:
    return text, form.rpartition("|")[2]


def _english(text: str, prefix: str, form: str, slot: str) -> tuple[str, str]:
    article, _, name = form.rpartition("|")
    if not article or _ARTICLES.intersection(text.lower().split()[-2:]):
        return text, name
    return text + (article if text else article.capitalize()) + " ", name


def _portuguese(text: str, prefix: str, form: str, slot: str) -> tuple[str, str]:
    article, _, name = form.rpartition("|")
    if not article:
        return text, name
    head, _, last = text[:-1].rpartition(" ") if text.endswith(" ") else (text, "", "")
    # A small "a" before a place or person is the preposition, before an organization the article.
    within = "a" if last == "a" and not slot.startswith("ORG") else _WITHIN.get(last.lower())
    if within is None:
        return text + (article if text else article.capitalize()) + " ", name
    word = _TO[article] if within == "a" else _STEMS[within] + article
    if last[0].isupper():
        word = word.capitalize()
    return f"{head} {word} " if head else f"{word} ", name


def _zulu(text: str, prefix: str, form: str, slot: str) -> tuple[str, str]:
    own, marked, name = form.rpartition("|")
    if not prefix:
        return text, (own if text else own.capitalize()) + name
    if marked:
        prefix = prefix.rstrip("-")
        if own == "u" and slot.startswith("ORG") and prefix[-1] in "iIeE":  # na + u is no
            prefix = prefix[:-1] + {"i": "u", "I": "U", "e": "o", "E": "O"}[prefix[-1]]
    elif slot.startswith("LOC") and name.startswith("Kwa"):  # a locative already
        prefix = re.sub(r"s?[ei]$", "", prefix, flags=re.IGNORECASE)
    elif (
        prefix[-1] in _VOWELS
        and not slot.startswith("PER")
        and (name[:1] in _VOWELS or name[:2].isupper())
    ):
        prefix += "-"
    return text, prefix + name


_JOINS = {"eng": _english, "por": _portuguese, "zul": _zulu}


def lowered(language: str, text: str, marks: Sequence[Mark]) -> str:
    """A sentence's first letter made small, for the middle of a sentence; a name keeps its own.

    An isiZulu prefix is made small though it is of the name.
    """
    if marks and marks[0][0] == 0 and not (language == "zul" and _CAPITAL_PREFIX.match(text)):
        return text
    return text[:1].lower() + text[1:]
