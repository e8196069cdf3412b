"""The optimisers of a training, and their learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.training.recipe import Course

if TYPE_CHECKING:
    import torch


def make_optimizers(model: torch.nn.Module, course: Course) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices and AdamW for embeddings and vectors.

    Muon makes each update orthogonal (Jordan et al. 2024) and scales it to the size of an AdamW
    update, as in "Muon is scalable for LLM training" (Liu et al. 2025).
    """
    import torch

    matrices: list[Any] = []
    others: list[Any] = []
    for name, parameter in model.named_parameters():
        embedding = "embed" in name or "shared" in name
        inside = parameter.ndim == 2 and not embedding and course.optimizer == "muon"
        (matrices if inside else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            others,
            lr=course.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.0 if matrices else course.weight_decay,
            fused=True,
        )
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=course.matrix_learning_rate,
                weight_decay=course.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def set_rates(optimizers: Iterable[torch.optim.Optimizer], course: Course, done: float) -> None:
    """Set the learning rates for a training of which the share ``done`` is done.

    They rise linearly over the share ``course.warmup`` of the training. Then they fall along a
    cosine to the share ``course.final`` of their height.
    """
    if done < course.warmup:
        rate = min(1.0, (done + 1e-6) / course.warmup)
    else:
        falling = min(1.0, (done - course.warmup) / (1 - course.warmup))
        rate = course.final + (1 - course.final) * 0.5 * (1 + math.cos(math.pi * falling))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * rate
