"""Looking over the store and clearing it out: what ``harness cache ls|stats|prune`` show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.errors import StoreError, UsageError, unknown_name_message
from harness.store.store import ANSWER_KINDS, Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_ENTRY = "key, kind, model, endpoint, created, latency_s, cost, length(response), version"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer, as a listing shows it. ``cost`` in nano-dollars, ``None`` = unknown."""

    key: str
    kind: str
    model: str
    endpoint: str
    created: datetime
    latency_s: float
    cost: int | None
    response_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class Totals:
    """All answers of one model at one endpoint, of one kind.

    ``cost`` is the sum over the answers whose price is known, in nano-dollars; ``unpriced``
    counts the others. ``stored_bytes`` counts requests and responses as they lie in the file.
    """

    model: str
    endpoint: str
    kind: str
    answers: int
    stored_bytes: int
    cost: int
    unpriced: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Pruned:
    """What :func:`prune` removed, or would remove."""

    answers: int
    stored_bytes: int
    cost: int
    unpriced: int


def recent(
    store: Store, limit: int = 20, *, model: str | None = None, kind: str | None = None
) -> list[Entry]:
    """The answers stored last, newest first.

    Raises:
        UsageError: no answer is of this model, or ``kind`` is no kind.
    """
    where, values = conditions(model=model, kind=kind)
    rows = store.rows(
        f"SELECT {_ENTRY} FROM answers WHERE {where} ORDER BY id DESC LIMIT ?", [*values, limit]
    )
    if not rows:
        check_model(store, model)
    return [_entry(row) for row in rows]


def entries_of(store: Store, key: bytes) -> list[Entry]:
    """Every answer of a key, newest first."""
    sql = f"SELECT {_ENTRY} FROM answers WHERE key = ? ORDER BY created DESC"
    return [_entry(row) for row in store.rows(sql, [key])]


def find_keys(store: Store, start: str, limit: int = 10) -> list[str]:
    """The stored keys that begin with these hexadecimal digits, at most ``limit``.

    Raises:
        UsageError: not hexadecimal digits, or too many.
    """
    try:
        low, high = (bytes.fromhex(start.lower().ljust(64, digit)) for digit in "0f")
    except ValueError:
        low = high = b""
    if len(low) != 32:
        raise UsageError(f"{start!r} is not the start of a cache key: up to 64 hexadecimal digits.")
    sql = "SELECT DISTINCT key FROM answers WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?"
    return [key.hex() for (key,) in store.rows(sql, [low, high, limit])]


def stats(store: Store) -> list[Totals]:
    """Totals by model, endpoint and kind, most answers first."""
    rows = store.rows(
        "SELECT model, endpoint, kind, count(*), sum(length(response) + length(request)), "
        "coalesce(sum(cost), 0), sum(cost IS NULL), min(created), max(created) "
        "FROM answers GROUP BY model, endpoint, kind ORDER BY count(*) DESC, model, endpoint, kind"
    )
    return [
        Totals(model, endpoint, kind, answers, size, cost, unpriced, moment(first), moment(last))
        for model, endpoint, kind, answers, size, cost, unpriced, first, last in rows
    ]


def prune(
    store: Store,
    *,
    older_than: datetime | timedelta | None = None,
    model: str | None = None,
    kind: str | None = None,
    superseded: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove the answers that meet *all* the conditions given, and say what they were.

    ``older_than`` is a moment (with its time zone) or an age; ``superseded`` means answers that
    have a newer one beside them under the same key. With ``dry_run`` nothing is removed.

    Raises:
        UsageError: no condition at all, no answer of this model, or a moment without time zone.
    """
    if older_than is None and model is None and kind is None and not superseded:
        raise UsageError(
            "Say which answers to remove: older_than, model, kind or superseded. To remove all "
            f"of them, delete the file {store.path}."
        )
    where, values = conditions(model=model, kind=kind)
    if older_than is not None:
        where += " AND created < ?"
        values.append(_microseconds(older_than))
    if superseded:
        where += (
            " AND EXISTS (SELECT 1 FROM answers AS newer "
            "WHERE newer.key = answers.key AND newer.created > answers.created)"
        )
    tally = (
        "SELECT count(*), coalesce(sum(length(response) + length(request)), 0), "
        f"coalesce(sum(cost), 0), coalesce(sum(cost IS NULL), 0) FROM answers WHERE {where}"
    )
    (found,) = store.rows(tally, values) or [(0, 0, 0, 0)]
    if not found[0]:
        check_model(store, model)
    elif not dry_run:
        with store.transaction(write=True) as db:
            # Counted again under the lock, so that the report is of what goes.
            found = db.execute(tally, values).fetchone()
            db.execute(f"DELETE FROM answers WHERE {where}", values)
        _give_back_space(store)
    return Pruned(*found)


def conditions(*, model: str | None, kind: str | None) -> tuple[str, list[Any]]:
    """The SQL condition of a filter, and its parameters."""
    if kind is not None and kind not in ANSWER_KINDS:
        raise UsageError(unknown_name_message("kind of answer", kind, ANSWER_KINDS))
    chosen = {"model = ?": model, "kind = ?": kind}
    parts = [part for part, value in chosen.items() if value is not None]
    values = [value for value in chosen.values() if value is not None]
    return " AND ".join(["1", *parts]), values


def check_model(store: Store, model: str | None) -> None:
    """Where a filter found nothing: whether the model's name is to blame.

    Raises:
        UsageError: the store has answers, none of them of this model.
    """
    if model is None:
        return
    names = [name for (name,) in store.rows("SELECT DISTINCT model FROM answers ORDER BY model")]
    if names and model not in names:
        raise UsageError(unknown_name_message("model in the store", model, names))


def moment(microseconds: int) -> datetime:
    """A stored time as a UTC datetime, to the microsecond."""
    return _EPOCH + microseconds * _MICROSECOND


def stored_time(when: datetime) -> int:
    """The other way round; ``when`` has a time zone."""
    return (when - _EPOCH) // _MICROSECOND


def _microseconds(older_than: datetime | timedelta) -> int:
    if isinstance(older_than, timedelta):
        older_than = datetime.now(UTC) - older_than
    if older_than.tzinfo is None:
        raise UsageError("Give older_than with its time zone, like 2026-01-31T00:00+00:00.")
    return stored_time(older_than)


def _give_back_space(store: Store) -> None:
    """Shrink the file. Where that is not possible now, SQLite uses the space for new answers."""
    try:
        with store.writing() as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except StoreError:
        # The answers are gone already; a full disk or a busy neighbour only delays the rest.
        return


def _entry(row: Iterable[Any]) -> Entry:
    key, kind, model, endpoint, created, *rest = row
    return Entry(key.hex(), kind, model, endpoint, moment(created), *rest)
