"""What each step of a cached rerun costs an example, in microseconds of this machine.

    python benchmarks/per_example.py [--examples 2000]

Every step is the program's own function over the shipped demonstration corpus, repeated; the
least of five rounds is printed, with its share of the sum.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle, islice

from harness import load_dataset, parse_reply
from harness.models import open_backend, settings_for
from harness.prompting.rendering import Renderer
from harness.prompting.schema import load_schema
from harness.prompting.templates import load_template
from harness.records import Answer
from harness.results.lines import stage_rows
from harness.scoring import count, examples_hash, resample
from harness.serving.script import Script, ScriptedSettings
from harness.store import request_key


def measure(work: Callable[[], object], number: int) -> float:
    """Microseconds an example: the least of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--examples", type=int, default=2000)
    number = parser.parse_args().examples
    corpus = [e for code in ("swa", "hau", "yor") for e in load_dataset("demo", code, english=True)]
    examples = list(islice(cycle(corpus), number))
    schema = load_schema("demo")
    renderer = Renderer(load_template("ner", "transfusion"), schema, "chat")
    prompts = [renderer.render(e, e.english) for e in examples]
    backend = open_backend(settings_for("openai", {"model": "gpt-4o"}))
    requests = [backend.request(p) for p in prompts]
    script = Script(ScriptedSettings())
    import json

    answers = [Answer(json.dumps(script.response(r.body)), 0.0, 0) for r in requests]
    replies = [backend.reply(a, cached=True) for a in answers]
    fields = schema.fields()
    read = [parse_reply(r.text, fields=fields) for r in replies]
    stage = [p.stages["final_result"] for p in read]
    rows = [count(e.text, e.gold, s, "gollie") for e, s in zip(examples, stage, strict=True)]
    steps: dict[str, Callable[[], object]] = {
        "render": lambda: [renderer.render(e, e.english) for e in examples],
        "request": lambda: [backend.request(p) for p in prompts],
        "key": lambda: [request_key(r) for r in requests],
        "reply": lambda: [backend.reply(a, cached=True) for a in answers],
        "parse": lambda: [parse_reply(r.text, fields=fields) for r in replies],
        "to JSON": lambda: [json.dumps(stage_rows(p)) for p in read],
        "count, gollie": lambda: [
            count(e.text, e.gold, s, "gollie") for e, s in zip(examples, stage, strict=True)
        ],
        "count, strict": lambda: [
            count(e.text, e.gold, s, "strict") for e, s in zip(examples, stage, strict=True)
        ],
        "hash": lambda: examples_hash(examples),
        "bootstrap": lambda: resample({"": rows}),
    }
    costs = {name: measure(work, number) for name, work in steps.items()}
    total = sum(costs.values())
    for name, cost in costs.items():
        print(f"{name:<16}{cost:8.1f} us {cost / total:7.1%}")
    print(f"{'sum':<16}{total:8.1f} us")


if __name__ == "__main__":
    main()
