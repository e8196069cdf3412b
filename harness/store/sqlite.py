"""Opening the store's file, and saying in plain words why it cannot be used."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from harness.errors import StoreError
from harness.store import migrations

#: How long to wait for another process that is writing.
_BUSY_SECONDS = 60.0
#: Answers are some 3 kB: larger pages waste less of the file and read faster than SQLite's 4 kB
#: (2.8 kB of file an answer instead of 4.2 kB).
_PAGE_BYTES = 8192


def open_writable(path: Path) -> sqlite3.Connection:
    """Open the store, made or brought up to date where needed.

    Raises:
        StoreError: another program's database, or a store of a newer version.
        sqlite3.Error, OSError: see :func:`advice`.
    """
    _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    db = _connect(path)
    deadline = time.monotonic() + _BUSY_SECONDS
    try:
        while True:
            try:
                _prepare(db, path)
                return db
            except sqlite3.OperationalError as error:
                # SQLite does not wait for a process that is just switching the file to WAL
                # mode, as several do that find no file at the same moment.
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Nothing is changed in a file before it is known to be ours.
    if migrations.is_foreign(db):
        raise StoreError(
            f"{path} is a database of another program. Set HARNESS_CACHE to another file."
        )
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # counts in a new file only
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    migrations.migrate(db, path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the store without changing anything, also where its folder cannot be written.

    Raises:
        StoreError: no file, or one that cannot be read as it is.
        sqlite3.Error, OSError: see :func:`advice`.
    """
    if not path.exists():
        raise StoreError(
            f"There is no answer store at {path}. Bring one with `harness cache import FILE`, "
            "or set HARNESS_CACHE to the store's file."
        )
    _refuse_folder(path)
    address = f"{path.absolute().as_uri()}?mode=ro"
    db = _connect(address)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        log = path.with_name(path.name + "-wal")
        # WAL mode wants a shared-memory file beside the store even to read. Where the folder
        # does not allow one, nobody can be writing either, and the file can be read as it lies,
        # unless a log that is not merged yet would be missed that way.
        if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"The answer store {path} was not closed properly and its folder cannot be "
                f"written. Copy it together with {log.name} to a folder of your own and set "
                "HARNESS_CACHE to the copy."
            ) from error
        db = _connect(f"{address}&immutable=1")
    except BaseException:
        db.close()
        raise
    try:
        if migrations.is_foreign(db):
            raise StoreError(
                f"{path} is a database of another program. Set HARNESS_CACHE to the store's file."
            )
        if migrations.pending(db, path):
            raise StoreError(
                f"The answer store {path} is of an older version and open for reading only. Run "
                "`harness cache stats` once where it can be written, to bring it up to date."
            )
    except BaseException:
        db.close()
        raise
    return db


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder. HARNESS_CACHE names the store's file.")


def _connect(address: Path | str) -> sqlite3.Connection:
    """``address`` is a path, or a ``file:`` URI with SQLite's options."""
    return sqlite3.connect(
        address, timeout=_BUSY_SECONDS, isolation_level=None, uri=isinstance(address, str)
    )


#: SQLite's primary result codes, in our words: what happened, what to do.
_ADVICE = {
    "SQLITE_FULL": (
        "has no room: the disk is full",
        "Free some space and run again; what was stored before is kept.",
    ),
    "SQLITE_BUSY": (
        f"has been locked by another process for {_BUSY_SECONDS:.0f} seconds",
        "Wait for it to finish (an import or a prune takes a while) and run again.",
    ),
    "SQLITE_READONLY": (
        "cannot be written",
        "Allow writing to the file and its folder, or set HARNESS_CACHE to a file elsewhere.",
    ),
    "SQLITE_CANTOPEN": (
        "cannot be opened",
        "Allow writing to its folder, or set HARNESS_CACHE to a file elsewhere.",
    ),
    "SQLITE_NOTADB": (
        "is not an answer store, or it is damaged",
        "It was left as it is. Move it away and run again, or set HARNESS_CACHE to another file.",
    ),
    "SQLITE_CORRUPT": (
        "is damaged",
        "It was left as it is. Move it away and import an export of it, or save what can be "
        "read with `sqlite3 FILE .recover`.",
    ),
}


def advice(error: Exception, path: Path) -> str:
    """The message for an error of SQLite or of the file system."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return (
            f"The answer store {path} cannot be used: {reason}. Set HARNESS_CACHE to a file "
            "in a folder that can be written."
        )
    code = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    what, action = _ADVICE.get(
        code,
        ("cannot be used", "Check the disk, or set HARNESS_CACHE to another file."),
    )
    return f"The answer store {path} {what} ({error}). {action}"
