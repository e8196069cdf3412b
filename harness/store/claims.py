"""Who is asking for what: so that of several processes on one store only one pays for an answer.

A process claims the keys that it is about to ask for, in one transaction with the look whether
they are answered; a claim goes in one transaction with the storing of the answer. What another
process has claimed is waited for. Claims of a process that is gone count no more.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from harness.store.batches import Ledger
from harness.store.processes import bury
from harness.store.store import Store, blob_of

#: A living holder says so this often.
BEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of keys that were to be claimed, each in the order given.

    ``own`` are claimed now, ``answered`` need not be asked, ``elsewhere`` another process asks
    for, and ``batched`` are out with a batch of the Batch API.
    """

    own: list[str]
    answered: list[str]
    elsewhere: list[str]
    batched: list[str]


@dataclass(frozen=True, slots=True)
class Claimant:
    """Someone who claims keys of a store; its methods raise what the store's do."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def take(self, store: Store, keys: Sequence[str], *, since: datetime | None = None) -> Taken:
        """Claim those of the keys that nobody has answered (since then) or claimed."""
        with store.transaction(write=True) as db:
            self._show(db)
            bury(db)
            answered = store.known(keys, since=since)
            held = {key for claimed in Ledger(store).held(keys).values() for key in claimed}
            db.executemany(
                "INSERT OR IGNORE INTO claims VALUES (?, ?)",
                ((blob_of(k), self.name) for k in keys if k not in answered and k not in held),
            )
            rows = db.execute("SELECT key FROM claims WHERE holder = ?", (self.name,))
            own = {key.hex() for (key,) in rows}
        others = [key for key in keys if key not in answered and key not in own]
        return Taken(
            own=[key for key in keys if key in own],
            answered=[key for key in keys if key in answered],
            elsewhere=[key for key in others if key not in held],
            batched=[key for key in others if key in held],
        )

    def beat(self, store: Store) -> None:
        """Say that the claimant is alive."""
        with store.writing() as db:
            self._show(db)

    def release(self, store: Store) -> None:
        """Let go of everything."""
        with store.transaction(write=True) as db:
            for table, column in (("claims", "holder"), ("holders", "name")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (self.name,))

    def _show(self, db: sqlite3.Connection) -> None:
        values = (self.name, socket.gethostname(), os.getpid(), int(time.time()))
        db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?)", values)
