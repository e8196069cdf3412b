"""Tags: equal to seqeval's strict mode to the last digit, and a file of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities

from harness.errors import CorpusFormatError, DataError
from harness.records import Annotation
from harness.scoring import count, micro, per_label, read_tags, score_tags
from harness.scoring.tags import tag_spans

_TAGS = st.sampled_from(["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-a-b", "B", "I"])
_PAIRS = st.lists(st.lists(st.tuples(_TAGS, _TAGS), max_size=9), min_size=1, max_size=6)


@settings(max_examples=400)
@given(_PAIRS)
def test_equals_seqeval(sentences: list[list[tuple[str, str]]]) -> None:
    gold = [[pair[0] for pair in sentence] for sentence in sentences]
    predicted = [[pair[1] for pair in sentence] for sentence in sentences]
    scores = score_tags(gold, predicted)

    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, predicted, average="micro", scheme=IOB2, zero_division=0
    )
    mine = (scores.micro.precision, scores.micro.recall, scores.micro.f1)
    assert mine == (precision, recall, f1)

    labels = sorted(Entities(gold, IOB2).unique_tags | Entities(predicted, IOB2).unique_tags)
    assert list(scores.labels) == labels
    every = precision_recall_fscore_support(gold, predicted, scheme=IOB2, zero_division=0)
    for index, label in enumerate(labels):
        score = scores.labels[label]
        theirs = tuple(column[index] for column in every)
        assert (score.precision, score.recall, score.f1, score.gold) == theirs
    assert len(scores.rows) == len(sentences)


def test_strict_rule_equals_seqeval_where_surfaces_are_unique() -> None:
    """The same spans given as tags and as a reply's surfaces score the same."""

    @settings(max_examples=150)
    @given(_PAIRS)
    def check(sentences: list[list[tuple[str, str]]]) -> None:
        rows = []
        for sentence in sentences:
            text = " ".join(f"w{index}" for index in range(len(sentence)))
            starts = [text.index(f"w{index}") for index in range(len(sentence))]

            def mentions(
                side: int,
                *,
                text: str = text,
                starts: list[int] = starts,
                sentence: list[tuple[str, str]] = sentence,
            ) -> list[Annotation]:
                found = []
                for label, first, after in sorted(tag_spans(pair[side] for pair in sentence)):
                    offsets = (starts[first], starts[after - 1] + len(f"w{after - 1}"))
                    surface = text[offsets[0] : offsets[1]]
                    found.append(Annotation(label, {"span": surface}, None if side else offsets))
                return found

            rows.append(count(text, mentions(0), mentions(1), "strict"))
        tags = score_tags(*([[p[side] for p in s] for s in sentences] for side in (0, 1)))
        assert micro(rows) == tags.micro
        assert per_label(rows) == tags.labels

    check()


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-PER I-PER O", {("PER", 0, 2)}),
        ("B-PER B-PER", {("PER", 0, 1), ("PER", 1, 2)}),
        ("I-PER I-PER O", set()),  # an orphan begins nothing
        ("B-PER I-LOC I-PER", {("PER", 0, 1)}),  # nor does one of another class, or after it
        ("O B-LOC I-LOC", {("LOC", 1, 3)}),
        ("", set()),
    ],
)
def test_spans(tags: str, spans: set[tuple[str, int, int]]) -> None:
    assert tag_spans(tags.split()) == spans


def test_a_file_of_tags(tmp_path: Path) -> None:
    path = tmp_path / "tags.txt"
    path.write_bytes(
        "\ufeffAda B-PER B-PER\r\n# O O\r\n\r\n\r\nNew York\tB-LOC\tO\n 5 000 O B-LOC\n".encode()
    )
    gold, predicted = read_tags(path)
    assert gold == [["B-PER", "O"], ["B-LOC", "O"]]
    assert predicted == [["B-PER", "O"], ["O", "B-LOC"]]
    score = score_tags(gold, predicted).micro
    assert (score.tp, score.predicted, score.gold) == (1, 2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ada B-PER\n", r":1: expected 3 columns .* found 2"),
        ("Ada O O\n\nBo\tB-PER\n", r":3: expected 3 columns .* found 2"),
        ("a\tb\tO\tO\n", r":1: expected 3 columns .* found 4"),
        ("Ada O O\nBo O E-PER\n", r":2: 'E-PER' is no IOB2 tag\. Choices: O, B-CLASS, I-CLASS"),
        ("# text = Ada came\n", r":1: 'Ada' is no IOB2 tag"),
        ("Ada O \n", r":1: '' is no IOB2 tag"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tags.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusFormatError, match=r"tags\.txt" + message):
        read_tags(path)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "latin").write_bytes(b"Ad\xe9 O O\n")
    with pytest.raises(DataError, match="holds no sentence"):
        read_tags(tmp_path / "empty")
    with pytest.raises(DataError, match="not UTF-8"):
        read_tags(tmp_path / "latin")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_tags(tmp_path / "absent")


def test_sides_that_do_not_fit_each_other() -> None:
    with pytest.raises(DataError, match="Gold has 1 sentences and the predictions 2"):
        score_tags([["O"]], [["O"], ["O"]])
    with pytest.raises(DataError, match="Sentence 2 has 1 gold tags and 2 predicted"):
        score_tags([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(DataError, match="Sentence 1: 'X-PER' is no IOB2 tag"):
        score_tags([["O"]], [["X-PER"]])
