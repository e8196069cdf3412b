"""The English that corpora carry, on made-up files and on the real ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

import harness.data
from harness.data import load_dataset
from harness.errors import CorpusFormatError, DataError
from harness.records import Example

TABLE = Path(harness.data.__file__).with_name("zh_pud.tsv")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def treebank(sentences: Iterable[tuple[str, str]]) -> str:
    """``(id, tokens)``, of which the first of every sentence is a person."""
    blocks = []
    for sent_id, text in sentences:
        rows = [
            f"{i}\t{token}\t{'O' if i > 1 else 'B-PER'}\t-\tx\n"
            for i, token in enumerate(text.split(), 1)
        ]
        blocks.append(f"# sent_id = {sent_id}\n# text = {text}\n{''.join(rows)}")
    return "\n".join(blocks)


def test_pud_goes_by_sentence_id(tmp_path: Path) -> None:
    write(
        tmp_path / "uner/en_pud/test.iob2", treebank([("n1", "Ada sings ."), ("n2", "Obi runs .")])
    )
    # Out of order, and one that is not in English.
    german = [("n2", "Obi läuft ."), ("n3", "Uche ."), ("n1", "Ada")]
    write(tmp_path / "uner/de_pud/test.iob2", treebank(german))
    found = load_dataset("uner", "de_pud", data_dir=tmp_path, english=True)
    assert [e.english for e in found] == ["Obi runs .", None, "Ada sings ."]
    assert found[1].english_gold is None
    for example, span in ((found[0], "Obi"), (found[2], "Ada")):
        assert example.english_gold is not None
        assert [(a.type, a.span, a.offsets) for a in example.english_gold] == [
            ("Person", span, (0, 3))
        ]
    assert load_dataset("uner", "de_pud", data_dir=tmp_path)[0].english is None
    english = load_dataset("uner", "en_pud", data_dir=tmp_path, english=True)
    assert [(e.english, e.english_gold) for e in english] == [(e.text, e.gold) for e in english]


def test_zh_pud_goes_by_the_table(tmp_path: Path) -> None:
    write(
        tmp_path / "uner/en_pud/test.iob2",
        treebank([("n01001-0001", "First"), ("n02002-0001", "Second"), ("w01001-0001", "Third")]),
    )
    write(
        tmp_path / "uner/zh_pud/test.iob2",
        treebank([("batch-0000-0001", "一"), ("batch-0012-0016", "三"), ("batch-0025-0001", "二")]),
    )
    found = load_dataset("uner", "zh_pud", data_dir=tmp_path, english=True)
    assert [e.english for e in found] == ["First", "Third", "Second"]


def test_the_english_of_pud_must_be_there(tmp_path: Path) -> None:
    write(tmp_path / "uner/de_pud/test.iob2", treebank([("n1", "Ada")]))
    with pytest.raises(DataError, match=r"uner/en_pud/test\.iob2: no such file"):
        load_dataset("uner", "de_pud", data_dir=tmp_path, english=True)


def test_a_treebank_without_english_has_none(tmp_path: Path) -> None:
    write(tmp_path / "uner/da_ddt/test.iob2", treebank([("a", "Ada")]))
    (example,) = load_dataset("uner", "da_ddt", data_dir=tmp_path, english=True)
    assert (example.english, example.english_gold) == (None, None)


def slots(*sentences: tuple[str, str | None]) -> str:
    blocks = []
    for text, english in sentences:
        note = "" if english is None else f"# text-en: {english}\n"
        tokens = text.split()
        rows = [
            f"{i}\t{t}\tx\t{'B-location' if i == len(tokens) else 'O'}\n"
            for i, t in enumerate(tokens, 1)
        ]
        blocks.append(note + "".join(rows))
    return "\n".join(blocks)


def test_xsid_has_it_beside_the_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "xsid/xSID-0.4"
    write(
        folder / "da.valid.conll",
        slots(("Vejr i Kano", "Weather in Kano?"), ("Og her", "And here"), ("Nej", None)),
    )
    alone = load_dataset("xsid", "da", "dev", data_dir=tmp_path, english=True)
    assert [e.english for e in alone] == ["Weather in Kano?", "And here", None]
    assert [e.english_gold for e in alone] == [None, None, None]
    # The first English sentence is the same but for white space, the second is another one.
    write(folder / "en.valid.conll", slots(("Weather in Kano ?", None), ("And there", None)))
    found = load_dataset("xsid", "da", "dev", data_dir=tmp_path, english=True)
    assert [e.english for e in found] == [e.english for e in alone]
    assert found[0].english_gold is not None
    assert [(a.span, a.offsets) for a in found[0].english_gold] == [("?", (15, 16))]
    assert found[1].english_gold is None


REFERENCES = "masakhaner2_reference_translations/lug/test"


@pytest.fixture
def luganda(tmp_path: Path) -> Path:
    write(tmp_path / "masakhaner2/lug/test.txt", "Ada B-PER\n\nKampala B-LOC\n\n# O\n")
    return tmp_path


def test_references_go_by_position(luganda: Path) -> None:
    path = luganda / f"{REFERENCES}.eng_Latn.tsv"
    write(path, 'sentence_index\treference\tmafand_file\n2\tA "mark"\tx\n0\tAda\tx\n')
    found = load_dataset("masakhaner2", "lug", data_dir=luganda, english=True)
    assert [(e.english, e.english_gold) for e in found] == [
        ("Ada", None),
        (None, None),
        ('A "mark"', None),
    ]
    last = load_dataset("masakhaner2", "lug", data_dir=luganda, english=True, sample=1, seed=3)
    assert [e.english for e in last] == [found[int(last[0].id[-1])].english]


def test_french_is_not_english(luganda: Path) -> None:
    write(luganda / f"{REFERENCES}.fra_Latn.tsv", "sentence_index\treference\n0\tAda\n")
    found = load_dataset("masakhaner2", "lug", data_dir=luganda, english=True)
    assert [e.english for e in found] == [None, None, None]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("0\tAda\n", 1, "The header is"),
        ("sentence_index\treference\nAda\n", 2, "A line is an index"),
        ("sentence_index\treference\nx\tAda\n", 2, "A line is an index"),
        ("sentence_index\treference\n0\t \n", 2, "A line is an index"),
        ("sentence_index\treference\n0\tAda\n3\tObi\n", 3, "beyond the 3 sentences"),
        ("sentence_index\treference\n0\tAda\n0\tObi\n", 3, "has a reference already"),
    ],
)
def test_references_that_do_not_fit(luganda: Path, text: str, line: int, told: str) -> None:
    path = luganda / f"{REFERENCES}.eng_Latn.tsv"
    write(path, text)
    with pytest.raises(CorpusFormatError) as caught:
        load_dataset("masakhaner2", "lug", data_dir=luganda, english=True)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert told in str(caught.value)


def _same_types(examples: list[Example]) -> int:
    """Sentences whose gold has as many mentions of each class as the English."""
    return sum(
        Counter(a.type for a in e.gold) == Counter(a.type for a in e.english_gold or ())
        for e in examples
    )


@pytest.mark.parametrize(
    ("code", "same"), [("sv", 833), ("pt", 819), ("de", 768), ("ru", 744), ("zh", 695)]
)
def test_pud_is_aligned(corpora: Path, code: str, same: int) -> None:
    if not (corpora / f"uner/{code}_pud").is_dir():
        pytest.skip(f"no {code}_pud")
    examples = load_dataset("uner", f"{code}_pud", data_dir=corpora, english=True)
    assert all(e.english for e in examples)
    assert _same_types(examples) == same


def test_the_table_of_zh_pud_is_the_permutation(corpora: Path) -> None:
    english = [e.id for e in load_dataset("uner", "en_pud", data_dir=corpora)]
    rows = [line.split("\t") for line in TABLE.read_text("utf-8").splitlines()[1:]]
    blocks = [(0, 375), (500, 875), (375, 500), (875, 1000)]
    assert [own for own, _ in rows] == sorted(own for own, _ in rows)
    assert [other for _, other in rows] == [english[i] for b in blocks for i in range(*b)]


def test_every_xsid_sentence_has_english_and_its_gold(corpora: Path) -> None:
    for split, sizes in (("test", {250, 500}), ("dev", {150, 300})):
        for path in (corpora / "xsid/xSID-0.4").glob(
            f"*.{'valid' if split == 'dev' else split}.conll"
        ):
            code = path.name.split(".")[0]
            examples = load_dataset("xsid", code, split, data_dir=corpora, english=True)
            assert len(examples) in sizes
            for example in examples:
                assert example.english
                assert example.english_gold is not None
                for annotation in example.english_gold:
                    assert annotation.offsets is not None
                    assert example.english[slice(*annotation.offsets)] == annotation.span


@pytest.mark.parametrize(
    ("code", "whole", "first"), [("lug", 1411, 200), ("pcm", 1554, 188), ("tsn", 979, 196)]
)
def test_references_of_masakhaner(corpora: Path, code: str, whole: int, first: int) -> None:
    examples = load_dataset("masakhaner2", code, data_dir=corpora, english=True)
    assert sum(e.english is not None for e in examples) == whole
    assert sum(e.english is not None for e in examples[:200]) == first
