"""A run against servers that misbehave, and what it has to come to."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.experiment import load_experiment
from harness.models import settings_for
from harness.running.planning import make_plan
from harness.running.prepare import prepare
from harness.serving.script import RULES
from harness.serving.server import background_server
from harness.store import Store
from tests.conftest import Served

EXPERIMENT = """
[[datasets]]
name = "mine"
path = "mine.jsonl"
languages = ["swa"]
labels = {{ PER = "Person", LOC = "Location" }}

[[systems]]
name = "direct"
backend = "openai"
model = "capitals"
strategy = "direct"
base_url = "{url}"
provider = "loopback"
concurrency = {concurrency}
backoff_s = 0.02
{more}
"""


def write_experiment(
    folder: Path, url: str, *, requests: int = 60, concurrency: int = 8, more: str = ""
) -> Path:
    """An experiment of so many requests."""
    rows = (
        {"text": f"Amina {number} anaishi Kano .", "entities": [{"label": "LOC", "span": "Kano"}]}
        for number in range(requests)
    )
    file = folder / "runs" / "one.toml"
    file.parent.mkdir(exist_ok=True)
    (file.parent / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(EXPERIMENT.format(url=url, concurrency=concurrency, more=more))
    return file


@contextmanager
def served(**settings: Any) -> Iterator[Served]:
    """The scripted server, on a thread of this process."""
    with background_server(settings_for("scripted", settings)) as url:
        yield Served(url)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``predictions.jsonl``."""
    text = (folder / "predictions.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def right_replies(file: Path) -> dict[tuple[str, str], str]:
    """What the rule itself says to each prompt of an experiment, by language and example."""
    experiment = load_experiment(file)
    with Store() as store:
        (plan,) = make_plan(prepare(experiment, store), store)
    return {
        (example.language, example.id): RULES["capitals"](cell.prompt(index).text)
        for cell in plan.cells
        for index, example in enumerate(cell.block.examples)
    }


def check_right(file: Path) -> None:
    """Every example of an experiment is answered, with what the rule says to its prompt."""
    rows = read_rows(file.with_suffix(""))
    got = {(row["language"], row["example_id"]): row["reply"] for row in rows}
    assert len(rows) == len(got)
    assert got == right_replies(file)
    assert {row["status"] for row in rows} == {"ok"}


def start(folder: Path, *arguments: str | Path, preamble: str = "") -> subprocess.Popen[str]:
    """A `harness` process of its own in a folder; ``preamble`` is run before it."""
    code = f"{preamble}\nfrom harness.cli.main import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_answers(store: Path) -> int:
    """How many answers are in a store that may not be there yet."""
    try:
        db = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # the table is being made
    finally:
        db.close()


def wait_for_answers(store: Path, at_least: int) -> None:
    """Until so many answers are in a store."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if store.exists() and count_answers(store) >= at_least:
            return
        time.sleep(0.01)
    raise AssertionError("no answers came")
