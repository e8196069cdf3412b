"""Tiny models laid out as the hub lays them out, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import tiny_models


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of the test's own; returns it."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache" / "answers.sqlite"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def _llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return tiny_models.llama(tmp_path_factory.mktemp("checkpoints") / "llama")


@pytest.fixture(scope="session")
def _nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return tiny_models.nllb(tmp_path_factory.mktemp("checkpoints") / "nllb")


@pytest.fixture
def llama(_llama: Path, tmp_path: Path) -> Path:
    """A tiny GoLLIE-TF that the test may change."""
    return Path(shutil.copytree(_llama, tmp_path / "llama"))


@pytest.fixture
def nllb(_nllb: Path, tmp_path: Path) -> Path:
    """A tiny NLLB that the test may change."""
    return Path(shutil.copytree(_nllb, tmp_path / "nllb"))
