"""Whether `rpm` and `tpm` are kept in real time, and how far an announced limit is used.

    python benchmarks/limits.py [--seconds 120] [--rpm 600] [--tpm 300000] [--in-flight 64]

Each run sends prompts of different lengths to `harness serve` in a process of its own, for
`--seconds` seconds and with faults (5 % 429 and 5 % 500, which count as requests). The first run
has `rpm`, the second `tpm`. The third has neither: there the server limits requests and announces
the limit in its headers.

Prints what was sent (requests: every attempt, as the server counts them; tokens: those of prompts
and answers) as a ratio to what the limit allows: on the whole, and in the busiest minute, by the
times at which answered requests were sent (a server's bucket holds a minute's worth at the start).
Prints also how many requests the server throttled for its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

from harness.models import open_backend, settings_for
from harness.records import Answer, Prompt

SERVE = """
import json, sys
from harness.models import settings_for
from harness.serving.server import serve
serve(settings_for("scripted", json.loads(sys.argv[1])), port=0)
"""
SCRIPT = {"model": "capitals", "latency_s": 0.2, "retry_after_s": 1.0}
FAULTS = {"error_429": 0.05, "error_500": 0.05}


def prompts() -> Iterator[Prompt]:
    """Endless prompts of 100 to 900 tokens (of four bytes each)."""
    rng = random.Random(1)
    number = 0
    while True:
        number += 1
        text = f"text = {number} " + "word " * rng.randint(80, 720)
        yield Prompt(str(number), f"{text}\nresult =", ("result",), "")


def busiest_minute(sent: list[tuple[float, int]]) -> int:
    """The largest sum within sixty seconds, of (time in seconds, amount)."""
    most = within = first = 0
    for at, amount in sent:
        within += amount
        while sent[first][0] <= at - 60:
            within -= sent[first][1]
            first += 1
        most = max(most, within)
    return most


async def send(url: str, seconds: float, **settings: Any) -> tuple[float, list[tuple[float, int]]]:
    """Send for so long; the seconds it took, and when each answer was asked for and its tokens."""
    values = {"model": "capitals", "base_url": url, "max_tokens": 256} | settings
    backend = open_backend(settings_for("openai", values))
    stop = asyncio.Event()
    requests = ((p.example_id, backend.request(p)) for p in prompts())
    sent: list[tuple[float, int]] = []
    started = time.monotonic()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    async with aclosing(backend.answers(requests, stop)) as answers:
        async for _, outcome in answers:
            if isinstance(outcome, Answer):
                usage = backend.reply(outcome, cached=False).usage
                tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
                sent.append((time.monotonic() - outcome.latency_s, tokens))
    await backend.aclose()
    return min(seconds, time.monotonic() - started), sorted(sent)


def run(what: str, script: dict[str, Any], seconds: float, **settings: Any) -> None:
    """One server, one run, one line."""
    command = [sys.executable, "-c", SERVE, json.dumps(SCRIPT | script)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        took, sent = asyncio.run(send(url, seconds, **settings))
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
            stats = json.load(reply)
    finally:
        server.terminate()
        server.wait()
    limit, whole = settings.get("tpm"), sum(tokens for _, tokens in sent)
    if limit is None:
        limit, whole = settings.get("rpm") or script["rpm"], stats["requests"]
        sent = [(at, 1) for at, _ in sent]
    busiest = busiest_minute(sent) / limit
    minutes = took / 60
    kind = script.get("window", "")
    minutes = {"bucket": minutes + 1, "fixed": math.floor(minutes) + 1}.get(kind, minutes)
    print(
        f"{what:22}{whole:>10,.0f}{whole / limit / minutes:8.3f}{busiest:10.3f}"
        f"{stats['faults']['limit']:8}",
        flush=True,
    )


def main() -> None:
    """Run the three and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rpm", type=float, default=600)
    parser.add_argument("--tpm", type=float, default=300_000)
    parser.add_argument("--in-flight", type=int, default=64)
    args = parser.parse_args()
    slots = {"concurrency": args.in_flight}
    print(f"{args.seconds:g} s each{'sent':>22}{'ratio':>8}{'busiest':>10}{'over':>8}")
    run("rpm", FAULTS, args.seconds, rpm=args.rpm, **slots)
    run("tpm", FAULTS, args.seconds, tpm=args.tpm, **slots)
    for window in ("fixed", "bucket"):
        run(f"announced, {window}", {"rpm": args.rpm, "window": window}, args.seconds, **slots)


if __name__ == "__main__":
    main()
