"""Tiny models under the ctranslate2 backend, and the plain loop that they are held against."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.local.backend import LocalBackend
from harness.local.checkpoints import find_checkpoint, load_tokenizer
from harness.local.ctranslate2 import CTranslate2Backend
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt, Reply
from tests.helpers import tiny_models

TOKENS = 24


SENTENCES = (
    "a",
    "Kano ni mji mkubwa wa Nigeria.",
    "Wole Soyinka " * 20,
    "Abeokuta, Lake Victoria, Kano",
    "",
    *("abc " * n for n in range(1, 9)),
)


def make_backend(folder: Path, **values: Any) -> CTranslate2Backend:
    settings = settings_for(
        "ctranslate2", {"model": str(folder), "device": "cpu", "max_tokens": TOKENS} | values
    )
    backend = open_backend(settings)
    assert isinstance(backend, CTranslate2Backend)
    return backend


def make_request(backend: LocalBackend, text: str, answers: Sequence[str] = ("result",)) -> Any:
    return backend.request(Prompt("x", text, tuple(answers)))


def ask_all(
    backend: LocalBackend, requests: Iterable[Mapping[str, Any]]
) -> dict[int, Answer | Failure]:
    async def main() -> dict[int, Answer | Failure]:
        outcomes: dict[int, Answer | Failure] = {}
        async for index, outcome in backend.answers(enumerate(requests)):
            assert index not in outcomes
            outcomes[index] = outcome
        await backend.aclose()
        return outcomes

    return asyncio.run(main())


def read_replies(backend: LocalBackend, texts: Sequence[str]) -> list[Reply]:
    outcomes = ask_all(backend, [make_request(backend, text) for text in texts])
    assert sorted(outcomes) == list(range(len(texts)))
    replies = []
    for index in range(len(texts)):
        answer = outcomes[index]
        assert isinstance(answer, Answer), answer
        replies.append(backend.reply(answer, cached=False))
    return replies


@cache
def plain_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()


@cache
def plain_reply(folder: Path, text: str, max_tokens: int = TOKENS) -> tuple[str, str]:
    """What a plain loop over transformers writes after one prompt, and why it ends."""
    import torch

    tokenizer = load_tokenizer(find_checkpoint(str(folder)))
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        whole = plain_model(folder).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=2,
        )
    written = whole[0, ids.shape[1] :].tolist()
    return tokenizer.decode(written), "stop" if 2 in written else "length"


PROMPTS = tuple(map(tiny_models.prompt, SENTENCES))
