"""What a preview prints of texts that are not ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Ran

_EXPERIMENT = """
[[datasets]]
name = "mine"
path = "mine.jsonl"
languages = ["swa"]
labels = { PER = "Person" }

[[systems]]
name = "direct"
backend = "scripted"
strategy = "raw.j2"
wrap = "chat"
"""


def _preview(harness: Callable[..., Ran], folder: Path, text: str) -> str:
    (folder / "mine.jsonl").write_text(json.dumps({"id": "1", "text": text, "entities": []}))
    (folder / "x.toml").write_text(_EXPERIMENT)
    # A template of one's own, which need not write texts as Python does.
    (folder / "raw.j2").write_text(
        '{% set answers = ["result"] %}\n{{ guidelines }}\n{{ text }}\n\tresult =\n'
    )
    ran = harness("preview", folder / "x.toml")
    assert ran.code == 0, ran.err
    return ran.out


def test_a_prompt_cannot_command_the_terminal(harness: Callable[..., Ran], tmp_path: Path) -> None:
    out = _preview(harness, tmp_path, "Kano \x9b2J\x9d0;owned\x9c \u202egnp.exe\u2066 here")
    assert not set("\x9b\x9c\x9d\u202e\u2066") & set(out)
    assert r"\x9b2J" in out
    assert r"\u202egnp.exe" in out


def test_an_ordinary_prompt_is_shown_as_it_is(harness: Callable[..., Ran], tmp_path: Path) -> None:
    text = "Ọjọ́\u200d kan, ላይ — 😀 «مرحبا»"
    out = _preview(harness, tmp_path, text)
    assert text in out
    assert "[system]\n" in out
    assert "\\x" not in out
