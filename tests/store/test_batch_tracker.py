"""The tracker: a key is out once, and its answer is stored once, whoever is at it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.store import Store, table_key
from harness.store.batch_tracker import CREATING, SUBMITTING, Address, BatchTracker
from harness.store.heartbeats import process_space
from harness.store.leases import LeaseOwner
from tests.helpers.stored_answers import answer, as_request, put, request

ADDRESS = Address(
    "openai",
    "gpt-4o",
    "/v1/chat/completions",
    "https://api.openai.com/v1",
    None,
    "OPENAI_API_KEY",
)
KEYS = [table_key(request(number)) for number in range(6)]


def at_provider(tracker: BatchTracker, keys: list[str], remote: str = "batch_1") -> int:
    number = tracker.begin(ADDRESS)
    assert tracker.claim(number, dict.fromkeys(keys, 10)) == set(keys)
    assert tracker.create(number)
    assert tracker.adopt(number, remote, "validating")
    return number


def test_a_key_is_out_once(store: Store) -> None:
    tracker = BatchTracker(store)
    first = at_provider(tracker, KEYS[:3])
    second = tracker.begin(ADDRESS)
    put(store, 3)
    assert tracker.claim(second, dict.fromkeys(KEYS, 10)) == set(KEYS[4:])
    assert tracker.held(KEYS) == {
        first: dict.fromkeys(KEYS[:3], 10),
        second: dict.fromkeys(KEYS[4:], 10),
    }
    # What is asked anew may have an older answer.
    assert tracker.claim(second, {KEYS[3]: None}, since=datetime.now(UTC)) == {KEYS[3]}
    batch = tracker.get(second)
    assert batch is not None
    assert (batch.requests, batch.waiting, batch.reserved) == (3, 3, None)


def test_an_answer_is_stored_once_and_frees_its_key(store: Store) -> None:
    tracker = BatchTracker(store)
    number = at_provider(tracker, KEYS[:2])
    entries = [(KEYS[n], as_request(request(n)), answer(n)) for n in range(2)]
    assert tracker.store(number, entries[:1], kind="completion") == {KEYS[0]}
    assert tracker.store(number, entries, kind="completion") == {KEYS[1]}
    assert tracker.store(number, entries, kind="completion") == set()
    assert store.rows("SELECT count(*) FROM answers") == [(2,)]
    assert tracker.batches() == []
    (settled,) = tracker.batches(settled=True)
    assert (settled.requests, settled.waiting, settled.reserved) == (2, 0, 0)


def test_an_answer_of_unknown_cost_counts_as_the_most_it_may_be(path: Path) -> None:
    with Store(path, run="r") as store:
        tracker = BatchTracker(store)
        number = at_provider(tracker, KEYS[:3])
        entries = [
            (KEYS[n], as_request(request(n)), answer(n, cost=c))
            for n, c in enumerate((None, 3, None))
        ]
        tracker.store(number, [*entries[:2], entries[0]], kind="completion")
        assert store.spent("r") == 13
        tracker.store(number, entries, kind="completion")
        assert store.spent("r") == 23


def test_what_a_process_is_asking_for_is_not_given_to_a_batch(store: Store) -> None:
    tracker = BatchTracker(store)
    number, claimant = tracker.begin(ADDRESS), LeaseOwner()
    claimant.take(store, KEYS[:2])
    assert tracker.elsewhere(KEYS) == set(KEYS[:2])
    assert tracker.claim(number, dict.fromkeys(KEYS[:3], 10)) == tracker.keys(number) == {KEYS[2]}
    with store.writing() as db:
        # One of an earlier boot is gone.
        host, _, namespace = process_space().rsplit("/", 2)
        db.execute("UPDATE holders SET place = ?", (f"{host}/another/{namespace}",))
    assert tracker.claim(number, dict.fromkeys(KEYS[:2], 10)) == set(KEYS[:2])
    assert tracker.elsewhere(KEYS) == set()


def test_a_batch_that_was_given_up_goes_no_further(store: Store) -> None:
    tracker = BatchTracker(store)
    number = tracker.begin(ADDRESS)
    tracker.claim(number, dict.fromkeys(KEYS, None))
    assert tracker.give_up(number)
    assert tracker.held(KEYS) == {}
    assert not tracker.create(number)
    assert not tracker.adopt(number, "batch_1", "validating")
    assert tracker.claim(number, dict.fromkeys(KEYS, None)) == set()
    assert tracker.get(number) is None


def test_a_batch_that_the_provider_has_is_not_given_up(store: Store) -> None:
    tracker = BatchTracker(store)
    number = at_provider(tracker, KEYS)
    assert not tracker.give_up(number)
    assert tracker.free(number, KEYS[:2]) == set(KEYS[:2])
    assert tracker.free(number, KEYS[:3]) == {KEYS[2]}
    assert tracker.abandon(number, "unknown") == 3
    assert tracker.held(KEYS) == {}


def test_the_steps_of_a_submission(store: Store) -> None:
    tracker = BatchTracker(store)
    number = tracker.begin(ADDRESS)
    seen = []
    for step in (
        lambda: True,
        lambda: tracker.create(number),
        lambda: tracker.recall(number),
        lambda: tracker.create(number) and tracker.create(number),
        lambda: tracker.adopt(number, "batch_1", "validating"),
    ):
        assert step()
        batch = tracker.get(number)
        assert batch is not None
        seen.append((batch.status, batch.remote))
    assert seen == [
        (SUBMITTING, None),
        (CREATING, None),
        (SUBMITTING, None),
        (CREATING, None),
        ("validating", "batch_1"),
    ]
    assert not tracker.adopt(number, "batch_2", "validating")
    assert not tracker.create(number)
    assert not tracker.recall(number)


def test_whether_the_submitting_process_is_gone(store: Store) -> None:
    tracker = BatchTracker(store)
    number = tracker.begin(ADDRESS)

    def orphaned(owner: str) -> bool:
        with store.writing() as db:
            db.execute("UPDATE batches SET owner = ?", (owner,))
        batch = tracker.get(number)
        assert batch is not None
        return batch.orphaned

    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not orphaned(f"{process_space()}:{os.getpid()}")
    assert orphaned(f"{process_space()}:{process.pid}")
    assert not orphaned(f"another-{process_space()}:{process.pid}")


@pytest.mark.parametrize("at_once", [4])
def test_claims_from_many_connections(path: Path, at_once: int) -> None:
    keys = [table_key(request(number)) for number in range(200)]
    got: list[set[str]] = []

    def claim() -> None:
        with Store(path) as store:
            tracker = BatchTracker(store)
            number = tracker.begin(ADDRESS)
            mine: set[str] = set()
            for start in range(0, len(keys), 10):
                mine |= tracker.claim(number, dict.fromkeys(keys[start : start + 10], 1))
            got.append(mine)

    threads = [threading.Thread(target=claim) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, got)) == len(keys)
    assert set().union(*got) == set(keys)
