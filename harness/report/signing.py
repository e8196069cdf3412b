"""The signature of a printed score, from what the manifest says was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from harness.report.comparison import MACRO
from harness.results.manifest import SystemEntry
from harness.results.scored import Results
from harness.scoring import Resampled, signature


def sign(
    result: Results,
    own: str,
    dataset: str,
    languages: Sequence[str],
    n: int,
    rule: str,
    resampled: Resampled,
) -> str:
    """The signature of a row; a mean over languages is of all their examples.

    ``resampled`` is what the row's interval was taken from.
    """
    entry = result.manifest.system(own)
    prompts = entry.prompts[dataset]
    blocks = [
        block
        for block in result.manifest.blocks
        if block.dataset == dataset and block.language in languages
    ]
    return signature(
        rule,
        dataset=dataset,
        language=languages[0] if len(languages) == 1 else MACRO,
        split=blocks[0].split,
        n=n,
        data_sha256=_one_hash([block.examples_sha256 for block in blocks]),
        schema_sha256=prompts.schema_sha256,
        template=entry.strategy,
        template_sha256=prompts.template_sha256,
        wrap=entry.wrap,
        backend="+".join(filter(None, (entry.backend, entry.engine))),
        translation=_english(entry, dataset, languages),
        format=None if entry.format == "python" else entry.format,
        shots=_shots(entry, dataset, languages),
        repeats=entry.repeats if entry.repeats > 1 else None,
        vote="majority" if entry.vote else None,
        resamples=resampled.times,
        seed=resampled.seed,
    )


def _english(entry: SystemEntry, dataset: str, languages: Sequence[str]) -> str:
    """The source of a system's English, and the hash of the English itself."""
    if entry.translation is None:
        return "none"
    hashes = [entry.english_sha256.get(f"{dataset}/{language}", "") for language in languages]
    return f"{entry.translation}#{_one_hash(hashes)[:8]}"


def _shots(entry: SystemEntry, dataset: str, languages: Sequence[str]) -> str | None:
    """The examples in a system's prompts: how many, from where, how chosen, and their hash."""
    shots = entry.shots
    if shots is None:
        return None
    # Only a random choice has a seed.
    chosen = f"{shots.by}/{shots.seed}" if shots.by == "random" else shots.by
    hashes = [shots.sha256.get(f"{dataset}/{language}", "") for language in languages]
    return f"{shots.count}@{shots.split}/{chosen}#{_one_hash(hashes)[:8]}"


def _one_hash(hashes: Sequence[str]) -> str:
    """One hash for several languages; a single one stands for itself."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
