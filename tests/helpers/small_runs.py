"""Small runs on the demonstration corpus, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Ran, Served

Harness = Callable[..., Ran]


Serve = Callable[..., Served]


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def start_run(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HARNESS_CACHE": str(tmp_path / "store" / "answers.sqlite")}
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(served: Served, what: str, at_least: int) -> None:
    deadline = time.monotonic() + 120
    while served.stats()[what] < at_least:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hosted_experiment(tmp_path: Path, url: str, limit: int) -> Path:
    file = tmp_path / "x.toml"
    file.write_text(
        f'datasets = [{{ name = "demo", languages = ["swa"], limit = {limit} }}]\n'
        'systems = [{ name = "A", backend = "openai", model = "capitals", strategy = "direct", '
        f'base_url = "{url}", concurrency = 2 }}]\n'
    )
    return file
