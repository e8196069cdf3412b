"""Results folders written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.results.folder import RunFolder

# One sentence, one gold entity; a right answer, a wrong one, and none.
TEXT = "Amina yuko Kano"
RIGHT = [{"type": "Location", "span": "Kano"}]
WRONG = [{"type": "Person", "span": "Amina"}]


def line(
    language: str, number: int, system: str, answer: Any, status: str = "ok", **more: Any
) -> dict[str, Any]:
    return {
        "dataset": "d",
        "language": language,
        "example_id": f"test-{number}",
        "system": system,
        "status": status,
        "stages": {"result": answer} if answer is not None else {},
        "repairs": [],
        "dropped": [],
        "reply": "x" if answer is not None else None,
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
        "cost": "0.001",
        "finish_reason": "stop",
        "key": f"{system}-{language}-{number}-{more.get('repeat', 0)}",
        "cached": False,
        **more,
    }


def write(
    path: Path,
    lines: Sequence[dict[str, Any]],
    *,
    languages: Sequence[str] = ("aaa", "bbb"),
    n: int = 4,
    digest: str = "0" * 64,
    left_out: Sequence[str] = (),
    entry: Mapping[str, Any] | None = None,
) -> Path:
    """A results folder with these lines; ``entry`` is more of each system in the manifest."""
    folder = RunFolder(path)
    folder.prepare("x")
    systems = list(dict.fromkeys(row["system"] for row in lines))
    prompts = {
        "d": {
            "template_sha256": "1" * 64,
            "schema_sha256": "2" * 64,
            "fields": {"Person": ["span"], "Location": ["span"]},
        }
    }
    folder.write_json(
        "manifest.json",
        {
            "layout": 1,
            "blocks": [
                {
                    "dataset": "d",
                    "language": code,
                    "split": "test",
                    "n": n,
                    "examples_sha256": digest,
                }
                for code in languages
            ],
            "systems": [
                {
                    "name": name,
                    "backend": "scripted",
                    "strategy": "direct",
                    "wrap": "chat",
                    "answers": ["result"],
                    "translation": None,
                    "english_sha256": {},
                    "left_out": list(left_out) if name == "B" else [],
                    "prompts": prompts,
                    **(entry or {}),
                }
                for name in systems
            ],
        },
    )
    with folder.writing("examples.jsonl") as file:
        for code in languages:
            for number in range(n):
                gold = [{"type": "Location", "span": "Kano", "offsets": [11, 15]}]
                example = {
                    "dataset": "d",
                    "language": code,
                    "split": "test",
                    "id": f"test-{number}",
                    "text": TEXT,
                    "gold": gold,
                }
                file.write(json.dumps(example) + "\n")
    with folder.writing("predictions.jsonl") as file:
        for row in lines:
            file.write(json.dumps(row) + "\n")
    return path


def answers(language: str, system: str, pattern: str, **more: Any) -> list[dict[str, Any]]:
    """One line a character: + right, x wrong, - an empty list."""
    kinds = {"+": RIGHT, "x": WRONG, "-": []}
    return [line(language, i, system, kinds[c], **more) for i, c in enumerate(pattern)]
