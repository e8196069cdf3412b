"""Several processes on one file, and processes that are killed: nothing reported is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.store import Store, table_key
from harness.store.migrations import MIGRATIONS
from tests.helpers.stored_answers import answer, request

ROOT = Path(__file__).resolve().parents[2]


class Writer:
    """A process that puts answers and reports them into a file, which a kill cannot take back."""

    def __init__(self, path: Path, start: int, count: int) -> None:
        self._log = path.parent.parent / f"reported-{start}-{time.monotonic_ns()}"
        command = [sys.executable, "-W", "error", "-m", "tests.helpers.stored_answers"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, str(path), str(start), str(count)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.PIPE,
            )

    def reported(self) -> dict[int, str]:
        """Number and key of every complete line: a process may be killed while it writes one."""
        lines = self._log.read_text().splitlines(keepends=True)
        pairs = [line.split() for line in lines if line.endswith("\n")]
        return {int(number): key for number, key in pairs}

    def wait_until_reported(self, count: int = 1) -> None:
        while len(self.reported()) < count:
            assert self.process.poll() is None
            time.sleep(0.005)

    def kill(self) -> dict[int, str]:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=120)
        assert self.process.returncode == -signal.SIGKILL
        return self.reported()

    def finish(self) -> dict[int, str]:
        _, err = self.process.communicate(timeout=120)
        assert err == b""
        assert self.process.returncode == 0
        return self.reported()


def _check(path: Path, reported: dict[int, str]) -> None:
    with Store(path) as store:
        found = store.get_many(reported.values())
        assert [n for n, key in reported.items() if found.get(key) != answer(n)] == []
        assert store.rows("PRAGMA integrity_check") == [("ok",)]


def test_processes_share_a_new_store(path: Path) -> None:
    """All of them find no file and make one; all write at once, two of them the same requests."""
    starts = [0, 0, 1_000, 2_000]
    writers = [Writer(path, start, 150) for start in starts]
    reported: dict[int, str] = {}
    for writer in writers:
        mine = writer.finish()
        assert len(mine) == 150
        reported |= mine
    assert len(reported) == 450
    _check(path, reported)
    with Store(path) as store:
        assert store.rows("SELECT count(*) FROM answers") == [(600,)]
        assert store.rows("SELECT count(*) FROM harness_migrations") == [(len(MIGRATIONS),)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_what_was_reported_survives_sigkill(path: Path) -> None:
    chance = random.Random(20)
    reported: dict[int, str] = {}
    for attempt in range(8):
        writer = Writer(path, attempt * 100_000, 0)
        writer.wait_until_reported(chance.randrange(1, 60))
        time.sleep(chance.uniform(0, 0.05))
        reported |= writer.kill()
        _check(path, reported)
    assert len(reported) > 100
    with Store(path) as store:
        # At most the one answer of each process that was not reported yet is there beyond them.
        ((stored,),) = store.rows("SELECT count(*) FROM answers")
        assert len(reported) <= stored <= len(reported) + 8


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_neighbour_that_is_killed_disturbs_nobody(path: Path) -> None:
    victim, survivor = Writer(path, 0, 0), Writer(path, 100_000, 400)
    victim.wait_until_reported()
    survivor.wait_until_reported()
    reported = victim.kill() | survivor.finish()
    assert reported[100_399] == table_key(request(100_399))
    _check(path, reported)
