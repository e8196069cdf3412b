"""A whole `harness run` against a hosted model, beside bare aiohttp with the same bodies.

    python benchmarks/throughput.py [--prompts 10000] [--kilobytes 3] [--latency 0.2]
                                    [--in-flight 256] [--rounds 3]

Both in processes of their own, in turn, from process start to end: seconds of wall clock, their
ratio to the ideal (prompts x latency / in flight), milliseconds of CPU an example, and peak
memory. Then, of the last run, the requests a second in each tenth of it, and the time of its
rerun from the cache. The server is a minimal one in a third process: it reads a request to its
end, waits, and writes the same answer each time. `--prompts 100000` is the long run. `--profile
FILE` writes where the last run's CPU went, for `python -m pstats FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from main_job import GUIDELINE, SCHEMA, harness, make_data, write_experiment

ANSWER = ' [Person(span="Bakomi"), Location(span="Narisu")]\n'
BARE = """
import asyncio, json, sys
import aiohttp

bodies = [line.encode() for line in open(sys.argv[1], encoding="utf-8")]
url, in_flight = sys.argv[2], int(sys.argv[3])
headers = {"Authorization": "Bearer none", "Content-Type": "application/json"}


async def main():
    source = iter(bodies)
    answers = []

    async def worker():
        for body in source:
            async with session.post(f"{url}/chat/completions", data=body) as response:
                answers.append(json.loads(await response.read())["choices"][0])

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(worker() for _ in range(in_flight)))
    assert len(answers) == len(bodies)


asyncio.run(main())
"""


class Serving(asyncio.Protocol):
    """One connection: HTTP/1.1 with keep-alive, and no more of it than a client here sends."""

    latency = 0.0
    times: list[float] = []  # noqa: RUF012 - one server a process

    def __init__(self) -> None:
        self.received = bytearray()
        choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}}
        choice["finish_reason"] = "stop"
        usage = {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920}
        self.answer = self._response(
            {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
            | {"usage": usage}
        )

    @staticmethod
    def _response(body: object) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
        )
        return head.encode() + b"\r\n\r\n" + content

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.received.startswith(b"GET"):
            self.transport.write(self._response(self.times))
            self.received.clear()
            return
        head = bytes(self.received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self.received) < end + 4 + length:
            return
        self.received.clear()
        asyncio.get_running_loop().call_later(self.latency, self._reply)

    def _reply(self) -> None:
        self.times.append(time.time())
        self.transport.write(self.answer)


async def serve(latency: float) -> None:
    """Listen on a free port, print the base URL, answer until the process is ended."""
    Serving.latency = latency
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Serving, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


class Server:
    """The server in a process of its own."""

    def __init__(self, latency: float) -> None:
        command = [sys.executable, __file__, "--serve", "--latency", str(latency)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def times(self) -> list[float]:
        """When it answered, in seconds."""
        with urllib.request.urlopen(self.url) as reply:
            return list(json.load(reply))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of wall clock and of CPU, and megabytes at the peak, of one process."""

    wall: float
    cpu: float
    peak: float


def measure(command: list[str], folder: Path, store: Path) -> Took:
    """Run a command to its end."""
    environment = {**os.environ, "HARNESS_CACHE": str(store)}
    with (folder / "output").open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((folder / "output").read_text())
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write_bodies(folder: Path, file: Path) -> float:
    """The bodies of a run, a line each; returns their size in kB."""
    from harness import load_experiment
    from harness.running.planning import make_plan
    from harness.running.prepare import prepare
    from harness.store import Store

    experiment = load_experiment(file)
    os.chdir(folder)
    store = Store(folder / "no")
    (plan,) = make_plan(prepare(experiment, store), store)
    size = 0
    with (folder / "bodies.jsonl").open("w", encoding="utf-8") as out:
        for place in plan.pending.values():
            body = json.dumps(plan.request(*place).body, ensure_ascii=False)
            size += out.write(body + "\n")
    return size / len(plan.pending) / 1000


def tenths(times: list[float]) -> list[float]:
    """Answers a second in each tenth of them."""
    edges = [round(len(times) * part / 10) for part in range(11)]
    return [
        (end - start) / (times[end - 1] - times[max(start - 1, 0)])
        for start, end in pairwise(edges)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--kilobytes", type=float, default=3.0)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.latency))
        return
    ideal = options.prompts * options.latency / options.in_flight
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, options.prompts)
        # The prompt has two guidelines, and 1.2 kB of other text.
        repeated = max(1, round((options.kilobytes * 1000 - 1200) / 2 / len(GUIDELINE)))
        (folder / "made.py").write_text(SCHEMA.format(guideline=GUIDELINE * repeated))
        (folder / "bare.py").write_text(BARE)
        results: dict[str, list[Took]] = {"bare aiohttp": [], "harness run": []}
        for number in range(options.rounds):
            server = Server(options.latency)
            try:
                file = write_experiment(folder, server.url, options.prompts, options.in_flight)
                if not number:
                    size = write_bodies(folder, file)
                    print(
                        f"{options.prompts} prompts of {size:.1f} kB at "
                        f"{options.latency * 1000:.0f} ms, {options.in_flight} in flight: ideal "
                        f"{ideal:.2f} s; {options.rounds} rounds in turn",
                        flush=True,
                    )
                bare = [sys.executable, "bare.py", "bodies.jsonl", server.url]
                bare.append(str(options.in_flight))
                store = folder / f"store{number}.sqlite"
                results["bare aiohttp"].append(measure(bare, folder, store))
                command = harness("run", file.name)
                if options.profile and number == options.rounds - 1:
                    to = ["-m", "cProfile", "-o", str(options.profile.absolute())]
                    command[1:1] = to
                results["harness run"].append(measure(command, folder, store))
                times = server.times()[options.prompts :]
            finally:
                server.stop()
        print(f"{'':14}{'wall s':>8}{'x ideal':>9}{'CPU s':>8}{'ms each':>9}{'peak MB':>9}")
        for way, took in results.items():
            wall, cpu, peak = (
                statistics.median(getattr(t, what) for t in took)
                for what in ("wall", "cpu", "peak")
            )
            each = 1000 * cpu / options.prompts
            print(f"{way:14}{wall:8.2f}{wall / ideal:9.2f}{cpu:8.2f}{each:9.3f}{peak:9.0f}")
        print("requests a second, by tenth: " + " ".join(f"{rate:.0f}" for rate in tenths(times)))
        assert len(times) == options.prompts, f"{len(times)} requests were made"
        again = measure(harness("run", file.name), folder, store)
        print(f"rerun from the cache: {again.wall:.2f} s, {again.peak:.0f} MB peak")


if __name__ == "__main__":
    main()
