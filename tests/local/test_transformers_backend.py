"""The transformers backend: folders, types, adapters, and what it refuses."""

from __future__ import annotations

import asyncio
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
from harness.local.transformers import TransformersBackend
from harness.models import open_backend, settings_for
from harness.records import Answer, Failure, Prompt, Reply
from harness.store import request_key
from tests.helpers import tiny_models
from tests.helpers.plain_generation import TOKENS, plain_reply

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("local_cache")


def _backend(folder: Path, **values: Any) -> TransformersBackend:
    settings = settings_for(
        "transformers", {"model": str(folder), "device": "cpu", "max_tokens": TOKENS} | values
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
    expected = plain_reply(model, [tokenizer.encode(text) for text in texts], TOKENS)
    replies = _replies(_backend(tiny_llama, batch_tokens=batch_tokens), texts)
    assert [reply.text for reply in replies] == [tokenizer.decode(ids) for ids in expected]
    assert [reply.usage.completion_tokens for reply in replies] == [*map(len, expected)]


def test_both_local_backends_write_the_same(tiny_llama: Path) -> None:
    other = open_backend(
        settings_for(
            "ctranslate2", {"model": str(tiny_llama), "device": "cpu", "max_tokens": TOKENS}
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
    expected = plain_reply(adapted.merge_and_unload().eval(), prompts, TOKENS)
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
