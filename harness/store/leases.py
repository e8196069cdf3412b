"""Leases on keys, so that of several processes on one store only one pays for an answer.

A process claims the keys that it is about to send. One transaction checks that they have no
answer and claims them. One transaction stores an answer and deletes the claim. Other processes
wait for claimed keys. A lease expires when its owner ends or sends no heartbeat.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.store.batch_tracker import BatchTracker
from harness.store.heartbeats import HeartbeatMonitor, process_space
from harness.store.store import Store, key_bytes, placeholders

# The number of keys that one poll looks at.
_KEYS_A_POLL = 500


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The state of keys after a claim, each list in the order given.

    ``own`` are claimed by this owner, ``answered`` need not be asked, ``elsewhere`` are claimed
    by another process, and ``batched`` are in a batch of the Batch API.
    """

    own: list[str]
    answered: list[str]
    elsewhere: list[str]
    batched: list[str]


class LeaseOwner:
    """One owner of leases on keys of a store. Its methods raise what the store's do.

    Answers from before ``since`` do not count.
    """

    def __init__(self, since: datetime | None = None) -> None:
        self._name = uuid.uuid4().hex
        self._since = since
        self._watch = HeartbeatMonitor()

    def take(self, store: Store, keys: Sequence[str]) -> ClaimResult:
        """Claim those of the keys that are neither answered nor claimed nor in a batch."""
        with store.transaction(write=True) as db:
            db.execute(
                "INSERT INTO holders VALUES (?, ?, ?, 0) "
                "ON CONFLICT (name) DO UPDATE SET beats = beats + 1",
                (self._name, process_space(), os.getpid()),
            )
            self._watch.drop_expired(db)
            answered = store.known(keys, since=self._since)
            batched = BatchTracker(store).out(keys)
            db.executemany(
                "INSERT OR IGNORE INTO claims VALUES (?, ?)",
                (
                    (key_bytes(k), self._name)
                    for k in keys
                    if k not in answered and k not in batched
                ),
            )
            rows = db.execute("SELECT key FROM claims WHERE holder = ?", (self._name,))
            own = {key.hex() for (key,) in rows}
        others = [key for key in keys if key not in answered and key not in own]
        return ClaimResult(
            own=[key for key in keys if key in own],
            answered=[key for key in keys if key in answered],
            elsewhere=[key for key in others if key not in batched],
            batched=[key for key in others if key in batched],
        )

    def renew(self, store: Store) -> bool:
        """Send a heartbeat; ``False`` if another process has taken the lease for expired."""
        with store.writing() as db:
            sql = "UPDATE holders SET beats = beats + 1 WHERE name = ?"
            return db.execute(sql, (self._name,)).rowcount > 0

    def poll(self, store: Store, keys: Sequence[str]) -> tuple[set[str], bool]:
        """Which of the first 500 keys are answered now, and whether another of them is free."""
        some = keys[:_KEYS_A_POLL]
        answered = store.known(some, since=self._since)
        rest = [key_bytes(key) for key in some if key not in answered]
        if not rest:
            return answered, False
        sql = f"SELECT count(*) FROM claims WHERE key IN ({placeholders(rest)})"
        ((claimed,),) = store.rows(sql, rest)
        holders = store.rows("SELECT name, place, pid, beats FROM holders")
        gone = [self._watch.is_expired(*holder) for holder in holders]
        return answered, claimed < len(rest) or any(gone)

    def release(self, store: Store) -> None:
        """Release all keys of this owner."""
        with store.transaction(write=True) as db:
            for table, column in (("claims", "holder"), ("holders", "name")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (self._name,))
