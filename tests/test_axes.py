"""What a system may vary: repeats, a vote, examples that are shown, the answer's format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from aiohttp import web

from harness import compare
from harness.serving.tagger import answer
from harness.store import Store
from tests.conftest import Ran, Served
from tests.helpers.loopback_server import completion
from tests.helpers.thread_server import hosted

Harness = Callable[..., Ran]
Serve = Callable[..., Served]


def experiment(folder: Path, *systems: dict[str, Any], limit: int = 6) -> Path:
    """Demonstration sentences of two languages, asked of scripted systems."""
    lines = [f'[[datasets]]\nname = "demo"\nlanguages = ["swa", "hau"]\nlimit = {limit}']
    for number, system in enumerate(systems):
        table = {"name": f"S{number}", "backend": "scripted", "strategy": "transfusion"} | system
        lines += ["[[systems]]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    path = folder / "x.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(folder: Path, system: str = "S0") -> list[dict[str, Any]]:
    text = (folder / "x" / "predictions.jsonl").read_text("utf-8")
    return [row for line in text.splitlines() if (row := json.loads(line))["system"] == system]


def test_every_repeat_is_an_answer_of_its_own(
    harness: Harness, serve: Serve, tmp_path: Path
) -> None:
    served = serve()
    hosted = {"backend": "openai", "model": "capitals", "base_url": served.url, "repeats": 3}
    file = experiment(tmp_path, hosted, hosted | {"vote": True, "name": "voted"})
    assert harness("run", file).code == 0
    # The same bytes three times over; the second system finds all of them in the store.
    assert served.stats()["answered"] == 3 * 12
    assert served.stats()["distinct"] == 12
    found = rows(tmp_path)
    assert [row["repeat"] for row in found] == [0] * 6 + [1] * 6 + [2] * 6 + [0] * 6 + [
        *([1] * 6),
        *([2] * 6),
    ]
    assert len({row["key"] for row in found}) == 36
    assert len({row["prompt_sha256"] for row in found}) == 12
    assert harness("run", file).code == 0
    assert served.stats()["answered"] == 36
    frame = compare(tmp_path / "x").set_index(["system", "language"])
    assert list(frame.loc["S0", "macro"][["n", "repeats", "f1_sd"]]) == [12, 3, 0.0]
    # More repeats ask only for those that are new.
    more = experiment(tmp_path, hosted | {"repeats": 5})
    assert harness("run", more).code == 0
    assert served.stats()["answered"] == 60


def test_repeats_differ_and_the_majority_wins(harness: Harness, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    async def moody(request: web.Request) -> web.Response:
        """Of three answers to a prompt the second is empty."""
        prompt = (await request.json())["messages"][-1]["content"]
        seen[prompt] += 1
        return web.json_response(completion(" []\n" if seen[prompt] == 2 else answer(prompt)))

    with hosted(moody) as url:
        asked = {"backend": "openai", "model": "m", "base_url": url, "strategy": "direct"}
        three = asked | {"repeats": 3, "temperature": 0.7, "concurrency": 1}
        plain = {"strategy": "direct"}
        file = experiment(tmp_path, three, three | {"vote": True}, plain, limit=10)
        assert harness("run", file).code == 0
    frame = compare(tmp_path / "x").set_index(["system", "language"])
    steady = frame.loc["S2", "macro"]["f1"]
    # Each repeat of each prompt is asked once; which of them is empty depends on the order.
    assert set(seen.values()) == {3}
    repeated, voted = frame.loc["S0", "macro"], frame.loc["S1", "macro"]
    assert voted["f1"] == steady > repeated["f1"] > 0
    assert sorted(repeated["f1_repeats"])[0] < sorted(repeated["f1_repeats"])[2] <= steady
    assert repeated["f1_sd"] == pytest.approx(stdev(repeated["f1_repeats"]), abs=1e-5)


def test_one_repeat_leaves_lines_and_signature_as_they_were(
    harness: Harness, tmp_path: Path
) -> None:
    ran = harness("run", experiment(tmp_path, {}))
    assert "repeat" not in rows(tmp_path)[0]
    assert not any(part in ran.out for part in ("repeats:", "format:", "shots:", "vote:"))


def test_json_and_python_answers_come_to_the_same(harness: Harness, tmp_path: Path) -> None:
    file = experiment(tmp_path, {"wrap": "chat"}, {"wrap": "chat", "format": "json"}, limit=20)
    assert harness("run", file).code == 0
    python, answered = rows(tmp_path, "S0"), rows(tmp_path, "S1")
    assert [r["prompt_sha256"] for r in python] == [r["prompt_sha256"] for r in answered]
    assert [r["stages"] for r in python] == [r["stages"] for r in answered]
    assert {r["status"] for r in answered} == {"ok"}
    assert all(r["reply"].startswith('{"result"') for r in answered)
    assert harness("score", tmp_path / "x").code == 0
    assert [r["stages"] for r in rows(tmp_path, "S1")] == [r["stages"] for r in answered]


@pytest.mark.parametrize("by", ["random", "nearest"])
def test_examples_are_shown(harness: Harness, tmp_path: Path, by: str) -> None:
    system = {"shots": 2, "shots_from": "dev", "shots_by": by}
    file = experiment(tmp_path, {}, system | {"name": "shown"})
    ran = harness("run", file)
    assert ran.code == 0
    assert f"shots:2@dev/{by}" in ran.out
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert manifest["systems"][0]["shots"] is None
    assert manifest["systems"][1]["shots"]["sha256"].keys() == {"demo/swa", "demo/hau"}
    with Store() as store:
        sent = [request for request, _ in store.answered_requests("capitals", kind="completion")]
    shown = [r["body"]["messages"][-1]["content"] for r in sent]
    several = [text for text in shown if text.count("# This is a text with its annot") == 2]
    assert len(several) == len(shown) // 2 == 12
    assert all(text.count("# This is the text to analyze") == 1 for text in shown)


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ({"shots": 2}, "no split 'train'. Choices besides the evaluated 'test': dev"),
        ({"shots": 2, "shots_from": "test"}, "is the split that is evaluated"),
        ({"shots": 100, "shots_from": "dev"}, "shots = 100, and the split 'dev' has"),
        ({"format": "yaml"}, "`format`: this must be 'python' or 'json'"),
        ({"format": "json", "wrap": "completion"}, 'Write wrap = "chat"'),
        ({"backend": "ctranslate2", "model": "x", "format": "json"}, "backend 'ctranslate2'"),
        ({"backend": "ctranslate2", "model": "x", "repeats": 2}, "the same answer each time"),
        ({"vote": True}, "a vote needs several answers"),
        ({"repeat": 2}, "Did you mean 'repeats'?"),
    ],
)
def test_what_cannot_be_is_said(
    harness: Harness, tmp_path: Path, system: dict[str, Any], said: str
) -> None:
    ran = harness("run", experiment(tmp_path, system))
    assert ran.code == 2
    assert said in ran.err


def test_prices_of_the_experiment_come_first(harness: Harness, tmp_path: Path) -> None:
    file = experiment(tmp_path, {"repeats": 2})
    own = '[prices.scripted]\ncapitals = { input = 2.5, output = "10" }\n'
    file.write_text(file.read_text() + own)
    ran = harness("run", file)
    assert ran.code == 0
    assert "paid $0.0" in ran.out
    assert all(float(row["cost"]) > 0 for row in rows(tmp_path))
    # The resolved file carries them along.
    assert harness("preview", tmp_path / "x" / "experiment.toml").code == 0
    file.write_text(file.read_text().replace("input", "inputs"))
    assert "a price needs `input` and `output`" in harness("run", file).err
