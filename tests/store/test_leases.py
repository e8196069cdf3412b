"""Keys are claimed by one process at a time, and those of a dead one are free."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.running.asking.lease import Lease
from harness.store import Store, table_key
from harness.store.heartbeats import has_ended, process_space
from harness.store.leases import LeaseOwner
from harness.store.writer import Writer
from tests.helpers.stored_answers import answer, as_request, put, request

KEYS = [f"{number:064x}" for number in range(1200)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two connections to one file."""
    path = tmp_path / "answers.sqlite"
    with Store(path) as one, Store(path) as two:
        yield one, two


def test_one_of_two_gets_a_key(stores: tuple[Store, Store]) -> None:
    one, two = stores
    first, second = LeaseOwner(), LeaseOwner()
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
    taken = LeaseOwner().take(one, [key])
    assert (taken.own, taken.answered) == ([], [key])
    # One that is asked anew is claimed, and free once that answer is there.
    later = datetime(2100, 1, 1, tzinfo=UTC)
    assert LeaseOwner(later).take(one, [key]).own == [key]
    assert LeaseOwner(later).take(two, [key]).elsewhere == [key]
    one.put(key, as_request(request(1)), answer("anew"))
    assert one.rows("SELECT * FROM claims") == []


def test_whoever_waits_sees_what_changes(stores: tuple[Store, Store]) -> None:
    one, two = stores
    keys = [table_key(request(number)) for number in range(3)]
    holder, waiting = LeaseOwner(), LeaseOwner()
    holder.take(one, keys)
    assert waiting.poll(two, keys) == (set(), False)
    put(one, 1)
    assert waiting.poll(two, keys) == ({keys[1]}, False)
    assert waiting.poll(two, keys[1:2]) == ({keys[1]}, False)
    holder.release(one)
    assert waiting.poll(two, keys) == ({keys[1]}, True)


def test_a_holder_that_is_silent_for_a_minute_is_gone(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    holder, other = LeaseOwner(), LeaseOwner()
    holder.take(one, KEYS)
    assert other.take(two, KEYS).own == []
    # A clock that is set, or a machine that sleeps, is no silence.
    now, wall = time.monotonic(), time.time()
    monkeypatch.setattr(time, "time", lambda: wall + 10**6)
    assert other.take(two, KEYS).own == []
    monkeypatch.setattr(time, "monotonic", lambda: now + 50)
    assert holder.renew(one)
    assert other.take(two, KEYS).own == []
    monkeypatch.setattr(time, "monotonic", lambda: now + 100)
    assert not other.poll(two, KEYS)[1]
    monkeypatch.setattr(time, "monotonic", lambda: now + 120)
    assert other.poll(two, KEYS)[1]
    assert other.take(two, KEYS).own == KEYS
    assert not holder.renew(one)
    assert holder.take(one, KEYS).elsewhere == KEYS


def test_a_process_that_has_ended_holds_nothing(stores: tuple[Store, Store]) -> None:
    one, two = stores
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    LeaseOwner().take(one, KEYS)
    with two.writing() as db:
        assert db.execute("SELECT place, pid FROM holders").fetchall() == [
            (process_space(), os.getpid())
        ]
        db.execute("UPDATE holders SET pid = ?", (ended.pid,))
    assert LeaseOwner().take(two, KEYS).own == KEYS


@pytest.mark.parametrize(
    ("place", "ended"),
    [
        (process_space(), True),
        ("elsewhere/boot/pid:[1]", False),
        # The same machine since another boot, and another namespace of process ids.
        (f"{socket.gethostname()}/another-boot/{process_space().rsplit('/', 1)[1]}", True),
        (f"{process_space().rsplit('/', 1)[0]}/pid:[1]", False),
        ("nonsense", False),
    ],
)
def test_of_which_processes_one_can_tell(place: str, ended: bool) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert has_ended(place, gone.pid) is ended
    assert not has_ended(process_space(), os.getpid())


@pytest.mark.parametrize("clock", ["time", "monotonic"])
async def test_a_lease_is_lost_once_a_clock_went_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:

    with Writer(Store(tmp_path / "answers.sqlite")) as writer:
        async with Lease(writer, None, asyncio.Event()) as lease:
            assert (await lease.take(KEYS)).own == KEYS
            assert not lease.lost
            now = getattr(time, clock)()
            with monkeypatch.context() as asleep:
                asleep.setattr(time, clock, lambda: now + 40)
                assert lease.lost
                # Its claims are still its own, or others have them: it asks.
                assert (await lease.take(KEYS)).own == KEYS
                assert not lease.lost
