"""Synthetic text: marked as the corpora are, apart from the test split, held out where told."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.records import Annotation, Example
from harness.training.synthetic.filling import (
    LANGUAGES,
    fill,
    lowered,
    read_patterns,
    read_table,
    template,
)
from harness.training.synthetic.names import TEXT, Names, without_marks
from harness.training.synthetic.sentences import sentences
from harness.training.synthetic.unseen import unseen

DEMO = Path(harness.__file__).parent / "data" / "demo"
ALL = dict.fromkeys(LANGUAGES, 1.0)
PATTERNS = ("patterns_people", "patterns_places", "patterns_nameless", "patterns_english", "frames")
PARALLEL = (
    "patterns_people",
    "patterns_places",
    "patterns_nameless",
    "frames",
    "times",
    "known_loc",
    "known_org",
)


def _drawn(number: int, *, seed: int = 1, held_out: bool = False) -> list[Example]:
    return list(islice(sentences(seed, ALL, held_out=held_out), number))


@pytest.fixture(scope="module")
def many() -> list[Example]:
    """20,000 sentences for training, 2,000 held out."""
    return [*_drawn(20_000), *_drawn(2_000, held_out=True)]


def _sides(example: Example) -> Iterator[tuple[str, tuple[Annotation, ...]]]:
    assert example.english is not None
    assert example.english_gold is not None
    yield example.text, example.gold
    yield example.english, example.english_gold


def test_names_are_marked_where_they_stand(many: list[Example]) -> None:
    for example in many:
        for text, gold in _sides(example):
            assert unicodedata.is_normalized("NFC", text), text
            assert "{" not in text
            assert "|" not in text
            assert "  " not in text
            for one in gold:
                assert one.offsets is not None
                assert text[slice(*one.offsets)] == one.span
                assert one.type in ("Person", "Organization", "Location")
                assert one.span == one.span.strip() != ""
            offsets = [one.offsets for one in gold if one.offsets]
            assert all(before[1] <= after[0] for before, after in pairwise(offsets))


def test_both_sides_mark_the_same_names(many: list[Example]) -> None:
    for example in many:
        assert example.english_gold is not None
        own, english = ({a.type for a in gold} for _, gold in _sides(example))
        assert own == english, example
        if example.language == "eng":
            assert example.english == example.text
            assert example.english_gold == example.gold


def test_a_zulu_name_carries_its_prefix(many: list[Example]) -> None:
    zulu = [example for example in many if example.language == "zul"]
    people = [a.span for example in zulu for a in example.gold if a.type == "Person"]
    assert people
    assert all(re.match(r"[A-Za-z]+-?\w|[a-z]+", span) for span in people)
    # A person is never named without one.
    english = [a.span for e in zulu for a in e.english_gold or () if a.type == "Person"]
    assert not set(people) & set(english)


def test_the_stream_depends_on_its_arguments_alone() -> None:
    first = _drawn(300)
    assert _drawn(300) == first
    assert [e.text for e in _drawn(300, seed=2)] != [e.text for e in first]
    assert len({e.id for e in first}) == 300


def test_languages_are_drawn_by_weight() -> None:
    drawn = [e.language for e in islice(sentences(3, {"eng": 3, "yor": 1, "por": 0}), 2000)]
    assert set(drawn) == {"eng", "yor"}
    assert 1400 < drawn.count("eng") < 1600


@pytest.mark.parametrize("mix", [{"swh": 1.0}, {}, {"eng": 0.0}, {"eng": 2.0, "swa": -1.0}])
def test_a_wrong_mix_is_refused_at_once(mix: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        sentences(1, mix)


# Apart from the test split


def test_nothing_of_the_test_split_is_drawn(many: list[Example]) -> None:
    # Read without the project's reader.
    texts, names, persons = set(), set(), set()
    for path in DEMO.glob("*.test.jsonl"):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            for side, entities in (("text", "entities"), ("english", "english_entities")):
                texts.add(row[side])
                spans = [(row[side][e["start"] : e["end"]], e["label"]) for e in row[entities]]
                names.update(span.casefold() for span, _ in spans)
                # An isiZulu prefix makes no word of its own, and the English has the bare name.
                if side == "english" or row["language"] != "zul":
                    people = " ".join(span for span, label in spans if label == "PER").split()
                    persons.update(word for word in people if word[0].isupper())
    assert len(texts) > 300
    met = [
        example.id
        for example in many
        for text, gold in _sides(example)
        if text in texts
        or any(one.span.casefold() in names for one in gold)
        or any(persons & set(one.span.split()) for one in gold if one.type == "Person")
    ]
    # Ids only: a failure shows nothing of the split.
    assert met == []


def test_what_meets_the_unseen() -> None:
    split = unseen()
    name = max(split.names, key=len)
    assert split.meets(f"We saw {name} there.", ())
    assert split.meets("Nothing.", [name.upper()])
    assert split.meets(next(iter(split.texts)), ())
    assert not split.meets("Nothing of interest.", ["Nobody"])
    assert split.refuses(f"the|{name}")
    assert not split.refuses(f"{name}xyz")


# Held out


def test_held_out_names_are_never_drawn_for_training() -> None:
    refused = unseen().refuses
    training = Names(held_out=False, refused=refused)
    validation = Names(held_out=True, refused=refused)
    for kind, regions in training._tables.items():
        names = {forms[0] for table in regions.values() for forms in table}
        others = {forms[0] for table in validation._tables[kind].values() for forms in table}
        assert others
        assert not names & others
        assert 0.05 < len(others) / len(names | others) < 0.2


def test_held_out_sentences_come_of_held_out_patterns() -> None:
    def shapes(held_out: bool) -> list[re.Pattern[str]]:
        rows = [p for file in PATTERNS for p in read_patterns(TEXT / f"{file}.tsv")]
        return [
            re.compile(".+".join(map(re.escape, p.templates["eng"].words)).removesuffix("\\."))
            for p in rows
            if p.held_out == held_out
        ]

    withheld = shapes(True)
    drawn = [e for e in _drawn(400, held_out=True) if e.english]
    for example in drawn:
        # Quotation marks and the small letter of an inner clause apart.
        assert any(
            shape.match((example.english or "").replace("“", '"').replace("”", '"'))
            for shape in withheld
        ), example.english


def test_training_and_validation_share_no_sentence(many: list[Example]) -> None:
    nameless = {e.text for e in many if e.split == "train" and not e.gold}
    assert not nameless & {e.text for e in many if e.split == "dev"}


# Tables


@pytest.mark.parametrize("file", PARALLEL)
def test_a_parallel_table_has_every_language_with_the_same_slots(file: str) -> None:
    path = TEXT / f"{file}.tsv"
    text = path.read_text("utf-8")
    assert unicodedata.is_normalized("NFC", text)
    header, *lines = text.splitlines()
    assert tuple(header.split("\t")) == LANGUAGES
    assert len(set(lines)) == len(lines)
    for line in lines:
        cells = line.split("\t")
        assert len(cells) == 6, line
        assert all(cell == cell.strip() != "" for cell in cells), line
        slots = [sorted(set(re.findall(r"\{\w+\}", cell))) for cell in cells]
        assert slots.count(slots[0]) == 6, line
        assert all(cell.count("{") == cell.count("}") for cell in cells)


@pytest.mark.parametrize("file", ["compounds_loc", "compounds_org"])
def test_a_composed_name_has_the_same_parts_in_every_language(file: str) -> None:
    for row in read_table(TEXT / f"{file}.tsv"):
        assert tuple(row) == LANGUAGES
        slots = [sorted(re.findall(r"\{\w+\}", cell)) for cell in row.values()]
        assert slots.count(slots[0]) == 6, row


def test_the_tables_of_names() -> None:
    counts: dict[str, int] = {}
    for row in read_table(TEXT / "names.tsv"):
        names = [name.strip() for name in row["eng"].split(",")]
        assert len(set(names)) == len(names)
        counts[row["kind"]] = counts.get(row["kind"], 0) + len(names)
    assert {kind: count // 100 for kind, count in counts.items()} == {
        "given": 7,
        "family": 8,
        "place": 9,
        "organization": 2,
    }


# How a name joins


@pytest.mark.parametrize(
    ("language", "source", "form", "text", "name"),
    [
        ("eng", "{ORG} won.", "the|World Bank", "The World Bank won.", "World Bank"),
        ("eng", "He left {ORG}.", "the|World Bank", "He left the World Bank.", "World Bank"),
        ("eng", "The new {LOC}.", "the|Hague", "The new Hague.", "Hague"),
        ("eng", "He left {ORG}.", "Nokia", "He left Nokia.", "Nokia"),
        ("swa", "Yeye {ORG}.", "Umoja wa Afrika", "Yeye Umoja wa Afrika.", "Umoja wa Afrika"),
        ("por", "{LOC} ganhou.", "o|Brasil", "O Brasil ganhou.", "Brasil"),
        ("por", "Voltou de {LOC}.", "o|Brasil", "Voltou do Brasil.", "Brasil"),
        ("por", "Vive em {LOC}.", "a|Itália", "Vive na Itália.", "Itália"),
        ("por", "Foi por {LOC}.", "os|Países Baixos", "Foi pelos Países Baixos.", "Países Baixos"),
        ("por", "Foi a {LOC}.", "a|Itália", "Foi à Itália.", "Itália"),
        ("por", "A {ORG} abriu.", "o|Banco Mundial", "O Banco Mundial abriu.", "Banco Mundial"),
        ("por", "Trabalha na {ORG}.", "o|Senado", "Trabalha no Senado.", "Senado"),
        ("por", "Vive com {ORG}.", "o|Senado", "Vive com o Senado.", "Senado"),
        ("por", "Vive em {LOC}.", "Maputo", "Vive em Maputo.", "Maputo"),
        ("zul", "U{PER} uhleka.", "Paul Banda", "UPaul Banda uhleka.", "UPaul Banda"),
        ("zul", "Umama no{PER}.", "Esther", "Umama noEsther.", "noEsther"),
        ("zul", "Usuka e{LOC}.", "i|Jalimane", "Usuka eJalimane.", "eJalimane"),
        ("zul", "{LOC} lihle.", "i|Jalimane", "IJalimane lihle.", "IJalimane"),
        ("zul", "Bathi {LOC}.", "e|Thekwini", "Bathi eThekwini.", "eThekwini"),
        ("zul", "Abantu base{LOC}.", "Abuja", "Abantu base-Abuja.", "base-Abuja"),
        ("zul", "Abantu base{LOC}.", "KwaMashu", "Abantu baKwaMashu.", "baKwaMashu"),
        ("zul", "Usebenza ne-{ORG}.", "Nokia", "Usebenza ne-Nokia.", "ne-Nokia"),
        (
            "zul",
            "Uya ne-{ORG}.",
            "i|Bhange Lomhlaba",
            "Uya neBhange Lomhlaba.",
            "neBhange Lomhlaba",
        ),
        ("zul", "Uya ne-{ORG}.", "u|Mnyango", "Uya noMnyango.", "noMnyango"),
    ],
)
def test_joining(language: str, source: str, form: str, text: str, name: str) -> None:
    slot = re.findall(r"\w+", source[source.index("{") :])[0]
    filled, [(start, end, marked)] = fill(template(language, source), {slot: form})
    assert (filled, filled[start:end], marked) == (text, name, slot)


def test_a_sentence_in_the_middle_of_another() -> None:
    assert lowered("eng", "The road is closed", []) == "the road is closed"
    assert lowered("eng", "Kim left", [(0, 3, "PER")]) == "Kim left"
    assert lowered("eng", "UNO left", [(0, 3, "ORG")]) == "UNO left"
    assert lowered("zul", "UKim uhambile", [(0, 4, "PER")]) == "uKim uhambile"
    assert lowered("zul", "I-Nokia ithi", [(0, 7, "ORG")]) == "i-Nokia ithi"


def test_letters_without_marks() -> None:
    assert without_marks("Àdùkẹ́ Ɗanƙwairo João") == "Aduke Dankwairo Joao"
