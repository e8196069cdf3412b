"""How the store's tables came to be: a list that is only ever added to.

A released migration is never edited or removed. A change of the tables is a new function at
the end of ``MIGRATIONS``; the names of those applied are recorded in the file itself, with the
version that applied them. So every older store can be brought up to date, and a store from a
newer version is recognised instead of misread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import StoreError
from harness.version import __version__


def m001_answers(db: sqlite3.Connection) -> None:
    """One row an answer; the newest (largest ``created``) of a key is the one that counts.

    ``request`` is zlib-compressed canonical JSON and comes last in the row, so that reading a
    response does not read it. ``created`` is in microseconds since 1970, ``cost`` in
    nano-dollars (NULL where unknown). ``prompt`` is a 64-bit hash of the request's longest
    text: it finds what else was asked about the same prompt. ``model`` and ``endpoint`` are
    for listings only; what was asked is in ``request``.
    """
    db.execute(
        """
        CREATE TABLE answers (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL,
            kind TEXT NOT NULL,
            model TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            prompt INTEGER NOT NULL,
            created INTEGER NOT NULL,
            latency_s REAL NOT NULL,
            cost INTEGER,
            version TEXT NOT NULL,
            response BLOB NOT NULL,
            request BLOB NOT NULL
        )
        """
    )
    # Every index is one more page to write for each answer: these two, and no more.
    db.execute("CREATE UNIQUE INDEX answers_key ON answers (key, created)")
    db.execute("CREATE INDEX answers_prompt ON answers (prompt)")


def m002_batches(db: sqlite3.Connection) -> None:
    """The batches that were submitted, and the keys whose answers are still out with them.

    ``nonce`` is our own name of a batch, which its metadata carries; ``remote`` is the provider's
    id, NULL until it is known. ``base_url``, ``api_version`` (Azure's) and ``api_key_env`` (a
    variable's name) are where to ask for it. ``created`` and ``touched``, the last step of its
    submission, are in microseconds since 1970; ``owner`` is the process that submits it.
    ``done`` and ``failed`` are the provider's counts when it was last asked.

    A row of ``batch_claims`` goes with the answer of its key, in one transaction, so that no key
    is out twice and no answer is stored twice. ``worst`` is the most that the request can cost,
    in nano-dollars, NULL where that is unknown.
    """
    db.execute(
        """
        CREATE TABLE batches (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            nonce TEXT NOT NULL,
            remote TEXT,
            endpoint TEXT NOT NULL,
            model TEXT NOT NULL,
            url TEXT NOT NULL,
            base_url TEXT NOT NULL,
            api_version TEXT,
            api_key_env TEXT NOT NULL,
            created INTEGER NOT NULL,
            touched INTEGER NOT NULL,
            owner TEXT NOT NULL,
            status TEXT NOT NULL,
            requests INTEGER NOT NULL,
            done INTEGER,
            failed INTEGER
        )
        """
    )
    db.execute(
        """
        CREATE TABLE batch_claims (
            key BLOB PRIMARY KEY,
            batch INTEGER NOT NULL,
            worst INTEGER
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX batch_claims_batch ON batch_claims (batch)")


def m003_spending(db: sqlite3.Connection) -> None:
    """What each run has paid so far, in nano-dollars; written together with the answers."""
    db.execute("CREATE TABLE spending (run TEXT PRIMARY KEY, nano INTEGER NOT NULL)")


def m004_claims(db: sqlite3.Connection) -> None:
    """Which process is asking for which key, and how often each has said that it is alive."""
    db.execute("CREATE TABLE claims (key BLOB PRIMARY KEY, holder TEXT NOT NULL) WITHOUT ROWID")
    db.execute(
        "CREATE TABLE holders "
        "(name TEXT PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, beats INTEGER NOT NULL)"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m001_answers,
    m002_batches,
    m003_spending,
    m004_claims,
)

_LEDGER = "harness_migrations"


def is_foreign(db: sqlite3.Connection) -> bool:
    """Whether the database has tables, but not ours."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return bool(tables) and _LEDGER not in tables


def pending(db: sqlite3.Connection, path: Path) -> list[Callable[[sqlite3.Connection], None]]:
    """The migrations that the file still lacks, in order.

    Raises:
        StoreError: the file has one that this version does not know.
    """
    tables = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_LEDGER,)).fetchone()
    applied = dict(db.execute(f"SELECT name, version FROM {_LEDGER}")) if tables else {}
    unknown = applied.keys() - {step.__name__ for step in MIGRATIONS}
    if unknown:
        writer = applied[max(unknown)]
        raise StoreError(
            f"The answer store {path} was written by a newer version ({writer}; this is "
            f"{__version__}). Upgrade with `pip install --upgrade transfusion-harness`, or set "
            "HARNESS_CACHE to another file."
        )
    return [step for step in MIGRATIONS if step.__name__ not in applied]


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file up to date, all steps or none, whoever else is at it.

    Raises:
        StoreError: as :func:`pending`.
    """
    if not pending(db, path):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {_LEDGER} "
            "(name TEXT PRIMARY KEY, applied INTEGER NOT NULL, version TEXT NOT NULL)"
        )
        # Asked again under the lock: another process may have been quicker.
        for step in pending(db, path):
            step(db)
            entry = (step.__name__, time.time_ns() // 1000, __version__)
            db.execute(f"INSERT INTO {_LEDGER} VALUES (?, ?, ?)", entry)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
