"""The optimizers of a training and their learning rates over its course."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch


class Plan(Protocol):
    """What a recipe's ``[training]`` says of them (:class:`harness.training.recipe.Training`)."""

    @property
    def optimizer(self) -> Literal["adamw", "muon"]: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def matrix_learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def final(self) -> float: ...


def make_optimizers(model: torch.nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices and AdamW for embeddings and vectors."""
    import torch

    matrices: list[Any] = []
    others: list[Any] = []
    for name, parameter in model.named_parameters():
        embedding = "embed" in name or "shared" in name
        inside = parameter.ndim == 2 and not embedding and plan.optimizer == "muon"
        (matrices if inside else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            others,
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.0 if matrices else plan.weight_decay,
            fused=True,
        )
    ]
    if matrices:
        from harness.training.muon import Muon

        optimizers.append(Muon(matrices, plan.matrix_learning_rate, weight_decay=plan.weight_decay))
    return optimizers


def set_rates(optimizers: Iterable[torch.optim.Optimizer], plan: Plan, done: float) -> None:
    """Set the learning rates for a training of which the share ``done`` is done.

    They rise over ``plan.warmup`` and fall to ``plan.final`` of their height along a cosine.
    """
    if done < plan.warmup:
        rate = min(1.0, (done + 1e-6) / plan.warmup)
    else:
        falling = min(1.0, (done - plan.warmup) / (1 - plan.warmup))
        rate = plan.final + (1 - plan.final) * 0.5 * (1 + math.cos(math.pi * falling))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * rate
