"""The demonstration corpus that ships with the package, read without the project's own reader."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import harness

FOLDER = Path(harness.__file__).parent / "data" / "demo"
LOW_RESOURCE = {"swa", "hau", "yor", "zul"}
LABELS = ("PER", "ORG", "LOC")
Row = dict[str, Any]
Counts = tuple[int, ...]


def _table() -> dict[tuple[str, str], Counts]:
    """README's table: (language, split) → sentences, PER, ORG, LOC."""
    readme = (FOLDER / "README.md").read_text("utf-8")
    found = re.findall(r"^\| (\w{3}) \| (test|dev) \|((?: \d+ \|){4})$", readme, re.MULTILINE)
    return {(lang, split): tuple(map(int, re.findall(r"\d+", rest))) for lang, split, rest in found}


FILES = sorted(_table())


def _rows(language: str, split: str) -> list[Row]:
    lines = (FOLDER / f"{language}.{split}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _sides(row: Row) -> list[tuple[str, list[Row]]]:
    return [(row["text"], row["entities"]), (row["english"], row["english_entities"])]


def _in_word(character: str) -> bool:
    # Marks count: a Yoruba tone mark that NFC leaves apart belongs to the letter before it.
    return unicodedata.category(character)[0] in "LMN"


def test_readme_lists_every_file_and_no_other() -> None:
    present = {(language, split) for language, split, _ in _names()}
    assert present == set(FILES)
    assert all(suffix == "jsonl" for _, _, suffix in _names())


def _names() -> list[list[str]]:
    return [path.name.split(".") for path in FOLDER.iterdir() if path.name != "README.md"]


def test_languages() -> None:
    languages = {language for language, _ in FILES}
    assert len(languages) >= 5
    assert len(languages & LOW_RESOURCE) >= 3
    assert {split for _, split in FILES} == {"test", "dev"}
    assert len(FILES) == 2 * len(languages)


@pytest.mark.parametrize(("language", "split"), FILES)
def test_counts_are_those_of_the_readme(language: str, split: str) -> None:
    rows = _rows(language, split)
    labels = Counter(entity["label"] for row in rows for entity in row["entities"])
    assert set(labels) <= set(LABELS)
    assert (len(rows), *(labels[label] for label in LABELS)) == _table()[language, split]


@pytest.mark.parametrize(("language", "split"), FILES)
def test_offsets_are_whole_words_in_order(language: str, split: str) -> None:
    for row in _rows(language, split):
        for text, entities in _sides(row):
            for entity in entities:
                assert set(entity) == {"label", "start", "end"}
                assert entity["label"] in LABELS
                start, end = entity["start"], entity["end"]
                assert 0 <= start < end <= len(text), row["id"]
                surface = text[start:end]
                assert surface == surface.strip(), row["id"]
                assert _in_word(surface[0])
                assert _in_word(surface[-1])
                assert not _in_word(text[start - 1 : start] or " "), (row["id"], surface)
                assert not _in_word(text[end : end + 1] or " "), (row["id"], surface)
            assert all(a["end"] <= b["start"] for a, b in pairwise(entities)), row["id"]


@pytest.mark.parametrize(("language", "split"), FILES)
def test_ids_languages_and_english(language: str, split: str) -> None:
    for number, row in enumerate(_rows(language, split), 1):
        assert row["id"] == f"{language}-{split}-{number:03d}"
        assert row["language"] == language
        assert row["english"].strip()
        assert isinstance(row["english_entities"], list)
        assert (row["text"] == row["english"]) == (language == "eng"), row["id"]
        # What a sentence names, its English names too.
        here, there = ([entity["label"] for entity in side] for _, side in _sides(row))
        assert sorted(here) == sorted(there), row["id"]


@pytest.mark.parametrize(("language", "split"), FILES)
def test_text_is_clean_and_nfc(language: str, split: str) -> None:
    for row in _rows(language, split):
        for text, _ in _sides(row):
            assert unicodedata.is_normalized("NFC", text), row["id"]
            assert text == " ".join(text.split()), row["id"]
            # a mark of the drafting format that was left behind
            assert not set(text) & set("[]\ufffd"), row["id"]


def test_ids_are_unique_over_all_files() -> None:
    ids = Counter(row["id"] for file in FILES for row in _rows(*file))
    assert max(ids.values()) == 1


@pytest.mark.parametrize("language", sorted({language for language, _ in FILES}))
def test_no_sentence_twice(language: str) -> None:
    both = _rows(language, "test") + _rows(language, "dev")
    assert max(Counter(row["text"] for row in both).values()) == 1


def test_no_english_sentence_in_both_splits() -> None:
    english = {
        split: {row["english"] for file in FILES if file[1] == split for row in _rows(*file)}
        for split in ("test", "dev")
    }
    assert not english["test"] & english["dev"]


def test_yoruba_keeps_its_diacritics() -> None:
    text = "".join(row["text"] for row in _rows("yor", "test"))
    assert sum(ord(character) > 127 for character in text) > len(text) // 5


def test_some_names_differ_from_their_english() -> None:
    for language in sorted(LOW_RESOURCE):
        differing = 0
        for row in _rows(language, "test"):
            here, there = ({t[e["start"] : e["end"]] for e in side} for t, side in _sides(row))
            differing += bool(here - there)
        assert differing >= 10, language
