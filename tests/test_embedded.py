"""The models that ship: the demonstration runs on them, both ways and on both engines alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment import parse_experiment
from harness.local.checkpoints import find_checkpoint
from harness.running.runner import run
from tests.conftest import Ran

LANGUAGES = ("eng", "hau", "por", "swa", "yor", "zul")


def test_the_demonstration_runs_offline_and_alike_local_and_served(
    harness: Callable[..., Ran], tmp_path: Path
) -> None:
    first = harness("demo", "--out", "out")
    assert first.code == 0, first.err
    assert "macro (6)" in first.out
    assert "250 sentences translated" in first.out
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows[row["system"]].append(row)
    assert {name: len(found) for name, found in rows.items()} == dict.fromkeys(
        ("direct", "no-annotate", "transfusion", "transfusion served"), 300
    )
    for local, served in zip(rows["transfusion"], rows["transfusion served"], strict=True):
        for key in ("example_id", "status", "stages", "english"):
            assert local[key] == served[key]
        # The server goes on to the end token; whatever follows the last list is not read.
        assert served["reply"].startswith(local["reply"])
    assert not any(row["cached"] for found in rows.values() for row in found)

    second = harness("demo", "--out", "again")
    assert "0 requests answered · 1200 from the store" in second.out
    assert second.out.splitlines()[:10] == first.out.splitlines()[:10]


def test_both_engines_write_the_same_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "store.sqlite"))
    systems = [
        {"name": f"{backend} {strategy}", "backend": backend, "model": "tiny-gollie-tf",
         "device": "cpu", "strategy": strategy}
        for backend in ("transformers", "ctranslate2")
        for strategy in ("direct", "transfusion")
    ]  # fmt: skip
    experiment = parse_experiment(
        {"datasets": [{"name": "demo", "split": "dev"}], "systems": systems}
    )
    folder = run(experiment, out=tmp_path / "out").folder.path
    replies: dict[str, list[str]] = defaultdict(list)
    for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        replies[row["system"]].append(row["reply"])
    for strategy in ("direct", "transfusion"):
        assert len(replies[f"transformers {strategy}"]) == 16 * len(LANGUAGES)
        assert replies[f"transformers {strategy}"] == replies[f"ctranslate2 {strategy}"]


def test_the_converted_forms_belong_to_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ctranslate2.converters import TransformersConverter

    for name in ("tiny-gollie-tf", "tiny-nllb"):
        folder = find_checkpoint(name).folder
        TransformersConverter(str(folder)).convert(str(tmp_path / name), quantization="float16")
        shipped = (folder / "ctranslate2" / "model.bin").read_bytes()
        assert (tmp_path / name / "model.bin").read_bytes() == shipped


def test_they_are_small_and_have_their_cards() -> None:
    embedded = find_checkpoint("tiny-nllb").folder.parent
    files = [path for path in embedded.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    for name in ("tiny-gollie-tf", "tiny-nllb"):
        card = (embedded / name / "README.md").read_text("utf-8")
        assert "synthetic" in card
        assert "not for real text" in card
