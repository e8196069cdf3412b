"""Downloads, over a real server on the loopback, and local folders."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.data import Dataset, catalog
from harness.data.download import PinnedFile
from harness.data.loading import load_examples
from harness.disk import cache_folder
from harness.errors import ChecksumError, DataError, DownloadError

BODY = "".join(f"Ada{i} B-PER\nyuko O\nKano I-LOC\n\n" for i in range(9000)).encode()
PINNED = PinnedFile(
    "some/where", "0" * 40, "data/swa/test.txt", hashlib.sha256(BODY).hexdigest(), len(BODY)
)
PLACE = "masakhaner2/swa/test.txt"


class Server(ThreadingHTTPServer):
    """Answers every request as ``behaviour`` says, and remembers the paths asked for."""

    behaviour = "whole"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        behaviour = self.server.behaviour
        if behaviour.isdigit():
            self.send_error(int(behaviour))
            return
        body = {"longer": BODY + b"more", "other": BODY[::-1], "short": BODY[:-9]}.get(
            behaviour, BODY
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if behaviour == "cut" else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as found:
        monkeypatch.setenv("HARNESS_DATA_URL", f"http://127.0.0.1:{found.server_port}/raw/")
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache" / "answers.sqlite"))
        monkeypatch.delenv("HARNESS_DATA", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def dataset() -> Dataset:
    """MasakhaNER 2.0 with one language, whose file is the made-up one."""
    real = catalog()["masakhaner2"]
    return replace(real, table={"swa": replace(real.table["swa"], files={"test": PINNED})})


def leftovers(tmp_path: Path) -> list[Path]:
    return [p for p in tmp_path.rglob("*") if p.is_file() and p != PINNED.cache_path()]


def test_a_file_is_fetched_once(server: Server, dataset: Dataset, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    examples = load_examples(dataset, "swa", progress=lambda *report: seen.append(report))
    assert len(examples) == 9000
    assert server.asked == [f"/raw/some/where/{'0' * 40}/data/swa/test.txt"]
    assert seen[-1] == ("data/swa/test.txt", len(BODY), len(BODY))
    assert (
        PINNED.cache_path()
        == tmp_path / "cache/datasets/some/where" / ("0" * 40) / "data/swa/test.txt"
    )
    assert PINNED.cache_path().read_bytes() == BODY
    server.behaviour = "404"
    assert load_examples(dataset, "swa") == examples
    assert len(server.asked) == 1
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("behaviour", ["other", "longer", "short"])
def test_another_file_is_refused(
    server: Server, dataset: Dataset, tmp_path: Path, behaviour: str
) -> None:
    server.behaviour = behaviour
    with pytest.raises(ChecksumError, match=f"not the pinned file.*{PINNED.sha256}.*--data-dir"):
        load_examples(dataset, "swa")
    assert not PINNED.cache_path().exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [("404", "HTTP 404"), ("503", "HTTP 503"), ("cut", "could not be downloaded")],
)
def test_a_failed_download_names_the_other_way(
    server: Server, dataset: Dataset, tmp_path: Path, behaviour: str, told: str
) -> None:
    server.behaviour = behaviour
    with pytest.raises(DownloadError, match=told) as caught:
        load_examples(dataset, "swa")
    assert PINNED.url() in str(caught.value)
    assert f"put the file as {PLACE} into a folder" in str(caught.value)
    assert "HARNESS_DATA" in str(caught.value)
    assert not PINNED.cache_path().exists()
    assert not leftovers(tmp_path)
    server.behaviour = "whole"
    assert len(load_examples(dataset, "swa")) == 9000


def test_without_a_network(
    server: Server, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.server_close()
    with pytest.raises(DownloadError, match="could not be downloaded"):
        load_examples(dataset, "swa")
    monkeypatch.setenv("HARNESS_DATA_URL", "no address")
    with pytest.raises(DownloadError, match="could not be downloaded"):
        load_examples(dataset, "swa")


def test_a_cached_file_that_changed_is_refused(server: Server, dataset: Dataset) -> None:
    path = dataset.path("swa")
    path.write_bytes(BODY.replace(b"Ada1 B-PER", b"Ada1 B-LOC"))
    with pytest.raises(ChecksumError, match=f"{path}.*Delete it and run again"):
        load_examples(dataset, "swa")


def test_a_folder_that_cannot_be_written(
    server: Server, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "answers.sqlite"))
    with pytest.raises(DataError, match=r"cannot be written there.*HARNESS_CACHE"):
        load_examples(dataset, "swa")
    assert not server.asked


def test_local_folders_come_first(
    server: Server, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "named"):
        (tmp_path / name / PLACE).parent.mkdir(parents=True)
        (tmp_path / name / PLACE).write_text(f"{name} B-PER\n", encoding="utf-8")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "named"))
    assert [e.text for e in load_examples(dataset, "swa")] == ["named"]
    assert [e.text for e in load_examples(dataset, "swa", data_dir=tmp_path / "given")] == ["given"]
    assert not server.asked
    # Missing in the folder of the environment: fetched. Missing in the one given: an error.
    (tmp_path / "named" / PLACE).unlink()
    assert len(load_examples(dataset, "swa")) == 9000
    (tmp_path / "given" / PLACE).unlink()
    with pytest.raises(DataError, match=f"{tmp_path / 'given' / PLACE}: no such file"):
        load_examples(dataset, "swa", data_dir=tmp_path / "given")
    assert len(server.asked) == 1


def test_a_folder_that_is_none(
    server: Server, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"--data-dir: .*gone is not a folder"):
        load_examples(dataset, "swa", data_dir=tmp_path / "gone")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"HARNESS_DATA: .*gone is not a folder"):
        load_examples(dataset, "swa")


def test_the_cache_is_beside_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if os.name == "posix":
        assert cache_folder().name == "datasets"
        assert cache_folder().parent.name == "harness"
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "my.sqlite"))
    assert cache_folder() == tmp_path / "datasets"
