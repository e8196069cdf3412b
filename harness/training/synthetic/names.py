"""Names for synthetic sentences: from tables (``text/``), composed, and invented.

A name is drawn for one language as a pair of forms, its English and its own
(:mod:`harness.training.synthetic.filling` says what a ``|`` in a form is).
"""

from __future__ import annotations

import random
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from harness.training.synthetic.filling import SlotTemplate, fill, read_patterns, read_table
from harness.training.synthetic.invented import Letters, invented_word

Forms = tuple[str, str]
TEXT = Path(__file__).resolve().parent / "text"

_HOME = {"swa": "east", "hau": "hausa", "yor": "yoruba", "zul": "south", "por": "lusophone"}
# Shares of the names: invented, and real ones from the language's own region.
_INVENTED = 0.45
_AT_HOME = 0.4
_HOOKS = str.maketrans("ɓɗƙƁƊƘłŁøØđĐı", "bdkBDKlLoOdDi")
_PARTICLES = (
    "de",
    "da",
    "dos",
    "van",
    "van der",
    "von",
    "di",
    "bin",
    "ibn",
    "al",
    "ole",
    "wa",
    "y",
)
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def kept_out(name: str) -> bool:
    """Whether a name is one of the tenth that training never sees."""
    return zlib.crc32(name.encode("utf-8")) % 10 == 0


def without_marks(text: str) -> str:
    """Letters without accents and hooks, as English prints names: ``Àdùkẹ́`` is ``Aduke``."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFD", text.translate(_HOOKS))
    return unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.combining(c)))


@lru_cache(maxsize=1)
def _lists() -> Mapping[str, Mapping[str, tuple[Forms, ...]]]:
    """Tables of names by kind and region, each name as (English form, form of the region)."""
    found: dict[str, dict[str, tuple[Forms, ...]]] = {}
    for row in read_table(TEXT / "names.tsv"):
        forms = tuple(
            (english, own or english)
            for english, _, own in (name.strip().partition("=") for name in row["eng"].split(","))
        )
        regions = found.setdefault(row["kind"], {})
        regions[row["region"]] = (*regions.get(row["region"], ()), *forms)
    return found


class Names:
    """Draws names: of those for training or, ``held_out``, of those kept out of it.

    ``refused`` says which forms may never be drawn.
    """

    def __init__(self, *, held_out: bool, refused: Callable[[str], bool]) -> None:
        self._held_out = held_out
        self._refused = refused
        self._tables = {
            kind: {region: kept for region, names in regions.items() if (kept := self._kept(names))}
            for kind, regions in _lists().items()
        }
        self._known = {kind: self._rows(f"known_{kind.lower()}.tsv") for kind in ("LOC", "ORG")}
        self._compounds = {
            kind: read_patterns(TEXT / f"compounds_{kind.lower()}.tsv") for kind in ("LOC", "ORG")
        }
        self._chains = {kind: self._learnt(regions) for kind, regions in _lists().items()}
        self._drawn = {
            "PER": self._person,
            "LOC": self._place,
            "ORG": self._organization,
            "GIVEN": lambda rng, code: self._part("given", rng, code),
            "FAMILY": lambda rng, code: self._part("family", rng, code),
            "TOWN": self._town,
            "AREA": self._area,
            "WORD": lambda rng, code: self._new(rng.choice(("given", "family", "place")), rng),
            "ACRONYM": self._acronym,
        }

    def draw(self, slot: str, rng: random.Random, language: str) -> Forms:
        """A name for a slot (``PER``, ``ORG``, ``LOC``, with a number or without) or a part of one
        (``GIVEN``, ``FAMILY``, ``TOWN``, ``AREA``, ``WORD``, ``ACRONYM``): English form, form in
        the language."""
        drawn = self._drawn[slot.rstrip("0123456789")]
        while True:
            forms = drawn(rng, language)
            if not any(map(self._refused, forms)):
                return forms

    def _kept(self, names: tuple[Forms, ...]) -> list[Forms]:
        return [
            forms
            for forms in names
            if kept_out(forms[0]) == self._held_out and not any(map(self._refused, forms))
        ]

    def _learnt(self, regions: Mapping[str, tuple[Forms, ...]]) -> list[Letters]:
        """Chains of letters over the names of a kind, and over those of each region."""
        tables = [
            [
                w
                for forms in names
                for form in forms
                if not self._refused(form)
                for w in form.split()
            ]
            for names in regions.values()
        ]
        words = [word for table in tables for word in table]
        return [Letters(words, 2), Letters(words, 3), *(Letters(table, 2) for table in tables)]

    def _rows(self, file: str) -> list[dict[str, str]]:
        return [
            row
            for row in read_table(TEXT / file)
            if kept_out(row["eng"]) == self._held_out and not any(map(self._refused, row.values()))
        ]

    def _real(self, kind: str, rng: random.Random, language: str) -> Forms:
        regions = self._tables[kind]
        home = regions.get(_HOME.get(language, ""))
        if home and rng.random() < _AT_HOME:
            english, own = rng.choice(home)
            return english, own if rng.random() < 0.8 else english
        english, _ = rng.choice(regions[rng.choice(list(regions))])
        return english, english

    def _new(self, kind: str, rng: random.Random, language: str = "") -> Forms:
        while True:
            word = invented_word(rng, self._chains[kind])
            if kept_out(word) == self._held_out:
                break
        # English drops the marks of some names; most are written alike.
        if language in ("yor", "hau", "por") and rng.random() < 0.6:
            return without_marks(word), word
        return word, word

    def _part(
        self, kind: str, rng: random.Random, language: str, invented: float = _INVENTED
    ) -> Forms:
        if rng.random() < invented:
            return self._new(kind, rng, language)
        return self._real(kind, rng, language)

    def _acronym(self, rng: random.Random, language: str) -> Forms:
        while True:
            word = "".join(rng.choices(_CAPITALS, k=rng.choice((2, 3, 3, 3, 4, 4, 5, 6))))
            if kept_out(word) == self._held_out:
                return word, word

    def _person(self, rng: random.Random, language: str) -> Forms:
        # All real, all invented, or either for each part.
        invented = rng.choice((0.0, 0.0, 0.0, 0.5, 1.0))
        given = self._part("given", rng, language, invented)
        draw = rng.random()
        if draw < 0.1:
            return given
        family = self._part("family", rng, language, invented)
        if draw < 0.17:
            return family
        if draw < 0.77:
            parts = [given, family]
        elif draw < 0.83:
            parts = [given, self._part("given", rng, language, invented), family]
        elif draw < 0.87:
            second = self._part("family", rng, language, invented)
            hyphened = (f"{family[0]}-{second[0]}", f"{family[1]}-{second[1]}")
            parts = [given, hyphened if rng.random() < 0.5 else family, second][
                : rng.choice((2, 3))
            ]
        elif draw < 0.91:
            particle = rng.choice(_PARTICLES)
            parts = [given, (particle, particle), family]
        elif draw < 0.96:
            initial = rng.choice(("{}.", "{}. {}.", "{}.{}.")).format(*rng.choices(_CAPITALS, k=2))
            parts = [(initial, initial), family]
            if rng.random() < 0.4:
                parts = [given, (initial[:2], initial[:2]), family]
        elif draw < 0.98:
            parts = [family, given]
        else:
            suffix = rng.choice(("Jr", "Júnior", "II", "III", "Neto"))
            parts = [given, family, (suffix, suffix)]
        return " ".join(p[0] for p in parts), " ".join(p[1] for p in parts)

    def _town(self, rng: random.Random, language: str) -> Forms:
        if rng.random() < _INVENTED:
            english, own = self._new("place", rng, language)
            if rng.random() < 0.1:
                second = self._new("place", rng, language)
                return f"{english} {second[0]}", f"{own} {second[1]}"
            return english, own
        return self._real("place", rng, language)

    def _area(self, rng: random.Random, language: str) -> Forms:
        """A country or another place of the parallel table, or a town."""
        if rng.random() < 0.3 and self._known["LOC"]:
            row = rng.choice(self._known["LOC"])
            return row["eng"], row[language]
        return self._town(rng, language)

    def _place(self, rng: random.Random, language: str) -> Forms:
        draw = rng.random()
        if draw < 0.15 and self._known["LOC"]:
            row = rng.choice(self._known["LOC"])
            return row["eng"], row[language]
        if draw < 0.3:
            return self._composed("LOC", rng, language)
        return self._town(rng, language)

    def _organization(self, rng: random.Random, language: str) -> Forms:
        draw = rng.random()
        if draw < 0.2:
            return self._real("organization", rng, language)
        if draw < 0.3 and self._known["ORG"]:
            row = rng.choice(self._known["ORG"])
            return row["eng"], row[language]
        if draw < 0.37:
            return self._acronym(rng, language)
        if draw < 0.45:
            return self._new("organization", rng)
        return self._composed("ORG", rng, language)

    def _composed(self, kind: str, rng: random.Random, language: str) -> Forms:
        pattern = rng.choice(self._compounds[kind])
        english, own = {}, {}
        for slot in pattern.slots:
            english[slot], own[slot] = self.draw(slot, rng, language)
        return _named(pattern.templates["eng"], english), _named(pattern.templates[language], own)


def _named(template: SlotTemplate, forms: dict[str, str]) -> str:
    """A composed name; what it begins with has no article or noun prefix of its own."""
    before, _, slot = template.pieces[0]
    if not before or before.endswith("|"):
        forms = {**forms, slot: forms[slot].rpartition("|")[2]}
    return fill(template, forms)[0]
