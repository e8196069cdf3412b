"""A tiny NLLB in the hub's layout, with its converted form, made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that write ordinary pieces only, and never end a sentence."""
    return random_nllb(tmp_path_factory.mktemp("models") / "tiny-nllb", end=0.01)


@pytest.fixture(scope="session")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that end about every second sentence."""
    return random_nllb(tmp_path_factory.mktemp("models") / "ending-nllb", end=4.0)


def random_nllb(folder: Path, *, end: float) -> Path:
    """A tiny NLLB and its converted form; ``end`` scales how likely a sentence's end is."""
    pytest.importorskip("torch")
    import torch
    from transformers import M2M100ForConditionalGeneration

    from tests.helpers import tiny_models

    tiny_models.nllb(folder)
    model = M2M100ForConditionalGeneration.from_pretrained(folder)
    special = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    with torch.no_grad():
        for token in special:
            scale = end if token["content"] == "</s>" else 0.01
            model.model.shared.weight[token["id"]] *= scale
    model.save_pretrained(folder)
    return converted(folder)


def converted(folder: Path) -> Path:
    """The folder, with the converted form inside, as the shipped one has it."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"))
    return folder


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "store.sqlite"))
    return tmp_path


Tables = Callable[..., dict[str, Any]]


@pytest.fixture
def tables(fresh: Path) -> Tables:
    """An experiment on sentences of one's own; one scripted system that uses English."""

    def make(sentences: list[str], language: str = "swa", **translation: Any) -> dict[str, Any]:
        path = fresh / "mine.jsonl"
        lines = [{"text": text, "language": language, "entities": []} for text in sentences]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return {
            "datasets": [
                {
                    "name": "mine",
                    "path": str(path),
                    "labels": {"PER": "Person", "LOC": "Location"},
                }
            ],
            "translation": translation,
            "systems": [{"name": "A", "backend": "scripted", "strategy": "transfusion"}],
        }

    return make
