"""The readers of one token a line, on small files made up for each quirk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.corpus import CorpusFile, LabelMap
from harness.data.formats import FILE_FORMATS
from harness.errors import CorpusFormatError

NEWS = {"PER": "Person", "ORG": "Organization", "LOC": "Location"}
MASAKHANER = LabelMap(NEWS, excluded=frozenset({"DATE"}))
UNER = LabelMap(NEWS, ignored=frozenset({"OTH"}))
XSID = LabelMap({"location": "Location", "weather/attribute": "WeatherAttribute"})
OWN = LabelMap(
    {"PER": "Person", "LOC": "Location"}, ignored=frozenset({"MISC"}), unknown_is_error=True
)


def read(tmp_path: Path, text: str, file_format: str, labels: LabelMap) -> CorpusFile:
    path = tmp_path / "corpus"
    path.write_text(text, encoding="utf-8", newline="")
    return FILE_FORMATS[file_format].read(path, labels)


def found(corpus: CorpusFile) -> list[list[tuple[str, str]]]:
    return [[(m.label, m.surface) for m in s.mentions] for s in corpus.sentences]


def test_masakhaner(tmp_path: Path) -> None:
    corpus = read(
        tmp_path, "Ada B-PER\nOkoro I-PER\nlọ O\n\n# O\nKano B-LOC\n", "masakhaner", MASAKHANER
    )
    assert [s.text for s in corpus.sentences] == ["Ada Okoro lọ", "# Kano"]
    assert found(corpus) == [[("PER", "Ada Okoro")], [("LOC", "Kano")]]
    assert [s.line for s in corpus.sentences] == [1, 5]
    assert corpus.sentences[1].mentions[0].offsets == (2, 6)
    assert not corpus.oddities


def test_extra_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    text = "\n\nAda B-PER\n\n\n\nKano B-LOC\n\n\nlọ O"
    corpus = read(tmp_path, text, "masakhaner", MASAKHANER)
    assert [(s.line, s.text) for s in corpus.sentences] == [(3, "Ada"), (7, "Kano"), (10, "lọ")]


def test_an_empty_token_moves_nothing(tmp_path: Path) -> None:
    corpus = read(
        tmp_path, "Ada B-PER\n O\nlọ O\n I-LOC\nKano I-LOC\n B-PER\n", "masakhaner", MASAKHANER
    )
    (sentence,) = corpus.sentences
    assert sentence.tokens == ("Ada", "", "lọ", "", "Kano", "")
    assert sentence.text == "Ada lọ Kano"
    assert found(corpus) == [[("PER", "Ada"), ("LOC", "Kano")]]
    assert corpus.oddities == {"empty_tokens": 3, "empty_mentions": 1, "orphan_i": 1}


def test_date_is_a_span_until_it_is_left_out(tmp_path: Path) -> None:
    # Read as O, the I-PER would be an orphan; read as a span, it is a change of type.
    corpus = read(tmp_path, "Monday B-DATE\nAda I-PER\n", "masakhaner", MASAKHANER)
    assert found(corpus) == [[("DATE", "Monday"), ("PER", "Ada")]]
    assert corpus.oddities == {"type_change": 1}


def test_unknown_labels_are_read_as_o_and_counted(tmp_path: Path) -> None:
    corpus = read(tmp_path, "Ada B-PRE\nOkoro I-PRE\nKano B-LOC\n", "masakhaner", MASAKHANER)
    assert found(corpus) == [[("LOC", "Kano")]]
    assert corpus.read_as_o == {"B-PRE": 1, "I-PRE": 1}


UNER_TEXT = """# newdoc id = d1
# sent_id = one-1
# text = 5 000 u Ž
1\t5 000\tO\tO\t-
2\tu\tO\tB-PER\t-
3\tŽ\tB-LOC\tB-LOC#O\ts

# sent_id = one-2
# text = #1
1\t#1\tO\t-\t-
"""


def test_uner_splits_at_tabs_and_reads_the_third_column(tmp_path: Path) -> None:
    corpus = read(tmp_path, UNER_TEXT, "uner", UNER)
    assert [(s.id, s.text) for s in corpus.sentences] == [("one-1", "5 000 u Ž"), ("one-2", "#1")]
    assert corpus.sentences[0].tokens == ("5 000", "u", "Ž")
    assert found(corpus) == [[("LOC", "Ž")], []]


def test_oth_is_o_before_spans_are_built(tmp_path: Path) -> None:
    rows = "1\tA\tB-OTH\t-\tx\n2\tB\tI-PER\t-\tx\n3\tC\tI-OTH\t-\tx\n4\tD\tI-PER\t-\tx\n"
    corpus = read(tmp_path, rows, "uner", UNER)
    assert found(corpus) == [[("PER", "B"), ("PER", "D")]]
    assert corpus.oddities == {"orphan_i": 2}
    assert corpus.read_as_o == {"B-OTH": 1, "I-OTH": 1}


@pytest.mark.parametrize("sign", [":", " ="])
def test_xsid_comments_of_both_styles(tmp_path: Path, sign: str) -> None:
    text = (
        f"# id{sign} 7\n# text{sign} 会 下 雨\n# text-en{sign} Will it rain: yes = no?\n"
        f"# intent{sign} weather/find\n"
        "1\t会\tweather/find\tO\n2\t\tweather/find\tO\n3\t雨\tweather/find\tB-weather/attribute\n"
        "4\t吗\tweather/find\tB-reference-part\n"
    )
    corpus = read(tmp_path, text, "xsid", XSID)
    (sentence,) = corpus.sentences
    assert (sentence.id, sentence.english) == ("7", "Will it rain: yes = no?")
    assert (sentence.text, sentence.tokens) == ("会 雨 吗", ("会", "", "雨", "吗"))
    assert found(corpus) == [[("weather/attribute", "雨")]]
    assert sentence.mentions[0].offsets == (2, 3)
    assert corpus.read_as_o == {"B-reference-part": 1}
    assert corpus.oddities == {"empty_tokens": 1}


def test_conll_of_ones_own_by_spaces(tmp_path: Path) -> None:
    text = (
        "-DOCSTART- -X- O\n\n# id = a\nAda X B-PER\n# X O\n\n"
        "# X I-LOC\n\n# a note\nKano  X   B-LOC \n \nLagos X B-MISC\n"
    )
    corpus = read(tmp_path, text, "conll", OWN)
    assert [(s.id, s.text) for s in corpus.sentences] == [
        ("a", "Ada #"),
        (None, "#"),
        (None, "Kano"),
        (None, "Lagos"),
    ]
    assert found(corpus) == [[("PER", "Ada")], [("LOC", "#")], [("LOC", "Kano")], []]


def test_conll_of_ones_own_by_tabs(tmp_path: Path) -> None:
    text = "# text_en = Ada in New York\nAda\tB-PER\nNew York\tB-LOC\n\tI-LOC\n"
    corpus = read(tmp_path, text, "conll", OWN)
    assert found(corpus) == [[("PER", "Ada"), ("LOC", "New York")]]
    assert corpus.sentences[0].english == "Ada in New York"


@pytest.mark.parametrize(
    ("file_format", "labels", "text", "line", "told"),
    [
        ("masakhaner", MASAKHANER, "Ada B-PER\n\nNew York B-LOC\n", 3, "found 3 columns"),
        ("masakhaner", MASAKHANER, "Ada B-PER\nO\n", 2, "found 1 column: 'O'"),
        ("masakhaner", MASAKHANER, "Ada\tB-PER\n", 1, "found 1 column"),
        ("masakhaner", MASAKHANER, "Ada B-PER\n\nlọ O\nKano B-LOC\n \nlọ \n", 5, "tag '' is not"),
        ("masakhaner", MASAKHANER, "Ada PER\n", 1, "tag 'PER' is not a tag"),
        ("masakhaner", MASAKHANER, "lọ O\nAda B-\n", 2, "tag 'B-' is not a tag"),
        ("masakhaner", MASAKHANER, "lọ O\nAda b-PER\n", 2, "tag 'b-PER' is not a tag"),
        ("masakhaner", MASAKHANER, "lọ O\nAda S-PER\n", 2, "tag 'S-PER' is not a tag"),
        ("masakhaner", MASAKHANER, "", 1, "no sentence"),
        ("masakhaner", MASAKHANER, "\n\n\n", 1, "no sentence"),
        ("uner", UNER, "# sent_id = a\n1\tAda\tB-PER\t-\t-\n2\tlọ O - -\n", 3, "found 2 columns"),
        ("uner", UNER, "# sent_id = a\n1\tAda\tX\t-\t-\n", 2, "tag 'X' is not a tag"),
        ("uner", UNER, "# sent_id = a\n\n1\tAda\tO\t-\t-\n", 1, "a sentence without tokens"),
        ("xsid", XSID, "# id: 1\n1\tAda\tO\n", 2, "found 3 columns"),
        ("conll", OWN, "Ada B-PER\n\nNew York B-LOC\n", 3, "found 3 columns"),
        ("conll", OWN, "# id = 1\nAda\n", 2, "found one column"),
        ("conll", OWN, "Ada B-PER\nAcme B-ORG\n", 2, "label 'ORG' is not in the dataset's labels"),
        ("conll", OWN, "Ada B-PER\n\nlọ O\n# a late note\n", 4, "found 4 columns"),
    ],
)
def test_a_line_that_does_not_fit_names_file_and_line(
    tmp_path: Path, file_format: str, labels: LabelMap, text: str, line: int, told: str
) -> None:
    with pytest.raises(CorpusFormatError) as caught:
        read(tmp_path, text, file_format, labels)
    assert str(caught.value).startswith(f"{tmp_path / 'corpus'}:{line}: ")
    assert told in str(caught.value)


def test_an_unmapped_label_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(CorpusFormatError, match=r"Labels now: LOC, MISC, PER\."):
        read(tmp_path, "Acme B-ORG\n", "conll", OWN)


# Characters that other tools take for line ends or blanks are part of a token here.
WORD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r "), min_size=1, max_size=6
)
ROW = st.tuples(WORD, st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-DATE"]))


@given(st.lists(st.lists(ROW, min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[tuple[str, str]]]
) -> None:
    text = "\n".join("".join(f"{token} {tag}\n" for token, tag in s) for s in sentences)
    # A mark at the very start of a file is taken for its encoding.
    if text.startswith("\ufeff"):
        text = "\n" + text
    corpus = read(tmp_path_factory.getbasetemp(), text, "masakhaner", MASAKHANER)
    assert [list(s.tokens) for s in corpus.sentences] == [[t for t, _ in s] for s in sentences]
    begun = sum(tag[0] == "B" for s in sentences for _, tag in s)
    repaired = corpus.oddities["orphan_i"] + corpus.oddities["type_change"]
    assert sum(len(s.mentions) for s in corpus.sentences) == begun + repaired
