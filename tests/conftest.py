"""Fixtures that several rooms share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import tiny_models

# A busy machine is slow: neither an example nor the making of one has a deadline.
settings.register_profile(
    "any_speed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_speed")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora; tests that need it are skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HARNESS_DATA", beside))
    if not (folder / "masakhaner2").is_dir():
        pytest.skip(f"no real corpora at {folder} (set HARNESS_DATA to the folder that holds them)")
    return folder


@dataclass(frozen=True)
class Served:
    """A loopback server in a process of its own, and what it counted."""

    url: str

    def stats(self) -> dict[str, Any]:
        """The server's counts: requests, answered, answered_twice, faults, …"""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=60) as reply:
            return dict(json.load(reply))


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts `harness serve --backend scripted` with settings; stopped when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def start(**settings: Any) -> Served:
        command = [sys.executable, "-m", "harness", "serve", "--port", "0"]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        running.append(process)
        assert process.stdout is not None
        return Served(process.stdout.readline().split()[-1])

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def harness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ran]:
    """Runs the command line in this process, in an empty folder with a store of its own."""
    from harness.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "store" / "answers.sqlite"))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "AZURE_OPENAI_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        caught = capsys.readouterr()
        return Ran(code, caught.out, caught.err)

    return run


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, endpoint or price file of whoever runs the tests takes part in them."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "HARNESS_")) or name.lower().endswith(
            "_proxy"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture(scope="session")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local")


@pytest.fixture
def local_cache(_local: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    """One cache of converted models for all tests of local backends."""
    monkeypatch.setenv("HARNESS_CACHE", str(_local / "cache" / "answers.sqlite"))


@pytest.fixture(scope="session")
def tiny_llama(_local: Path) -> Path:
    """A tiny GoLLIE-TF with random weights. Not to be changed."""
    pytest.importorskip("torch")
    return tiny_models.llama(_local / "llama")
