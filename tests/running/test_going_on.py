"""Runs that are interrupted or refreshed go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.store import Store
from tests.helpers.small_runs import Harness, Serve, hosted_experiment, lines, start_run, wait_until


def test_an_interrupt_does_not_wait_for_sleeping_retries(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve(error_429=1.0, retry_after_s=300)
    process = start_run(tmp_path, "run", str(hosted_experiment(tmp_path, served.url, 5)))
    wait_until(served, "requests", 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert {row["status"] for row in lines(tmp_path / "x")} == {"unsent"}


def test_an_interrupted_refresh_goes_on(harness: Harness, serve: Serve, tmp_path: Path) -> None:
    served = serve(latency_s=0.1)
    file = hosted_experiment(tmp_path, served.url, 30)
    assert harness("run", file).code == 0
    process = start_run(tmp_path, "run", str(file), "--refresh")
    wait_until(served, "answered", 32)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "not asked again" in out
    assert harness("run", file, "--refresh").code == 0
    # Every sentence twice, not one of them three times.
    assert served.stats()["answered"] == 60
    assert harness("run", file, "--refresh").code == 0
    assert served.stats()["answered"] == 90


def test_a_refresh_asks_anew_where_the_clock_was_set_back(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["swa"], limit = 5 }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct", truncate = 1.0 }]\n'
    )
    now = time.time_ns
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr(time, "time_ns", lambda: now() + 86_400 * 10**9)
        assert "5 requests answered" in harness("run", "x.toml").out
    assert "5 requests answered" in harness("run", "x.toml", "--refresh").out
    assert "5 requests answered" in harness("run", "x.toml", "--retry", "truncated").out
    assert "0 requests answered" in harness("run", "x.toml").out
    with Store() as store:
        assert store.rows("SELECT count(*) FROM answers") == [(15,)]


def test_output_in_an_encoding_without_delta(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'datasets = [{ name = "demo", languages = ["yor"], limit = 2 }]\n'
        'systems = [{ name = "A", backend = "scripted", strategy = "direct" }, '
        '{ name = "B", backend = "scripted", strategy = "transfusion" }]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "x.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Results: x" in done.stdout
