"""What a run draws while it asks: on a real pseudo-terminal, and off one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli.live_progress import LiveProgress
from harness.experiment import load_experiment
from harness.records import Answer, Failure
from harness.running.planning import make_plan
from harness.running.prepare import prepare
from harness.store import Store

EXPERIMENT = """
[[datasets]]
name = "demo"
languages = ["swa", "yor", "eng"]
limit = 20

[[systems]]
name = "[red]first"
backend = "scripted"
strategy = "direct"
latency_s = 0.7

[[systems]]
name = "second"
backend = "scripted"
strategy = "no-annotate"
latency_s = 0.7
"""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]")


def on_terminal(folder: Path, columns: int, **changes: str) -> tuple[int, str]:
    """``harness run`` with standard error on a terminal; its exit code and what it drew."""
    (folder / "x.toml").write_text(EXPERIMENT)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {
        **os.environ,
        "HARNESS_CACHE": str(folder / "answers.sqlite"),
        "TERM": "xterm",
        **changes,
    }
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "harness", "run", "x.toml"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed.
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    return process.wait(60), drawn.decode()


def screens(drawn: str) -> list[list[str]]:
    """What a terminal shows, each time its cursor stands at the end of what was drawn."""
    lines, row, seen = [""], 0, []
    place = 0
    for control in [*CONTROL.finditer(drawn), None]:
        text = drawn[place : control.start() if control else None]
        # Pieces of one line follow each other: the cursor never moves right without writing.
        lines[row] += text
        if control is None:
            break
        place = control.end()
        if control[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif control[0].endswith("A"):
            row -= int(control[0][2:-1] or 1)
        elif control[0] == "\x1b[2K":
            seen.append([line.rstrip() for line in lines if line.strip()])
            lines[row] = ""
    return [*seen, [line.rstrip() for line in lines if line.strip()]]


def test_on_a_terminal(tmp_path: Path) -> None:
    code, drawn = on_terminal(tmp_path, 110)
    assert code == 0
    shown = screens(drawn)
    lines = [line for screen in shown for line in screen]
    totals = [line for line in lines if line.startswith(("[red]first", "second"))]
    # Done, cached, failed, cost, rate and time left; the name is no markup.
    shape = r"(\[red\]first|second) +\d+/60 +\d+ failed  cost \S+ +\S+/s  "
    for line in totals:
        assert re.fullmatch(shape + r"(-:-- left|\d:\d\d left|in \d:\d\d)", line)
    # Every line of totals has its columns in the same places.
    assert (
        len({(line.index("/60"), line.index("failed"), line.index("/s")) for line in totals}) == 1
    )
    languages = [line for line in lines if line.startswith("  ")]
    assert {line.split()[0] for line in languages} == {"swa", "yor", "eng"}
    assert len({line.index("failed") for line in languages + totals}) == 1
    assert not any("20/20" in line for line in languages)
    # Each system's totals stay, and nothing else does.
    assert [line.split()[:2] for line in shown[-1]] == [
        ["[red]first", "60/60"],
        ["second", "60/60"],
    ]
    assert all(" in 0:0" in line for line in shown[-1])
    # The totals of one system, and its languages, at a time.
    assert max(map(len, shown)) == 5


def test_what_is_stored_is_cached(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    first = [sys.executable, "-m", "harness", "run", "x.toml", "--limit", "15"]
    environment = {**os.environ, "HARNESS_CACHE": str(tmp_path / "answers.sqlite")}
    subprocess.run(first, cwd=tmp_path, env=environment, check=True, capture_output=True)
    _, drawn = on_terminal(tmp_path, 80)
    last = screens(drawn)[-1]
    assert [" ".join(line.split()[:6]) for line in last] == [
        "[red]first 15/15 45 cached 0 failed",
        "second 15/15 45 cached 0 failed",
    ]
    assert all(re.search(r" cost \$0 +\S+/s in 0:0\d$", line) for line in last)


def test_narrow_and_dumb_terminals(tmp_path: Path) -> None:
    _, drawn = on_terminal(tmp_path, 60)
    assert all(len(line) <= 60 for screen in screens(drawn) for line in screen)
    (tmp_path / "answers.sqlite").unlink()
    _, drawn = on_terminal(tmp_path, 110, TERM="dumb")
    assert drawn.split("\r\n") == [
        "[red]first: sending 60 requests",
        "second: sending 60 requests",
        "",
    ]


@pytest.fixture
def planned(tmp_path: Path) -> tuple[LiveProgress, Any]:
    """A plan of one system, 60 requests in three languages, told to a progress."""
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    experiment = load_experiment(tmp_path / "x.toml")
    with Store(tmp_path / "answers.sqlite") as store:
        plan = make_plan(prepare(experiment, store), store)[0]
    progress = LiveProgress()
    progress.planned(plan, list(plan.pending))
    return progress, plan


def test_off_a_terminal(
    planned: tuple[LiveProgress, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress, plan = planned
    capsys.readouterr()
    progress.planned(plan, list(plan.pending))
    start = time.monotonic()
    for i in range(25):
        # One answer a second; every tenth call fails.
        monkeypatch.setattr(time, "monotonic", lambda i=i: start + i + 1)
        outcome = Failure("no\x1b[2J") if i % 10 == 9 else Answer("{}", 1.0, cost=2_000_000)
        progress.answered(plan.cells[0], outcome)
    progress.reading()
    assert capsys.readouterr().err.splitlines() == [
        "[red]first: sending 60 requests",
        "[red]first: 10 of 60, 1 failed, $0.0180, 1.0/s",
        "[red]first: 20 of 60, 2 failed, $0.0360, 1.0/s",
    ]


def test_an_unknown_price_stays_unknown(
    planned: tuple[LiveProgress, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress, plan = planned
    progress.answered(plan.cells[0], Answer("{}", 1.0, cost=None))
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    progress.answered(plan.cells[0], Answer("{}", 1.0, cost=5))
    assert "2 of 60, 0 failed, unknown, 0.0/s" in capsys.readouterr().err


def test_counting_is_cheap(planned: tuple[LiveProgress, Any]) -> None:
    progress, plan = planned
    answer = Answer("{}", 1.0, cost=1)
    start = time.process_time()
    for _ in range(20_000):
        progress.answered(plan.cells[1], answer)
    # Measured at about 1 µs; 50 µs would be felt at thousands a second.
    assert (time.process_time() - start) / 20_000 < 50e-6
