"""A value recorded by an older version stays readable; one of a newer version is recognised."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import harness.store.migrations as migrations
from harness.errors import StoreError
from harness.records import Answer
from harness.store import Store, explain, recent, table_key
from harness.store.batch_tracker import BatchTracker
from tests.helpers.stored_answers import answer, as_request, put, request

CHAT = {
    "endpoint": "openai",
    "family": "chat.completions",
    "body": {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": 'text = "Kanò ni jiji."\n\nresult ='}],
        "temperature": 0,
        "max_tokens": 512,
    },
    "repeat": 0,
}
TRANSLATION = {
    "engine": "nllb",
    "model": "nllb-200",
    "source": "swa_Latn",
    "text": "Habari ya asubuhi.",
}


@pytest.fixture
def oldest(tmp_path: Path) -> Path:
    """The file that the first released tables make, with what its writer put in."""
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent / "migration_1.sql").read_text(encoding="utf-8"))
    return path


@pytest.mark.parametrize("read_only", [False, True])
def test_the_oldest_store_is_read(oldest: Path, read_only: bool) -> None:
    # Brought up to date first, once there is something to bring: a read-only store cannot be.
    with Store(oldest) as store:
        recent(store)
    with Store(oldest, read_only=read_only) as store:
        text = '{"choices":[{"message":{"content":"result = [Location(span=\\"Kanò\\")]"}}]}'
        assert store.get(table_key(CHAT)) == Answer(text, 0.75, None)
        assert store.get(table_key(TRANSLATION)) == Answer('{"text":"Good morning."}', 0.125, 0)
        entries = recent(store)
        assert [entry.cost for entry in entries] == [0, None, 1500]
        assert entries[-1].created == datetime(2026, 1, 1, tzinfo=UTC)
        assert {entry.version for entry in entries} == {"0.1.0"}
        asked = CHAT | {"repeat": 1}
        assert explain(store, as_request(asked)).neighbours[0].differences == ("repeat: 0 → 1",)


def test_the_oldest_store_goes_on(oldest: Path) -> None:
    with Store(oldest) as store:
        key = put(store, 1)
        store.put(table_key(CHAT), as_request(CHAT), answer("newest"))
    with Store(oldest) as store:
        assert store.get(key) == answer(1)
        assert store.get(table_key(CHAT)) == answer("newest")


def test_the_fixture_is_what_migration_1_makes(oldest: Path) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as new,
        closing(sqlite3.connect(oldest)) as old,
    ):
        migrations.m001_answers(new)
        for table in ("answers", "answers_key", "answers_prompt"):
            # pragma_index_xinfo says nothing of a table, and the other way round.
            for about in ("table_info", "index_xinfo", "index_list"):
                sql = f"SELECT * FROM pragma_{about}('{table}')"
                assert new.execute(sql).fetchall() == old.execute(sql).fetchall()


@pytest.fixture
def with_batches(tmp_path: Path) -> Path:
    """The file that the tables with batches make, with two batches that are out."""
    path = tmp_path / "batches.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent / "migration_2.sql").read_text(encoding="utf-8"))
    return path


def test_batches_of_an_older_store_are_read(with_batches: Path) -> None:
    with Store(with_batches) as store:
        assert store.get(table_key(TRANSLATION)) == Answer('{"text":"Good morning."}', 0.125, 0)
        tracker = BatchTracker(store)
        taken, creating = tracker.batches()
        assert (taken.remote, taken.status, taken.waiting) == ("batch_abc", "in_progress", 2)
        assert (taken.reserved, taken.done, creating.reserved) == (2000, 1, None)
        assert (creating.remote, creating.status) == (None, "creating")
        assert tracker.held([table_key(CHAT)]) == {1: {table_key(CHAT): 1500}}


def test_the_second_fixture_is_what_the_migrations_make(with_batches: Path) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as new,
        closing(sqlite3.connect(with_batches)) as old,
    ):
        migrations.m001_answers(new)
        migrations.m002_batches(new)
        for table in ("answers", "batches", "batch_claims", "batch_claims_batch"):
            for about in ("table_info", "index_xinfo", "index_list"):
                sql = f"SELECT * FROM pragma_{about}('{table}')"
                assert new.execute(sql).fetchall() == old.execute(sql).fetchall()


def test_the_list_is_only_added_to() -> None:
    names = [step.__name__ for step in migrations.MIGRATIONS]
    assert names[:2] == ["m001_answers", "m002_batches"]
    assert names == sorted(set(names))
    assert [int(name[1:4]) for name in names] == list(range(1, len(names) + 1))


def _add_a_column(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE answers ADD COLUMN note TEXT")


def m999_note(db: sqlite3.Connection) -> None:
    _add_a_column(db)


def m999_fails(db: sqlite3.Connection) -> None:
    _add_a_column(db)
    db.execute("ALTER TABLE no_such_table ADD COLUMN note TEXT")


def test_a_later_migration_keeps_what_is_there(
    oldest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m999_note))
    with (
        Store(oldest, read_only=True) as store,
        pytest.raises(StoreError, match=r"older version.*harness cache stats"),
    ):
        store.get(table_key(CHAT))
    for _ in range(2):  # the second time there is nothing left to do
        with Store(oldest) as store:
            assert table_key(CHAT) in store
            assert store.rows("SELECT count(note) FROM answers") == [(0,)]
            names = store.rows("SELECT name FROM harness_migrations ORDER BY name")
            assert names == [(step.__name__,) for step in migrations.MIGRATIONS]
    with Store(oldest, read_only=True) as store:
        assert table_key(CHAT) in store


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    oldest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m999_fails))
        with Store(oldest) as store, pytest.raises(StoreError, match="no_such_table"):
            store.get(table_key(CHAT))
    with Store(oldest) as store:
        assert table_key(CHAT) in store
        assert ("note",) not in store.rows("SELECT name FROM pragma_table_info('answers')")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_store_is_not_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m999_note))
        patch.setattr(migrations, "__version__", "9.1.0")
        with Store(path) as store:
            put(store, 1)
    content = path.read_bytes()
    with (
        Store(path, read_only=read_only) as store,
        pytest.raises(StoreError, match=r"newer version \(9\.1\.0.*pip install --upgrade"),
    ):
        store.get(table_key(request(1)))
    assert path.read_bytes() == content
