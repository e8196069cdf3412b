"""NLLB's engine against the published loop: CPU seconds on random weights of real architecture.

    python benchmarks/translation.py [--sentences 48] [--threads 1] [--checkpoint DIR]

The published loop is transformers' ``generate`` over batches of 4 in file order, 5 beams; its
greedy form is measured too. The model is an M2M100 of about 60 million random weights. Sentences
have 7 to 82 tokens, and as random weights never end one, every translation has as many as the
limit allows, which is set to that of the longest sentence. Every way runs in this process; ratios
are of CPU seconds, outputs are held against the published loop's of the same search. With
``--checkpoint`` a real NLLB folder is measured instead.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORDS = (  # noqa: SIM905 - a list of so many words is hard to read
    "the a of in to and market city river president company school opened visited says today "
    "Amina Kano Lagos Nairobi Okafor Mwangi Kigali Zulu leo jana alisema mjini shule kampuni mto"
).split()
# NLLB-600M in small: half its width, and as there two fifths of the weights are embeddings.
ROWS = 45_000
SHAPE = {
    "d_model": 512, "encoder_layers": 5, "decoder_layers": 5,
    "encoder_attention_heads": 8, "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048,
}  # fmt: skip


def sentences(count: int, lengths: Callable[[str], int], seed: int = 0) -> list[str]:
    """Sentences of 7 to 82 tokens, their lengths spread evenly, in random order."""
    draw = random.Random(seed)
    made = []
    for index in range(count):
        wanted = 7 + round(75 * index / max(1, count - 1))
        text = draw.choice(WORDS)
        while lengths(text) + 2 < wanted:
            text += " " + draw.choice(WORDS)
        made.append(text)
    draw.shuffle(made)
    return made


def build(folder: Path) -> None:
    """A random M2M100 in the hub's layout: tokenizer.json, config.json, model.safetensors."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    from harness.translation.codes import PUBLISHED

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 2, trainer)
    pieces = tokenizer.get_vocab_size()
    # As many rows as the shape is meant for; the words above make few pieces.
    tokenizer.add_tokens([f"piece{i}" for i in range(ROWS - pieces)])
    tokenizer.add_special_tokens([*PUBLISHED, "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "NllbTokenizer", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
        "additional_special_tokens": list(PUBLISHED),
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=tokenizer.get_vocab_size(), decoder_start_token_id=2, scale_embedding=True,
        max_position_embeddings=1024, init_std=0.05, **SHAPE,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(config).eval()
    with torch.no_grad():  # tokens that a trained model never writes
        for place in (0, 1, 2, 3, *range(ROWS, tokenizer.get_vocab_size())):
            model.model.shared.weight[place] *= 0.01
    model.save_pretrained(folder)
    print(f"model: {model.num_parameters() / 1e6:.1f} M weights, {config.vocab_size} tokens")


def published(
    folder: Path, texts: Sequence[str], length: int, beam: int
) -> Callable[[], list[str]]:
    """The published loop, ready to run."""
    import torch
    from transformers import M2M100ForConditionalGeneration, NllbTokenizer

    tokenizer = NllbTokenizer.from_pretrained(folder, src_lang="swh_Latn")
    model = M2M100ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def work() -> list[str]:
        made: list[str] = []
        for start in range(0, len(texts), 4):
            batch = tokenizer(
                list(texts[start : start + 4]),
                return_tensors="pt", padding=True, truncation=True, max_length=length,
            )  # fmt: skip
            english = model.generate(
                **batch, num_beams=beam, max_length=length, do_sample=False,
                forced_bos_token_id=tokenizer.convert_tokens_to_ids("eng_Latn"),
            )  # fmt: skip
            made += tokenizer.batch_decode(english, skip_special_tokens=True)
        return [text.strip() for text in made]

    return work


def engine(folder: Path, texts: Sequence[str], length: int, kind: str, beam: int) -> Any:
    """The program's own engine, ready to run."""
    from harness.local.checkpoints import find_checkpoint
    from harness.translation.nllb_engine import NllbEngine
    from harness.translation.settings import NllbEntry

    entry = NllbEntry(model=str(folder), beam=beam, max_length=length, device="cpu")
    loaded = NllbEngine(find_checkpoint(str(folder)), entry, kind, ["swh_Latn"])

    def work() -> list[str]:
        found = dict(loaded.translate([("swh_Latn", text) for text in texts]))
        return [found[index].text for index in range(len(texts))]

    return work


def measure(work: Callable[[], list[str]]) -> tuple[float, float, list[str]]:
    """CPU seconds of the whole process, seconds on the clock, and the result."""
    cpu, clock = time.process_time(), time.perf_counter()
    made = work()
    return time.process_time() - cpu, time.perf_counter() - clock, made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--length", type=int, default=84, help="max_length, in and out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="an NLLB folder in the hub's layout")
    options = parser.parse_args()
    # Read when the engines are imported.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from tokenizers import Tokenizer

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HARNESS_CACHE"] = str(Path(scratch) / "cache" / "answers.sqlite")
        folder = options.checkpoint
        if folder is None:
            folder = Path(scratch) / "random-nllb"
            folder.mkdir()
            build(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = sentences(
            options.sentences, lambda t: len(tokenizer.encode(t, add_special_tokens=False).ids)
        )
        print(f"{'way':<34}{'CPU s':>8}{'clock s':>9}{'to b5':>7}{'same b':>8}  same output")
        base: dict[int, float] = {}
        wanted: dict[int, list[str]] = {}
        for beam in (5, 1):
            base[beam], clock, wanted[beam] = measure(
                published(folder, texts, options.length, beam)
            )
            line(f"transformers, 4 in file order, b{beam}", base, beam, base[beam], clock, "-")
        for kind, beam in (("float32", 5), ("int8", 5), ("float32", 1), ("int8", 1)):
            cpu, clock, made = measure(engine(folder, texts, options.length, kind, beam))
            same = sum(a == b for a, b in zip(made, wanted[beam], strict=True))
            line(f"harness, {kind}, b{beam}", base, beam, cpu, clock, f"{same} of {len(texts)}")


def line(name: str, base: dict[int, float], beam: int, cpu: float, clock: float, same: str) -> None:
    ratios = f"{base[5] / cpu:7.2f}{base[beam] / cpu:8.2f}"
    print(f"{name:<34}{cpu:8.1f}{clock:9.1f}{ratios}  {same}", flush=True)


if __name__ == "__main__":
    main()
