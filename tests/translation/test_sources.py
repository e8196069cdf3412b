"""Translations that exist already: references and files, and that neither can misalign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data import catalog
from harness.data.block import Block
from harness.errors import TranslationError
from harness.records import Example
from harness.store import Store
from harness.translation import Translator, open_translator, text_sha256
from harness.translation.settings import FileEntry, ReferenceEntry


def example(number: int, text: str, english: str | None = None) -> Example:
    return Example(f"test-{number}", "mine", "swa", "test", text, english=english)


def block(*examples: Example) -> Block:
    return Block(catalog()["demo"], "swa", "test", list(examples))


def opened(path: Path) -> Translator:
    return open_translator(FileEntry(path=str(path)), Store())


def row(number: int, text: str, translated: str, **changes: Any) -> str:
    values = {"dataset": "mine", "language": "swa", "id": f"test-{number}", "english": translated}
    return json.dumps(values | {"text_sha256": text_sha256(text)} | changes)


def test_reference_is_what_the_example_carries() -> None:
    found = (
        open_translator(ReferenceEntry(), Store())
        .translate(block(example(0, "Habari", "News"), example(1, "Ndiyo"), example(2, "Ah", "  ")))
        .translations
    )
    assert found[0] is not None
    assert (found[0].text, found[0].source, found[0].flags) == ("News", "reference", ())
    assert found[1] is None
    assert found[2] is not None
    assert found[2].flags == ("empty",)


def test_file_is_keyed_by_place_and_text(tmp_path: Path) -> None:
    file = tmp_path / "english.jsonl"
    file.write_text(row(1, "Ndiyo", "Yes") + "\n\n" + row(0, "Habari", "News") + "\n")
    translator = opened(file)
    found = translator.translate(
        block(example(0, "Habari"), example(1, "Ndiyo"), example(2, "Ah"))
    ).translations
    assert [t.text if t else None for t in found] == ["News", "Yes", None]
    # The identity changes with the content: it stands in the signature of a score.
    file.write_text(row(0, "Habari", "Newspaper"))
    assert opened(file).identity != translator.identity


def test_file_of_another_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "english.jsonl"
    file.write_text(row(0, "Habari", "News"))
    with pytest.raises(TranslationError, match="made for another text"):
        opened(file).translate(block(example(0, "Habari ")))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("{", r"english\.jsonl:2: not a JSON object"),
        ("[]", "missing here: dataset, language, id, text_sha256, english"),
        (row(1, "Ndiyo", "Yes", english=None), "missing here: english"),
        (row(0, "Habari", "Again"), "second translation of mine/swa/test-0"),
    ],
)
def test_wrong_lines_name_file_and_line(tmp_path: Path, line: str, wanted: str) -> None:
    file = tmp_path / "english.jsonl"
    file.write_text(row(0, "Habari", "News") + "\n" + line + "\n")
    with pytest.raises(TranslationError, match=wanted):
        opened(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TranslationError, match="cannot be read"):
        opened(tmp_path / "none.jsonl")
