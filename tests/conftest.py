"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora; tests that need it are skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HARNESS_DATA", beside))
    if not (folder / "masakhaner2").is_dir():
        pytest.skip(f"no real corpora at {folder} (set HARNESS_DATA to the folder that holds them)")
    return folder
