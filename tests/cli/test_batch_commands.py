"""Batches through the command line: `run` that is killed, left and repeated, `batch ls|cancel`."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ran, Served

Harness = Callable[..., Ran]
Serve = Callable[..., Served]

EXPERIMENT = """
[[datasets]]
name = "demo"
languages = ["swa", "yor"]
limit = {limit}

[[systems]]
name = "direct"
backend = "openai"
model = "capitals"
strategy = "direct"
base_url = "{url}"
provider = "loopback"
mode = "{mode}"
poll_s = 0.1
"""


def experiment(folder: Path, url: str, *, limit: int = 10, mode: str = "batch") -> Path:
    file = folder / "runs" / "one.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(EXPERIMENT.format(url=url, limit=limit, mode=mode))
    return file


def start(folder: Path, file: Path, out: str = "out") -> subprocess.Popen[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")},
        "HARNESS_CACHE": str(folder / "store" / "answers.sqlite"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(file), "--out", out],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(served: Served, met: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + 120
    while not met(served.stats()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_run_then_live_then_stored(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve()
    ran = harness("run", experiment(tmp_path, served.url))
    assert ran.code == 0, ran.err
    assert "20 requests answered" in ran.out
    assert "20 requests submitted" in ran.err
    assert served.stats()["answered"] == 20
    live = harness("run", experiment(tmp_path, served.url, limit=12, mode="live"))
    assert "4 requests answered · 20 from the store" in live.out
    again = harness("run", experiment(tmp_path, served.url, limit=12))
    assert "0 requests answered · 24 from the store" in again.out
    stats = served.stats()
    assert (stats["requests"], stats["answered_twice"]) == (24, 0)


@pytest.mark.skipif(os.name == "nt", reason="the system has no SIGTERM")
@pytest.mark.slow
def test_a_live_run_leaves_out_what_is_out(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    """Until the batch is collected, or cancelled and its rest given back."""
    served = serve(batch_latency_s=3600)
    leave(harness, tmp_path, experiment(tmp_path, served.url))
    file = experiment(tmp_path, served.url, limit=12, mode="live")
    live = harness("run", file)
    assert live.code == 3, live.err
    assert "20 requests are out with a batch and not sent again" in live.err
    assert served.stats()["answered"] == 4
    name = next(w for w in harness("batch", "ls").out.split() if w.startswith("batch_"))
    assert "20 requests given back" in harness("batch", "cancel", name).out
    again = harness("run", file)
    assert again.code == 0, again.err
    assert "20 requests answered" in again.out
    stats = served.stats()
    assert (stats["answered"], stats["answered_twice"]) == (24, 0)


@pytest.mark.skipif(os.name == "nt", reason="the system has no SIGTERM")
@pytest.mark.slow
def test_a_batch_is_collected_after_a_live_run(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve(batch_latency_s=1)
    leave(harness, tmp_path, experiment(tmp_path, served.url))
    live = harness("run", experiment(tmp_path, served.url, mode="live"))
    assert live.code == 3, live.err
    batch = harness("run", experiment(tmp_path, served.url))
    assert batch.code == 0, batch.err
    assert "submitted" not in batch.err
    stats = served.stats()
    assert (stats["answered"], stats["answered_twice"]) == (20, 0)


def leave(harness: Harness, folder: Path, file: Path) -> None:
    """A run that is interrupted once its batch is at the provider."""
    process = start(folder, file)
    while "in_progress" not in harness("batch", "ls").out:
        assert process.poll() is None
    process.terminate()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "The same command collects" in out


PRICES = """
[loopback.capitals]
input = "1"
output = "2"
batch = "0.5"
"""


def test_a_batch_costs_what_its_price_says(
    harness: Harness, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_PRICES", str(tmp_path / "prices.toml"))
    (tmp_path / "prices.toml").write_text(PRICES)
    served = serve()
    costs = {}
    for mode in ("batch", "live"):
        file = experiment(tmp_path, served.url, mode=mode)
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / mode / "answers.sqlite"))
        ran = harness("run", file, "--budget", "1", "--out", mode)
        assert ran.code == 0, ran.err
        rows = (tmp_path / mode / "predictions.jsonl").read_text().splitlines()
        costs[mode] = sum(Decimal(json.loads(row)["cost"]) for row in rows)
    assert costs["live"] == 2 * costs["batch"] > 0
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "third" / "answers.sqlite"))
    little = harness("run", experiment(tmp_path, served.url), "--budget", "0.000001")
    assert little.code == 4, little.err
    assert "0 requests answered" in little.out


def test_ls_and_cancel(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve(batch_latency_s=600)
    file = experiment(tmp_path, served.url)
    assert "No batch is out" in harness("batch", "ls").out
    assert "No batch is out" in harness("batch", "cancel", "--all").out
    process = start(tmp_path, file)
    while "in_progress" not in harness("batch", "ls").out:
        assert process.poll() is None
    process.kill()
    process.communicate()
    listed = harness("batch", "ls", "--offline")
    name = next(word for word in listed.out.split() if word.startswith("batch_"))
    assert "loopback" in listed.out
    wrong = harness("batch", "cancel", "batch_x")
    assert wrong.code == 2
    assert name in wrong.err
    assert harness("batch", "cancel").code == 2
    cancelled = harness("batch", "cancel", name)
    assert cancelled.out.startswith(f"{name}: cancelling")
    assert cancelled.out.endswith(f"{name}: cancelled; 20 requests given back\n")
    assert "No batch is out" in harness("batch", "ls").out


@pytest.mark.slow
def test_what_a_cancelled_batch_has_answered_is_collected(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve(batch_latency_s=10)
    leave(harness, tmp_path, experiment(tmp_path, served.url))
    wait_for(served, lambda stats: stats["answered"] > 0)
    cancelled = harness("batch", "cancel", "--all").out
    answered = served.stats()["answered"]
    assert 0 < answered < 20
    assert f"cancelled; {20 - answered} requests given back; {answered} req" in cancelled
    live = harness("run", experiment(tmp_path, served.url, mode="live"))
    assert f"{answered} requests are out with a batch" in live.err
    assert live.code == 3
    batch = harness("run", experiment(tmp_path, served.url))
    assert batch.code == 0, batch.err
    stats = served.stats()
    assert (stats["answered"], stats["answered_twice"]) == (20, 0)


def test_a_batch_that_nobody_knows_is_given_up_by_name(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    first = serve(batch_latency_s=600)
    process = start(tmp_path, experiment(tmp_path, first.url))
    while "in_progress" not in harness("batch", "ls").out:
        assert process.poll() is None
    process.kill()
    process.communicate()
    second = serve()
    file = experiment(tmp_path, second.url)
    ran = harness("run", file)
    assert ran.code == 2
    assert "harness batch cancel batch_" in ran.err
    with_address(tmp_path, second.url)
    assert "name it" in harness("batch", "cancel", "--all").out
    name = next(w for w in harness("batch", "ls").out.split() if w.startswith("batch_"))
    assert "20 requests are given up" in harness("batch", "cancel", name).out
    assert harness("run", file).code == 0


def with_address(folder: Path, url: str) -> None:
    """The server has moved: what the tracker says of its address follows it."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "store" / "answers.sqlite")) as db, db:
        db.execute("UPDATE batches SET base_url = ?", (url,))


@pytest.mark.skipif(os.name == "nt", reason="the system has no SIGKILL")
@pytest.mark.slow
def test_kill_9_at_any_moment_pays_nothing_twice(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    """Nor is anything lost; at times the store goes on elsewhere, as on another machine."""
    served = serve(batch_latency_s=0.4, batch_error=0.05)
    chance = random.Random(9)
    folder = tmp_path / "at-0"
    folder.mkdir()
    for number in range(12):
        # More is asked for each time, so that something is always left to be submitted.
        file = experiment(folder, served.url, limit=5 + 3 * number)
        process = start(folder, file)
        time.sleep(chance.uniform(0.5, 1.6))
        process.kill()
        process.communicate()
        if number % 4 == 3:
            moved = tmp_path / f"at-{number}"
            shutil.copytree(folder, moved)
            folder = moved
    process = start(folder, file)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    stats = served.stats()
    assert stats["answered_twice"] == 0
    assert stats["answered"] == stats["distinct"] == 2 * (5 + 3 * 11)


@pytest.mark.slow
def test_two_processes_on_one_store(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve(batch_latency_s=1)
    file = experiment(tmp_path, served.url, limit=40)
    both = [start(tmp_path, file, f"out-{n}") for n in range(2)]
    outs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    stats = served.stats()
    assert (stats["answered"], stats["answered_twice"]) == (80, 0)
    scores = [(tmp_path / f"out-{n}" / "scores.json").read_text() for n in range(2)]
    assert scores[0].count('"f1"') == scores[1].count('"f1"') > 0
