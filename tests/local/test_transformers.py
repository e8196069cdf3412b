"""The transformers backend: what it writes is what the plain loop writes."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest

from harness.local.engine import OutOfMemory
from tests.helpers.plain_generation import END, TOKENS, plain_reply

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("local_cache")

_VOCABULARY = 97
_SHAPE = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": END,
    "bos_token_id": 1,
    "pad_token_id": 0,
}


def _model(kind: str, seed: int = 0, **more: Any) -> Any:
    """A tiny model of some architecture, with weights that make its answers differ."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**(_SHAPE | more))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.25)
    return model


def _generator(model: Any, ends: Sequence[int] = (END,)) -> Any:
    from harness.local.generator import Generator

    return Generator(model, ends)


def _tokens(*lengths: int, seed: int = 1) -> list[list[int]]:
    state = torch.Generator().manual_seed(seed)
    return [
        torch.randint(3, _VOCABULARY, (length,), generator=state).tolist() for length in lengths
    ]


def _never(row: int, token: int) -> bool:
    return False


_LENGTHS = {
    "ragged": (7, 3, 20, 1, 33, 9, 15, 2, 5, 11),
    "one": (5,),
    "one long tail": (3, 4, 3, 150, 2),
    "single tokens": (1, 1, 1),
    "sorted": (30, 21, 21, 12, 6),
}
_ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
_FAST = {
    "Llama": ("Llama", _ROTARY),
    "no shared heads": ("Llama", {"num_key_value_heads": 4}),
    "one shared head, tied": ("Llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "Qwen2": ("Qwen2", {}),
    "Qwen3": ("Qwen3", {"head_dim": 24}),
    "Mistral": ("Mistral", {"sliding_window": None}),
    "Gemma": ("Gemma", {"head_dim": 32}),
    "Cohere": ("Cohere", {}),  # scales its logits
    "GPT-NeoX": ("GPTNeoX", {}),  # layers side by side
    "Mixtral": ("Mixtral", {"sliding_window": None, "num_local_experts": 4}),
}


@pytest.mark.parametrize("prefix", [0, 30])
@pytest.mark.parametrize("lengths", _LENGTHS.values(), ids=list(_LENGTHS))
def test_llama_writes_what_the_plain_loop_writes(lengths: tuple[int, ...], prefix: int) -> None:
    # Long enough that the room for what is written has to grow, and that some rows end early.
    model = _model("Llama", **_ROTARY)
    (shared,), tails = _tokens(prefix, seed=3), _tokens(*lengths)
    generator = _generator(model)
    written = generator.generate(shared, tails, 70, _never)
    assert generator.shares_prefix(1000)
    expected = plain_reply(model, [shared + tail for tail in tails], 70)
    assert [row.tokens for row in written] == expected
    for row in written:
        assert row.finish_reason == ("length" if len(row.tokens) == 70 else "stop")


@pytest.mark.parametrize(("kind", "more"), _FAST.values(), ids=list(_FAST))
def test_other_architectures_go_the_same_way(kind: str, more: dict[str, Any]) -> None:
    model = _model(kind, **more)
    generator = _generator(model)
    assert generator.shares_prefix(1000)
    (shared,), tails = _tokens(30), _tokens(*_LENGTHS["ragged"])
    written = generator.generate(shared, tails, TOKENS, _never)
    expected = plain_reply(model, [shared + tail for tail in tails], TOKENS)
    assert [row.tokens for row in written] == expected


_DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
_SLOW = {
    "soft-capped attention": ("Gemma2", {"head_dim": 16}),
    "linear biases": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "attention sinks": ("GptOss", {"head_dim": 16, "num_local_experts": 4}),
    "frequencies of the batch": ("Llama", {"rope_parameters": _DYNAMIC}),
}


@pytest.mark.parametrize(("kind", "more"), _SLOW.values(), ids=list(_SLOW))
def test_what_the_fast_way_does_not_hold_for_goes_the_plain_way(
    kind: str, more: dict[str, Any]
) -> None:
    model = _model(kind, **more)
    generator = _generator(model)
    assert not generator.shares_prefix(1)
    (shared,), tails = _tokens(30), _tokens(7, 3, 20, 1)
    written = generator.generate(shared, tails, TOKENS, _never)
    prompts = [shared + tail for tail in tails]
    assert [row.tokens for row in written] == plain_reply(model, prompts, TOKENS)
    # Rows are ended one by one here too.
    first = [row.tokens[0] for row in written]
    ended = generator.generate(shared, tails, TOKENS, lambda row, token: row != 2)
    assert [row.tokens for row in ended] == [
        written[2].tokens if row == 2 else [token] for row, token in enumerate(first)
    ]


def test_a_sliding_window_is_heeded() -> None:
    """Within the window the fast way holds; beyond it the plain loop takes over."""
    model = _model("Mistral", sliding_window=48)
    generator = _generator(model)
    assert generator.shares_prefix(48)
    assert not generator.shares_prefix(49)
    for size in (10, 60):
        (shared,), tails = _tokens(size), _tokens(7, 3, 9)
        written = generator.generate(shared, tails, TOKENS, _never)
        expected = plain_reply(model, [shared + tail for tail in tails], TOKENS)
        assert [row.tokens for row in written] == expected


def test_a_mask_that_passes_the_fast_way_by_is_found_out() -> None:
    """A model with a mask of its own, which its attention is never told of."""
    from transformers import LlamaForCausalLM

    class Forgetful(LlamaForCausalLM):
        def forward(self, input_ids: Any, **more: Any) -> Any:
            if more.get("shared_prefix") is None:
                width = input_ids.shape[1]
                ones = torch.ones(width, width).tril()
                more["attention_mask"] = (ones.triu(-3) - 1)[None, None] * 1e9
            return super().forward(input_ids, **more)

    assert _generator(_model("Llama")).shares_prefix(1)
    model = _model("Llama")
    model.__class__ = Forgetful
    assert not _generator(model).shares_prefix(1)


def test_rows_end_by_themselves_and_the_others_go_on() -> None:
    model = _model("Llama", **_ROTARY)
    (shared,), tails = _tokens(30), _tokens(*_LENGTHS["ragged"])
    generator = _generator(model)
    expected = [row.tokens for row in generator.generate(shared, tails, TOKENS, _never)]
    budgets = [3, 1, 24, 2, 9, 9, 1, 17, 4, 5]
    told: list[list[int]] = [[] for _ in tails]

    def done(row: int, token: int) -> bool:
        told[row].append(token)
        return len(told[row]) == budgets[row]

    written = generator.generate(shared, tails, TOKENS, done)
    cut = [tokens[:budget] for tokens, budget in zip(expected, budgets, strict=True)]
    assert [row.tokens for row in written] == cut == told
    assert all(row.finish_reason == "stop" for row in written)


def test_end_tokens_are_neither_written_nor_told() -> None:
    (shared,), tails = _tokens(30), _tokens(*_LENGTHS["ragged"])
    free = [
        row.tokens for row in _generator(_model("Llama"), ()).generate(shared, tails, 9, _never)
    ]
    ends = {free[0][2], free[3][5]}
    told: list[int] = []
    written = _generator(_model("Llama"), sorted(ends)).generate(
        shared, tails, 9, lambda row, token: told.append(token) is not None
    )
    assert not ends & set(told)
    for row, tokens in zip(written, free, strict=True):
        end = next((i for i, token in enumerate(tokens) if token in ends), None)
        assert row.tokens == tokens[:end]
        assert row.finish_reason == ("length" if end is None else "stop")


def test_a_prefix_is_read_once_and_another_one_anew() -> None:
    model = _model("Llama", **_ROTARY)
    generator = _generator(model)
    read: list[int] = []
    model.register_forward_pre_hook(
        lambda module, given, named: read.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    (one,), (other,), tails = _tokens(40), _tokens(41, seed=2), _tokens(3, 4)
    for prefix in (one, one, other, [], one):
        written = generator.generate(prefix, tails, 2, _never)
        long = [length for length in read if length > 8]
        assert [row.tokens for row in written] == plain_reply(
            model, [prefix + tail for tail in tails], 2
        )
        read[:] = long
    # The plain loop reads prompts of 44 or 45 tokens; of 40 and 41, only prefixes were read.
    assert [length for length in read if length in (40, 41)] == [40, 41, 40]


@pytest.mark.parametrize("kind", ["Llama", "Bloom"])
def test_penalties_of_a_folder_play_no_part(kind: str) -> None:
    model, penalised = _model(kind, n_head=4), _model(kind, n_head=4)
    penalised.generation_config.repetition_penalty = 1.7
    penalised.generation_config.do_sample = True
    tails = _tokens(9, 4)
    written = _generator(penalised).generate([], tails, TOKENS, _never)
    assert [row.tokens for row in written] == plain_reply(model, tails, TOKENS)


def test_memory_that_runs_out_is_said_and_freed() -> None:
    model = _model("Llama")
    generator = _generator(model)
    (shared,), tails = _tokens(20), _tokens(4, 4)
    expected = [row.tokens for row in generator.generate(shared, tails, 5, _never)]

    class Large:
        def __call__(self, *_: Any) -> None:
            torch.empty(2**60)

    hook = model.model.layers[1].register_forward_pre_hook(Large())
    with pytest.raises(OutOfMemory) as caught:
        generator.generate(shared, tails, 5, _never)
    hook.remove()
    # Nothing keeps the tensors of the batch alive: no frame, no exception behind this one.
    assert caught.value.__context__ is None
    gc.collect()
    from harness.local.shared_prefix import BatchCache

    assert not any(type(kept) is BatchCache for kept in gc.get_objects())
    assert [row.tokens for row in generator.generate(shared, tails, 5, _never)] == expected


def test_an_error_of_another_kind_is_not_taken_for_memory() -> None:
    model = _model("Llama")
    generator = _generator(model)

    def fail(*_: Any) -> None:
        raise RuntimeError("size mismatch")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="size mismatch"):
        generator.generate([], _tokens(4), 5, _never)


# The backend: folders, settings, messages.
