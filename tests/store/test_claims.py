"""Keys are claimed by one process at a time, and those of a dead one are free."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.store import Store
from harness.store.claims import Claimant
from tests.store.samples import answer, put, request

KEYS = [f"{number:064x}" for number in range(1200)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two connections to one file."""
    path = tmp_path / "answers.sqlite"
    with Store(path) as one, Store(path) as two:
        yield one, two


def test_one_of_two_gets_a_key(stores: tuple[Store, Store]) -> None:
    one, two = stores
    first, second = Claimant(), Claimant()
    assert first.take(one, KEYS[:1000]).own == KEYS[:1000]
    taken = second.take(two, KEYS)
    assert (taken.own, taken.elsewhere) == (KEYS[1000:], KEYS[:1000])
    # Its own stay its own.
    assert first.take(one, KEYS).own == KEYS[:1000]
    first.release(one)
    assert second.take(two, KEYS).own == KEYS


def test_an_answer_frees_its_key(stores: tuple[Store, Store]) -> None:
    one, two = stores
    key = put(one, 1)
    taken = Claimant().take(one, [key])
    assert (taken.own, taken.answered) == ([], [key])
    # One that is asked anew is claimed, and free once that answer is there.
    asker, later = Claimant(), datetime(2100, 1, 1, tzinfo=UTC)
    assert asker.take(one, [key], since=later).own == [key]
    assert Claimant().take(two, [key], since=later).elsewhere == [key]
    one.put(key, request(1), answer("anew"))
    assert one.rows("SELECT * FROM claims") == []


@pytest.mark.parametrize("silent", [-3600, 3600])
def test_a_holder_that_is_not_heard_of_is_gone(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    one, two = stores
    holder = Claimant()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - silent)
    holder.take(one, KEYS)
    monkeypatch.undo()
    assert Claimant().take(two, KEYS).own == KEYS


def test_a_holder_that_speaks_up_is_there(stores: tuple[Store, Store]) -> None:
    one, two = stores
    holder = Claimant()
    holder.take(one, KEYS)
    two.rows("SELECT 1")
    with two.writing() as db:
        db.execute("UPDATE holders SET seen = 0, host = 'elsewhere'")
    holder.beat(one)
    assert Claimant().take(two, KEYS).own == []


def test_a_process_that_has_ended_holds_nothing(stores: tuple[Store, Store]) -> None:
    one, two = stores
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Claimant().take(one, KEYS)
    with two.writing() as db:
        assert db.execute("SELECT host, pid FROM holders").fetchall() == [
            (socket.gethostname(), os.getpid())
        ]
        db.execute("UPDATE holders SET pid = ?", (ended.pid,))
    assert Claimant().take(two, KEYS).own == KEYS
