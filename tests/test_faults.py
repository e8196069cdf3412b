"""Faults of servers, networks and disks: nothing lost, nothing wrong, nothing paid for twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import load_experiment, run
from tests.conftest import Ran
from tests.helpers.faulty_server import (
    check_right,
    count_answers,
    read_rows,
    right_replies,
    served,
    start,
    write_experiment,
)

Harness = Callable[..., Ran]

# That name is reserved never to exist (RFC 2606).
NOWHERE = "http://no-such-host.invalid/v1"

FAULTS: dict[str, dict[str, Any]] = {
    "429, 500 and drops": {
        "error_429": 0.1,
        "error_500": 0.05,
        "drop": 0.02,
        "retry_after_s": 0.05,
    },
    "429 without Retry-After": {"error_429": 0.2, "retry_after_s": 0},
    "hangs": {"hang": 0.05},
    "half-sent bodies": {"half": 0.05},
    "malformed JSON": {"garble": 0.1},
    "web pages": {"web_page": 0.1},
    "everything": {
        **{"error_429": 0.1, "error_500": 0.05, "drop": 0.05, "garble": 0.05, "web_page": 0.05},
        **{"hang": 0.02, "half": 0.02, "retry_after_s": 0.05},
    },
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_lose_nothing_and_pay_nothing_twice(
    harness: Harness, tmp_path: Path, name: str
) -> None:
    faults = FAULTS[name]
    with served(**faults) as server:
        file = write_experiment(tmp_path, server.url, requests=120, more="timeout_s = 0.5")
        ran = harness("run", file)
        stats = server.stats()
    assert ran.code == 0, ran.out + ran.err
    check_right(file)
    assert stats["answered"] == stats["distinct"] == 120
    assert stats["answered_twice"] == 0
    kinds = {"error_429": "429", "error_500": "500"}
    for setting, chance in faults.items():
        if setting != "retry_after_s" and chance >= 0.05:
            assert stats["faults"][kinds.get(setting, setting)] > 0


@pytest.mark.parametrize(
    ("storm_s", "retry_after_s"),
    [(0.7, 0.2), (0.7, 0), pytest.param(3, 1, marks=pytest.mark.slow)],
)
def test_a_storm_is_weathered(
    harness: Harness, tmp_path: Path, storm_s: float, retry_after_s: float
) -> None:
    with served(storm_s=storm_s, retry_after_s=retry_after_s, latency_s=0.01) as server:
        file = write_experiment(tmp_path, server.url, concurrency=16)
        ran = harness("run", file)
        stats = server.stats()
    assert ran.code == 0, ran.out + ran.err
    check_right(file)
    assert stats["answered"] == 60
    assert stats["answered_twice"] == 0
    assert stats["faults"]["storm"] == stats["requests"] - 60
    # No call is turned away more often than it may try.
    assert 0 < stats["faults"]["storm"] <= 60 * 9


def test_limits_of_the_server_are_kept_to(harness: Harness, tmp_path: Path) -> None:
    """A bucket for 30 requests at once that fills by 30 in a second."""
    with served(rpm=1800, window="bucket") as server:
        file = write_experiment(tmp_path, server.url, requests=40, concurrency=16)
        ran = harness("run", file)
        stats = server.stats()
    assert ran.code == 0, ran.out + ran.err
    check_right(file)
    assert stats["faults"]["limit"] == 0


@pytest.mark.parametrize(("flaw", "statuses"), [("null", {"empty"}), ("truncate", {"truncated"})])
def test_flawed_answers_are_kept_and_paid_for_once(
    harness: Harness, tmp_path: Path, flaw: str, statuses: set[str]
) -> None:
    with served(**{flaw: 0.3}) as server:
        file = write_experiment(tmp_path, server.url)
        assert harness("run", file).code == 0
        again = harness("run", file)
        stats = server.stats()
    assert "0 requests answered · 60 from the store" in again.out
    assert stats["requests"] == stats["answered"] == 60
    rows = read_rows(file.with_suffix(""))
    flawed = [row for row in rows if row["status"] != "ok"]
    # An answer cut before its first letter is empty.
    assert statuses <= {row["status"] for row in flawed} <= statuses | {"empty"}
    assert 5 < len(flawed) < 35
    right = right_replies(file)
    for row in rows:
        wanted = right[row["language"], row["example_id"]]
        assert row["reply"] == wanted or row in flawed
        assert wanted.startswith(row["reply"])


def test_a_key_that_ends_in_mid_run(harness: Harness, tmp_path: Path) -> None:
    with served(key_expires_after=40, latency_s=0.005) as server:
        file = write_experiment(tmp_path, server.url, requests=200)
        ran = harness("run", file)
        stats = server.stats()
    assert ran.code == 2
    assert "OPENAI_API_KEY" in ran.err
    assert "incomplete" in ran.out
    rows = read_rows(file.with_suffix(""))
    answered = [row for row in rows if row["reply"] is not None]
    # Those in flight when the key ended were answered still.
    assert 40 <= len(answered) == stats["answered"] < 40 + 8
    assert stats["faults"]["expired"] <= 3 * 8
    right = right_replies(file)
    assert all(row["reply"] == right[row["language"], row["example_id"]] for row in answered)
    # With a good key it goes on; the alias stands for the address.
    with served() as mended:
        file.write_text(file.read_text().replace(server.url, mended.url))
        assert harness("run", file).code == 0
        assert mended.stats()["requests"] == len(right) - len(answered)
    check_right(file)


def test_a_name_that_does_not_resolve(harness: Harness, tmp_path: Path) -> None:
    file = write_experiment(tmp_path, NOWHERE, requests=3, concurrency=1)
    ran = harness("run", file)
    assert ran.code == 2
    assert NOWHERE in ran.err
    assert ran.err.count("harness:") == 1
    assert {row["status"] for row in read_rows(file.with_suffix(""))} <= {"unsent", "error"}
    with served() as server:
        file.write_text(file.read_text().replace(NOWHERE, server.url))
        assert harness("run", file).code == 0
        assert server.stats()["requests"] == 3
    check_right(file)


def test_a_full_disk_is_one_message_and_costs_no_more_than_is_in_flight(
    harness: Harness, tmp_path: Path
) -> None:
    store = tmp_path / "store" / "answers.sqlite"
    with served(latency_s=0.005) as server:
        file = write_experiment(tmp_path, server.url, requests=200)
        # No file of this process may grow beyond this: what a full disk does to a write.
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
        process = start(tmp_path, "run", file, preamble=limit)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err
        assert err.count("harness: ") == 1
        assert "Traceback" not in err
        assert str(store) in err
        stored = count_answers(store)
        assert 0 < stored < 200
        assert server.stats()["answered"] - stored <= 8
        assert harness("run", file).code == 0
        stats = server.stats()
    check_right(file)
    assert stats["distinct"] == 200
    assert stats["answered"] <= 200 + 8


class JumpingClock:
    """The time of day, which is set back and forth by a day every few times that it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._time_ns = time.time_ns

    def __call__(self) -> int:
        self.asked += 1
        return self._time_ns() + (-1, 0, 1)[self.asked // 5 % 3] * 86_400 * 10**9


def test_a_clock_that_jumps_changes_nothing(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = JumpingClock()
    monkeypatch.setattr(time, "time_ns", clock)
    monkeypatch.setattr(time, "time", lambda: clock() / 1e9)
    with served(error_429=0.2, error_500=0.1, retry_after_s=0.05) as server:
        file = write_experiment(tmp_path, server.url)
        assert harness("run", file).code == 0
        check_right(file)
        assert server.stats()["answered"] == server.stats()["distinct"] == 60
        again = harness("run", file)
    assert "0 requests answered · 60 from the store" in again.out
    assert clock.asked > 5


def test_an_answer_that_comes_later_is_newer_under_a_clock_that_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "answers.sqlite"))
    with served(truncate=1.0) as cutting, served() as whole:
        file = write_experiment(tmp_path, cutting.url, requests=4)
        run(load_experiment(file))
        back = time.time_ns() - 86_400 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: back)
        file.write_text(file.read_text().replace(cutting.url, whole.url))
        run(load_experiment(file), retry=["truncated", "empty"])
        assert whole.stats()["answered"] == 4
    check_right(file)
