"""How long calls block the event loop.

    python benchmarks/event_loop.py [--calls 5000] [--latency 0.2] [--in-flight 256]

A timer is set for one millisecond ahead, again and again. The time by which it fires late is what
any other call would have waited. Prints percentiles of it in milliseconds, and the milliseconds of
CPU per call, for three cases: an idle loop; `stream_calls` with calls that only sleep; the openai
backend against `harness serve` in a process of its own, with prompts of 3 kB that are rendered
while others are in flight. The imports of the first call are not included, and are hidden from the
garbage collector, as in a run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from harness.models import open_backend, settings_for
from harness.models.pace.calls import Call, stream_calls
from harness.models.pace.retries import call_with_retries
from harness.records import Answer, Prompt

SERVE = """
import json, sys
from harness.models import settings_for
from harness.serving.server import serve
serve(settings_for("scripted", json.loads(sys.argv[1])), port=0)
"""
GUIDELINES = "# Guidelines are the same in every prompt, and longer than any sentence is.\n" * 38
STEP_S = 0.001


async def watched(work: Awaitable[None]) -> list[float]:
    """Do the work; returns the seconds by which the loop was late meanwhile, per timer."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    due = loop.time() + STEP_S

    def tick() -> None:
        nonlocal due
        now = loop.time()
        late.append(now - due)
        due = now + STEP_S
        loop.call_at(due, tick)

    loop.call_at(due, tick)
    await work
    return late


async def through_stream(calls: int, latency: float, in_flight: int) -> None:
    """Calls that only sleep."""
    answer = Answer("{}", latency, None)

    async def send(number: int, call: Call) -> Any:
        async def attempt() -> Answer:
            permit = await call.begin_attempt()
            await asyncio.sleep(latency)
            permit.complete()
            return answer

        return await call_with_retries(attempt, call, max_attempts=8, backoff_s=0.5)

    async for _ in stream_calls(((n, n) for n in range(calls)), send, in_flight):
        pass


async def through_backend(url: str, calls: int, in_flight: int) -> None:
    """Prompts to a server on this machine."""
    backend = open_backend(
        settings_for("openai", {"model": "empty", "base_url": url, "concurrency": in_flight})
    )

    def requests() -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(calls):
            text = f"{GUIDELINES}\ntext = {number}\nresult ="
            yield number, backend.request(Prompt(str(number), text, ("result",), ""))

    async for _, outcome in backend.answers(requests()):
        assert isinstance(outcome, Answer), outcome
    await backend.aclose()


def report(name: str, calls: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run it and print its line."""
    cpu = time.process_time()
    late = sorted(asyncio.run(watched(work())))
    cpu = time.process_time() - cpu
    p50, p99, most = (late[min(len(late) - 1, int(part * len(late)))] for part in (0.5, 0.99, 1))
    print(
        f"{name:16}{1000 * p50:8.2f}{1000 * p99:8.2f}{1000 * most:8.2f}{1000 * cpu / calls:10.3f}",
        flush=True,
    )


def main() -> None:
    """Start the server, run the three, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=256)
    args = parser.parse_args()
    calls, latency, in_flight = args.calls, args.latency, args.in_flight
    print(f"{'late by, ms':16}{'p50':>8}{'p99':>8}{'most':>8}{'cpu/call':>10}")
    report("idle", calls, lambda: asyncio.sleep(calls * latency / in_flight))
    report("stream_calls", calls, lambda: through_stream(calls, latency, in_flight))
    script = json.dumps({"model": "empty", "latency_s": latency})
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        asyncio.run(through_backend(url, 1, 1))
        gc.freeze()
        report("openai backend", calls, lambda: through_backend(url, calls, in_flight))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
