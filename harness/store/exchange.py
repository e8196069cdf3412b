"""Export to one JSONL file and import from it: how a table is recomputed without a key.

The first line says what the file is, ``{"format": "harness-answers", "version": 1, "answers":
N}``; each of the N lines after it is one answer: ``key``, ``kind``, ``request`` (as it was
hashed), ``response`` (verbatim), ``latency_s``, ``cost`` (dollars as a decimal string, ``null``
where unknown), ``created`` (ISO 8601, UTC) and ``version`` (of the program that stored it). A
name that ends in ``.gz`` is compressed.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from harness.disk import replacing
from harness.errors import StoreError, UsageError
from harness.records import Answer
from harness.store.maintenance import check_model, conditions, moment, stored_time
from harness.store.store import Store, answer_columns, key_bytes

_FORMAT, _VERSION = "harness-answers", 1
_FIELDS = frozenset(
    {"key", "kind", "request", "response", "latency_s", "cost", "created", "version"}
)
_COLUMNS = (
    *("key", "kind", "model", "endpoint", "prompt", "created", "latency_s", "cost", "version"),
    *("response", "request"),
)
_NANO = 1_000_000_000
# At most what fits 64 bits of nano-dollars.
_DOLLARS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Imported:
    """How many answers a file added, and how many the store had already."""

    added: int
    present: int


def export_answers(
    store: Store,
    path: Path,
    *,
    keys: Iterable[str] | None = None,
    model: str | None = None,
    kind: str | None = None,
) -> int:
    """Write answers to a JSONL file and return how many.

    All of them, or those that meet every condition given; a key's older answers go along.
    ``path`` is written beside and moved into place at the end, so it is never half a file.

    Raises:
        StoreError: there is no store, or the file cannot be written.
        UsageError: no answer of this model, ``kind`` is no kind, a key is none.
    """
    where, values = conditions(model=model, kind=kind)
    with store.transaction(write=False) as db:
        if keys is not None:
            db.execute("CREATE TEMP TABLE wanted (key BLOB PRIMARY KEY)")
            db.executemany(
                "INSERT OR IGNORE INTO wanted VALUES (?)", ((key_bytes(key),) for key in keys)
            )
            where += " AND key IN (SELECT key FROM wanted)"
        (count,) = db.execute(f"SELECT count(*) FROM answers WHERE {where}", values).fetchone()
        answers = db.execute(
            "SELECT key, kind, request, response, latency_s, cost, created, version "
            f"FROM answers WHERE {where}",
            values,
        )
        with _readable_errors(path, "written"), _replacing(path) as file:
            file.write(_line({"format": _FORMAT, "version": _VERSION, "answers": count}))
            for answer in answers:
                file.write(_line(_record(*answer)))
        if keys is not None:
            db.execute("DROP TABLE wanted")
    if not count:
        check_model(store, model)
    return cast(int, count)


def import_answers(store: Store, path: Path) -> Imported:
    """Add the answers of an exported file; all of them or, on any error, none.

    Every line is checked before the store is touched: its key is computed again from its
    request. An answer is the same as a stored one when its key and its time are, so a file can
    be imported any number of times. Times are kept: an imported answer never takes the place
    of a newer one.

    Raises:
        StoreError: the file cannot be read, is cut short, or has a wrong line (its number is
            in the message); or the store cannot be written.
    """
    names = ", ".join(_COLUMNS)
    placeholders = ", ".join(f":{name}" for name in _COLUMNS)
    with store.writing() as db:
        # Gathered in a temporary table: the store is locked for the one statement that copies.
        db.execute(f"CREATE TEMP TABLE incoming ({names})")
        try:
            total = db.executemany(
                f"INSERT INTO incoming ({names}) VALUES ({placeholders})", _read(path)
            ).rowcount
            added = db.execute(
                f"INSERT OR IGNORE INTO answers ({names}) SELECT {names} FROM incoming "
                "ORDER BY rowid"
            ).rowcount
        finally:
            db.execute("DROP TABLE incoming")
    return Imported(added, max(total, 0) - added)


def _record(
    key: bytes,
    kind: str,
    request: bytes,
    response: bytes,
    latency_s: float,
    cost: int | None,
    created: int,
    version: str,
) -> dict[str, Any]:
    return {
        "key": key.hex(),
        "kind": kind,
        "request": json.loads(zlib.decompress(request)),
        "response": response.decode("utf-8", "surrogatepass"),
        "latency_s": latency_s,
        "cost": None if cost is None else _dollars(cost),
        "created": moment(created).isoformat(),
        "version": version,
    }


def _line(record: dict[str, Any]) -> bytes:
    # Half a surrogate pair has no UTF-8; backslashreplace writes just the escape JSON has for it.
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The columns of every answer in a file, checked; errors name the file and the line."""
    expected, seen, number = None, 0, 0
    with _readable_errors(path, "read"), _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                whole = line.endswith(b"\n")
                what = f"not JSON ({error})" if whole else "cut off in the middle of the line"
                raise _refusal(path, number, what) from error
            try:
                if number == 1:
                    expected = _expected(record)
                else:
                    yield _columns(record)
                    seen += 1
            except (ValueError, TypeError, UsageError) as error:
                raise _refusal(path, number, str(error)) from error
    if number == 0:
        raise _refusal(path, 1, "the file is empty")
    if expected is not None and seen != expected:
        what = f"the file ends after {seen:,} answers of the {expected:,} its first line promises"
        raise _refusal(path, number, what)


def _expected(header: Any) -> int | None:
    """How many answers the first line promises; a file put together by hand need not say."""
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(
            f'the first line must say {{"format": "{_FORMAT}", "version": {_VERSION}}}'
        )
    if header.get("version") != _VERSION:
        raise ValueError(
            f"the file has format version {header.get('version')!r} and this program reads "
            f"{_VERSION}; upgrade with `pip install --upgrade transfusion-harness`"
        )
    answers: int | None = header.get("answers")
    if answers is not None and not (type(answers) is int and answers >= 0):
        raise ValueError(f"answers must be a count, not {answers!r}")
    return answers


def _columns(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict) or record.keys() != _FIELDS:
        raise ValueError(f"an answer has exactly the fields {', '.join(sorted(_FIELDS))}")
    for name in ("key", "kind", "response", "created", "version"):
        if not isinstance(record[name], str):
            raise ValueError(f"{name} must be text")
    latency = record["latency_s"]
    if type(latency) not in (int, float) or not 0 <= latency < 1e15:
        raise ValueError("latency_s must be a number of seconds")
    if not record["version"].isprintable():
        raise ValueError("version must be printable")
    # Makes its own message where the key is not the request's.
    answer = Answer(record["response"], latency, _nano(record["cost"]))
    columns = answer_columns(
        record["key"], record["request"], answer, kind=record["kind"], version=record["version"]
    )
    created = datetime.fromisoformat(record["created"])
    if created.tzinfo is None:
        raise ValueError("created must have a time zone")
    return columns | {"created": stored_time(created)}


def _dollars(cost: int) -> str:
    whole, part = divmod(cost, _NANO)
    return f"{whole}.{part:09}"


def _nano(dollars: Any) -> int | None:
    if dollars is None:
        return None
    if not isinstance(dollars, str) or not _DOLLARS.fullmatch(dollars):
        raise ValueError(f'cost must be dollars as text, like "0.001234567", or null: {dollars!r}')
    whole, _, part = dollars.partition(".")
    return int(whole) * _NANO + int(part.ljust(9, "0"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _refusal(path: Path, number: int, what: str) -> StoreError:
    return StoreError(
        f"{path}:{number}: {what.rstrip('.')}. Nothing was imported; get a complete export and "
        "import that."
    )


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    with (
        replacing(path) as part,
        gzip.open(part, "wb") if path.suffix == ".gz" else part.open("wb") as file,
    ):
        yield cast(IO[bytes], file)


@contextmanager
def _readable_errors(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"{path} cannot be {done}: {reason}. Choose another file; the store is as it was."
        ) from error
