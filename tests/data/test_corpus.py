"""Spans from tags, and tokens laid out as text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from harness.data.corpus import iob2_spans, join_tokens, read_text
from harness.errors import CorpusFormatError, DataError

TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-x-y", "B-x-y"]))


@given(TAGS)
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    oracle = [(start, last + 1, label) for label, start, last in get_entities(tags)]
    assert iob2_spans(tags) == oracle


@given(TAGS)
def test_repaired_tags_have_the_same_spans_and_no_orphans(tags: list[str]) -> None:
    oddities: Counter[str] = Counter()
    spans = iob2_spans(tags, oddities)
    repaired = ["O"] * len(tags)
    for start, end, label in spans:
        repaired[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    changed = sum(a != b for a, b in zip(tags, repaired, strict=True))
    assert oddities.total() == changed
    again: Counter[str] = Counter()
    assert iob2_spans(repaired, again) == spans
    assert not again


@pytest.mark.parametrize(
    ("tags", "orphans", "changes"),
    [
        (["I-PER", "I-PER"], 1, 0),
        (["O", "I-PER", "O", "I-PER"], 2, 0),
        (["B-PER", "I-LOC", "I-LOC"], 0, 1),
        (["I-PER", "I-LOC", "I-PER"], 1, 2),
        (["B-PER", "B-LOC", "O"], 0, 0),
    ],
)
def test_repairs_are_counted_by_kind(tags: list[str], orphans: int, changes: int) -> None:
    oddities: Counter[str] = Counter()
    iob2_spans(tags, oddities)
    assert (oddities["orphan_i"], oddities["type_change"]) == (orphans, changes)


TOKEN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\t"), max_size=4)


@given(st.lists(TOKEN, min_size=1, max_size=8), st.data())
def test_mentions_stand_where_they_say(tokens: list[str], data: st.DataObject) -> None:
    tags = data.draw(
        st.lists(
            st.sampled_from(["O", "B-PER", "I-PER"]), min_size=len(tokens), max_size=len(tokens)
        )
    )
    spans = iob2_spans(tags)
    oddities: Counter[str] = Counter()
    text, mentions = join_tokens(tokens, spans, oddities)
    full = [token for token in tokens if token.strip(" ")]
    assert text == " ".join(full)
    assert oddities["empty_tokens"] == len(tokens) - len(full)
    surfaces = [" ".join(t for t in tokens[start:end] if t.strip(" ")) for start, end, _ in spans]
    assert [m.surface for m in mentions] == [surface for surface in surfaces if surface]
    assert oddities["empty_mentions"] == surfaces.count("")
    for mention in mentions:
        assert mention.offsets is not None
        assert text[slice(*mention.offsets)] == mention.surface


def test_text_survives_mark_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffKano B-LOC\r\n\r\n".encode())
    assert read_text(path) == "Kano B-LOC\n\n"


def test_bytes_that_are_not_utf8_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfKano B-LOC\nAb\xe9 O\n")
    with pytest.raises(CorpusFormatError) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path}:2: byte 0xe9 is not UTF-8")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file"):
        read_text(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)
