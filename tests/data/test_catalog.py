"""The catalogue's facts, names, and data of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data import catalog, load_dataset, resolve
from harness.data.loading import load_examples
from harness.errors import CorpusFormatError, DataError, UnknownNameError, UsageError
from harness.records import Annotation, Example

PUBLIC = ("masakhaner2", "uner", "xsid")
OWN = {"PER": "Person", "LOC": "Location", "MISC": "O"}


def test_every_dataset_and_language_is_there() -> None:
    known = catalog()
    assert tuple(known) == (*PUBLIC, "demo")
    assert [len(known[name].languages()) for name in PUBLIC] == [20, 18, 15]
    assert len(known["masakhaner2"].languages("train")) == 20
    assert len(known["uner"].languages("dev")) == 9
    assert len(known["xsid"].languages("dev")) == 15
    assert known["xsid"].splits == ("dev", "test")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_file_is_pinned(name: str) -> None:
    dataset = catalog()[name]
    urls = set()
    for code, row in dataset.table.items():
        assert row.licence.startswith("CC BY")
        assert row.citation
        assert row.name
        assert row.english is None or row.english in dataset.table
        for split, pinned in row.files.items():
            assert re.fullmatch("[0-9a-f]{40}", pinned.commit)
            assert re.fullmatch("[0-9a-f]{64}", pinned.sha256)
            assert pinned.bytes > 10_000
            assert code in pinned.path
            assert dataset.split_names.get(split, split) in pinned.path
            urls.add(pinned.url())
    assert len(urls) == sum(len(row.files) for row in dataset.table.values())


def test_addresses_and_places() -> None:
    known = catalog()
    swa = known["masakhaner2"].table["swa"].files["test"]
    assert swa.url() == (
        "https://raw.githubusercontent.com/masakhane-io/masakhane-ner/"
        "ba5843cd08aa491d5f96a5e809e71eb9ec461391/MasakhaNER2.0/data/swa/test.txt"
    )
    assert known["xsid"].table["ja"].files["dev"].path == "data/xSID-0.4/ja.valid.conll"
    assert known["masakhaner2"].relative_path("swa", "dev") == "masakhaner2/swa/dev.txt"
    assert known["uner"].relative_path("de_pud", "test") == "uner/de_pud/test.iob2"
    assert known["xsid"].relative_path("ja", "dev") == "xsid/xSID-0.4/ja.valid.conll"


def test_licences_that_differ_within_a_dataset() -> None:
    licences = {code: row.licence for code, row in catalog()["uner"].table.items()}
    assert {code for code, licence in licences.items() if licence == "CC BY-SA 3.0"} == {
        "de_pud", "en_pud", "pt_pud", "ru_pud", "zh_pud",
    }  # fmt: skip
    assert licences["tl_ugnayan"] == "CC BY-NC-SA 4.0"
    assert "plank2020danplus" in catalog()["uner"].table["da_ddt"].citation


def test_codes_of_nllb() -> None:
    known = catalog()
    assert known["masakhaner2"].nllb_code("swa") == "swh_Latn"
    assert known["masakhaner2"].nllb_code("bbj") is None
    assert known["masakhaner2"].nllb_code("pcm") is None
    assert known["uner"].nllb_code("zh_pud") == "zho_Hant"
    assert known["uner"].nllb_code("zh_gsdsimp") == "zho_Hans"
    assert [known["xsid"].nllb_code(code) for code in ("zh", "gsw")] == ["zho_Hans", None]
    own = resolve("own", path="x.jsonl", labels=OWN)
    codes = [own.nllb_code(code) for code in ("swa", "por", "quy_Latn", "zho", "und")]
    assert codes == ["swh_Latn", "por_Latn", "quy_Latn", None, None]


def test_classes_match_the_schemas() -> None:
    known = catalog()
    assert known["masakhaner2"].labels == known["uner"].labels
    assert known["masakhaner2"].outside == ("Date", "Entity", "SkipAction")
    assert known["uner"].outside == ("Miscellaneous", "Entity", "SkipAction")
    assert len(known["xsid"].labels) == len({*known["xsid"].labels.values()}) == 40
    from harness.prompting.schema import load_schema

    for dataset in known.values():
        assert {*dataset.labels.values()} == {*load_schema(dataset.schema).fields()}


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'masakhaner2'\? Choices: .*path"):
        resolve("masakhaner")
    with pytest.raises(UnknownNameError, match="Did you mean 'swa'"):
        load_dataset("masakhaner2", "swh")
    with pytest.raises(UnknownNameError, match=r"split of uner 'valid'.*Choices: train, dev, test"):
        load_dataset("uner", "de_pud", "valid")
    with pytest.raises(UnknownNameError, match=r"language of uner \(dev\) 'de_pud'"):
        load_dataset("uner", "de_pud", "dev")


def test_a_schema_of_ones_own_replaces_the_catalogues() -> None:
    dataset = resolve("uner", schema="mine.py")
    assert (dataset.schema, dataset.languages()) == ("mine.py", catalog()["uner"].languages())


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: resolve("own", path="x.jsonl"), "give `labels`"),
        (lambda: resolve("own", path="x.jsonl", labels={}), "give `labels`"),
        (lambda: resolve("own", path="x.json", labels=OWN), "give `format`: conll or jsonl"),
        (lambda: resolve("own", path="x", format="csv", labels=OWN), "Choices: conll, jsonl"),
        (lambda: resolve("own", path="x.conll", labels={"T": "Title"}), r"`schema`.*\(Title\)"),
        (lambda: resolve("uner", format="conll"), "is in the catalogue"),
        (lambda: resolve("uner", labels=OWN), "is in the catalogue"),
    ],
)
def test_keys_that_do_not_go_together(call: Callable[[], object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        call()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    rows = [
        {
            "language": "hau",
            "text": "Ada ta je Kano",
            "entities": [{"label": "PER", "span": "Ada"}],
        },
        {
            "id": "b",
            "language": "swa",
            "text": "Yuko Kisumu",
            "entities": [{"label": "MISC", "span": "Kisumu"}],
        },
        {
            "language": "swa",
            "tokens": ["Ada", "yuko", "Kisumu"],
            "entities": [{"label": "LOC", "start": 2, "end": 3}],
            "english": "Ada is in Kisumu",
            "english_entities": [{"label": "LOC", "start": 10, "end": 16}],
        },
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_one_file_of_several_languages(own: Path) -> None:
    dataset = resolve("own", path=own, labels=OWN)
    assert dataset.languages() == ["hau", "swa"]
    assert load_examples(dataset, "swa", english=True) == [
        Example("b", "own", "swa", "test", "Yuko Kisumu"),
        Example(
            "test-1",
            "own",
            "swa",
            "test",
            "Ada yuko Kisumu",
            ("Ada", "yuko", "Kisumu"),
            (Annotation("Location", {"span": "Kisumu"}, (9, 15)),),
            "Ada is in Kisumu",
            (Annotation("Location", {"span": "Kisumu"}, (10, 16)),),
        ),
    ]
    assert load_examples(dataset, "swa")[1].english is None
    (hausa,) = load_dataset("own", "hau", path=own, labels=OWN)
    assert hausa.gold == (Annotation("Person", {"span": "Ada"}, None),)
    with pytest.raises(UnknownNameError, match="Choices: hau, swa"):
        load_examples(dataset, "yor")


def test_sentences_without_a_language(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "Kano", "entities": []}\n', encoding="utf-8")
    assert resolve("own", path=path, labels=OWN).languages() == ["und"]
    assert [e.language for e in load_dataset("own", "hau", path=path, labels=OWN)] == ["hau"]
    several = resolve("own", path=path, labels=OWN, languages=["hau", "swa"])
    with pytest.raises(
        CorpusFormatError, match=r":1: no `language`, and own has several: hau, swa"
    ):
        load_examples(several, "hau")


def test_shared_ids_of_ones_own_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    row = '{"id": "a", "language": "%s", "text": "Kano", "entities": []}\n'
    path.write_text(row % "hau" + row % "swa", encoding="utf-8")
    dataset = resolve("own", path=path, labels=OWN)
    assert [e.id for code in ("hau", "swa") for e in load_examples(dataset, code)] == ["a", "a"]
    path.write_text(row % "hau" + "\n" + row % "hau", encoding="utf-8")
    with pytest.raises(CorpusFormatError, match=r"own\.jsonl:3: id 'a' is already used in line 1"):
        load_examples(dataset, "hau")


def test_a_file_for_every_language_and_split(tmp_path: Path) -> None:
    (tmp_path / "hau").mkdir()
    (tmp_path / "swa").mkdir()
    (tmp_path / "hau" / "dev.conll").write_text("Ada B-PER\n", encoding="utf-8")
    (tmp_path / "hau" / "test.conll").write_text("Kano B-LOC\n\nAda B-PER\n", encoding="utf-8")
    (tmp_path / "swa" / "test.conll").write_text("Kisumu B-LOC\n", encoding="utf-8")
    dataset = resolve("own", path=tmp_path / "{language}" / "{split}.conll", labels=OWN)
    assert dataset.splits == ("dev", "test")
    assert dataset.languages("test") == ["hau", "swa"]
    assert dataset.languages("dev") == ["hau"]
    assert [e.text for e in load_examples(dataset, "swa")] == ["Kisumu"]
    assert [e.id for e in load_examples(dataset, "hau")] == ["test-0", "test-1"]
    with pytest.raises(UnknownNameError, match="Choices: hau, swa"):
        load_examples(dataset, "yor")
    with pytest.raises(UnknownNameError, match=r"split of own 'train'.* Choices: dev, test"):
        dataset.languages("train")
    nowhere = resolve("own", path=tmp_path / "{language}.jsonl", labels=OWN)
    with pytest.raises(DataError, match=r"\*\.jsonl: no such file"):
        nowhere.languages()


def test_one_file_of_conll(tmp_path: Path) -> None:
    path = tmp_path / "own.conll"
    path.write_text("# id = a\nAda B-PER\n\n# id = a\nKano B-LOC\n", encoding="utf-8")
    dataset = resolve("own", path=path, labels=OWN, languages=["hau"])
    assert dataset.languages() == ["hau"]
    # The two share an id, so neither is told by it.
    assert [e.id for e in load_examples(dataset, "hau")] == ["test-0", "test-1"]
    with pytest.raises(DataError, match=r"gone\.conll: no such file"):
        load_dataset("own", "hau", path=tmp_path / "gone.conll", labels=OWN)


@pytest.fixture
def twenty(tmp_path: Path) -> Path:
    path = tmp_path / "own.conll"
    path.write_text("\n".join(f"w{i} O\n" for i in range(20)), encoding="utf-8")
    return path


def test_limit_and_sample(twenty: Path) -> None:
    dataset = resolve("own", path=twenty, labels=OWN)
    every = load_examples(dataset, "und")
    assert [e.id for e in every] == [f"test-{i}" for i in range(20)]
    assert load_examples(dataset, "und", limit=3) == every[:3]
    assert (
        load_examples(dataset, "und", limit=99) == load_examples(dataset, "und", sample=99) == every
    )
    drawn = load_examples(dataset, "und", sample=5, seed=1)
    assert [int(e.text[1:]) for e in drawn] == sorted(int(e.text[1:]) for e in drawn)
    assert (
        drawn
        == load_examples(dataset, "und", sample=5, seed=1)
        != load_examples(dataset, "und", sample=5, seed=2)
    )
    # Held fast: a seed means the same sentences on every machine and version.
    assert [e.id for e in drawn] == ["test-2", "test-3", "test-4", "test-8", "test-18"]
    for limit, sample in ((0, None), (None, -1), (1, 1)):
        with pytest.raises(UsageError, match=r"`limit`|`sample`"):
            load_examples(dataset, "und", limit=limit, sample=sample)


def test_the_demonstration_corpus() -> None:
    dataset = catalog()["demo"]
    assert len(dataset.languages()) >= 5
    total = 0
    for language in dataset.languages():
        examples = load_examples(dataset, language, english=True)
        total += len(examples)
        for example in examples:
            assert example.english is not None
            assert example.english_gold is not None
            for annotation in example.gold:
                assert annotation.offsets is not None
                assert example.text[slice(*annotation.offsets)] == annotation.span
    assert total >= 200


def test_a_partial_folder_says_what_it_has(tmp_path: Path) -> None:
    for language in ("yor", "hau"):
        (tmp_path / "masakhaner2" / language).mkdir(parents=True)
        (tmp_path / "masakhaner2" / language / "test.txt").write_text("Kano B-LOC\n\n")
    with pytest.raises(DataError, match=r"swa/test\.txt: no such file.* has: hau, yor\.$"):
        load_examples(resolve("masakhaner2"), "swa", data_dir=tmp_path)


def test_one_conll_file_cannot_hold_two_languages(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("Kano B-LOC\n\n")
    labels = {"LOC": "Location"}
    mine = resolve(
        "m", path=tmp_path / "x.conll", format="conll", labels=labels, languages=["swa", "yor"]
    )
    with pytest.raises(UsageError, match="one language, and 2 are given"):
        load_examples(mine, "swa")
