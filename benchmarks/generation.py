"""How fast local models write, against the plain loop, and whether they write the same.

    python benchmarks/generation.py [--prompts 32] [--ways plain,transformers,ctranslate2]
    python benchmarks/generation.py --device cuda --shape 7b --prompts 200 --plain-prompts 32

The model has the real architecture and random weights: `100m` is a Llama of 110 million, `7b` has
GoLLIE's shape. Prompts share their first tokens and differ in their tails, as those of a corpus
do; each gets the same number of new tokens. The plain loop is the published one: batches of 8 in
file order, left padding, the whole prompt each time, `generate(do_sample=False)`. Each way runs in
a process of its own. Prints seconds of CPU (on a GPU, of wall clock), tokens written per second,
the ratio to the plain loop, peak memory, and how many prompts got the plain loop's answer. On a
GPU the bound is what the memory's bandwidth allows if each step reads all weights once.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.local.checkpoints import TextTokenizer, converted_folder, find_checkpoint
from harness.local.checkpoints.devices import exact_type
from harness.local.engine import Engine

WAYS = ("plain", "transformers", "ctranslate2")
SHAPES: dict[str, dict[str, Any]] = {
    "100m": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
             "num_attention_heads": 12, "tie_word_embeddings": True},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "tie_word_embeddings": False},
}  # fmt: skip
VOCABULARY = 32_016

Answers = list[list[int]]


def prompts(arguments: argparse.Namespace) -> tuple[list[int], list[list[int]]]:
    """The shared prefix and the tails, in file order: the same for every way."""
    draw = random.Random(0)
    shortest, longest = arguments.tail

    def tokens(count: int) -> list[int]:
        return [draw.randrange(3, 32_000) for _ in range(count)]

    prefix = tokens(arguments.prefix)
    return prefix, [tokens(draw.randint(shortest, longest)) for _ in range(arguments.prompts)]


def build(folder: Path, arguments: argparse.Namespace) -> None:
    """A checkpoint in the transformers layout: random weights, and a tokenizer of bare words."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=16_384, rope_theta=1e6,
        **SHAPES[arguments.shape],
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(arguments.device):
        model = LlamaForCausalLM(config).to(getattr(torch, exact_type(arguments.device)))
    model.save_pretrained(folder)
    words = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(3, VOCABULARY))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.add_special_tokens(["<unk>", "<s>", "</s>"])
    raw.save(str(folder / "tokenizer.json"))
    flags = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    flags["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(flags))


def endless(folder: Path) -> TextTokenizer:
    """The folder's tokenizer, without end tokens: every answer has the same length."""
    from tokenizers import Tokenizer

    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return TextTokenizer(raw, bos=1, ends=(), special_tokens={}, template=None)


def plain(folder: Path, arguments: argparse.Namespace) -> Callable[[], Answers]:
    """The published loop."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    kind = getattr(torch, exact_type(arguments.device))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).to(arguments.device).eval()
    prefix, tails = prompts(arguments)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=arguments.new_tokens, pad_token_id=0, eos_token_id=None
    )

    def work() -> Answers:
        written: Answers = []
        asked = [prefix + tail for tail in tails[: arguments.plain_prompts]]
        for start in range(0, len(asked), 8):
            batch = asked[start : start + 8]
            width = max(map(len, batch))
            pads = [width - len(prompt) for prompt in batch]
            ids = [[0] * pad + prompt for pad, prompt in zip(pads, batch, strict=True)]
            mask = [[0] * pad + [1] * (width - pad) for pad in pads]
            with torch.inference_mode():
                whole = model.generate(
                    torch.tensor(ids, device=arguments.device),
                    attention_mask=torch.tensor(mask, device=arguments.device),
                    generation_config=config,
                )
            written += whole[:, width:].tolist()
        return written

    return work


def engine(way: str, folder: Path, arguments: argparse.Namespace) -> Engine:
    """The backend's own engine, loaded by its own code."""
    from harness.local.allocation import keep_memory
    from harness.models import open_backend, settings_for

    keep_memory()  # as a local backend does before its thread begins
    checkpoint = find_checkpoint(str(folder))
    if way == "ctranslate2":
        converted_folder(checkpoint, kind="causal")
    settings = settings_for(way, {"model": str(folder), "device": arguments.device})
    backend: Any = open_backend(settings)
    opened: Engine = backend.open_engine(checkpoint, endless(folder))
    return opened


def ours(way: str, folder: Path, arguments: argparse.Namespace) -> Callable[[], Answers]:
    """Prompts as a local backend asks them: sorted, the prefix apart, in the engine's batches."""
    loaded = engine(way, folder, arguments)
    prefix, tails = prompts(arguments)
    order = sorted(range(len(tails)), key=lambda i: -len(tails[i]))

    def work() -> Answers:
        written: dict[int, list[int]] = {}
        left = order
        while left:
            longest = len(tails[left[0]])
            rows = arguments.rows or loaded.max_batch_size(
                len(prefix), longest, arguments.new_tokens
            )
            batch, left = left[: max(1, rows)], left[max(1, rows) :]
            found = loaded.generate(
                prefix, [tails[i] for i in batch], arguments.new_tokens, lambda row, token: False
            )
            written |= {i: row.tokens for i, row in zip(batch, found, strict=True)}
        return [written[i] for i in range(len(tails))]

    return work


def measure(way: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one way in this process; a small batch before it warms up what there is."""
    gpu = arguments.device != "cpu"
    if not gpu and arguments.threads and way != "ctranslate2":
        import torch

        torch.set_num_threads(arguments.threads)
    work = plain(folder, arguments) if way == "plain" else ours(way, folder, arguments)
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        work()
    seconds = []
    for _ in range(arguments.repeats):
        started = clock()
        written = work()
        seconds.append(clock() - started)
    peak, name = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "CPU"
    if gpu:
        import torch

        name = torch.cuda.get_device_name(arguments.device)
        peak = torch.cuda.max_memory_allocated(arguments.device)
    return {"seconds": min(seconds), "peak": peak, "device": name, "answers": written}


def bandwidth(device: str) -> float:
    """Bytes per second that a GPU reads from its memory: the best of some sums over 2 GiB."""
    import torch

    data = torch.ones(2**29, device=device)
    best = float("inf")
    for _ in range(8):
        torch.cuda.synchronize()
        started = time.perf_counter()
        data.sum().item()
        best = min(best, time.perf_counter() - started)
    return data.nbytes / best


def child(way: str, folder: Path) -> dict[str, Any]:
    """One way in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder), "--way", way]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def table(arguments: argparse.Namespace, results: dict[str, dict[str, Any]]) -> None:
    """Print what came out, each way against the plain loop."""
    unit = "CPU s" if arguments.device == "cpu" else "s"
    device = next(iter(results.values()))["device"]
    print(
        f"{arguments.shape} Llama, {exact_type(arguments.device)}, {device}: {arguments.prompts} "
        f"prompts, prefix {arguments.prefix}, tails {arguments.tail[0]}-{arguments.tail[1]}, "
        f"{arguments.new_tokens} new tokens"
    )
    print(f"{'way':14}{unit:>9}{'tokens/s':>11}{'ratio':>8}{'peak GiB':>10}{'the same':>13}")
    base = results.get("plain")
    for way, result in results.items():
        answers = result["answers"]
        rate = sum(map(len, answers)) / result["seconds"]
        ratio = same = "-"
        if base:
            reference = base["answers"]
            ratio = f"{rate / (sum(map(len, reference)) / base['seconds']):.2f}"
            pairs = list(zip(reference, answers, strict=False))
            same = f"{sum(a == b for a, b in pairs)} of {len(pairs)}"
        print(
            f"{way:14}{result['seconds']:9.2f}{rate:11.1f}{ratio:>8}"
            f"{result['peak'] / 2**30:10.2f}{same:>13}"
        )


def bound(arguments: argparse.Namespace, folder: Path) -> None:
    """Print how fast the memory's bandwidth lets one batch be written, by its rows."""
    read = bandwidth(arguments.device)
    weights = find_checkpoint(str(folder)).weight_bytes
    rows = arguments.rows or arguments.prompts
    print(
        f"bound: {read / 1e12:.2f} TB/s over {weights / 2**30:.1f} GiB of weights a step: "
        f"{read / weights * rows:,.0f} tokens/s at {rows} rows a batch, reading prompts apart"
    )


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--plain-prompts", type=int, help="only so many by the plain loop")
    parser.add_argument("--prefix", type=int, default=1000)
    parser.add_argument("--tail", type=int, nargs=2, default=(50, 130))
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, help="rows a batch; default: as the engine says")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU; 0: all")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.folder, arguments)))
        return
    ways = arguments.ways.split(",")
    if wrong := set(ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(wrong))}. Choices: {', '.join(WAYS)}")
    with TemporaryDirectory() as folder:
        build(Path(folder), arguments)
        table(arguments, {way: child(way, Path(folder)) for way in ways})
        if arguments.device != "cpu":
            bound(arguments, Path(folder))


if __name__ == "__main__":
    main()
