"""Which examples a prompt shows: none that is evaluated, the same ones everywhere."""

from __future__ import annotations

import json
import random
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import catalog, resolve
from harness.data.block import Block
from harness.data.loading import load_examples
from harness.data.shots import ShotSelection, normalized
from harness.errors import (
    DataError,
    HarnessError,
    TemplateError,
    TranslationError,
    UnknownNameError,
    UsageError,
)
from harness.prompting.rendering import render
from harness.prompting.templates import load_template
from harness.records import Annotation, Example
from harness.running.shot_source import open_shots

WORDS = ["Amina", "Tanga", "Kano", "alisema", "nyumbani", "barua", "mto", "mji", "habari", "wali"]


def examples(split: str, *texts: str, **more: str) -> list[Example]:
    return [
        Example(f"{split}-{i}", "made-up", "swa", split, text, **more)  # type: ignore[arg-type]
        for i, text in enumerate(texts)
    ]


def made_up(split: str, count: int, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    return examples(split, *(" ".join(rng.choices(WORDS, k=6)) + f" {i}" for i in range(count)))


def ids(shown: tuple[Example, ...]) -> list[str]:
    return [example.id for example in shown]


# What is evaluated, and the same sentence as another split might write it.
SAME = [
    ("Amina alirudi Tanga.", "Amina alirudi Tanga."),
    ("Amina alirudi Tanga.", "AMINA ALIRUDI TANGA."),
    ("Amina alirudi Tanga.", "  Amina\u00a0alirudi\tTanga. \n"),
    ("Bẹ́ẹ̀ ni", unicodedata.normalize("NFD", "Bẹ́ẹ̀ ni")),
    (unicodedata.normalize("NFD", "Ọjọ́ Àìkú"), unicodedata.normalize("NFC", "ỌJỌ́ ÀÌKÚ")),
    ("Die Straße", "DIE STRASSE"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
]


@pytest.mark.parametrize("by", ["random", "nearest"])
@pytest.mark.parametrize(("evaluated", "written"), SAME)
def test_no_evaluated_sentence_is_shown_however_it_is_written(
    evaluated: str, written: str, by: str
) -> None:
    test = examples("test", "Habari za mji", evaluated)
    train = examples("train", written, "Amina alirudi Tanga leo.", "Barua ya kesho")
    # Only the first is asked for: the whole split is held against the candidates.
    shots = ShotSelection(train, test, count=2, by=by, prompted=test[:1])
    assert sorted(ids(shots.shown_for(test[0]))) == ["train-1", "train-2"]
    with pytest.raises(DataError, match=r"shots = 3, and the split 'train' has 2 .* 3 sentences"):
        ShotSelection(train, test, count=3, by=by)


@given(st.text(min_size=1), st.text())
def test_texts_are_the_same_whatever_their_form(text: str, other: str) -> None:
    for form in ("NFC", "NFD"):
        assert normalized(unicodedata.normalize(form, text)) == normalized(text)
    assert normalized(f" \t{text}\u2003 {other}\n") == normalized(f"{text} {other}")
    assert normalized(text.casefold()) == normalized(text)
    assert normalized(normalized(text)) == normalized(text)


def test_no_sentence_is_shown_twice_and_too_few_are_an_error_with_the_numbers() -> None:
    test = examples("test", "Habari")
    train = examples("train", "Amina", "amina ", "HABARI", "Tanga", "Kano")
    assert sorted(ids(ShotSelection(train, test, count=3).shown_for(test[0]))) == [
        "train-0",
        "train-3",
        "train-4",
    ]
    with pytest.raises(DataError) as caught:
        ShotSelection(train, test, count=4)
    assert str(caught.value) == (
        "made-up/swa: shots = 4, and the split 'train' has 3 to show: of its 5 sentences that the "
        "strategy can show 1 are among the evaluated ones, and 1 repeat another. Show fewer, or "
        "take them from another split."
    )


def test_the_english_of_an_evaluated_sentence_is_not_shown_either() -> None:
    test = examples("test", "Habari", english="Good morning")
    train = examples("train", "Jambo", english="good  MORNING")
    with pytest.raises(DataError, match="has 0 to show"):
        ShotSelection(train, test, count=1)


def test_random_shots_are_the_same_for_all_and_fewer_are_the_first_of_more() -> None:
    train, test = made_up("train", 50), made_up("test", 20, seed=1)
    five = ShotSelection(train, test, count=5)
    assert {five.shown_for(example) for example in test} == {five.shown_for(test[0])}
    for count in range(1, 5):
        assert (
            ShotSelection(train, test, count=count).shown_for(test[0])
            == five.shown_for(test[0])[:count]
        )
    # Neither the order of the file nor another candidate moves those that are drawn.
    assert set(ShotSelection(train[::-1], test, count=5).shown_for(test[0])) == set(
        five.shown_for(test[0])
    )
    drawn = five.shown_for(test[0])[0]
    rest = [example for example in train if example.id != drawn.id]
    assert ShotSelection(rest, test, count=4).shown_for(test[0]) == five.shown_for(test[0])[1:]


def test_a_draw_is_the_same_on_any_machine_and_another_one_by_seed_and_language() -> None:
    train = examples("train", *(f"Sentensi ya {i}" for i in range(20)))
    test = examples("test", "Habari")
    yoruba = [replace(example, language="yor") for example in test]
    assert ids(ShotSelection(train, test, count=4).shown_for(test[0])) == [
        "train-1",
        "train-9",
        "train-10",
        "train-2",
    ]
    assert ids(ShotSelection(train, test, count=3, seed=1).shown_for(test[0])) == [
        "train-0",
        "train-8",
        "train-1",
    ]
    assert ids(ShotSelection(train, yoruba, count=3).shown_for(test[0])) != [
        "train-1",
        "train-9",
        "train-10",
    ]


def trigrams(text: str) -> Counter[int]:
    spaced = f" {normalized(text)} "
    grams = (spaced[i : i + 3] for i in range(len(spaced) - 2))
    return Counter(zlib.crc32(gram.encode()) % 4096 for gram in grams)


@given(
    st.lists(st.text("ab ẹC", min_size=1, max_size=12), min_size=5, max_size=12),
    st.lists(st.text("ab ẹC", min_size=1, max_size=12), min_size=1, max_size=4),
    st.integers(1, 3),
)
@settings(max_examples=150)
def test_nearest_shots_are_those_of_exact_arithmetic(
    pool: list[str], texts: list[str], count: int
) -> None:
    test = examples("test", *texts)
    seen, showable = {normalized(text) for text in texts}, []
    for example in examples("train", *pool):
        if normalized(example.text) and normalized(example.text) not in seen:
            seen.add(normalized(example.text))
            showable.append(example)
    if len(showable) < count:
        return
    shots = ShotSelection(examples("train", *pool), test, count=count, by="nearest")
    for sentence in test:
        own = trigrams(sentence.text)

        def similarity(example: Example, own: Counter[int] = own) -> Fraction:
            other = trigrams(example.text)
            product = sum(number * other[gram] for gram, number in own.items())
            return Fraction(product**2, sum(number**2 for number in other.values()))

        ranked = sorted(showable, key=similarity, reverse=True)  # stable: the earlier first
        assert list(shots.shown_for(sentence)) == ranked[:count][::-1]


def test_the_most_similar_stands_last_and_its_choice_knows_no_limit() -> None:
    train = examples("train", "Mto wa Tana", "Barua ya Amina", "Barua ya kwanza ya Amina", "Wali")
    test = examples("test", "Barua ya kwanza", "Amina na wali")
    shots = ShotSelection(train, test, count=2, by="nearest")
    assert ids(shots.shown_for(test[0])) == ["train-1", "train-2"]
    limited = ShotSelection(train, test, count=2, by="nearest", prompted=test[:1])
    assert limited.shown_for(test[0]) == shots.shown_for(test[0])
    assert limited.sha256 == shots.sha256
    with pytest.raises(UsageError, match="test-1 is none of those"):
        limited.shown_for(test[1])


def test_long_texts_and_any_characters_have_neighbours() -> None:
    train = examples("train", "ab" * 20_000, "\ud800 lone", "x", "𝔘nicode")
    test = examples("test", "ba" * 30_000, "\ud800")
    shots = ShotSelection(train, test, count=1, by="nearest")
    assert ids(shots.shown_for(test[0])) == ["train-0"]
    assert ids(shots.shown_for(test[1])) == ["train-1"]


def test_the_hash_stands_for_the_setting_and_what_can_be_shown() -> None:
    train, test = made_up("train", 9), made_up("test", 3, seed=1)
    gold = [replace(train[0], gold=(Annotation("Person", {"span": "Amina"}),)), *train[1:]]

    def sha256(train: list[Example], **setting: object) -> str:
        return ShotSelection(train, test, **{"count": 2, **setting}).sha256  # type: ignore[arg-type]

    hashes = [
        sha256(train),
        sha256(train, count=3),
        sha256(train, seed=1),
        sha256(train, by="nearest"),
        sha256(gold),
        sha256(train[1:]),
    ]
    assert len(set(hashes)) == len(hashes)
    assert sha256(train) == hashes[0]
    assert sha256(train, by="nearest", seed=1) == hashes[3]
    with pytest.raises(UnknownNameError, match=r"shots_by 'near'.*Choices: random, nearest"):
        sha256(train, by="near")


def block(name: str, language: str, data_dir: Path | None = None, limit: int | None = 5) -> Block:
    dataset = catalog()[name]
    test = load_examples(dataset, language, "test", data_dir=data_dir, limit=limit)
    return Block(dataset, language, "test", test)


@pytest.mark.parametrize(
    "strategy", ["direct", "english-only", "no-annotate", "self-translate", "transfusion"]
)
@pytest.mark.parametrize("by", ["random", "nearest"])
def test_every_strategy_shows_what_the_corpus_carries(strategy: str, by: str) -> None:
    here = block("demo", "yor")
    template = load_template("ner", strategy)
    shots = open_shots(here, template, count=2, split="dev", by=by)
    sentence = load_examples(catalog()["demo"], "yor", "test", limit=1, english=True)[0]
    shown = shots.shown_for(sentence)
    assert {example.split for example in shown} == {"dev"}
    text = render(sentence, strategy, schema="demo", shots=shown).text
    assert text.count("# This is a text with its annotations\n") == 2


@pytest.mark.parametrize(
    ("name", "language", "split", "said"),
    [
        ("demo", "yor", "test", "'test' is the split that is evaluated. Other .* from: dev."),
        ("demo", "yor", "train", "no split 'train'. Choices besides the evaluated 'test': dev."),
        ("masakhaner2", "swa", "valid", "no split 'valid'. .*: train, dev."),
        ("uner", "ceb_gja", "train", "no split 'train'. .*: none. Leave this language out, or"),
        ("xsid", "de", "train", "no split 'train'. .*: dev."),
    ],
)
def test_a_split_that_cannot_be_shown_names_those_that_can(
    name: str, language: str, split: str, said: str
) -> None:
    here = Block(catalog()[name], language, "test", [])
    with pytest.raises(UsageError, match=f"{name}/{language}.*{said}"):
        open_shots(here, load_template("ner", "direct"), count=1, split=split)


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Block]:
    """Data of one's own, by split, in a file each; the evaluated split is "test"."""

    def write(layout: str = "news.{split}.jsonl", **splits: list[dict[str, object]]) -> Block:
        for split, rows in splits.items():
            lines = (json.dumps({"entities": [], **row}) + "\n" for row in rows)
            (tmp_path / layout.format(split=split)).write_text("".join(lines))
        dataset = resolve("news", path=tmp_path / layout, labels={"PER": "Person"})
        return Block(dataset, "und", "test", load_examples(dataset, "und", "test"))

    return write


def test_data_of_ones_own(own: Callable[..., Block]) -> None:
    direct = load_template("ner", "direct")
    here = own(test=[{"text": "Habari"}], train=[{"text": "Jambo"}], valid=[{"text": "Hujambo"}])
    assert open_shots(here, direct, count=1).shown_for(here.examples[0])[0].text == "Jambo"
    assert (
        open_shots(here, direct, count=1, split="valid").shown_for(here.examples[0])[0].text
        == "Hujambo"
    )
    one = own("all.jsonl", all=[{"text": "Habari"}])
    for split in ("train", "dev"):
        with pytest.raises(UnknownNameError, match=r"none\. Leave this language out"):
            open_shots(one, direct, count=1, split=split)


def test_english_that_no_candidate_has_is_an_error_that_names_other_strategies(
    own: Callable[..., Block],
) -> None:
    person = [{"label": "PER", "span": "Amina"}]
    both = {"text": "Amina yuko", "english": "Amina is here", "english_entities": person}
    text = {"text": "Amina analala", "english": "Amina sleeps"}
    here = own(test=[{"text": "Habari"}], train=[both, text], dev=[text], plain=[{"text": "Wali"}])

    def shown(strategy: str, split: str) -> list[str]:
        found = open_shots(here, load_template("ner", strategy), count=1, split=split)
        return [example.text for example in found.shown_for(here.examples[0])]

    assert shown("transfusion", "train") == ["Amina yuko"]
    assert shown("no-annotate", "dev") == ["Amina analala"]
    assert shown("direct", "plain") == ["Wali"]
    for strategy in ("transfusion", "self-translate", "english-only"):
        with pytest.raises(TranslationError) as caught:
            shown(strategy, "dev")
        assert "annotations of their English" in str(caught.value)
        assert str(caught.value).endswith("need less: direct, no-annotate.")
    with pytest.raises(TranslationError, match=r"show their English, .* need less: direct\.$"):
        shown("no-annotate", "plain")
    with pytest.raises(DataError, match=r"shots = 2, .* has 1 to show: of its 1 sentences"):
        open_shots(here, load_template("ner", "transfusion"), count=2)


def test_a_template_without_shots_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.j2"
    path.write_text('{% set answers = ["result"] %}\n{{ assign("text", text) }}\nresult =')
    here = Block(catalog()["masakhaner2"], "swa", "test", [])
    with pytest.raises(TemplateError, match=r"mine\.j2:1: .*does not name the variable `shots`"):
        open_shots(here, load_template("ner", path), count=1, data_dir=tmp_path)


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("language", ["swa", "yor", "hau"])
def test_real_splits_repeat_evaluated_sentences(corpora: Path, language: str, split: str) -> None:
    files = [corpora / f"masakhaner2/{language}/{name}.txt" for name in (split, "test")]
    if not all(file.is_file() for file in files):
        pytest.skip(f"no {files[0]}")

    def texts(file: Path) -> list[str]:
        blocks = file.read_text("utf-8").strip().split("\n\n")
        rows = [[row.split(" ")[0] for row in block.strip().split("\n")] for block in blocks]
        return [
            " ".join(unicodedata.normalize("NFC", " ".join(row)).casefold().split()) for row in rows
        ]

    candidates, test = map(texts, files)
    left = {text for text in candidates if text not in set(test)}
    leaking = sum(text in set(test) for text in candidates)
    assert leaking > 0
    here, direct = block("masakhaner2", language, corpora), load_template("ner", "direct")
    with pytest.raises(HarnessError) as caught:
        open_shots(here, direct, count=99_999, split=split, data_dir=corpora)
    assert f"'{split}' has {len(left)} to show: of its {len(candidates)} sentences" in str(
        caught.value
    )
    assert f"show {leaking} are among the evaluated ones" in str(caught.value)
    for by in ("random", "nearest"):
        shots = open_shots(here, direct, count=3, split=split, by=by, data_dir=corpora)
        for example in here.examples:
            assert len({normalized(e.text) for e in shots.shown_for(example)} - set(test)) == 3
