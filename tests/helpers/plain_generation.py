"""Plain generation by transformers, which the fast way is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")


TOKENS = 24


END = 2


def plain_reply(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, *, ends: Sequence[int] = (END,)
) -> list[list[int]]:
    """The published loop: batches of 8 in file order, left padding, the whole prompt each time."""
    from transformers import GenerationConfig

    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    written = []
    for start in range(0, len(prompts), 8):
        batch = [list(prompt) for prompt in prompts[start : start + 8]]
        width = max(map(len, batch))
        pads = [width - len(prompt) for prompt in batch]
        whole = model.generate(
            torch.tensor([[0] * pad + prompt for pad, prompt in zip(pads, batch, strict=True)]),
            attention_mask=torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads]),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max_tokens,
                pad_token_id=0,
                eos_token_id=list(ends) or None,
            ),
        )
        for row in whole[:, width:].tolist():
            end = next((i for i, token in enumerate(row) if token in ends), len(row))
            written.append(row[:end])
    return written
