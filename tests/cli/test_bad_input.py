"""Every bad input gives one clear message, the next action, and a non-zero exit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran

Harness = Callable[..., Ran]

GOOD = """
[[datasets]]
name = "demo"
languages = ["swa"]
limit = 2

[[systems]]
name = "direct"
backend = "scripted"
model = "capitals"
strategy = "direct"
"""


def refused(ran: Ran, *wanted: str) -> None:
    assert ran.code == 2, ran
    assert ran.err.startswith("harness: ")
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    for text in wanted:
        assert text in ran.err


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('name = "demo"', 'name = "demon"', "Did you mean 'demo'?"),
        ('languages = ["swa"]', 'languages = ["swh"]', "Did you mean 'swa'?"),
        ("limit = 2", 'split = "tset"', "Did you mean 'test'?"),
        ("limit = 2", "limits = 2", "Did you mean 'limit'?"),
        ('model = "capitals"', 'model = "capital"', "Did you mean 'capitals'?"),
        ('strategy = "direct"', 'strategy = "dierct"', "Did you mean 'direct'?"),
        ('strategy = "direct"', 'strategy = "direct"\nschema = "demmo"', "Did you mean 'demo'?"),
        ('strategy = "direct"', 'strategy = "direct"\nlatency = 1', "Did you mean 'latency_s'?"),
    ],
)
def test_wrong_names(harness: Harness, tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in GOOD
    (tmp_path / "x.toml").write_text(GOOD.replace(old, new))
    refused(harness("run", "x.toml"), wanted)


def test_wrong_options(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    refused(harness("run", "none.toml"), "no such experiment file")
    refused(harness("run", "x.toml", "--retry", "truncate"), "Did you mean 'truncated'?")
    refused(harness("run", "x.toml", "--rule", "golie"), "Did you mean 'gollie'?")
    refused(harness("run", "x.toml", "--offline", "--refresh"), "Give one of them")
    refused(harness("compare", "nowhere"), "no results here", "harness run FILE")
    assert harness("run", "x.toml").code == 0
    refused(harness("compare", "x", "--columns", "presicion"), "Did you mean 'precision'?")
    refused(harness("compare", "x", "--format", "html"), "table, markdown, csv, json, latex")
    refused(harness("compare", "x", "--baseline", "Direct"), "Did you mean 'direct'?")
    refused(harness("show", "x", "swa-test-01"), "Nearest: swa-test-001")
    refused(harness("preview", "x.toml", "-n", "9"), "give 1 to 2")
    refused(harness("preview", "x.toml", "--language", "xyz"), "xyz")
    refused(harness("score"), "results folder or --tags")
    refused(harness("check", "models"), "datasets")
    refused(harness("check", "datasets", "demmo"), "Did you mean 'demo'?")
    refused(harness("serve", "--set", "latency"), "NAME=VALUE")
    refused(harness("cache", "explain", "abcdef"), "No stored key begins with abcdef")
    refused(harness("cache", "prune"), "Say which answers")
    refused(harness("cache", "prune", "--older-than", "soon"), "90d")
    refused(harness("cache", "import", "none.jsonl"), "none.jsonl")


def test_malformed_corpus_names_file_and_line(harness: Harness, tmp_path: Path) -> None:
    row = {"text": "Amina anaishi Kano.", "entities": [{"label": "PER", "start": 0, "end": 5}]}
    wrong = {"text": "Amina anaishi Kano.", "entities": [{"label": "PER", "span": "Aminata"}]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(wrong) + "\n")
    mine = GOOD.replace(
        'name = "demo"\nlanguages = ["swa"]\nlimit = 2',
        'name = "mine"\npath = "mine.jsonl"\nformat = "jsonl"\nschema = "demo"\n'
        'languages = ["swa"]\nlabels = { PER = "Person" }',
    )
    (tmp_path / "x.toml").write_text(mine)
    refused(harness("run", "x.toml"), "mine.jsonl:2: ", "Aminata")
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n{\n")
    refused(harness("run", "x.toml"), "mine.jsonl:2: ")


def test_template_error_names_its_line(harness: Harness, tmp_path: Path) -> None:
    folder = tmp_path / "prompts" / "ner"
    folder.mkdir(parents=True)
    template = '{% set answers = ["result"] %}\n{{ guidelines }}\n\n{{ texte }}\nresult =\n'
    (folder / "mine.j2").write_text(template)
    (tmp_path / "x.toml").write_text(GOOD.replace('strategy = "direct"', 'strategy = "mine"'))
    refused(harness("run", "x.toml"), "mine.j2:4: ", "Did you mean 'text'?")
    (folder / "mine.j2").write_text("{% set answers = ['result'] %}\n{% if %}\nresult =\n")
    refused(harness("run", "x.toml"), "mine.j2:2: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_results(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(harness("run", "x.toml", "--out", locked / "r"), "--out DIR")


def test_results_where_a_file_is_in_the_way(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    (tmp_path / "taken").write_text("")
    refused(harness("run", "x.toml", "--out", "taken/r"), "taken/r", "--out DIR")


def test_store_that_is_no_store_is_left_alone(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    (tmp_path / "note.txt").write_text("not a database, but long enough to be looked into\n" * 99)
    before = (tmp_path / "note.txt").read_bytes()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "note.txt"))
    refused(harness("run", "x.toml"), "note.txt", "HARNESS_CACHE")
    assert (tmp_path / "note.txt").read_bytes() == before


def test_missing_local_file_is_named(harness: Harness, tmp_path: Path) -> None:
    corpus = GOOD.replace('name = "demo"', 'name = "masakhaner2"')
    (tmp_path / "x.toml").write_text(corpus)
    (tmp_path / "data").mkdir()
    refused(harness("run", "x.toml", "--data-dir", "data"), "masakhaner2/swa/test.txt")


def test_damaged_results_folder_names_file_and_line(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD)
    assert harness("run", "x.toml").code == 0
    path = tmp_path / "x" / "predictions.jsonl"
    path.write_text(path.read_text("utf-8")[:-40], "utf-8")
    refused(harness("compare", "x"), "predictions.jsonl:2: damaged")
    assert harness("run", "x.toml").code == 0
    assert harness("compare", "x").code == 0


def test_words_that_a_newcomer_meets(harness: Harness, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(GOOD.replace('languages = ["swa"]', 'languages = "swa"'))
    refused(harness("run", "x.toml"), '["swa", "yor"], or "all"')
    file.write_text(GOOD.replace("limit = 2", "labels = 3"))
    refused(harness("run", "x.toml"), "`labels`: a table is needed")
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert harness("run", "x.toml").code == 0
    refused(harness("run", "x.toml", "--retry", "empty", "--refresh"), "Give one of them")
    row = {"text": "Yuko Kano", "entities": [], "englsh": "He is in Kano"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    file.write_text(
        GOOD.replace(
            'name = "demo"',
            'name = "m"\npath = "m.jsonl"\nformat = "jsonl"\nlabels = { PER = "Person" }',
        )
    )
    refused(harness("run", "x.toml"), "m.jsonl:1: ", "Did you mean 'english'?")
    assert harness("--version").out.startswith("harness 0.")


def test_a_local_file_that_is_not_the_pinned_one_is_noted(harness: Harness, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "masakhaner2" / "swa"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text("Amina B-PER\nanaishi O\nKano B-LOC\n. O\n\n")
    (tmp_path / "x.toml").write_text(GOOD.replace('"demo"', '"masakhaner2"'))
    ran = harness("run", "x.toml", "--data-dir", "data")
    assert ran.code == 0
    assert "Not the pinned files: masakhaner2/swa" in ran.out
