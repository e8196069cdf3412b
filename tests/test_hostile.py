"""Replies, corpora and names that mean harm, from the wire to everything that is printed."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness.terminal import unmarked, visible
from tests.conftest import Ran
from tests.helpers.loopback_server import completion
from tests.helpers.thread_server import hosted

Harness = Callable[..., Ran]

# Sets the clipboard; clears the screen; sets the title; rings; turns the line around; ends it.
ESCAPES = (
    "\x1b]52;c;cm0gLXJmIC8=\x07\x1b[2J\x1b]0;title\x07\x9b31m\x07\x08\r\u202egnp.exe\u2066\x00"
)
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
LIST = 'result = [Person(span="{0}"), {0}(span="Kano")]\n'

REPLIES = {
    "escapes": LIST.format(ESCAPES),
    "escaped": r'result = [Person(span="\x1b]52;c;AAAA\x07 \u202e \ud800")]',
    "html": LIST.format(HTML),
    "bare": ESCAPES * 3,
    "path": LIST.format("../../../etc/passwd"),
    "surrogate": LIST.format("\ud83d"),
    "brackets": "result = " + "[" * 100_000,
    "pairs": "result = " + "[" * 100_000 + "]" * 100_000,
    "calls": "result = [" + "Person(span=" * 100_000,
    "keys": "result = " + '{"a":' * 100_000,
    "quotes": 'result = ["' + "'\"\\" * 100_000,
    "names": "result = " * 100_000,
}
LARGE = {
    "one": 'result = [Person(span="' + "x" * 10_000_000 + '")]',
    "many": "result = [" + 'Person(span="Kano"), ' * 100_000,
}


def _experiment(folder: Path, url: str, names: list[str], **more: Any) -> Path:
    """Sentences that each ask for the reply of one name."""
    rows = [
        {
            "id": name,
            "text": f"ask:{name}: Yuko Kano",
            "entities": [{"label": "PER", "span": "Yuko"}],
        }
        for name in names
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "hostile.toml"
    dataset = {"name": "mine", "path": "mine.jsonl", "languages": ["swa"], "labels": LABELS}
    system: dict[str, Any] = {"name": "direct", "backend": "openai", "model": "m"}
    system |= {"strategy": "direct"}
    system |= {"base_url": url, "backoff_s": 0.0, "max_attempts": 8}
    _write(file, dataset | more.get("dataset", {}), system | more.get("system", {}))
    return file


LABELS = {"PER": "Person", "LOC": "Location"}


def _write(file: Path, dataset: dict[str, Any], system: dict[str, Any]) -> None:
    import tomli_w

    file.write_text(tomli_w.dumps({"datasets": [dataset], "systems": [system]}))


def _replying(replies: dict[str, str]) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["messages"][-1]["content"]
        name = asked.rpartition("ask:")[2].partition(":")[0]
        body = completion(replies[name], model=ESCAPES, system_fingerprint=HTML)
        return web.json_response(body, headers={"x-request-id": "../../x"})

    return handler


def _harmless(text: str) -> None:
    """No terminal would obey any of it."""
    for c in text:
        assert c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"), repr(c)
        assert c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", repr(c)


def _tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("replies", [REPLIES, pytest.param(LARGE, marks=pytest.mark.slow)])
def test_hostile_replies_do_no_harm(
    harness: Harness, tmp_path: Path, replies: dict[str, str]
) -> None:
    home = tmp_path / "work"
    home.mkdir()
    with hosted(_replying(replies)) as url:
        file = _experiment(home, url, list(replies))
        before = _tree(tmp_path)
        ran = harness("run", file)
    assert ran.code == 0, ran.err
    made = _tree(tmp_path) - before
    assert {path.split("/")[0] for path in made} == {"work", "store"}
    assert all(path.startswith(("work/hostile", "store")) for path in made)
    _harmless(ran.out + ran.err)

    folder = home / "hostile"
    written = (folder / "predictions.jsonl").read_text("utf-8")
    rows = {row["example_id"]: row for row in map(json.loads, written.split("\n")[:-1])}
    # What was said is kept to the letter; only half a surrogate pair cannot be.
    kept = {name: text.replace("\ud83d", "\ufffd") for name, text in replies.items()}
    assert {name: row["reply"] for name, row in rows.items()} == kept
    for example in replies:
        shown = harness("show", folder, example)
        assert shown.code == 0, shown.err
        _harmless(shown.out + shown.err)
    for form in ("table", "csv", "markdown", "latex", "json"):
        compared = harness("compare", folder, "--format", form)
        assert compared.code == 0
        _harmless(compared.out + compared.err)
    key = rows[next(iter(rows))]["key"]
    for command in (("cache", "ls"), ("cache", "stats"), ("cache", "explain", key)):
        told = harness(*command)
        assert told.code == 0, told.err
        _harmless(told.out + told.err)
    # There is no page yet; one that is made has to be held to the same.
    assert not list(folder.rglob("*.html"))


def test_errors_in_a_servers_words_do_no_harm(harness: Harness, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        error = {"message": ESCAPES + HTML + "x" * 1_000_000, "code": ESCAPES, "type": ["../x"]}
        return web.json_response({"error": error}, status=400, reason="Bad\tRequest")

    with hosted(handler) as url:
        ran = harness("run", _experiment(tmp_path, url, ["a", "b"]))
    assert ran.code == 3
    _harmless(ran.out + ran.err)
    assert "HTTP 400: " in ran.out
    assert len(ran.out) < 5000
    shown = harness("show", tmp_path / "hostile", "a")
    _harmless(shown.out)


def test_a_body_nested_beyond_reason_is_no_answer(harness: Harness, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        text = json.dumps(completion())[:-1] + ', "more": ' + "[" * 100_000 + "]" * 100_000 + "}"
        return web.Response(text=text, content_type="application/json")

    with hosted(handler) as url:
        ran = harness("run", _experiment(tmp_path, url, ["a"]))
    assert ran.code == 3
    _harmless(ran.out + ran.err)
    assert len(ran.out + ran.err) < 5000


def test_a_hostile_corpus_does_no_harm(harness: Harness, tmp_path: Path) -> None:
    """Texts and ids of sentences, as a preview, a page of one and an explanation print them."""
    ids = ["../../x", "/etc/passwd", ESCAPES.replace("\0", ""), HTML, "i" * 10_000]
    rows = [
        {
            "id": name,
            "text": f"{ESCAPES}{HTML} in Kano",
            "entities": [{"label": "LOC", "span": HTML}],
        }
        for name in ids
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "hostile.toml"
    dataset = {"name": "mine", "path": "mine.jsonl", "languages": ["swa"], "labels": LABELS}
    _write(file, dataset, {"name": "A", "backend": "scripted", "strategy": "direct"})
    before = _tree(tmp_path)
    said = [harness("run", file), harness("preview", file)]
    said += [harness("show", tmp_path / "hostile", name) for name in (*ids, "none" + ESCAPES)]
    said.append(harness("cache", "explain", file))
    assert [ran.code for ran in said] == [0] * (2 + len(ids)) + [2, 0]
    _harmless("".join(ran.out + ran.err for ran in said))
    made = _tree(tmp_path) - before
    assert all(path.startswith(("hostile", "store")) for path in made)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("<!-- x", "&lt;!-- x"),
        ("<0.001", "<0.001"),
        ("12.0 [10.1, 13.9] (3)", "12.0 [10.1, 13.9] (3)"),
        ("![x](y)", "![x]\\(y)"),
        ("a|b\nc", "a\\|b c"),
    ],
)
def test_cells_of_markdown(text: str, cell: str) -> None:
    assert unmarked(text) == cell


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "\u202e=1")


def test_a_cell_of_a_table_is_no_formula_and_no_markup(harness: Harness, tmp_path: Path) -> None:
    """A results folder may come from anyone, and its CSV be opened in a spreadsheet."""
    names = (*FORMULAS, HTML, "[x](javascript:alert(1))", "a|b", "a & b_c%$#{}~^\\")
    (tmp_path / "mine.jsonl").write_text(json.dumps({"text": "Yuko Kano", "entities": []}) + "\n")
    file = tmp_path / "hostile.toml"
    dataset = {"name": "=2+2", "path": "mine.jsonl", "languages": ["@swa"], "labels": LABELS}
    for number, name in enumerate(names):
        _write(file, dataset, {"name": f"n{number}", "backend": "scripted", "strategy": "direct"})
        assert harness("run", file).code == 0
        manifest = tmp_path / "hostile" / "manifest.json"
        manifest.write_text(manifest.read_text().replace(f'"n{number}"', json.dumps(name)))
        lines = tmp_path / "hostile" / "predictions.jsonl"
        lines.write_text(lines.read_text().replace(f'"n{number}"', json.dumps(name)))
        told = harness("compare", manifest.parent, "--format", "csv")
        assert told.code == 0, told.err
        table = list(csv.DictReader(io.StringIO(told.out)))
        assert len(table) == 2
        for row in table:
            for column in ("dataset", "language", "system", "signature"):
                assert not row[column].startswith(("=", "+", "-", "@", "\t", "\r")), name
            assert row["system"].endswith(visible(name))
        markdown = harness("compare", manifest.parent, "--format", "markdown").out
        assert "<script" not in markdown
        assert "<img" not in markdown
        assert "](" not in markdown
        assert harness("compare", manifest.parent, "--format", "latex").code == 0
