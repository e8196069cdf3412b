"""Runs that are interrupted, killed, or not alone: what was paid for is there when they go on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran
from tests.helpers.faulty_server import (
    check_right,
    count_answers,
    read_rows,
    served,
    start,
    wait_for_answers,
    write_experiment,
)

Harness = Callable[..., Ran]
CONCURRENCY = 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_what_is_in_flight(
    harness: Harness, tmp_path: Path, number: signal.Signals
) -> None:
    store = tmp_path / "store" / "answers.sqlite"
    with served(latency_s=0.1, error_429=0.1, retry_after_s=0.1) as server:
        file = write_experiment(tmp_path, server.url, requests=120)
        process = start(tmp_path, "run", file)
        wait_for_answers(store, 10)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert "incomplete" in out
        assert "Traceback" not in err
        rows = read_rows(file.with_suffix(""))
        answered = sum(row["status"] == "ok" for row in rows)
        assert len(rows) == 120
        assert 10 <= answered == count_answers(store) == server.stats()["answered"] < 120
        assert harness("run", file).code == 0
        stats = server.stats()
    check_right(file)
    assert stats["answered"] == stats["distinct"] == 120


def test_a_second_signal_leaves_at_once(harness: Harness, tmp_path: Path) -> None:
    store = tmp_path / "store" / "answers.sqlite"
    with served(latency_s=0.02, hang=0.1) as server:
        file = write_experiment(tmp_path, server.url, requests=200)
        process = start(tmp_path, "run", file)
        wait_for_answers(store, 10)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "stopping" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        stored = count_answers(store)
        assert server.stats()["answered"] - stored <= CONCURRENCY


@pytest.mark.slow
def test_kill_9_twenty_times_at_random_moments(harness: Harness, tmp_path: Path) -> None:
    moments = random.Random(9)
    store = tmp_path / "store" / "answers.sqlite"
    stored = 0
    with served(latency_s=0.05, error_429=0.05, drop=0.02, retry_after_s=0.1) as server:
        file = write_experiment(tmp_path, server.url, requests=2000, concurrency=CONCURRENCY)
        for attempt in range(20):
            process = start(tmp_path, "run", file)
            # From before its first import until well into the asking: every other process has
            # stored some answers, however slow the machine is.
            if attempt % 2:
                wait_for_answers(store, stored + moments.randrange(1, 100))
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
            process.communicate()
            kept = count_answers(store)
            assert kept >= stored
            stored = kept
        before = server.stats()["answered"]
        assert before - stored <= 20 * CONCURRENCY
        ran = harness("run", file)
        assert ran.code == 0, ran.out + ran.err
        stats = server.stats()
    check_right(file)
    assert 0 < stored < 2000
    assert stats["distinct"] == count_answers(store) == 2000
    assert stats["answered"] - 2000 <= 20 * CONCURRENCY


def test_two_processes_on_one_store_pay_once(harness: Harness, tmp_path: Path) -> None:
    with served(latency_s=0.02) as server:
        file = write_experiment(tmp_path, server.url, requests=120)
        folders = [tmp_path / "one", tmp_path / "two"]
        processes = [start(tmp_path, "run", file, "--out", folder) for folder in folders]
        for process in processes:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        stats = server.stats()
        assert (stats["distinct"], stats["answered"]) == (120, 120)
        again = harness("run", file)
    assert "0 requests answered · 120 from the store" in again.out
    check_right(file)
    first, second = ([row["reply"] for row in read_rows(folder)] for folder in folders)
    assert first == second


def test_what_a_dead_process_was_asking_for_is_asked(harness: Harness, tmp_path: Path) -> None:
    store = tmp_path / "store" / "answers.sqlite"
    with served(latency_s=1) as server:
        file = write_experiment(tmp_path, server.url, requests=120)
        # The second one asks for more at a time: it is not held up by the latency, which keeps the
        # first one asking until the second one has started on a slow machine.
        wide = file.with_name("wide.toml")
        wide.write_text(file.read_text().replace("concurrency = 8", "concurrency = 120"))
        with start(tmp_path, "run", file) as first:
            wait_for_answers(store, 10)
            # Waits for the first one, and takes over when that is gone.
            with start(tmp_path, "run", wide, "--out", tmp_path / "two") as second:
                assert second.stderr is not None
                said = ""
                while "another process" not in said:
                    said = second.stderr.readline()
                    assert said, "it ended without waiting"
                first.kill()
                first.wait()
                _, err = second.communicate(timeout=120)
        assert second.returncode == 0, err
        stats = server.stats()
    assert stats["distinct"] == 120
    assert stats["answered"] <= 120 + CONCURRENCY
    assert {row["status"] for row in read_rows(tmp_path / "two")} == {"ok"}
