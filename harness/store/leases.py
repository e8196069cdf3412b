"""Who is asking for what: so that of several processes on one store only one pays for an answer.

A process claims the keys that it is about to ask for, in one transaction with the look whether
they are answered; a claim goes in one transaction with the storing of the answer. What another
process has claimed is waited for. Claims of a process that is gone count no more.
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

#: So many keys are looked at while others have them.
_KEYS_A_POLL = 500


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What became of keys that were to be claimed, each in the order given.

    ``own`` are claimed now, ``answered`` need not be asked, ``elsewhere`` another process asks
    for, and ``batched`` are out with a batch of the Batch API.
    """

    own: list[str]
    answered: list[str]
    elsewhere: list[str]
    batched: list[str]


class LeaseOwner:
    """Someone who claims keys of a store; its methods raise what the store's do.

    ``since``: answers from before that moment do not count.
    """

    def __init__(self, since: datetime | None = None) -> None:
        self._name = uuid.uuid4().hex
        self._since = since
        self._watch = HeartbeatMonitor()

    def take(self, store: Store, keys: Sequence[str]) -> ClaimResult:
        """Claim those of the keys that nobody has answered or claimed."""
        with store.transaction(write=True) as db:
            db.execute(
                "INSERT INTO holders VALUES (?, ?, ?, 0) "
                "ON CONFLICT (name) DO UPDATE SET beats = beats + 1",
                (self._name, process_space(), os.getpid()),
            )
            self._watch.drop_expired(db)
            answered = store.known(keys, since=self._since)
            held = BatchTracker(store).out(keys)
            db.executemany(
                "INSERT OR IGNORE INTO claims VALUES (?, ?)",
                ((key_bytes(k), self._name) for k in keys if k not in answered and k not in held),
            )
            rows = db.execute("SELECT key FROM claims WHERE holder = ?", (self._name,))
            own = {key.hex() for (key,) in rows}
        others = [key for key in keys if key not in answered and key not in own]
        return ClaimResult(
            own=[key for key in keys if key in own],
            answered=[key for key in keys if key in answered],
            elsewhere=[key for key in others if key not in held],
            batched=[key for key in others if key in held],
        )

    def renew(self, store: Store) -> bool:
        """Say that the claimant is alive; ``False`` if others have taken it for gone."""
        with store.writing() as db:
            sql = "UPDATE holders SET beats = beats + 1 WHERE name = ?"
            return db.execute(sql, (self._name,)).rowcount > 0

    def poll(self, store: Store, keys: Sequence[str]) -> tuple[set[str], bool]:
        """Which of the first keys are answered now, and whether any of the others is free."""
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
        """Let go of everything."""
        with store.transaction(write=True) as db:
            for table, column in (("claims", "holder"), ("holders", "name")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (self._name,))
