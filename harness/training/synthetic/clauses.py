"""Plain clauses put together word by word, in six languages: for learning words, not sentences.

From a few hundred whole sentences a small model learns those sentences. Here a subject, a verb,
its object and what follows are drawn apart from ``text/words.tsv``, and agree: in a Swahili,
Hausa or isiZulu cell ``@`` stands for the subject's mark at the verb, and a subject has its mark
after an ``@`` (Portuguese: ``s``, ``p``). Some clauses stand in a frame (``text/frames.tsv``).
The tables were written for this project and no speaker of the languages has checked them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

from harness.records import Annotation, Example
from harness.shapes import SPAN
from harness.training.synthetic.filling import Pattern, fill, read_patterns, read_table, template
from harness.training.synthetic.names import TEXT, Names
from harness.training.synthetic.unseen import unseen

_CLASSES = {"PER": "Person", "ORG": "Organization", "LOC": "Location"}
_PERSON = {"eng": "", "swa": "a", "hau": "ya", "yor": "", "zul": "u", "por": "s"}
_SLOT = re.compile(r"\{([A-Z]+\d?)\}")
# Hausa marks by tense: perfect in main clauses (no letter) and after ``k``, future, present.
_HAUSA = {
    "ya": {"f": "zai", "p": "yana", "k": "ya", "": "ya"},
    "ta": {"f": "za ta", "p": "tana", "k": "ta", "": "ta"},
    "sun": {"f": "za su", "p": "suna", "k": "sun", "": "sun"},
}
# isiZulu marks before a vowel.
_GLIDES = {"u": "w", "i": "y", "ba": "b", "li": "l", "a": ""}
# English verbs of the table in the present, of one and of many.
_MANY = {
    "has": "have",
    "is": "are",
    "lives": "live",
    "loves": "love",
    "needs": "need",
    "plays": "play",
    "sells": "sell",
    "studies": "study",
    "teaches": "teach",
    "works": "work",
}
# Endings of Portuguese verbs, one and many.
_PLURALS = (("ou", "aram"), ("eu", "eram"), ("iu", "iram"), ("rá", "rão"), ("e", "em"), ("a", "am"))
# How often a clause stands in a frame, and how often something follows what is said.
_FRAMED = 0.2
_FOLLOWED = 0.65


def clauses(seed: int, mix: Mapping[str, float]) -> Iterator[Example]:
    """An endless stream of training examples, the same for the same arguments.

    ``mix`` is as in :func:`harness.training.synthetic.sentences.sentences`.
    """
    rng, table, kept_apart = random.Random(f"clauses {seed}"), _table(), unseen()
    names = Names(held_out=False, refused=kept_apart.refuses)
    times = read_table(TEXT / "times.tsv")
    frames = [frame for frame in read_patterns(TEXT / "frames.tsv") if not frame.held_out]
    codes, weights = list(mix), list(accumulate(mix.values()))
    number = 0
    while True:
        code = rng.choices(codes, cum_weights=weights)[0]
        sources = _framed(rng, table, frames)
        forms = {}
        for slot in dict.fromkeys(_SLOT.findall(sources["eng"])):
            if slot == "TIME":
                row = rng.choice(times)
                forms[slot] = row["eng"], row[code]
            else:
                forms[slot] = names.draw(slot, rng, code)
        sides = []
        for side, language in enumerate(("eng", code)):
            text, marks = fill(
                template(language, sources[language]),
                {slot: both[side] for slot, both in forms.items()},
            )
            names_in = tuple(
                Annotation(_CLASSES[slot[:3]], {SPAN: text[start:end]}, (start, end))
                for start, end, slot in marks
                if slot != "TIME"
            )
            sides.append((text, names_in))
        if any(kept_apart.meets(text, (a.span for a in gold)) for text, gold in sides):
            continue
        number += 1
        (english, english_gold), (text, gold) = sides
        yield Example(
            id=f"clause-{seed}-{number}",
            dataset="synthetic",
            language=code,
            split="train",
            text=text,
            gold=gold,
            english=english,
            english_gold=english_gold,
        )


@lru_cache(maxsize=1)
def _table() -> Mapping[str, list[dict[str, str]]]:
    """The rows of the table by kind."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_table(TEXT / "words.tsv"):
        rows.setdefault(row["kind"], []).append(row)
    return rows


def _framed(
    rng: random.Random, table: Mapping[str, list[dict[str, str]]], frames: Sequence[Pattern]
) -> dict[str, str]:
    """A sentence with slots, in every language: a clause, or a frame round one or two."""
    clause = _composed(rng, table)
    if rng.random() >= _FRAMED:
        return {code: words[:1].upper() + words[1:] + "." for code, words in clause.items()}
    frame, second = rng.choice(frames), _composed(rng, table)
    sources = {}
    for code, words in clause.items():
        # The frame's own slots and those of the second clause get numbers that are not taken.
        source = re.sub(r"\{(PER|ORG|LOC)\}", r"{\g<1>9}", frame.templates[code].source)
        source = source.replace("{CLAUSE}", words)
        source = source.replace("{CLAUSE2}", _SLOT.sub(_renumbered, second[code]))
        start = 1 if source.startswith('"') else 0
        sources[code] = source[:start] + source[start : start + 1].upper() + source[start + 1 :]
    return sources


def _renumbered(slot: re.Match[str]) -> str:
    name = slot.group(1)
    if name == "TIME":
        return "{TIME}"
    kind, number = name[:3], int(name[3:] or 1)
    return f"{{{kind}{number + 4}}}"


def _composed(rng: random.Random, table: Mapping[str, list[dict[str, str]]]) -> dict[str, str]:
    """A clause with slots, in every language, without capital and stop."""
    subject = _subject(rng, table)
    said: Mapping[str, str] = rng.choice(table["whole"])
    if rng.random() < 0.55:
        verb, thing = rng.choice(table["verb"]), rng.choice(table["thing"])
        said = {code: f"{verb[code]} {thing[code]}" for code in _PERSON}
    rest = rng.choice(table["rest"]) if rng.random() < _FOLLOWED else None
    clause = {}
    for code in _PERSON:
        words, _, mark = subject[code].partition("@")
        if code == "eng":
            mark = subject["por"][-1]
        clause[code] = f"{words} {_agreeing(code, said[code], mark)}"
        if rest:
            clause[code] += f" {rest[code]}"
    return clause


def _subject(rng: random.Random, table: Mapping[str, list[dict[str, str]]]) -> Mapping[str, str]:
    """Who does it: a role, a role with a name, a name, or a subject of the table."""
    draw = rng.random()
    if draw < 0.4:
        return rng.choice(table["subject"])
    role = dict.fromkeys(_PERSON, "")
    if draw < 0.85:
        role = {**rng.choice(table["role"])}
        role["eng"] = f"the {role['eng']}"
    if draw >= 0.5:
        for code in _PERSON:
            name = "u{PER}" if code == "zul" else "{PER}"
            role[code] = f"{role[code]} {name}".strip()
    return {code: f"{role[code]}@{mark}" for code, mark in _PERSON.items()}


def _agreeing(code: str, said: str, mark: str) -> str:
    """What is said of the subject, with its mark at the verb."""
    if code == "hau":
        return re.sub(r"@([fpk]?)(?= )", lambda tense: _HAUSA[mark][tense.group(1)], said)
    if code == "zul":
        said = re.sub(r"@(?=[ae])", _GLIDES.get(mark, mark), said)
    if code == "eng" and mark == "p":
        verb, *others = said.split(" ")
        return " ".join((_MANY.get(verb, verb), *others))
    if code == "por" and mark == "p":
        verb, *others = said.removeprefix("já ").split(" ")
        ending, many = next(e for e in _PLURALS if verb.endswith(e[0]))
        plural = " ".join((verb.removesuffix(ending) + many, *others))
        return f"já {plural}" if said.startswith("já ") else plural
    return said.replace("@", mark)
