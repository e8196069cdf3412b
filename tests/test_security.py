"""No secret is left anywhere, and nothing is written where it does not belong."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness.errors import EndpointError
from harness.models import open_backend, settings_for
from harness.records import Prompt
from tests.conftest import Ran
from tests.helpers.loopback_server import completion, handled_by
from tests.helpers.thread_server import hosted

Harness = Callable[..., Ran]

# Every secret has this in it.
MARK = "canary"
KEY = f"sk-proj-{MARK}_1/0123456789+abcdef"
SECRETS = {
    "OPENAI_API_KEY": KEY,
    "OPENAI_ADMIN_KEY": f"sk-admin-{MARK}_2",
    "OPENAI_ORG_ID": f"org-{MARK}3",
    "OPENAI_PROJECT_ID": f"proj_{MARK}4",
    "OPENAI_CUSTOM_HEADERS": f'X-Gateway: Basic {MARK}5/"==\nX-Other: {MARK}6 and more',
    "http_proxy": f"http://user:{MARK}7@127.0.0.1:9",
}


def _told(request: web.Request) -> str:
    """All that came with a request, as a server may repeat it."""
    return "; ".join(f"{name}: {value}" for name, value in request.headers.items())


def _answered(told: str) -> web.Response:
    body = completion(f'result = [Person(span="{told}")]', model=told, system_fingerprint=told)
    return web.json_response(body | {"id": told, told: told}, headers={"x-told": told})


def _error(told: str, status: int) -> web.Response:
    error = {"message": f"not with {told}", "code": told, "type": told, "param": told}
    headers = {"x-told": told, "Retry-After": "0"}
    return web.json_response({"error": error}, status=status, headers=headers)


def _slashed(told: str) -> web.Response:
    text = json.dumps(completion(told, model=told)).replace("/", "\\/")
    return web.Response(text=text, content_type="application/json")


#: What becomes of a request, given all that came with it.
ANSWERS: Mapping[str, Callable[[str], web.Response]] = {
    "answer": _answered,
    "slashes": _slashed,
    "refusal": lambda told: web.json_response(
        completion(None) | {"choices": [{"message": {"refusal": told}, "finish_reason": told}]}
    ),
    "400": lambda told: _error(told, 400),
    "401": lambda told: _error(told, 401),
    "422": lambda told: web.Response(status=422, text=f"<b>{told}</b>", content_type="text/html"),
    "429": lambda told: _error(told, 429),
    "500": lambda told: web.Response(status=500, text=told, reason=told[:60]),
    "page": lambda told: web.Response(text=told, content_type="text/html"),
    "type": lambda told: web.Response(body=b"{}", headers={"Content-Type": f"text/{told[:200]}"}),
    "garbled": lambda told: web.Response(text=f'{{"{told}', content_type="application/json"),
    "no choices": lambda told: web.json_response({"choices": None, "told": told}),
    "moved": lambda told: web.Response(status=302, headers={"Location": f"http://x/{told}"}),
}


async def _echo(request: web.Request) -> web.Response:
    asked = (await request.json())["messages"][-1]["content"]
    name = asked.rpartition("ask:")[2].partition(":")[0]
    return ANSWERS[name](_told(request))


def _experiment(folder: Path, url: str, asked: list[str], **system: Any) -> Path:
    """Sentences that each ask for the answer of one name."""
    import tomli_w

    rows = [
        {"text": f"ask:{name}: Yuko Kano", "id": f"{i}", "entities": []}
        for i, name in enumerate(asked)
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset: dict[str, Any] = {"name": "mine", "path": "mine.jsonl", "languages": ["swa"]}
    dataset |= {"labels": {"PER": "Person"}}
    table: dict[str, Any] = {"name": "direct", "backend": "openai", "model": "m"}
    table |= {"strategy": "direct"}
    table |= {"base_url": url, "backoff_s": 0.0, "max_attempts": 8, "concurrency": 1}
    file = folder / "echo.toml"
    file.write_text(tomli_w.dumps({"datasets": [dataset], "systems": [table | system]}))
    return file


def _without_mark(folder: Path) -> None:
    """Nothing below a folder has a secret in it, whatever it is packed in."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert MARK.encode() not in path.read_bytes(), path
        if path.suffix == ".sqlite":
            _store_without_mark(path)


def _store_without_mark(path: Path) -> None:
    db = sqlite3.connect(path)
    try:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        seen = 0
        for table in tables:
            for row in db.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    plain = value
                    # A request; a key has 32 bytes.
                    if isinstance(value, bytes) and value[:1] == b"\x78" and len(value) != 32:
                        plain = zlib.decompress(value)
                        seen += 1
                    assert MARK not in repr(plain), table
        assert seen
    finally:
        db.close()


def _set_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("first", ["answer", "401", "500", "page", "moved"])
def test_a_server_that_repeats_the_key_does_not_get_it_written_down(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    _set_secrets(monkeypatch)
    asked = [first, *(name for name in ANSWERS if name != first), "answer"]
    with hosted(_echo) as url:
        file = _experiment(tmp_path, url, asked)
        said = [harness("run", file), harness("run", file)]
    folder = tmp_path / "echo"
    said += [harness("show", folder, str(number)) for number in range(len(asked))]
    said += [harness("compare", folder, "--format", f) for f in ("csv", "json", "table")]
    said += [harness("cache", "ls"), harness("cache", "stats"), harness("preview", file)]
    said += [harness("cache", "explain", file), harness("cache", "export", "answers.jsonl")]
    text = "".join(ran.out + ran.err for ran in said)
    assert MARK not in text
    if first == "answer":
        assert "[hidden]" in text
        _without_mark(tmp_path)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes(), path


def test_azures_token_is_hidden_as_well(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"eyJhbGciOi.{MARK}.x-y_z"
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", token)
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return await _echo(request)

    with hosted(handler) as url:
        azure = {
            "provider": "azure",
            "api_version": "2024-10-21",
            "base_url": url.removesuffix("/v1"),
        }
        file = _experiment(tmp_path, url, ["answer", "400", "500"], **azure)
        ran = harness("run", file)
    assert ran.code == 3
    assert set(seen) == {f"Bearer {token}"}
    assert MARK not in ran.out + ran.err
    _without_mark(tmp_path)


def test_a_process_says_nothing_of_a_key_at_its_most_talkative(tmp_path: Path) -> None:
    """The SDK's and asyncio's own debugging on, a proxy that does not answer, and a traceback."""
    with hosted(_echo) as url:
        file = _experiment(tmp_path, url, list(ANSWERS))
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            **SECRETS,
            "OPENAI_LOG": "debug",
            "PYTHONASYNCIODEBUG": "1",
            "PYTHONDEVMODE": "1",
            "HARNESS_CACHE": str(tmp_path / "store.sqlite"),
        }
        for no_proxy in ("127.0.0.1", "localhost"):
            environment["no_proxy"] = no_proxy
            done = subprocess.run(
                [sys.executable, "-m", "harness", "run", str(file)],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode in (0, 2, 3), done.stderr
            assert MARK not in done.stdout + done.stderr
    assert "[hidden]" in (tmp_path / "echo" / "predictions.jsonl").read_text("utf-8")
    _without_mark(tmp_path)


def test_what_can_be_printed_or_pickled_has_no_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(0)
    _set_secrets(monkeypatch)
    things: list[object] = []

    async def main() -> None:
        async with handled_by(_echo) as url:
            values = {"model": "m", "base_url": url, "backoff_s": 0.0, "max_attempts": 8}
            settings = settings_for("openai", values)
            backend = open_backend(settings)
            things.extend([settings, backend])
            for name in ("answer", "400", "401", "429", "500", "page"):
                prompt = Prompt("e1", f"ask:{name}: x", ("result",), "")
                requests = [(name, backend.request(prompt))]
                things.append(requests)
                try:
                    async with aclosing(backend.answers(requests)) as answers:
                        things.extend([outcome async for _, outcome in answers])
                except EndpointError as error:
                    things.append(error)
            await backend.aclose()

    asyncio.run(main(), debug=True)
    for thing in things:
        assert MARK not in repr(thing) + str(thing)
        try:
            packed = pickle.dumps(thing)
        except (TypeError, pickle.PicklingError, AttributeError):
            continue
        assert MARK.encode() not in packed
    assert MARK not in caplog.text


NAMES = (
    *(
        "../x",
        "../../x",
        "a/b",
        "/etc/x",
        "~/x",
        "..",
        ".",
        "a\\b",
        "CON",
        "x.toml",
        "-rf",
        "$(id)",
    ),
    *("a\x00b", "a\nb", "\x1b[2Jx", "\u202egnp", "=1+1", "x" * 10_000, "", " ", "%2e%2e%2f"),
)


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("where", ["system", "dataset", "language", "id", "model", "provider"])
def test_no_name_leads_out_of_the_results_folder(
    harness: Harness, tmp_path: Path, where: str
) -> None:
    import tomli_w

    home = tmp_path / "a" / "b" / "work"
    home.mkdir(parents=True)
    before = _tree(tmp_path)
    for number, name in enumerate(NAMES):
        names = dict.fromkeys(("system", "dataset", "language", "id", "model", "provider"), "swa")
        names["model"] = "capitals"
        names[where] = name
        row = {
            "id": names["id"],
            "text": "Yuko Kano",
            "entities": [],
            "language": names["language"],
        }
        (home / "mine.jsonl").write_text(json.dumps(row) + "\n")
        dataset: dict[str, Any] = {"name": names["dataset"], "path": str(home / "mine.jsonl")}
        dataset |= {"labels": {"PER": "Person"}}
        system: dict[str, Any] = {"backend": "scripted"}
        if where == "provider":
            system = {"backend": "openai", "provider": name, "base_url": "http://127.0.0.1:9/v1"}
            system |= {"backoff_s": 0.0, "max_attempts": 8}
        table = {"name": names["system"], "model": names["model"], "strategy": "direct"} | system
        file = home / f"e{number}.toml"
        file.write_text(tomli_w.dumps({"datasets": [dataset], "systems": [table]}))
        ran = harness("run", file)
        assert ran.code in (0, 2), (name, ran.err)
        assert ran.err.count("Traceback") == 0
        if ran.code == 0:
            assert harness("compare", home / f"e{number}").code == 0
            shown = harness("show", "--", home / f"e{number}", names["id"] or "test-0")
            assert shown.code == 0, (name, shown.err)
    made = set(_tree(tmp_path)) - set(before)
    own = tuple(f"a/b/work/e{number}" for number in range(len(NAMES)))
    strays = [p for p in made if not p.startswith((*own, "store", "a/b/work/mine.jsonl"))]
    assert strays == []
    results = {Path(p).name for p in made if p.startswith(own) and p.count("/") == 4}
    assert {name for name in results if not name.startswith(".")} <= {
        *("experiment.toml", "manifest.json", "examples.jsonl", "predictions.jsonl"),
        *("scores.json", "environment.json"),
    }


def test_a_folder_that_is_asked_for_is_the_only_one_written_to(
    harness: Harness, tmp_path: Path
) -> None:
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    (corpora / "mine.jsonl").write_text('{"text": "Yuko Kano", "entities": []}\n')
    file = tmp_path / "one.toml"
    file.write_text(
        '[[datasets]]\nname = "mine"\npath = "corpora/mine.jsonl"\nlabels = { PER = "Person" }\n'
        '[[systems]]\nname = "A"\nbackend = "scripted"\nstrategy = "direct"\n'
    )
    before = _tree(tmp_path)
    out = tmp_path / "deep" / "er" / ".." / "out"
    assert harness("run", file, "--data-dir", corpora, "--out", out).code == 0
    made = set(_tree(tmp_path)) - set(before)
    assert {path.split("/")[0] for path in made} == {"deep", "store"}
    assert {path: _tree(tmp_path)[path] for path in before} == before
    # Not into a file, and not over what is no results folder of this experiment.
    for bad in (file, Path("/proc/x"), tmp_path / ("n" * 300)):
        ran = harness("run", file, "--out", bad)
        assert ran.code == 2, bad
        assert "--out" in ran.err
    nowhere = harness("run", file, "--data-dir", tmp_path / "none" / ".." / ".." / "x")
    assert nowhere.code in (0, 2)
