"""Synthetic news sentences in six languages, with their English and the names of both marked.

Sentences are patterns (``text/patterns_*.tsv``) with names in their slots
(:mod:`harness.training.synthetic.names`), alone or in a frame ("… said that …",
``text/frames.tsv``).
The tables were written for this project and no speaker of the languages has checked them.

Nothing that is drawn meets the test split of the demonstration corpus: no name that is
annotated there, no sentence of it, and no pattern that one of its sentences fits
(:mod:`harness.training.synthetic.unseen`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

from harness.errors import UsageError, unknown_name_message
from harness.records import Annotation, Example
from harness.shapes import SPAN
from harness.training.synthetic.filling import (
    LANGUAGES,
    Mark,
    Pattern,
    fill,
    lowered,
    read_patterns,
    read_table,
)
from harness.training.synthetic.names import TEXT, Forms, Names
from harness.training.synthetic.unseen import unseen

_CLASSES = {"PER": "Person", "ORG": "Organization", "LOC": "Location"}
# How often an English sentence is of the patterns that no other language has.
_ENGLISH_ONLY = 0.6
# How often a pattern is of those without names.
_NAMELESS = 0.03
# How often a sentence is a frame around one or two patterns, and how often the second of two
# tells of the names of the first.
_FRAMED = 0.25
_AGAIN = 0.3
_NO_STOP = 0.03
_CURLY = 0.4
_QUOTED = re.compile('"([^"]*)"')

# A text and its marked names, in English and in the language.
Side = tuple[str, list[Mark]]
Both = tuple[Side, Side]


def sentences(seed: int, mix: Mapping[str, float], *, held_out: bool = False) -> Iterator[Example]:
    """An endless stream of examples, the same for the same arguments.

    ``mix`` gives each language (``eng``, ``swa``, ``hau``, ``yor``, ``zul``, ``por``) its weight.
    With ``held_out`` only those patterns and names are drawn that are never drawn without. An
    English example is its own English.

    Raises:
        UsageError: a language that there is none for, or no weight above 0.
    """
    for code in mix:
        if code not in LANGUAGES:
            raise UsageError(
                unknown_name_message("language of the synthetic text", code, LANGUAGES)
            )
    if min(mix.values(), default=0) < 0 or sum(mix.values()) <= 0:
        raise UsageError("The mix of languages needs weights of 0 or more, one of them above 0.")
    return _stream(seed, mix, held_out)


def _stream(seed: int, mix: Mapping[str, float], held_out: bool) -> Iterator[Example]:
    rng, tables, kept_apart = random.Random(seed), _tables(held_out), unseen()
    codes, weights = list(mix), list(accumulate(mix.values()))
    split, number = "dev" if held_out else "train", 0
    while True:
        code = rng.choices(codes, cum_weights=weights)[0]
        english, own = tables.draw(rng, code)
        if any(kept_apart.meets(text, (text[s:e] for s, e, _ in m)) for text, m in (english, own)):
            continue
        number += 1
        yield Example(
            id=f"synthetic-{split}-{seed}-{number}",
            dataset="synthetic",
            language=code,
            split=split,
            text=own[0],
            gold=_gold(*own),
            english=english[0],
            english_gold=_gold(*english),
        )


def _gold(text: str, marks: Sequence[Mark]) -> tuple[Annotation, ...]:
    return tuple(
        Annotation(_CLASSES[slot[:3]], {SPAN: text[start:end]}, (start, end))
        for start, end, slot in marks
    )


@lru_cache(maxsize=2)
def _tables(held_out: bool) -> _Tables:
    return _Tables(held_out)


class _Tables:
    """The tables, for training or held out, and how sentences are made of them."""

    def __init__(self, held_out: bool) -> None:
        kept_apart = unseen()

        def patterns(*files: str) -> list[Pattern]:
            rows = [row for file in files for row in read_patterns(TEXT / f"{file}.tsv")]
            return [row for row in rows if row.held_out == held_out]

        self._names = Names(held_out=held_out, refused=kept_apart.refuses)
        parallel = patterns("patterns_people", "patterns_places", "patterns_nameless")
        self._parallel = [p for p in parallel if not kept_apart.fits(p)]
        self._english = [p for p in patterns("patterns_english") if not kept_apart.fits(p)]
        self._frames = patterns("frames")
        self._times = read_table(TEXT / "times.tsv")
        common = _small_words([*self._parallel, *self._english])
        self._clauses = [p for p in self._parallel if _is_clause(p, common)]
        self._english_clauses = [p for p in self._english if _is_clause(p, common)]

    def draw(self, rng: random.Random, code: str) -> Both:
        """A sentence, in English and in the language."""
        only = code == "eng" and rng.random() < _ENGLISH_ONLY
        if rng.random() < _FRAMED:
            both = self._framed(rng, code, self._english_clauses if only else self._clauses)
        else:
            both = self._filled(
                rng, code, self._pick(rng, self._english if only else self._parallel)
            )
        stop, curly = rng.random() >= _NO_STOP, rng.random() < _CURLY
        english, own = (_varied(side, stop, curly) for side in both)
        return english, own

    def _pick(self, rng: random.Random, patterns: Sequence[Pattern]) -> Pattern:
        nameless = rng.random() < _NAMELESS
        while True:
            pattern = rng.choice(patterns)
            if not nameless or set(pattern.slots) <= {"TIME"}:
                return pattern

    def _forms(
        self, rng: random.Random, code: str, slots: Sequence[str], known: Mapping[str, Forms]
    ) -> dict[str, Forms]:
        """A name for each slot, the known one where there is one; a time is always drawn."""
        forms = dict(known)
        for slot in slots:
            if slot == "TIME":
                row = rng.choice(self._times)
                forms[slot] = row["eng"], row[code]
            elif slot not in forms and not slot.startswith("CLAUSE"):
                forms[slot] = self._names.draw(slot, rng, code)
        return forms

    def _filled(
        self,
        rng: random.Random,
        code: str,
        pattern: Pattern,
        known: dict[str, Forms] | None = None,
    ) -> Both:
        """A pattern with names in its slots, which ``known`` has and gets."""
        forms = self._forms(rng, code, pattern.slots, known or {})
        if known is not None:
            known.update(forms)
        return _filled_side(pattern, "eng", forms, 0), _filled_side(pattern, code, forms, 1)

    def _framed(self, rng: random.Random, code: str, clauses: Sequence[Pattern]) -> Both:
        """A frame with its own names and times, and one or two patterns."""
        frame, names = rng.choice(self._frames), dict[str, Forms]()
        inner: dict[str, Both] = {}
        for slot in ("CLAUSE", "CLAUSE2"):
            if slot in frame.slots:
                if rng.random() >= _AGAIN:
                    names = {}
                inner[slot] = self._filled(rng, code, self._pick(rng, clauses), names)
        forms = self._forms(rng, code, frame.slots, {})
        english = _framed_side(frame, "eng", forms, 0, inner)
        return english, _framed_side(frame, code, forms, 1, inner)


def _filled_side(pattern: Pattern, code: str, forms: Mapping[str, Forms], side: int) -> Side:
    text, marks = fill(pattern.templates[code], {slot: both[side] for slot, both in forms.items()})
    return text, [mark for mark in marks if mark[2] != "TIME"]


def _framed_side(
    frame: Pattern, code: str, forms: Mapping[str, Forms], side: int, inner: Mapping[str, Both]
) -> Side:
    template, clauses = frame.templates[code], {}
    for slot, both in inner.items():
        text, marks = both[side]
        first = template.source.lstrip('"').startswith(f"{{{slot}}}")
        text = text.removesuffix(".")
        clauses[slot] = (text if first else lowered(code, text, marks)), marks
    spelt = {slot: both[side] for slot, both in forms.items()}
    text, marks = fill(template, spelt | {slot: clause[0] for slot, clause in clauses.items()})
    found: list[Mark] = []
    for start, end, slot in marks:
        if slot in clauses:
            found += [(start + s, start + e, name) for s, e, name in clauses[slot][1]]
        elif slot != "TIME":
            found.append((start, end, slot))
    return text, found


def _small_words(patterns: Sequence[Pattern]) -> set[str]:
    """The English words that some pattern writes in small letters, which are therefore no names."""
    words = " ".join(" ".join(pattern.templates["eng"].words) for pattern in patterns).split()
    return {word for word in words if word.islower()}


def _is_clause(pattern: Pattern, common: set[str]) -> bool:
    """Whether a pattern can stand within a sentence: one statement, no quotation marks."""
    source = pattern.templates["eng"].source
    first = source.split()[0]
    starts = first.startswith(("{PER", "{ORG", "{LOC")) or first.lower() in common
    return source.endswith(".") and starts and not set('":;') & set(source)


def _varied(side: Side, stop: bool, curly: bool) -> Side:
    """Without the full stop at the end, or with curly quotation marks; offsets stay."""
    text, marks = side
    text = text if stop else text.removesuffix(".")
    return (_QUOTED.sub("“\\1”", text) if curly else text), marks
