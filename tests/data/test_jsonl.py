"""The project's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.corpus import CorpusFile, LabelMap
from harness.data.jsonl import read_jsonl
from harness.errors import CorpusFormatError

LABELS = LabelMap(
    {"PER": "Person", "LOC": "Location"}, ignored=frozenset({"MISC"}), unknown_is_error=True
)


def read(tmp_path: Path, *rows: Any) -> CorpusFile:
    path = tmp_path / "own.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_jsonl(path, LABELS)


def test_text_with_offsets_and_bare_spans(tmp_path: Path) -> None:
    corpus = read(
        tmp_path,
        {
            "id": "a",
            "language": "hau",
            "text": "Ada ta je Kano 😀",
            "entities": [
                {"label": "PER", "start": 0, "end": 3, "span": "Ada"},
                {"label": "LOC", "span": "Kano"},
                {"label": "MISC", "start": 15, "end": 16},
            ],
            "english": "Ada went to Kano",
            "english_entities": [{"label": "LOC", "start": 12, "end": 16}],
            "source": "made up",
        },
        "",
        {"id": 7, "text": "Ina kwana?", "entities": []},
    )
    first, second = corpus.sentences
    assert (first.id, first.language, first.line) == ("a", "hau", 1)
    assert first.mentions == [
        ("PER", "Ada", (0, 3)),
        ("LOC", "Kano", None),
        ("MISC", "😀", (15, 16)),
    ]
    assert first.english_mentions == [("LOC", "Kano", (12, 16))]
    assert (second.id, second.line, second.language, second.english) == ("7", 3, None, None)


def test_offsets_of_tokens_count_tokens(tmp_path: Path) -> None:
    corpus = read(
        tmp_path,
        {
            "tokens": ["Ada", "", "ta", "je", "New York", "Kano"],
            "entities": [
                {"label": "LOC", "span": "Kano"},
                {"label": "LOC", "start": 4, "end": 5},
                {"label": "PER", "start": 0, "end": 2, "span": "Ada"},
            ],
        },
    )
    (sentence,) = corpus.sentences
    assert sentence.text == "Ada ta je New York Kano"
    assert len(sentence.tokens) == 6
    assert sentence.mentions == [
        ("LOC", "Kano", None),
        ("LOC", "New York", (10, 18)),
        ("PER", "Ada", (0, 3)),
    ]


TEXT = {"text": "Ada ta je Kano"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not a JSON object"),
        ({**TEXT}, "`entities` must be a list"),
        ({**TEXT, "entities": {}}, "`entities` must be a list"),
        ({"entities": []}, "either `text` or `tokens`"),
        ({**TEXT, "tokens": ["Ada"], "entities": []}, "either `text` or `tokens`"),
        ({"text": " ", "entities": []}, "`text` must be a text that is not blank"),
        ({"text": 3, "entities": []}, "`text` must be a text"),
        ({"tokens": "Ada", "entities": []}, "`tokens` must be a list of texts"),
        ({"tokens": ["", " "], "entities": []}, "no token that is not blank"),
        ({**TEXT, "id": True, "entities": []}, "`id` must be a text"),
        ({**TEXT, "language": 3, "entities": []}, "`language` must be a text"),
        ({**TEXT, "entities": ["Ada"]}, "an object with a `label`"),
        ({**TEXT, "entities": [{"start": 0, "end": 3}]}, "an object with a `label`"),
        ({**TEXT, "entities": [{"label": "PER"}]}, "neither `start` and `end` nor a `span`"),
        ({**TEXT, "entities": [{"label": "PER", "span": "Obi"}]}, "span 'Obi' is not in `text`"),
        ({**TEXT, "entities": [{"label": "PER", "start": 0}]}, "must be whole numbers"),
        ({**TEXT, "entities": [{"label": "PER", "start": 0, "end": 15}]}, "has 14 characters"),
        ({**TEXT, "entities": [{"label": "PER", "start": 3, "end": 3}]}, "0 <= start < end"),
        ({**TEXT, "entities": [{"label": "PER", "start": False, "end": 3}]}, "whole numbers"),
        (
            {**TEXT, "entities": [{"label": "PER", "start": 0, "end": 4, "span": "Ada"}]},
            "its offsets give 'Ada ', not its `span`",
        ),
        ({**TEXT, "entities": [{"label": "ORG", "span": "Ada"}]}, "label 'ORG' is not in"),
        ({"tokens": ["Ada"], "entities": [{"label": "PER", "start": 0, "end": 2}]}, "1 tokens"),
        (
            {"tokens": ["Ada"], "entities": [{"label": "PER", "start": 0, "end": 1, "span": "A"}]},
            "its tokens are 'Ada', not its `span`",
        ),
        (
            {"tokens": ["Ada", ""], "entities": [{"label": "PER", "start": 1, "end": 2}]},
            "nothing but empty tokens",
        ),
        ({**TEXT, "entities": [], "english": ""}, "`english` must be a text"),
        ({**TEXT, "entities": [], "english": "Ada", "english_entities": 1}, "must be a list"),
        (
            {**TEXT, "entities": [], "english_entities": [{"label": "PER", "span": "Ada"}]},
            "without `english`",
        ),
        (
            {
                **TEXT,
                "entities": [],
                "english": "x",
                "english_entities": [{"label": "PER", "span": "Ada"}],
            },
            "is not in `english`",
        ),
        ('{"text": "a \\ud83d b", "entities": []}', "half of a surrogate pair"),
    ],
)
def test_a_line_that_does_not_fit_names_file_and_line(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(CorpusFormatError) as caught:
        read(tmp_path, {"text": "Ina kwana?", "entities": []}, row)
    assert str(caught.value).startswith(f"{tmp_path / 'own.jsonl'}:2: ")
    assert told in str(caught.value)


def test_a_pair_of_surrogate_escapes_is_one_character(tmp_path: Path) -> None:
    corpus = read(
        tmp_path,
        '{"text": "a \\ud83d\\ude00", "entities": [{"label": "LOC", "start": 2, "end": 3}]}',
    )
    assert corpus.sentences[0].mentions[0].surface == "😀"


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusFormatError, match="no sentence"):
        read(tmp_path, "")
