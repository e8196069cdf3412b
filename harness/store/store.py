"""The answer store: one SQLite file of answers by key, and of what each run has spent on them."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self

from harness.errors import StoreError, UsageError, unknown_name_message
from harness.records import Answer, Request
from harness.store.describe import endpoint_of, model_of, prompt_hash, served_model
from harness.store.key import canonical, identity, key_of
from harness.store.sqlite import advice, open_read_only, open_writable
from harness.version import __version__

#: The key of a request, the request, and its answer.
KeyedAnswer = tuple[str, Request, Answer]
#: The two tasks that an answer can belong to.
ANSWER_KINDS = ("completion", "translation")

#: Keys per query: well under the 999 variables of old SQLite builds.
_CHUNK = 500

_PUT = """
    INSERT INTO answers
        (key, kind, model, endpoint, prompt, created, latency_s, cost, version, response, request)
    VALUES (:key, :kind, :model, :endpoint, :prompt,
        -- later than every answer this key has, even where the clock was set back
        max(:now, coalesce((SELECT max(created) + 1 FROM answers WHERE key = :key), 0)),
        :latency_s, :cost, :version, :response, :request)
"""


_SPEND = """
    INSERT INTO spending VALUES (?, ?)
    ON CONFLICT (run) DO UPDATE SET nano = nano + excluded.nano
"""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def default_path() -> Path:
    """Where the store lies: ``$HARNESS_CACHE``, or else the user's cache folder."""
    if chosen := os.environ.get("HARNESS_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("harness", appauthor=False) / "answers.sqlite"


class Store:
    """Answers by the key of their request. Use it as a context manager, from one thread.

    The file and its folders come into being with the first answer; until then every look-up
    finds nothing. An answer is never overwritten: one for a key that has one already is added,
    and the newest is what look-ups return.

    Any number of processes may read and write the same file at once (WAL mode), on a local
    disk. :meth:`put` has handed its answer to the operating system when it returns, so
    ``kill -9`` loses nothing. With ``synchronous=NORMAL`` the disk is not waited for: a power
    cut may take the answers of the last moments (they are asked again) but does not damage
    the file.

    ``read_only`` never writes, and works in a folder that cannot be written; there a missing
    file is an error. ``run`` is the id of the run that is charged for added answers.

    Every method raises :class:`~harness.errors.StoreError` where the file cannot be used.
    """

    def __init__(
        self, path: Path | None = None, *, read_only: bool = False, run: str | None = None
    ) -> None:
        self.path = default_path() if path is None else Path(path)
        self.read_only = read_only
        self.run = run
        #: No answer added is older than this, even where the clock was set back.
        self.not_before: datetime | None = None
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, read_only={self.read_only})"

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._db is not None:
            with self._readable_errors():
                self._db.close()
            self._db = None

    def put(self, key: str, request: Request, answer: Answer, *, kind: str = "completion") -> None:
        """Add an answer; it is committed when this returns.

        Raises:
            StoreError: nothing was stored (disk full, no permission, …).
            UsageError: ``key`` is not the key of ``request``, or ``kind`` is none of
                ``ANSWER_KINDS``.
        """
        self.put_many([(key, request, answer)], kind=kind)

    def put_many(
        self, entries: Sequence[KeyedAnswer], *, kind: str = "completion", unknown_nano: int = 0
    ) -> int:
        """Add answers as :meth:`put` does, all or none of them.

        The run is charged what the answers cost, and ``unknown_nano`` nano-dollars for calls whose
        cost is unknown. Returns what all processes of the run have spent by now, in nano-dollars;
        0 without a run.
        """
        # Before the lock is taken, since other processes wait for it.
        rows = [
            answer_columns(key, request.table(), answer, kind=kind, version=__version__)
            for key, request, answer in entries
        ]
        with self.transaction(write=True) as db:
            return self.insert(db, rows, unknown_nano)

    def insert(
        self, db: sqlite3.Connection, rows: Sequence[Mapping[str, Any]], unknown_nano: int = 0
    ) -> int:
        """Add rows of :func:`answer_columns` within a transaction, and charge the run for them.

        The claims on their keys end.
        """
        now = max(time.time_ns() // 1000, _microseconds(self.not_before))
        for columns in rows:
            db.execute(_PUT, {**columns, "now": now})
            db.execute("DELETE FROM claims WHERE key = :key", {"key": columns["key"]})
        if self.run is None:
            return 0
        known = sum(columns["cost"] or 0 for columns in rows)
        db.execute(_SPEND, (self.run, known + unknown_nano))
        return self.spent(self.run)

    def now(self) -> datetime:
        """This moment; where the clock was set back, the one after the newest answer."""
        ((newest,),) = self.rows("SELECT max(created) FROM answers") or [(None,)]
        moment = max(time.time_ns() // 1000, (newest or 0) + 1)
        return datetime.fromtimestamp(moment // 1_000_000, UTC).replace(
            microsecond=moment % 1_000_000
        )

    def prepare(self) -> None:
        """Make sure that answers can be stored, before one is paid for.

        Raises:
            StoreError: they cannot.
        """
        with self.transaction(write=True):
            pass

    def get(self, key: str) -> Answer | None:
        """The newest answer of a key."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The newest answer of every key that has one, in the order of ``keys``.

        Reads 10,000 answers in about a tenth of a second, without the requests.
        """
        return dict(self.iter_many(keys))

    def iter_many(self, keys: Iterable[str]) -> Iterator[tuple[str, Answer]]:
        """As :meth:`get_many`, a few hundred answers in memory at a time."""
        for chunk in chunks(keys):
            sql = (
                "SELECT key, response, latency_s, cost FROM answers "
                f"WHERE key IN ({placeholders(chunk)}) ORDER BY key, created"
            )
            # In the index's own order, so a later row of a key is a newer answer.
            columns = {blob: rest for blob, *rest in self.rows(sql, list(chunk.values()))}
            for key, blob in chunk.items():
                if blob in columns:
                    response, latency_s, cost = columns[blob]
                    yield key, Answer(response.decode("utf-8", "surrogatepass"), latency_s, cost)

    def known(self, keys: Iterable[str], *, since: datetime | None = None) -> set[str]:
        """Which of the keys have an answer, or one made since then. Reads the index only."""
        stored: set[str] = set()
        earliest = _microseconds(since)
        for chunk in chunks(keys):
            sql = (
                "SELECT DISTINCT key FROM answers "
                f"WHERE key IN ({placeholders(chunk)}) AND created >= ?"
            )
            blobs = {blob for (blob,) in self.rows(sql, [*chunk.values(), earliest])}
            stored.update(key for key, blob in chunk.items() if blob in blobs)
        return stored

    def spent(self, run: str) -> int:
        """What a run has paid so far, in nano-dollars.

        A call of unknown cost counts as the most that it can have cost.
        """
        rows = self.rows("SELECT nano FROM spending WHERE run = ?", (run,))
        return int(rows[0][0]) if rows else 0

    def answered_requests(self, model: str, *, kind: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Every stored request that a model of this name answered, with its response."""
        sql = "SELECT request, response FROM answers WHERE model = ? AND kind = ?"
        for request, response in self.rows(sql, (model, kind)):
            yield json.loads(zlib.decompress(request)), response.decode("utf-8", "surrogatepass")

    def count(self, keys: Iterable[str]) -> int:
        """How many different keys among these have an answer."""
        return len(self.known(keys))

    def __contains__(self, key: str) -> bool:
        return bool(self.known([key]))

    # For the other modules of this room.

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; none where there is no store yet."""
        with self._readable_errors():
            db = self._open(create=False)
            return [] if db is None else db.execute(sql, parameters).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, for changes; every statement is a transaction unless one is begun."""
        with self._readable_errors():
            db = self._open(create=True)
            assert db is not None  # a store that may be created is there
            yield db

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """One transaction around a block, all or nothing; what is read in it does not change."""
        with self._readable_errors():
            db = self._open(create=write)
            if db is None:
                raise StoreError(f"There is no answer store at {self.path} yet.")
            # SQLite refuses to turn a read lock into a write lock after another process has
            # written, so a write lock is taken at the start.
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if create and self.read_only:
            raise StoreError(f"The answer store {self.path} is open for reading only.")
        if self._db is None:
            if self.read_only:
                self._db = open_read_only(self.path)
            elif create:
                self._db = open_writable(self.path)
            elif self.path.exists():
                # Reading goes on where writing is not allowed; a later put says so.
                places = (self.path, self.path.parent)
                writable = all(os.access(place, os.W_OK) for place in places)
                self._db = open_writable(self.path) if writable else open_read_only(self.path)
        return self._db

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Turn errors of SQLite and of the file system into a :class:`StoreError` with advice."""
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoreError(advice(error, self.path)) from error


def answer_columns(
    key: str, table: Mapping[str, Any], answer: Answer, *, kind: str, version: str
) -> dict[str, Any]:
    """The columns of a row of ``answers``, without its time. ``table`` is the request as a table.

    Raises:
        UsageError: ``key`` is not the key of the request, or ``kind`` is none of ``ANSWER_KINDS``.
    """
    if kind not in ANSWER_KINDS:
        raise UsageError(unknown_name_message("kind of answer", kind, ANSWER_KINDS))
    stripped = identity(table)
    text = canonical(stripped)
    # An answer under a wrong key would be served for a request it does not belong to.
    if key_of(text) != key:
        raise UsageError(f"{key!r} is not the key of the request it was given with.")
    return {
        "key": bytes.fromhex(key),
        "kind": kind,
        "model": model_of(stripped) or served_model(answer.response),
        "endpoint": endpoint_of(stripped),
        "prompt": prompt_hash(stripped),
        "latency_s": answer.latency_s,
        "cost": answer.cost,
        "version": version,
        # Not compressed: it would save 0.3 kB of 2.8 and cost 12 µs to write and 4 to read.
        "response": answer.response.encode("utf-8", "surrogatepass"),
        "request": zlib.compress(text.encode(), 1),
    }


def _microseconds(moment: datetime | None) -> int:
    """Whole microseconds since 1970; 0 for ``None``."""
    return 0 if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def key_bytes(key: str) -> bytes:
    """The 32 bytes that the store holds for a key.

    Raises:
        UsageError: not a key.
    """
    try:
        blob = bytes.fromhex(key)
    except ValueError:
        blob = b""
    if len(blob) != 32:
        raise UsageError(f"{key!r} is no cache key: a key has 64 hexadecimal digits.")
    return blob


def chunks(keys: Iterable[str]) -> Iterator[dict[str, bytes]]:
    """Split keys into mappings from key to its bytes, each small enough for one query."""
    rest = iter(keys)
    while chunk := {key: key_bytes(key) for key in islice(rest, _CHUNK)}:
        yield chunk


def placeholders(values: Sized) -> str:
    """One placeholder for each value, as ``IN (…)`` takes them."""
    return ",".join("?" * len(values))
