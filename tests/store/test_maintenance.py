from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.errors import StoreError, UsageError
from harness.records import Answer
from harness.store import Pruned, Store, find_keys, prune, recent, stats, table_key
from tests.helpers.stored_answers import answer, as_request, put, request

TRANSLATION = {"engine": "nllb", "model": "nllb-200", "text": "Jambo."}


@pytest.fixture
def filled(store: Store) -> Store:
    """Two answers to 0 and one each to 1 and 2; one of another model; a translation."""
    put(store, 0, "old")
    put(store, 0, "new")
    put(store, 1)
    store.put(table_key(request(2)), as_request(request(2)), answer(2, cost=None))
    put(store, 0, model="gpt-4o-mini")
    key = table_key(TRANSLATION)
    store.put(key, as_request(TRANSLATION), Answer("Hello.", 0.1, 0), kind="translation")
    return store


def _texts(store: Store) -> set[str]:
    return {response.decode() for (response,) in store.rows("SELECT response FROM answers")}


def test_recent_answers_newest_first(filled: Store) -> None:
    entries = recent(filled)
    assert [entry.model for entry in entries] == ["nllb-200", "gpt-4o-mini"] + ["gpt-4o"] * 4
    newest = recent(filled, 1, model="gpt-4o")[0]
    assert newest.key == table_key(request(2))
    assert (newest.kind, newest.endpoint, newest.cost) == ("completion", "openai", None)
    assert newest.latency_s == 0.25
    assert newest.response_bytes == len(answer(2).response)
    assert timedelta(0) <= datetime.now(UTC) - newest.created < timedelta(minutes=1)
    assert [entry.model for entry in recent(filled, kind="translation")] == ["nllb-200"]
    assert recent(filled, model="nllb-200", kind="completion") == []


def test_a_model_that_is_not_there_is_named(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model in the store 'gpt4o'.*Did you mean 'gpt-4o'"):
        recent(filled, model="gpt4o")
    with pytest.raises(UsageError, match="gpt-4o-mini"):
        prune(filled, model="gpt4o")
    with pytest.raises(UsageError, match="Choices: completion, translation"):
        prune(filled, kind="completions")
    with Store(tmp_path / "none") as empty:
        assert recent(empty, model="gpt-4o") == []


def test_totals(filled: Store) -> None:
    rows = {(total.model, total.kind): total for total in stats(filled)}
    total = rows["gpt-4o", "completion"]
    assert stats(filled)[0] == total
    assert (total.answers, total.cost, total.unpriced) == (4, 3 * 1_234_567, 1)
    assert total.first < total.last
    assert total.endpoint == "openai"
    assert rows["nllb-200", "translation"].answers == 1
    sizes = filled.rows("SELECT sum(length(request)) + sum(length(response)) FROM answers")
    assert sum(each.stored_bytes for each in rows.values()) == sizes[0][0]


def test_keys_are_found_by_their_start(filled: Store) -> None:
    key = table_key(request(1))
    assert find_keys(filled, key[:9]) == [key]
    assert find_keys(filled, key.upper()) == [key]
    assert len(find_keys(filled, "")) == 5
    assert len(find_keys(filled, "", limit=2)) == 2
    for wrong in ("gpt", key + "0"):
        with pytest.raises(UsageError, match="not the start of a cache key"):
            find_keys(filled, wrong)


def test_prune_superseded(filled: Store) -> None:
    counted = prune(filled, superseded=True, dry_run=True)
    assert counted.answers == 1
    assert counted.cost == 1_234_567
    assert answer("old").response in _texts(filled)
    assert prune(filled, superseded=True) == counted
    assert filled.get(table_key(request(0))) == answer("new")
    assert answer("old").response not in _texts(filled)
    assert prune(filled, superseded=True) == Pruned(0, 0, 0, 0)


def test_prune_by_age(filled: Store) -> None:
    with filled.writing() as db:
        db.execute("UPDATE answers SET created = created - 86400000000 * id WHERE id > 2")
    assert prune(filled, older_than=timedelta(days=4, hours=12)).answers == 2
    moment = datetime.now(UTC) - timedelta(days=3, hours=12)
    assert prune(filled, older_than=moment).answers == 1
    assert prune(filled, older_than=moment).answers == 0
    with pytest.raises(UsageError, match="time zone"):
        prune(filled, older_than=datetime(2026, 1, 1))


def test_conditions_are_taken_together(filled: Store) -> None:
    assert prune(filled, model="gpt-4o-mini", superseded=True).answers == 0
    assert prune(filled, model="gpt-4o", kind="translation").answers == 0
    assert prune(filled, model="gpt-4o", kind="completion", dry_run=True) == Pruned(
        4, stats(filled)[0].stored_bytes, 3 * 1_234_567, 1
    )
    assert prune(filled, kind="translation").answers == 1
    assert prune(filled, model="gpt-4o").answers == 4
    assert [total.model for total in stats(filled)] == ["gpt-4o-mini"]


def test_prune_wants_a_condition_and_a_store_that_may_change(filled: Store, path: Path) -> None:
    with pytest.raises(UsageError, match="older_than, model, kind or superseded"):
        prune(filled)
    with Store(path, read_only=True) as reader:
        assert prune(reader, superseded=True, dry_run=True).answers == 1
        with pytest.raises(StoreError, match="reading only"):
            prune(reader, superseded=True)
    assert answer("old").response in _texts(filled)


def test_the_file_shrinks(store: Store, path: Path) -> None:
    for number in range(1000):
        put(store, number, model="m" if number % 10 else "keep")
    store.close()
    before = path.stat().st_size
    prune(store, model="m")
    assert path.stat().st_size < before / 2
    assert store.count(table_key(request(n, model="keep")) for n in range(0, 1000, 10)) == 100
    assert store.rows("PRAGMA journal_mode") == [("wal",)]
    assert store.rows("PRAGMA page_size") == [(8192,)]


def test_a_store_that_does_not_exist(store: Store, path: Path) -> None:
    assert recent(store) == []
    assert stats(store) == []
    assert find_keys(store, "ab") == []
    assert prune(store, superseded=True) == Pruned(0, 0, 0, 0)
    assert not path.exists()
