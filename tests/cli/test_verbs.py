"""The verbs that look at things: what they print, and that they change nothing."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran

Harness = Callable[..., Ran]

EXPERIMENT = """
[[datasets]]
name = "demo"
languages = ["swa", "eng"]
limit = 3

[[systems]]
name = "[red]direct|one"
backend = "scripted"
model = "capitals"
strategy = "direct"

[[systems]]
name = "fused"
backend = "scripted"
model = "capitals"
strategy = "transfusion"
"""


@pytest.fixture
def ran(harness: Harness, tmp_path: Path) -> Harness:
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    assert harness("run", "x.toml").code == 0
    return harness


def test_formats_say_the_same(ran: Harness) -> None:
    table = ran("compare", "x").out
    markdown = ran("compare", "x", "--format", "markdown", "--columns", "precision,cost").out
    latex = ran("compare", "x", "--format", "latex").out
    rows = list(csv.DictReader(io.StringIO(ran("compare", "x", "--format", "csv").out)))
    document = json.loads(ran("compare", "x", "--format", "json").out)
    assert len(rows) == len(document["scores"]) == 6
    for row, score in zip(rows, document["scores"], strict=True):
        assert float(row["f1"]) == score["f1"]
        figure = f"{score['f1']:.1f} [{score['f1_low']:.1f}, {score['f1_high']:.1f}]"
        for text in (table, markdown, latex):
            assert figure in text
    # A system's name is text in every format: no markup, no extra column.
    assert "[red]direct|one" in table
    assert r"[red]direct\|one" in markdown
    lines = markdown.splitlines()
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert r"\begin{tabular}{lrrrr}" in latex


def test_columns_that_the_interface_promises(ran: Harness) -> None:
    header = ran("compare", "x", "--format", "csv").out.splitlines()[0].split(",")
    wanted = "dataset,language,system,rule,n,precision,recall,f1,f1_low,f1_high,signature"
    assert set(wanted.split(",")) <= set(header)


def test_gate(ran: Harness) -> None:
    assert ran("compare", "x", "--fail-under", "0").code == 0
    failed = ran("compare", "x", "--fail-under", "99.5")
    assert failed.code == 1
    assert "macro F1 under 99.5" in failed.err


def test_two_folders(ran: Harness, tmp_path: Path) -> None:
    assert ran("run", "x.toml", "--out", "y").code == 0
    names = [
        row["system"]
        for row in csv.DictReader(io.StringIO(ran("compare", "x", "y", "--format", "csv").out))
        if row["language"] == "macro"
    ]
    assert names == ["x: [red]direct|one", "x: fused", "y: [red]direct|one", "y: fused"]
    assert ran("run", "x.toml", "--limit", "2", "--out", "y").code == 0
    other = ran("compare", "x", "y")
    assert other.code == 2
    assert "different examples of demo/swa" in other.err


def test_show_marks_spans(ran: Harness) -> None:
    shown = ran("show", "x", "swa-test-001")
    assert shown.code == 0
    for part in ("gold", "[red]direct|one", "english", "final_result", "marked", "reply"):
        assert part in shown.out


def test_a_hostile_reply_does_no_harm(harness: Harness, tmp_path: Path) -> None:
    reply = ' [\n    Person(span="\x1b[2J\x1b]0;owned\x07\u202e"),\n    \x1b[31mNope("a"),\n]\n'
    (tmp_path / "answers.jsonl").write_text(json.dumps({"contains": "text", "reply": reply}))
    hostile = EXPERIMENT.replace('model = "capitals"', 'answers = "answers.jsonl"\nmodel = "empty"')
    (tmp_path / "x.toml").write_text(hostile)
    outs = [harness("run", "x.toml"), harness("show", "x", "swa-test-001"), harness("compare", "x")]
    for out in outs:
        assert out.code == 0
        assert "\x1b" not in out.out + out.err
        assert "\u202e" not in out.out + out.err
    assert r"\x1b[2J" in outs[1].out


def test_preview_sends_nothing_and_shows_the_bytes(harness: Harness, tmp_path: Path) -> None:
    hosted = EXPERIMENT.replace('backend = "scripted"', 'backend = "openai"').replace(
        'model = "capitals"', 'model = "gpt-4o"'
    )
    (tmp_path / "x.toml").write_text(hosted)
    shown = harness("preview", "x.toml", "-n", "2")
    assert shown.code == 0, shown.err
    assert "6 requests to send" in shown.out
    assert "Nothing was sent" in shown.out
    assert not (tmp_path / "store").exists()

    from harness import load_dataset, render

    example = load_dataset("demo", "swa", limit=2)[1]
    prompt = render(example, "direct", schema="demo")
    assert prompt.text in shown.out
    assert f"{len(prompt.text.encode())} bytes" in shown.out


def test_preview_and_cached_runs_import_no_sdk(ran: Harness, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from harness.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'openai', 'aiohttp', 'torch', 'transformers', 'httpx', 'pandas'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    for arguments in (["preview", "x.toml"], ["run", "x.toml"], ["--help"], ["compare", "x"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "HEAVY []" in done.stdout, arguments


def test_listings(ran: Harness) -> None:
    assert "masakhaner2" in ran("ls", "datasets").out
    assert "transfusion" in ran("ls", "prompts").out
    assert "gpt-4o" in ran("ls", "models").out
    assert ran("ls", "runs").code == 0
    checked = ran("check", "datasets", "demo")
    assert checked.code == 0
    assert "demo/swa/test" in checked.out


def test_check_reports_a_changed_file(harness: Harness, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "masakhaner2" / "swa"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text("Amina B-PER\nanaishi O\nKano I-LOC\n. O\n\n")
    checked = harness("check", "datasets", "masakhaner2", "--data-dir", tmp_path / "data")
    assert checked.code == 1
    assert "orphan_i:1" in checked.out
    assert "SHA-256 differs" in checked.err


def test_cache_verbs(ran: Harness) -> None:
    assert "capitals" in ran("cache", "stats").out
    listed = ran("cache", "ls", "--limit", "2").out
    key = next(word for word in listed.split() if len(word) == 12 and word.isalnum())
    assert "is stored: 1 answer(s)" in ran("cache", "explain", key).out
    assert "Would remove 12 answers" in ran("cache", "prune", "--model", "capitals").out
    assert "Removed 12 answers" in ran("cache", "prune", "--model", "capitals", "--yes").out
    assert "No answers" in ran("cache", "ls").out


def test_score_reads_replies_again(ran: Harness, tmp_path: Path) -> None:
    path = tmp_path / "x" / "predictions.jsonl"
    first = path.read_text("utf-8")
    # What an older reader would have left: nothing read.
    path.write_text(first.replace('"status": "ok"', '"status": "unparseable"'), "utf-8")
    assert ran("compare", "x", "--format", "json").out != ""
    assert ran("score", "x", "--rule", "strict").code == 0
    assert path.read_text("utf-8") == first
    scores = json.loads((tmp_path / "x" / "scores.json").read_text())
    assert scores["rule"] == "strict"


def test_tags(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "t.conll").write_text("A B-PER B-PER\nb O B-LOC\n\nC B-LOC B-LOC\nd I-LOC O\n\n")
    out = harness("score", "--tags", "t.conll").out
    # 1 of 3 predicted, 1 of 2 gold.
    assert [float(x) for x in out.splitlines()[1].split()[1:]] == [33.33, 50.0, 40.0]


def test_demo(harness: Harness) -> None:
    ran = harness("demo")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Demonstration: tiny models on a made-up corpus")
    assert "Results: runs/demo" in ran.out
