"""Against a hub of our own: the real client, in a process whose cache and hub are set for it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that fetching the model owner/tiny takes."""

    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        files = sorted(p for p in self.folder.iterdir())
        if path.startswith("/api/models/owner/tiny/tree/"):
            self._send(json.dumps([_entry(p) | {"type": "file", "path": p.name} for p in files]))
        elif path.startswith("/api/models/owner/tiny"):
            siblings = [_entry(p) | {"rfilename": p.name} for p in files]
            self._send(json.dumps({"id": "owner/tiny", "sha": _COMMIT, "siblings": siblings}))
        elif path.startswith("/owner/tiny/resolve/") and (file := self.folder / Path(path).name):
            content = file.read_bytes()
            headers = {"ETag": f'"{_sha(file)}"', "X-Repo-Commit": _COMMIT}
            self._send(content, **headers)
        else:
            self._send("{}", status=404, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _send(self, content: str | bytes, status: int = 200, **headers: str) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _entry(file: Path) -> dict[str, object]:
    size = file.stat().st_size
    entry: dict[str, object] = {"size": size, "oid": _sha(file)[:40], "blobId": _sha(file)[:40]}
    if file.suffix == ".safetensors":
        entry["lfs"] = {"sha256": _sha(file), "oid": _sha(file), "size": size, "pointerSize": 100}
    return entry


@pytest.fixture
def hub(llama: Path) -> Iterator[str]:
    """The address of a hub that has the model owner/tiny."""
    (llama / "README.md").write_text("not needed")
    (llama / "model.onnx").write_text("not needed")
    handler = type("Hub", (_Hub,), {"folder": llama, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


_FIND = """
from harness.local.checkpoints import find_checkpoint
from harness.errors import CheckpointError
for name, more in {models!r}:
    try:
        c = find_checkpoint(name, **more)
        print(c.sha256, c.tokenizer_sha256, c.revision, len(c.weights))
    except CheckpointError as error:
        print(error)
"""


def _find(home: Path, *models: tuple[str, dict[str, object]], **environment: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", _FIND.format(models=models)],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        | {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        | environment,
    )
    return ran.stdout.splitlines()


def test_a_model_of_the_hub_is_known_before_it_is_fetched(
    hub: str, llama: Path, tmp_path: Path
) -> None:
    small, whole = _find(
        tmp_path / "hf",
        ("owner/tiny", {"weights": False}),
        ("owner/tiny", {}),
        HF_ENDPOINT=hub,
    )
    # The same identity: of the hub's word, and of the files.
    assert small.split()[:3] == whole.split()[:3]
    assert whole.split()[2:] == [_COMMIT, "4"]
    assert small.split()[3] == "0"
    # What is not needed stays there.
    assert not list((tmp_path / "hf").rglob("README.md"))
    assert not list((tmp_path / "hf").rglob("model.onnx"))
    # And as the folder it was made of.
    (local,) = _find(tmp_path / "hf", (str(llama), {}))
    assert local.split()[:2] == whole.split()[:2]
    # From then on no hub is needed.
    for offline in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert _find(tmp_path / "hf", ("owner/tiny", {}), **offline) == [whole]


def test_a_hub_that_cannot_be_used_is_one_clear_error(hub: str, tmp_path: Path) -> None:
    home = tmp_path / "hf"
    (offline,) = _find(home, ("owner/tiny", {}), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids to fetch it" in offline
    (unreachable,) = _find(home, ("owner/tiny", {}), HF_ENDPOINT="http://127.0.0.1:9")
    assert "Try again with a network" in unreachable
    (unknown,) = _find(home, ("owner/nothing", {}), HF_ENDPOINT=hub)
    assert "the hub has no such model" in unknown
    for message in (offline, unreachable, unknown):
        assert "give the folder of a copy" in message


def test_a_download_that_was_cut_off_is_taken_up_again(
    hub: str, llama: Path, tmp_path: Path
) -> None:
    home = tmp_path / "hf"
    (whole,) = _find(home, ("owner/tiny", {}), HF_ENDPOINT=hub)
    shard = next(home.rglob("model-00002-of-00004.safetensors"))
    shard.resolve().unlink()
    shard.unlink()
    assert _find(home, ("owner/tiny", {}), HF_ENDPOINT=hub) == [whole]
    shutil.rmtree(home)
