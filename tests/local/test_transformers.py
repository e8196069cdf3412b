"""The transformers backend: what it writes is what the plain loop writes."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CheckpointError, ExperimentError
from harness.local.checkpoints import find_checkpoint, load_tokenizer
from harness.local.engine import OutOfMemory
from harness.local.transformers import TransformersBackend
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt, Reply
from harness.store import request_key
from tests.helpers import tiny_models

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("local_cache")

_TOKENS = 24
_VOCABULARY = 97
_END = 2
_SHAPE = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": _END,
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


def _plain(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, *, ends: Sequence[int] = (_END,)
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


def _generator(model: Any, ends: Sequence[int] = (_END,)) -> Any:
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
    expected = _plain(model, [shared + tail for tail in tails], 70)
    assert [row.tokens for row in written] == expected
    for row in written:
        assert row.finish_reason == ("length" if len(row.tokens) == 70 else "stop")


@pytest.mark.parametrize(("kind", "more"), _FAST.values(), ids=list(_FAST))
def test_other_architectures_go_the_same_way(kind: str, more: dict[str, Any]) -> None:
    model = _model(kind, **more)
    generator = _generator(model)
    assert generator.shares_prefix(1000)
    (shared,), tails = _tokens(30), _tokens(*_LENGTHS["ragged"])
    written = generator.generate(shared, tails, _TOKENS, _never)
    expected = _plain(model, [shared + tail for tail in tails], _TOKENS)
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
    written = generator.generate(shared, tails, _TOKENS, _never)
    prompts = [shared + tail for tail in tails]
    assert [row.tokens for row in written] == _plain(model, prompts, _TOKENS)
    # Rows are ended one by one here too.
    first = [row.tokens[0] for row in written]
    ended = generator.generate(shared, tails, _TOKENS, lambda row, token: row != 2)
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
        written = generator.generate(shared, tails, _TOKENS, _never)
        expected = _plain(model, [shared + tail for tail in tails], _TOKENS)
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
    expected = [row.tokens for row in generator.generate(shared, tails, _TOKENS, _never)]
    budgets = [3, 1, 24, 2, 9, 9, 1, 17, 4, 5]
    told: list[list[int]] = [[] for _ in tails]

    def done(row: int, token: int) -> bool:
        told[row].append(token)
        return len(told[row]) == budgets[row]

    written = generator.generate(shared, tails, _TOKENS, done)
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
        assert [row.tokens for row in written] == _plain(
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
    written = _generator(penalised).generate([], tails, _TOKENS, _never)
    assert [row.tokens for row in written] == _plain(model, tails, _TOKENS)


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


def _backend(folder: Path, **values: Any) -> TransformersBackend:
    settings = settings_for(
        "transformers", {"model": str(folder), "device": "cpu", "max_tokens": _TOKENS} | values
    )
    backend = open_backend(settings)
    assert isinstance(backend, TransformersBackend)
    return backend


def _request(backend: TransformersBackend, text: str) -> Any:
    return backend.request(Prompt("x", text, ("result",)))


def _replies(backend: TransformersBackend, texts: Sequence[str]) -> list[Reply]:
    async def main() -> dict[int, Answer | Failure]:
        requests = ((i, _request(backend, text)) for i, text in enumerate(texts))
        outcomes = {index: outcome async for index, outcome in backend.answers(requests)}
        await backend.aclose()
        return outcomes

    outcomes = asyncio.run(main())
    replies = []
    for index in range(len(texts)):
        answer = outcomes[index]
        assert isinstance(answer, Answer), answer
        replies.append(backend.reply(answer, cached=False))
    return replies


_TEXTS = tuple(
    tiny_models.prompt(sentence)
    for sentence in ("a", "Kano ni mji mkubwa wa Nigeria.", "Wole Soyinka " * 20, "", "abc " * 9)
)


@pytest.mark.parametrize("texts", [_TEXTS, ("", "x", *_TEXTS[:2]), _TEXTS[:1]])
@pytest.mark.parametrize("batch_tokens", [None, 1, 400])
def test_the_backend_writes_what_the_plain_loop_writes(
    tiny_llama: Path, texts: tuple[str, ...], batch_tokens: int | None
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="float32").eval()
    tokenizer = load_tokenizer(find_checkpoint(str(tiny_llama)))
    expected = _plain(model, [tokenizer.encode(text) for text in texts], _TOKENS)
    replies = _replies(_backend(tiny_llama, batch_tokens=batch_tokens), texts)
    assert [reply.text for reply in replies] == [tokenizer.decode(ids) for ids in expected]
    assert [reply.usage.completion_tokens for reply in replies] == [*map(len, expected)]


def test_both_local_backends_write_the_same(tiny_llama: Path) -> None:
    other = open_backend(
        settings_for(
            "ctranslate2", {"model": str(tiny_llama), "device": "cpu", "max_tokens": _TOKENS}
        )
    )
    ours = _replies(_backend(tiny_llama), _TEXTS)
    theirs = _replies(other, _TEXTS)  # type: ignore[arg-type]
    assert [(r.text, r.finish_reason) for r in ours] == [(r.text, r.finish_reason) for r in theirs]


def test_a_folder_with_only_a_binary_checkpoint_loads(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(tiny_llama, tmp_path / "bin"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    for path in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        path.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    expected = [reply.text for reply in _replies(_backend(tiny_llama), _TEXTS[:2])]
    assert [reply.text for reply in _replies(_backend(folder), _TEXTS[:2])] == expected


def test_bfloat16_runs_and_says_so(tiny_llama: Path) -> None:
    (reply,) = _replies(_backend(tiny_llama, dtype="bfloat16"), _TEXTS[:1])
    assert reply.served_by == f"{tiny_llama} transformers-5-bfloat16"


# peft asks transformers for an attribute by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_is_merged(tiny_llama: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="float32")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer = load_tokenizer(find_checkpoint(str(tiny_llama)))
    prompts = [tokenizer.encode(text) for text in _TEXTS]
    expected = _plain(adapted.merge_and_unload().eval(), prompts, _TOKENS)
    backend = _backend(tiny_llama, adapter=str(tmp_path / "adapter"))
    texts = [reply.text for reply in _replies(backend, _TEXTS)]
    assert texts == [tokenizer.decode(ids) for ids in expected]
    assert texts != [reply.text for reply in _replies(_backend(tiny_llama), _TEXTS)]


def test_the_request_holds_what_outputs_depend_on_and_nothing_else(
    tiny_llama: Path, tmp_path: Path
) -> None:
    def key(folder: Path = tiny_llama, **values: Any) -> str:
        return request_key(_request(_backend(folder, **values), "result ="))

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"1")
    first = key(adapter=str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"2")
    copy = Path(shutil.copytree(tiny_llama, tmp_path / "copy"))
    same = {key(), key(copy), key(batch_tokens=7), key(dtype="float32"), key(device="auto")}
    others = {key(dtype="bfloat16"), key(quantization="8bit"), key(quantization="4bit")}
    others |= {first, key(adapter=str(adapter)), key(max_tokens=7)}
    assert len(same) == 1
    assert len(same | others) == 7
    assert "cpu" not in json.dumps(_request(_backend(tiny_llama), "result =").table())


def test_a_request_imports_no_engine(tiny_llama: Path) -> None:
    code = (
        "import sys; from harness.models import open_backend, settings_for\n"
        "from harness.records import Prompt\n"
        f"b = open_backend(settings_for('transformers', {{'model': {str(tiny_llama)!r}}}))\n"
        "b.request(Prompt('1', 'text', ('result',)))\n"
        "b.check()\n"
        "heavy = {'torch', 'transformers', 'ctranslate2', 'tokenizers', 'peft'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_what_cannot_be_is_said(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="adapter and quantization do not go together"):
        _backend(tiny_llama, adapter="x", quantization="4bit")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json and adapter_model\.safe"):
        _backend(tiny_llama, adapter=str(tmp_path)).check()
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(CheckpointError, match="pip install bitsandbytes"):
            _backend(tiny_llama, quantization="4bit").check()


def test_a_folder_without_all_weights_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    """transformers would fill in random ones and say so in a log."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_llama, tmp_path / "part"))
    weights: dict[str, Any] = {}
    for path in folder.glob("*.safetensors"):
        weights |= load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights .* \(first: model\.layers\.1\.mlp\.up"):
        _replies(_backend(folder), _TEXTS[:1])


def test_an_architecture_that_is_not_known_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "strange"))
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "strange"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"cannot be loaded from .*strange"):
        _replies(_backend(folder), _TEXTS[:1])
