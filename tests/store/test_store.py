from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.store.store as module
from harness.errors import StoreError, UsageError
from harness.records import Answer
from harness.store import Store, default_path, table_key
from tests.helpers.stored_answers import answer, as_request, put, request


def test_an_answer_comes_back_as_it_was(store: Store) -> None:
    asked, given_ = request(1), answer("Person(span='Kanò')")
    key = table_key(asked)
    assert store.get(key) is None
    assert key not in store
    store.put(key, as_request(asked), given_)
    assert store.get(key) == given_
    assert key in store


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=50,
)
@given(
    response=st.text(st.characters(exclude_categories=()), max_size=200),
    latency_s=st.floats(0, 1e6),
    cost=st.none() | st.integers(0, 2**63 - 1),
)
def test_any_response_comes_back_verbatim(
    tmp_path: Path, response: str, latency_s: float, cost: int | None
) -> None:
    key = table_key(request(1))
    with Store(tmp_path / "any.sqlite") as store:
        store.put(key, as_request(request(1)), Answer(response, latency_s, cost))
    with Store(tmp_path / "any.sqlite") as store:
        assert store.get(key) == Answer(response, latency_s, cost)


def test_large_responses_come_back(store: Store) -> None:
    key = table_key(request(1))
    store.put(key, as_request(request(1)), Answer("[" * 10_000_000, 1.0))
    found = store.get(key)
    assert found is not None
    assert found.response == "[" * 10_000_000


def test_the_newest_answer_wins_and_the_old_one_stays(store: Store, path: Path) -> None:
    for text in ("first", "second", "third"):
        key = put(store, 1, text)
    assert store.get(key) == answer("third")
    assert store.rows("SELECT count(*) FROM answers") == [(3,)]
    # So it does for a process that comes later.
    with Store(path) as other:
        assert other.get_many([key]) == {key: answer("third")}


def test_a_clock_that_jumps_back_does_not_bring_back_an_old_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put(store, 1, "first")
    monkeypatch.setattr(time, "time_ns", lambda: 10**9)
    put(store, 1, "second")
    put(store, 1, "third")
    assert store.get(key) == answer("third")


def test_many_answers_in_the_order_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 7)
    keys = [put(store, number) for number in range(30)]
    asked = [*reversed(keys), table_key(request(99)), keys[3]]
    found = store.get_many(asked)
    assert list(found) == list(reversed(keys))
    assert all(found[key] == answer(number) for number, key in enumerate(keys))
    assert store.known(asked) == set(keys)
    assert store.count(iter(asked)) == 30
    assert store.get_many([]) == {}
    assert store.count([]) == 0


def test_reading_many_is_lean(store: Store) -> None:
    keys = [put(store, number) for number in range(2_000)]
    # The requests alone are 3 MB unpacked; look-ups must not read them.
    tracemalloc.start()
    found = store.get_many(keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 2_000
    assert peak < 2_500_000


def test_nothing_is_created_before_the_first_answer(store: Store, path: Path) -> None:
    assert store.get_many([table_key(request(1))]) == {}
    assert store.count([table_key(request(1))]) == 0
    assert not path.parent.exists()
    put(store, 1)
    assert path.is_file()


def test_an_empty_file_is_a_store_without_answers(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with Store(tmp_path / "empty") as store:
        assert put(store, 1) in store


def test_a_closed_store_leaves_one_file_and_opens_again(store: Store, path: Path) -> None:
    key = put(store, 1)
    store.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert key in store


def test_the_path_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine.sqlite"))
    assert default_path() == tmp_path / "mine.sqlite"
    assert Store().path == tmp_path / "mine.sqlite"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_CACHE", "~/mine.sqlite")
    assert default_path() == tmp_path / "mine.sqlite"
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path().name == "answers.sqlite"
    assert "harness" in default_path().parts


def test_an_answer_goes_under_its_own_key_only(store: Store) -> None:
    with pytest.raises(UsageError, match="not the key of the request"):
        store.put(table_key(request(2)), as_request(request(1)), answer(1))
    with pytest.raises(
        UsageError, match=r"kind of answer 'completions'.*Did you mean 'completion'"
    ):
        store.put(table_key(request(1)), as_request(request(1)), answer(1), kind="completions")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        store.get("abc")
    assert store.count([table_key(request(1)), table_key(request(2))]) == 0


def test_translations_share_the_table(store: Store) -> None:
    asked = {"engine": "nllb", "model": "nllb-200", "source": "swa_Latn", "text": "Jambo."}
    key = table_key(asked)
    store.put(key, as_request(asked), Answer("Hello.", 0.1, 0), kind="translation")
    assert store.get(key) == Answer("Hello.", 0.1, 0)
    assert store.rows("SELECT kind, model FROM answers") == [("translation", "nllb-200")]


def test_no_secret_gets_into_the_file(store: Store, path: Path) -> None:
    secret = "sk-do-not-keep-me"
    asked = request(1, api_key=secret, extra_headers={"Authorization": f"Bearer {secret}"})
    asked |= {"api_key": secret, "headers": {"api-key": secret}, "organization": secret}
    asked["base_url"] = f"https://user:{secret}@example.org/v1?key={secret}"
    key = table_key(asked)
    store.put(key, as_request(asked), answer(1))
    # Also where it would be compressed, and in the log beside the file.
    stored = store.rows("SELECT * FROM answers")
    assert secret not in zlib.decompress(stored[0][-1]).decode()
    assert secret not in repr(store)
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()
    # The key does not depend on it either.
    assert key == table_key(json.loads(json.dumps(asked).replace(secret, "another")))


def test_model_and_endpoint_do_no_harm_in_a_terminal(store: Store) -> None:
    put(store, 1, model="gpt\x1b[2J-4o")
    assert store.rows("SELECT model FROM answers") == [("gpt?[2J-4o",)]


# ----- read_only


def test_read_only_reads_and_never_writes(path: Path) -> None:
    with Store(path) as writer:
        key = put(writer, 1)
        with Store(path, read_only=True) as reader:
            assert reader.get(key) == answer(1)
            # What another process adds meanwhile is seen.
            assert put(writer, 2) in reader
            with pytest.raises(StoreError, match="reading only"):
                put(reader, 3)
        assert put(writer, 4) in writer


def test_read_only_without_a_file_is_an_error(path: Path) -> None:
    with (
        Store(path, read_only=True) as store,
        pytest.raises(StoreError, match=r"no answer store at .*cache import"),
    ):
        store.count([table_key(request(1))])
    assert not path.exists()


def test_read_only_works_in_a_folder_that_cannot_be_written(unprivileged: Path) -> None:
    path = unprivileged / "a ?#%.sqlite"
    with Store(path) as store:
        key = put(store, 1)
    path.chmod(0o444)
    unprivileged.chmod(0o555)
    with Store(path, read_only=True) as store:
        assert store.get(key) == answer(1)
    with Store(path) as store, pytest.raises(StoreError, match=r"cannot be .*HARNESS_CACHE"):
        put(store, 2)


def test_read_only_never_overlooks_a_log_that_is_not_merged(unprivileged: Path) -> None:
    path = unprivileged / "answers.sqlite"
    with Store(path) as store:
        key = put(store, 1)
        # As a process leaves it that was killed: the answer is in the log, not in the file.
        copy = unprivileged / "copy"
        copy.mkdir()
        for name in (path.name, path.name + "-wal"):
            (copy / name).write_bytes((unprivileged / name).read_bytes())
    copy.chmod(0o555)
    with (
        Store(copy / path.name, read_only=True) as reader,
        pytest.raises(StoreError, match=r"not closed properly.*answers.sqlite-wal"),
    ):
        reader.get(key)
    copy.chmod(0o777)
    with Store(copy / path.name, read_only=True) as reader:
        assert reader.get(key) == answer(1)


# ----- what can go wrong


def test_a_folder_that_cannot_be_written(unprivileged: Path) -> None:
    unprivileged.chmod(0o555)
    for path in (unprivileged / "answers.sqlite", unprivileged / "below" / "answers.sqlite"):
        with Store(path) as store, pytest.raises(StoreError, match="HARNESS_CACHE") as error:
            put(store, 1)
        assert str(path) in str(error.value)


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    for read_only in (False, True):
        with (
            Store(tmp_path, read_only=read_only) as store,
            pytest.raises(StoreError, match=r"is a folder. HARNESS_CACHE names"),
        ):
            store.count([table_key(request(1))])


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "answers.sqlite"
    content = b"This is a text, and longer than the header of a database is." * 200
    path.write_bytes(content)
    with (
        Store(path, read_only=read_only) as store,
        pytest.raises(StoreError, match=r"not an answer store.*Move it away"),
    ):
        store.count([table_key(request(1))])
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_of_another_program(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE answers (id)")
        db.commit()
    content = path.read_bytes()
    with (
        Store(path, read_only=read_only) as store,
        pytest.raises(StoreError, match="another program"),
    ):
        store.get(table_key(request(1)))
    assert path.read_bytes() == content


def test_a_damaged_file_is_told_and_left_alone(store: Store, path: Path) -> None:
    keys = [put(store, number) for number in range(100)]
    store.close()
    content = bytearray(path.read_bytes())
    for start in range(8192, len(content), 8192):  # every page but the first
        content[start : start + 200] = b"\xa5" * 200
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged.*left as it is.*\.recover"):
        store.get_many(keys)
    store.close()
    assert path.read_bytes() == content


def test_a_file_cut_short_is_told(store: Store, path: Path) -> None:
    keys = [put(store, number) for number in range(100)]
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError, match="damaged"):
        store.get_many(keys)


def test_a_full_disk_loses_nothing_that_was_stored(store: Store) -> None:
    keys = [put(store, number) for number in range(20)]
    with store.writing() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(StoreError, match=r"disk is full.*run again"):  # noqa: PT012
        for number in range(20, 200):
            keys.append(table_key(request(number)))
            put(store, number)
    *stored, refused = keys
    assert store.known(keys) == set(stored)
    # Room was made.
    with store.writing() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert put(store, len(stored)) == refused
    assert store.rows("PRAGMA integrity_check") == [("ok",)]


def test_another_process_that_does_not_let_go(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1)
    store.close()
    monkeypatch.setattr("harness.store.sqlite._BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked by another process.*Wait for it"):
            put(store, 2)
        # Reading goes on meanwhile.
        assert store.get(table_key(request(1))) == answer(1)


def test_a_store_waits_for_another_writer(path: Path, store: Store) -> None:
    put(store, 1)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        assert put(store, 2) in store
        timer.join()


def test_a_store_waits_for_one_who_is_just_making_the_file(path: Path, store: Store) -> None:
    """SQLite itself does not wait there: switching a locked file to WAL mode fails at once."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        timer.start()
        assert put(store, 1) in store
        timer.join()


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    key = put(store, 1)

    def half_done() -> None:
        with store.transaction(write=True) as db:
            db.execute("DELETE FROM answers")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_done()
    assert key in store
