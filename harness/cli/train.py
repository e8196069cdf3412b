"""``harness train``: train a tiny model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or tiny-gollie-tf or tiny-nllb.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that the model is written to.")],
    seed: Annotated[int, typer.Option("--seed", help="What all chance follows from.")] = 1,
) -> None:
    """Train a model from a recipe and write it in both forms (needs the extra 'torch')."""
    from harness.training.trainers import train as train_model

    train_model(recipe, out, seed=seed, say=print)
