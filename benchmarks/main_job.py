"""How long the main job takes, process start to printed table, against a bare script.

    python benchmarks/main_job.py [--prompts 2000] [--cached 10000] [--latency 0.2] [--in-flight 64]

Four figures, each the median of some rounds, all against servers in processes of their own on
this machine:

1. `harness run` of so many 3 kB prompts, as a ratio to a bare script that sends the same requests
   through the SDK on the same transport and only waits for the answers; the two take turns.
2. A fully cached rerun: seconds and peak memory.
3. `harness --help`.
4. From process start to the server's first request, for a run of one prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

GUIDELINE = (
    "A name of a person, as it stands in the text. Titles and offices are left out, nicknames "
    "and family names on their own are taken, and so are the names of characters in books. "
)
SCHEMA = '''from dataclasses import dataclass

from harness.prompting.schema import Entity


@dataclass
class Person(Entity):
    """{guideline}"""

    span: str  # Such as: "Amina Bello"


@dataclass
class Location(Entity):
    """{guideline}"""

    span: str  # Such as: "Kano"
'''
EXPERIMENT = """
[[datasets]]
name = "made"
path = "made.jsonl"
format = "jsonl"
languages = ["swa"]
labels = {{ PER = "Person", LOC = "Location" }}
schema = "made.py"
limit = {limit}

[[systems]]
name = "loopback"
backend = "openai"
model = "capitals"
strategy = "direct"
base_url = "{url}"
provider = "loopback"
concurrency = {in_flight}
"""
# What anybody would write who only wants the answers.
BARE = """
import asyncio, json, sys
import httpx2, openai

bodies = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
in_flight = int(sys.argv[3])


async def main():
    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    client = openai.AsyncOpenAI(
        api_key="none", base_url=sys.argv[2], max_retries=0,
        http_client=openai.DefaultAioHttpClient(limits=limits),
    )
    source = iter(bodies)
    answers = []

    async def worker():
        for body in source:
            reply = await client.chat.completions.create(**body)
            answers.append(reply.choices[0].message.content)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    await client.close()
    assert len(answers) == len(bodies)


asyncio.run(main())
"""


def make_data(folder: Path, count: int) -> None:
    """Made-up sentences with two entities each; the prompts come to about 3 kB."""
    draw = random.Random(0)
    syllables = ["ba", "ko", "mi", "na", "ri", "su", "te", "wo", "ya", "zu"]

    def name() -> str:
        return "".join(draw.choices(syllables, k=3)).capitalize()

    with (folder / "made.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            person, place = name(), name()
            text = f"{person} aliwasili {place} jana asubuhi, taarifa ya {number} inasema."
            entities = [{"label": "PER", "span": person}, {"label": "LOC", "span": place}]
            file.write(json.dumps({"text": text, "entities": entities}) + "\n")
    (folder / "made.py").write_text(SCHEMA.format(guideline=GUIDELINE * 8))


def write_experiment(folder: Path, url: str, limit: int, in_flight: int) -> Path:
    """The experiment file of one benchmark."""
    path = folder / f"bench{limit}.toml"
    path.write_text(EXPERIMENT.format(url=url, limit=limit, in_flight=in_flight))
    return path


def serve(latency: float) -> tuple[subprocess.Popen[str], str]:
    """A scripted server; returns its process and base URL."""
    command = [sys.executable, "-m", "harness", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--set", f"latency_s={latency}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


def requests_of(url: str) -> int:
    """How many requests a server has seen."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
        return int(json.load(reply)["requests"])


def timed(command: list[str], folder: Path, store: Path) -> tuple[float, float]:
    """Seconds of wall clock and of CPU that a command takes."""
    environment = {**os.environ, "HARNESS_CACHE": str(store)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def harness(*arguments: str | Path) -> list[str]:
    """A command line of the harness."""
    return [sys.executable, "-m", "harness", *map(str, arguments)]


def hosted(folder: Path, prompts: int, latency: float, in_flight: int, rounds: int) -> None:
    """Figure 1."""
    from harness import load_experiment
    from harness.running.planning import make_plan
    from harness.running.prepare import prepare
    from harness.store import Store

    process, url = serve(latency)
    try:
        file = write_experiment(folder, url, prompts, in_flight)
        experiment = load_experiment(file)
        os.chdir(folder)
        store = Store(folder / "no")
        (plan,) = make_plan(prepare(experiment, store), store)
        bodies = [plan.request(*place).body for place in plan.pending.values()]
        size = sum(len(json.dumps(body)) for body in bodies) / len(bodies)
        (folder / "bodies.jsonl").write_text("\n".join(map(json.dumps, bodies)) + "\n")
        (folder / "bare.py").write_text(BARE)
        bare = [sys.executable, "bare.py", "bodies.jsonl", url, str(in_flight)]
        results: dict[str, list[tuple[float, float]]] = {"bare": [], "harness": []}
        for number in range(rounds):
            store = folder / f"store{number}.sqlite"
            results["bare"].append(timed(bare, folder, store))
            results["harness"].append(timed(harness("run", file.name), folder, store))
    finally:
        process.terminate()
        process.wait()
    ideal = prompts * latency / in_flight
    print(f"{prompts} prompts of {size / 1000:.1f} kB at {latency * 1000:.0f} ms, {in_flight} in")
    print(f"flight (ideal {ideal:.2f} s), process start to end, {rounds} rounds in turn:")
    for name, values in results.items():
        wall = statistics.median(w for w, _ in values)
        cpu = statistics.median(c for _, c in values)
        print(f"  {name:<8} {wall:6.2f} s wall  {cpu:6.2f} s CPU  {wall / ideal:.2f} x ideal")
    ratios = [h[0] / b[0] for b, h in zip(results["bare"], results["harness"], strict=True)]
    print(f"  harness / bare, wall: median {statistics.median(ratios):.2f}")


def cached(folder: Path, examples: int, rounds: int) -> None:
    """Figure 2."""
    process, url = serve(0.0)
    store = folder / "cached.sqlite"
    try:
        file = write_experiment(folder, url, examples, 64)
        timed(harness("run", file.name), folder, store)
        before = requests_of(url)
        walls = [timed(harness("run", file.name), folder, store)[0] for _ in range(rounds)]
        assert requests_of(url) == before, "a cached rerun sent requests"
    finally:
        process.terminate()
        process.wait()
    # The peak of one child: a process of its own that runs nothing else.
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    environment = {**os.environ, "HARNESS_CACHE": str(store)}
    peak = subprocess.run(
        [sys.executable, "-c", script, *harness("run", file.name)],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    print(f"cached rerun of {examples} examples: {statistics.median(walls):.2f} s, {peak} MB peak")


def starting(folder: Path, rounds: int) -> None:
    """Figures 3 and 4."""
    walls = [timed(harness("--help"), folder, folder / "none")[0] for _ in range(rounds)]
    print(f"harness --help: {statistics.median(walls):.2f} s")
    firsts = []
    for number in range(rounds):
        # The one request is held back long enough to be seen while the run waits for it.
        process, url = serve(3.0)
        try:
            file = write_experiment(folder, url, 1, 1)
            environment = {**os.environ, "HARNESS_CACHE": str(folder / f"first{number}.sqlite")}
            start = time.perf_counter()
            run = subprocess.Popen(
                harness("run", file.name),
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while requests_of(url) == 0:
                time.sleep(0.01)
            firsts.append(time.perf_counter() - start)
            run.kill()
            run.wait()
        finally:
            process.terminate()
            process.wait()
    print(f"process start to first request: {statistics.median(firsts):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--cached", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, max(options.prompts, options.cached))
        hosted(folder, options.prompts, options.latency, options.in_flight, options.rounds)
        cached(folder, options.cached, options.rounds)
        starting(folder, options.rounds)


if __name__ == "__main__":
    main()
