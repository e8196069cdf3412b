"""The tracker of batches: what is out at a provider, kept beside the answers it will become.

A key that is out with a batch is claimed. Claims are made in one transaction with the look
whether the key is answered, and go in one transaction with the storing of the answer; so of any
number of processes on one file only one submits a key, and only one stores its answer.

A batch begins as ``submitting`` (nothing of it is at the provider but perhaps a file) and is
``creating`` while the provider is asked to take it; from then on it has the provider's id and
status. Every one of these steps is refused where another process has given the batch up since.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from harness.store.heartbeats import HeartbeatMonitor, has_ended, process_space
from harness.store.store import KeyedAnswer, Store, answer_columns, chunks, key_bytes, placeholders
from harness.version import __version__

SUBMITTING, CREATING = "submitting", "creating"
#: The states in which a provider leaves a batch for good.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

_COLUMNS = (
    *("id", "nonce", "remote", "endpoint", "model", "url", "base_url", "api_version"),
    *("api_key_env", "created", "touched", "owner", "status", "requests", "done", "failed"),
    *("waiting", "reserved", "unpriced"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a batch is asked for, and with the key in which variable; holds no secret.

    ``endpoint`` is what stands for the server in cache keys, ``url`` the path that its requests
    go to. ``api_version`` is Azure's, ``None`` elsewhere.
    """

    endpoint: str
    model: str
    url: str
    base_url: str
    api_version: str | None
    api_key_env: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. ``remote`` is the provider's id, ``None`` until it is known.

    ``waiting`` requests are neither answered nor given back, and may cost ``reserved``
    nano-dollars at most (``None``: unknown). ``created`` and ``touched`` are seconds since 1970.
    """

    id: int
    nonce: str
    remote: str | None
    address: Address
    created: float
    touched: float
    owner: str
    status: str
    requests: int
    done: int | None
    failed: int | None
    waiting: int
    reserved: int | None

    @property
    def process(self) -> str:
        """The process that submits it, as ``host:pid``."""
        return f"{self.owner.partition('/')[0]}:{self.owner.rpartition(':')[2]}"

    @property
    def orphaned(self) -> bool:
        """Whether the process that submits it is certainly gone."""
        place, _, pid = self.owner.rpartition(":")
        return has_ended(place, int(pid))


class BatchTracker:
    """The batches of a store.

    Raises:
        StoreError: every method, where the store cannot be used.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watch = HeartbeatMonitor()

    def batches(self, *, settled: bool = False) -> list[Batch]:
        """Every batch that something is out with, oldest first; all there ever were, if wanted."""
        return self._read("" if settled else "HAVING waiting")

    def get(self, batch: int) -> Batch | None:
        """A batch by its number here, ``None`` where it was given up."""
        return next(iter(self._read("WHERE id = ?", (batch,))), None)

    def held(self, keys: Iterable[str]) -> dict[int, dict[str, int | None]]:
        """Which of the keys are out, by batch, with the most that each can cost."""
        found: dict[int, dict[str, int | None]] = {}
        for chunk in chunks(keys):
            sql = f"SELECT batch, key, worst FROM batch_claims WHERE key IN ({placeholders(chunk)})"
            for batch, key, worst in self._store.rows(sql, list(chunk.values())):
                found.setdefault(batch, {})[key.hex()] = worst
        return found

    def out(self, keys: Iterable[str]) -> dict[str, int]:
        """Which of the keys are out, with the most that each can cost; 0 where that is unknown."""
        return {key: worst or 0 for held in self.held(keys).values() for key, worst in held.items()}

    def keys(self, batch: int) -> set[str]:
        """The keys that are out with a batch."""
        sql = "SELECT key FROM batch_claims WHERE batch = ?"
        return {key.hex() for (key,) in self._store.rows(sql, (batch,))}

    def elsewhere(self, keys: Iterable[str]) -> set[str]:
        """Which of the keys a process is asking for, one by one."""
        found: set[str] = set()
        with self._store.transaction(write=True) as db:
            self._watch.drop_expired(db)
            for chunk in chunks(keys):
                sql = f"SELECT key FROM claims WHERE key IN ({placeholders(chunk)})"
                found.update(key.hex() for (key,) in db.execute(sql, list(chunk.values())))
        return found

    def begin(self, address: Address) -> int:
        """A new batch, submitted by this process; returns its number."""
        now = time.time_ns() // 1000
        with self._store.writing() as db:
            cursor = db.execute(
                "INSERT INTO batches (nonce, endpoint, model, url, base_url, api_version, "
                "api_key_env, created, touched, owner, status, requests) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    uuid.uuid4().hex,
                    address.endpoint,
                    address.model,
                    address.url,
                    address.base_url,
                    address.api_version,
                    address.api_key_env,
                    now,
                    now,
                    f"{process_space()}:{os.getpid()}",
                    SUBMITTING,
                ),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def claim(
        self, batch: int, worst: Mapping[str, int | None], *, since: datetime | None = None
    ) -> set[str]:
        """Claim keys for a batch that is being submitted; returns those it got.

        Not had are keys that are out already, or answered (since then), or that a process is
        asking for. ``worst`` is the most that each can cost.
        """
        got: set[str] = set()
        with self._store.transaction(write=True) as db:
            if _status(db, batch) != SUBMITTING:
                return got
            self._watch.drop_expired(db)
            answered = self._store.known(worst, since=since)
            for key, most in worst.items():
                asked = db.execute("SELECT 1 FROM claims WHERE key = ?", (key_bytes(key),))
                if key not in answered and asked.fetchone() is None:
                    sql = "INSERT OR IGNORE INTO batch_claims VALUES (?, ?, ?)"
                    if db.execute(sql, (key_bytes(key), batch, most)).rowcount:
                        got.add(key)
            db.execute("UPDATE batches SET requests = requests + ? WHERE id = ?", (len(got), batch))
        return got

    def create(self, batch: int) -> bool:
        """The provider is about to be asked (again); ``False`` if the batch was given up."""
        now = time.time_ns() // 1000
        return self._step(batch, (SUBMITTING, CREATING), status=CREATING, touched=now)

    def recall(self, batch: int) -> bool:
        """The provider did not take the batch, for certain; ``False`` as for :meth:`create`."""
        return self._step(batch, (CREATING,), status=SUBMITTING)

    def adopt(self, batch: int, remote: str, status: str) -> bool:
        """The provider has the batch under this id; ``False`` as for :meth:`create`."""
        return self._step(batch, (CREATING,), remote=remote, status=status)

    def record_status(self, batch: int, status: str, done: int | None, failed: int | None) -> None:
        """What the provider says of a batch that it has."""
        with self._store.writing() as db:
            db.execute(
                "UPDATE batches SET status = ?, done = ?, failed = ? WHERE id = ?",
                (status, done, failed, batch),
            )

    def store(self, batch: int, answered: Sequence[KeyedAnswer], *, kind: str) -> set[str]:
        """Put answers of a batch, and let go of their keys.

        Returns the keys whose answers were put: another process may have been quicker. An
        answer of unknown cost counts in the run as the most that it can have cost.
        """
        rows = {
            key: answer_columns(key, request.table(), answer, kind=kind, version=__version__)
            for key, request, answer in answered
        }
        with self._store.transaction(write=True) as db:
            taken = _take(db, batch, rows)
            unknown_nano = sum(taken[key] or 0 for key in taken if rows[key]["cost"] is None)
            self._store.insert(db, [rows[key] for key in taken], unknown_nano)
        return set(taken)

    def free(self, batch: int, keys: Iterable[str]) -> set[str]:
        """Let go of keys that have no answer; returns those that were out with the batch."""
        with self._store.transaction(write=True) as db:
            return set(_take(db, batch, keys))

    def give_up(self, batch: int) -> bool:
        """Forget a batch that the provider does not have; ``False`` if it has it after all."""
        with self._store.transaction(write=True) as db:
            sql = "DELETE FROM batches WHERE id = ? AND remote IS NULL"
            gone = db.execute(sql, (batch,)).rowcount > 0
            if gone:
                db.execute("DELETE FROM batch_claims WHERE batch = ?", (batch,))
        return gone

    def abandon(self, batch: int, status: str) -> int:
        """Let go of every key of a batch, whatever became of it; returns how many there were."""
        with self._store.transaction(write=True) as db:
            db.execute("UPDATE batches SET status = ? WHERE id = ?", (status, batch))
            return db.execute("DELETE FROM batch_claims WHERE batch = ?", (batch,)).rowcount

    def _step(self, batch: int, expected: Sequence[str], **columns: Any) -> bool:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._store.writing() as db:
            sql = (
                f"UPDATE batches SET {names} WHERE id = ? AND status IN ({placeholders(expected)})"
            )
            return db.execute(sql, (*columns.values(), batch, *expected)).rowcount > 0

    def _read(self, which: str, values: Sequence[Any] = ()) -> list[Batch]:
        where, having = (which, "") if values else ("", which)
        sql = f"""
            SELECT {", ".join(_COLUMNS[:-3])}, count(c.batch) AS waiting,
                coalesce(sum(worst), 0), count(c.batch) > count(worst)
            FROM batches LEFT JOIN batch_claims AS c ON c.batch = id
            {where} GROUP BY id {having} ORDER BY id
        """
        return [_batch(*found) for found in self._store.rows(sql, values)]


def _batch(*found: Any) -> Batch:
    columns = dict(zip(_COLUMNS, found, strict=True))
    place = Address(**{column.name: columns.pop(column.name) for column in fields(Address)})
    unpriced = columns.pop("unpriced")
    times = {name: columns[name] / 1e6 for name in ("created", "touched")}
    return Batch(address=place, **columns | times | ({"reserved": None} if unpriced else {}))


def _status(db: sqlite3.Connection, batch: int) -> str | None:
    found = db.execute("SELECT status FROM batches WHERE id = ?", (batch,)).fetchone()
    return None if found is None else found[0]


def _take(db: sqlite3.Connection, batch: int, keys: Iterable[str]) -> dict[str, int | None]:
    """Let go of keys; returns those that were out with the batch, with the most each can cost."""
    taken: dict[str, int | None] = {}
    for key in keys:
        found = (key_bytes(key), batch)
        which = "FROM batch_claims WHERE key = ? AND batch = ?"
        for (worst,) in db.execute(f"SELECT worst {which}", found).fetchall():
            db.execute(f"DELETE {which}", found)
            taken[key] = worst
    return taken
