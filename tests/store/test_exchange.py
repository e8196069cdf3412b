from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StoreError, UsageError
from harness.records import Answer
from harness.store import (
    Imported,
    Store,
    export_answers,
    import_answers,
    table_key,
)
from harness.store.exchange import _dollars, _nano
from tests.helpers.stored_answers import answer, as_request, put, request

EVERYTHING = (
    "SELECT key, kind, model, endpoint, prompt, created, latency_s, cost, version, response, "
    "request FROM answers ORDER BY key, created"
)


@pytest.fixture
def filled(store: Store) -> Store:
    put(store, 0, "old")
    put(store, 0, "new")
    for number in range(1, 6):
        put(store, number, model="gpt-4o" if number < 4 else "gpt-4o-mini")
    asked = {"engine": "nllb", "model": "nllb-200", "text": "Jambo."}
    store.put(table_key(asked), as_request(asked), Answer("Hello.", 0.1, None), kind="translation")
    return store


@pytest.fixture
def other(tmp_path: Path) -> Any:
    with Store(tmp_path / "other.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz"])
def test_everything_goes_there_and_back(
    filled: Store, other: Store, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    assert export_answers(filled, file) == 8
    assert import_answers(other, file) == Imported(8, 0)
    assert other.rows(EVERYTHING) == filled.rows(EVERYTHING)
    # Any number of times, also into the store it came from.
    assert import_answers(other, file) == Imported(0, 8)
    assert import_answers(filled, file) == Imported(0, 8)
    assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []
    again = tmp_path / f"again-{name}"
    export_answers(other, again)
    opened = gzip.open if name.endswith("gz") else open
    with opened(file) as one, opened(again) as two:
        assert one.read() == two.read()


def test_the_lines_are_what_the_documentation_says(store: Store, tmp_path: Path) -> None:
    asked = {"model": "m", "text": "Kanò\n", "temperature": 0.5}
    store.put(table_key(asked), as_request(asked), Answer('{"a": "Kanò"}', 0.25, 1_500_000_001))
    export_answers(store, tmp_path / "x.jsonl")
    header, line = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(header) == {"format": "harness-answers", "version": 1, "answers": 1}
    record = json.loads(line)
    assert record.pop("created").endswith("+00:00")
    assert record == {
        "key": table_key(asked),
        "kind": "completion",
        "request": asked,
        "response": '{"a": "Kanò"}',
        "latency_s": 0.25,
        "cost": "1.500000001",
        "version": "0.1.0",
    }
    assert "Kanò" in line  # readable, not escaped


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
)
@given(
    response=st.text(st.characters(exclude_categories=()), max_size=60),
    text=st.text(st.characters(exclude_categories=()), max_size=60),
    number=st.floats(allow_nan=False, allow_infinity=False),
    latency_s=st.floats(0, 1e9),
    cost=st.none() | st.integers(0, 10**18 - 1),
)
def test_any_answer_goes_there_and_back(
    tmp_path: Path,
    response: str,
    text: str,
    number: float,
    latency_s: float,
    cost: int | None,
) -> None:
    asked = {"model": "m", "text": text, "top_p": number}
    key = table_key(json.loads(json.dumps(asked)))
    asked = json.loads(json.dumps(asked))  # as JSON has it: two surrogates in a row are one letter
    for name in ("one.sqlite", "two.sqlite"):
        (tmp_path / name).unlink(missing_ok=True)
    with Store(tmp_path / "one.sqlite") as one, Store(tmp_path / "two.sqlite") as two:
        stored = Answer(json.loads(json.dumps(response)), latency_s, cost)
        one.put(key, as_request(asked), stored)
        export_answers(one, tmp_path / "x.jsonl")
        assert import_answers(two, tmp_path / "x.jsonl") == Imported(1, 0)
        assert two.get(key) == stored
        assert two.rows(EVERYTHING) == one.rows(EVERYTHING)


def test_filters(filled: Store, other: Store, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    assert export_answers(filled, file, model="gpt-4o-mini") == 2
    assert export_answers(filled, file, kind="translation") == 1
    keys = [table_key(request(number)) for number in (0, 2, 99)]
    assert export_answers(filled, file, keys=iter(keys)) == 3
    assert import_answers(other, file) == Imported(3, 0)
    assert other.known(keys) == set(keys[:2])
    assert other.get(keys[0]) == answer("new")
    assert export_answers(filled, file, keys=[], model="gpt-4o") == 0
    assert import_answers(other, file) == Imported(0, 0)
    # And again on the same connection.
    assert export_answers(filled, file, keys=keys, kind="translation") == 0
    with pytest.raises(UsageError, match="Did you mean 'gpt-4o'"):
        export_answers(filled, file, model="gpt4o")
    with pytest.raises(UsageError, match="64 hexadecimal"):
        export_answers(filled, file, keys=["abc"])


def test_an_older_answer_does_not_take_the_place_of_a_newer(
    filled: Store, other: Store, tmp_path: Path
) -> None:
    export_answers(filled, tmp_path / "x.jsonl")
    put(filled, 1, "asked again")
    put(other, 0, "asked here, later")
    assert import_answers(filled, tmp_path / "x.jsonl") == Imported(0, 8)
    assert import_answers(other, tmp_path / "x.jsonl") == Imported(8, 0)
    assert filled.get(table_key(request(1))) == answer("asked again")
    assert other.get(table_key(request(0))) == answer("asked here, later")
    # But a newer one does, as it would have on one machine.
    export_answers(filled, tmp_path / "y.jsonl")
    assert import_answers(other, tmp_path / "y.jsonl") == Imported(1, 8)
    assert other.get(table_key(request(1))) == answer("asked again")


def test_files_put_together_import_together(filled: Store, other: Store, tmp_path: Path) -> None:
    """The header need not count, and a line may come twice."""
    export_answers(filled, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_bytes().splitlines(keepends=True)
    header = b'{"format": "harness-answers", "version": 1}\n'
    (tmp_path / "y.jsonl").write_bytes(header + b"".join(lines[1:] + lines[3:]).rstrip(b"\n"))
    assert import_answers(other, tmp_path / "y.jsonl") == Imported(8, 6)


def test_export_from_a_store_that_is_read_only_or_not_there(
    filled: Store, path: Path, tmp_path: Path
) -> None:
    keys = [table_key(request(0))]
    with Store(path, read_only=True) as reader:
        assert export_answers(reader, tmp_path / "x.jsonl", keys=keys) == 2
        with pytest.raises(StoreError, match="reading only"):
            import_answers(reader, tmp_path / "x.jsonl")
    with Store(tmp_path / "none") as none, pytest.raises(StoreError, match="no answer store at"):
        export_answers(none, tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()


def test_an_export_that_fails_leaves_the_old_file(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.jsonl"
    export_answers(filled, file, kind="translation")
    before = file.read_bytes()
    written = []

    def fails(record: dict[str, Any]) -> bytes:
        written.append(record)
        if len(written) == 3:
            raise OSError(28, os.strerror(28))
        return b"{}\n"

    monkeypatch.setattr("harness.store.exchange._line", fails)
    with pytest.raises(StoreError, match=r"x\.jsonl cannot be written: No space left"):
        export_answers(filled, file)
    assert file.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["store", "x.jsonl"]
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        export_answers(filled, tmp_path / "no" / "x.jsonl")


def _edited(**changes: Any) -> Callable[[list[bytes]], list[bytes]]:
    """Change fields of the fourth line."""

    def edit(lines: list[bytes]) -> list[bytes]:
        record = json.loads(lines[3]) | changes
        return [*lines[:3], json.dumps(record).encode() + b"\n", *lines[4:]]

    return edit


def _raw(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def edit(lines: list[bytes]) -> list[bytes]:
        assert old in lines[3]
        return [*lines[:3], lines[3].replace(old, new), *lines[4:]]

    return edit


@pytest.mark.parametrize(
    ("edit", "line", "message"),
    [
        (_edited(key="0" * 64), 4, "is not the key of the request"),
        (_edited(request=request(77)), 4, "is not the key of the request"),
        (_raw(b'"temperature": 0', b'"temperature": 0.7'), 4, "is not the key of the request"),
        (_raw(b'"temperature": 0', b'"temperature": 1e999'), 4, "temperature is inf"),
        (_raw(b'"temperature": 0', b'"temperature": NaN'), 4, "NaN is no JSON number"),
        (_raw(b'"temperature": 0', b'"temperature": ' + b"[" * 100_000), 4, "not JSON"),
        (_edited(request=[1]), 4, "request"),
        (_edited(kind="answer"), 4, "Unknown kind of answer 'answer'"),
        (_edited(cost=0.1), 4, "cost must be dollars as text"),
        (_edited(cost="1e3"), 4, "cost must be dollars as text"),
        (_edited(cost="-1"), 4, "cost must be dollars as text"),
        (_edited(cost="0.0000000001"), 4, "cost must be dollars as text"),
        (_edited(cost="٣"), 4, "cost must be dollars as text"),
        (_edited(latency_s="1"), 4, "latency_s must be a number"),
        (_edited(latency_s=-1), 4, "latency_s must be a number"),
        (_edited(latency_s=True), 4, "latency_s must be a number"),
        (_edited(latency_s=10**400), 4, "latency_s must be a number"),
        (_edited(response={"a": 1}), 4, "response must be text"),
        (_edited(created="yesterday"), 4, "yesterday"),
        (_edited(created="2026-01-01T00:00:00"), 4, "created must have a time zone"),
        (_edited(version="1\x1b[2J"), 4, "version must be printable"),
        (_edited(extra=1), 4, "exactly the fields cost, created, key"),
        (_raw(b'"latency_s"', b'"latency"'), 4, "exactly the fields cost, created, key"),
        (lambda lines: [*lines[:3], b"[1]\n", *lines[4:]], 4, "exactly the fields"),
        (lambda lines: [*lines[:3], b"\xff\xfe{\n", *lines[4:]], 4, "not JSON"),
        (lambda lines: [*lines[:-1], lines[-1][:-40]], 9, "cut off in the middle of the line"),
        (lambda lines: lines[:-1], 8, "ends after 7 answers of the 8"),
        (lambda lines: [*lines, lines[-1]], 10, "ends after 9 answers of the 8"),
        (lambda lines: lines[1:], 1, "the first line must say"),
        (lambda lines: [], 1, "the file is empty"),
        (lambda lines: [b"[]\n"], 1, "the first line must say"),
        (
            lambda lines: [lines[0].replace(b'"version": 1', b'"version": 2'), *lines[1:]],
            1,
            "format version 2 and this program reads 1; upgrade",
        ),
        (lambda lines: [lines[0].replace(b"8", b'"8"'), *lines[1:]], 1, "answers must be a count"),
    ],
)
def test_a_wrong_file_adds_nothing(
    filled: Store,
    other: Store,
    tmp_path: Path,
    edit: Callable[[list[bytes]], list[bytes]],
    line: int,
    message: str,
) -> None:
    file = tmp_path / "x.jsonl"
    export_answers(filled, file)
    kept = put(other, 50)
    file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(StoreError) as error:
        import_answers(other, file)
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert message in str(error.value)
    assert "Nothing was imported" in str(error.value)
    assert other.rows("SELECT count(*) FROM answers") == [(1,)]
    assert kept in other
    # The same connection works on.
    export_answers(filled, file)
    assert import_answers(other, file) == Imported(8, 0)


def test_a_file_that_cannot_be_read(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.jsonl cannot be read: No such file"):
        import_answers(filled, tmp_path / "none.jsonl")
    (tmp_path / "no.gz").write_bytes(b"this is no gzip file")
    with pytest.raises(StoreError, match=r"no\.gz cannot be read"):
        import_answers(filled, tmp_path / "no.gz")
    export_answers(filled, tmp_path / "x.gz")
    content = (tmp_path / "x.gz").read_bytes()
    (tmp_path / "x.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"x\.gz"):
        import_answers(filled, tmp_path / "x.gz")


def test_a_secret_in_an_imported_request_is_not_stored(other: Store, tmp_path: Path) -> None:
    asked = request(1, api_key="sk-not-mine")
    record = {
        "key": table_key(asked),
        "kind": "completion",
        "request": asked,
        "response": "{}",
        "latency_s": 1,
        "cost": None,
        "created": "2026-01-01T00:00:00Z",
        "version": "0.1.0",
    }
    header = '{"format": "harness-answers", "version": 1}'
    (tmp_path / "x.jsonl").write_text(f"{header}\n{json.dumps(record)}\n")
    assert import_answers(other, tmp_path / "x.jsonl") == Imported(1, 0)
    export_answers(other, tmp_path / "y.jsonl")
    assert "sk-not-mine" not in (tmp_path / "y.jsonl").read_text()


@given(st.integers(0, 10**18 - 1))
def test_money_is_exact(cost: int) -> None:
    assert _nano(_dollars(cost)) == cost


@pytest.mark.parametrize(
    ("text", "cost"),
    [("0", 0), ("1", 10**9), ("0.5", 500_000_000), ("0.000000001", 1), ("12.30", 12_300_000_000)],
)
def test_dollars_as_people_write_them(text: str, cost: int) -> None:
    assert _nano(text) == cost
