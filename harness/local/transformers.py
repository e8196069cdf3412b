"""The local engine for all causal language models: transformers and torch, on CPU or GPU.

Torch is imported when a model is loaded, not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness.errors import CheckpointError
from harness.local.backend import LocalBackend, LocalSettings
from harness.local.checkpoints import (
    Checkpoint,
    TextTokenizer,
    identity,
    pick_device,
    require_memory,
)
from harness.local.checkpoints.devices import exact_type, gpus
from harness.local.checkpoints.memory import available
from harness.local.engine import Engine, GeneratedTokens, StopCondition

_INSTALL = 'pip install "transfusion-harness[torch]"'
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.0, "4bit": 0.5}
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
# Larger batches are no faster on a CPU, and a crash loses a batch.
_MAX_CPU_BATCH_SIZE, _MAX_GPU_BATCH_SIZE = 32, 192
# Without prefix sharing the KV cache holds every prompt whole.
_MAX_UNSHARED_BATCH_SIZE = 8
# The part of the free memory that the estimate of a batch may take.
_FREE_MEMORY_SHARE = 0.6


class TransformersSettings(LocalSettings):
    """The keys of ``backend = "transformers"``: those of all local backends and three more.

    ``dtype``: ``auto`` is float32 on a CPU and bfloat16 on a GPU (float16 before Ampere).
    ``quantization`` (``8bit``, ``4bit``) takes bitsandbytes and changes outputs. ``adapter`` is
    the folder of a LoRA adapter (peft), merged into the weights when they are loaded.
    """

    backend: ClassVar[str] = "transformers"
    folders: ClassVar[tuple[str, ...]] = ("model", "adapter")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["8bit", "4bit"] | None = None
    adapter: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _refuse_adapter_with_quantization(self) -> TransformersSettings:
        if self.adapter is not None and self.quantization is not None:
            raise ValueError(
                "adapter and quantization do not go together: merging into rounded weights "
                "rounds again. Leave one of them out"
            )
        return self


class TransformersBackend(LocalBackend):
    """A causal model on transformers."""

    endpoint = "transformers"
    settings: TransformersSettings

    def engine_identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The major version, the type, and the quantization and adapter of the weights."""
        self._need("transformers")
        settings = self.settings
        kind: str = settings.dtype
        if kind == "auto":
            kind = exact_type(pick_device(settings.device))
        engine: dict[str, Any] = {
            "version": version("transformers").partition(".")[0],
            "type": kind,
        }
        if settings.quantization is not None:
            engine["quantization"] = settings.quantization
        if settings.adapter is not None:
            files = _adapter_files(settings.adapter)
            engine["adapter"] = identity.of_weights(Path(settings.adapter), files, {})
        return engine

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that the packages are installed and the model fits the machine."""
        self._need("torch")
        settings = self.settings
        if checkpoint.converted:
            raise CheckpointError(
                f"{checkpoint.folder}: a model converted to CTranslate2. Use backend = "
                f'"ctranslate2", or the folder it was converted from.'
            )
        kind = settings.quantization or self.engine_identity(checkpoint)["type"]
        device = pick_device(settings.device)
        if settings.quantization is not None:
            self._need("bitsandbytes", "accelerate", why=f'quantization = "{kind}"')
        if settings.adapter is not None:
            self._need("peft", why="adapter")
            _adapter_files(settings.adapter)
        if device != "cpu":
            self._need("accelerate", why="a GPU")
        shares = len(gpus()) if device == "cuda" else 1
        require_memory(
            checkpoint,
            _BYTES[kind] / shares,
            device,
            advice='Choices: dtype = "bfloat16" (half of float32; slow on most CPUs), backend = '
            '"ctranslate2" with compute_type = "int8", quantization = "4bit" on a GPU, or a model '
            'served elsewhere with backend = "openai".',
        )

    def open_engine(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Engine:
        """Load the model and try whether prefix sharing gives its own logits."""
        kind = self.engine_identity(checkpoint)["type"]
        model = _load(checkpoint, self.settings, kind)
        return TransformersEngine(model, tokenizer, self.settings.batch_tokens)

    @staticmethod
    def _need(*packages: str, why: str = 'backend = "transformers"') -> None:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            extra = "bitsandbytes" in missing
            raise CheckpointError(
                f"{why} needs {' and '.join(missing)}, which is not installed. Install what is "
                f"missing ({'pip install bitsandbytes' if extra else _INSTALL}), or use "
                f'backend = "ctranslate2".'
            )


class TransformersEngine:
    """A loaded model.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: knows the end-of-sequence tokens.
        batch_tokens: bounds a batch, prompts times tokens, in place of the memory.
    """

    def __init__(
        self, model: Any, tokenizer: TextTokenizer, batch_tokens: int | None = None
    ) -> None:
        from harness.local.generator import Generator

        self.generator = Generator(model, tokenizer.ends)
        self._batch_tokens = batch_tokens
        self._device = model.device
        config = model.config.get_text_config()
        size = model.dtype.itemsize
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self._kv_cache_bytes = 2 * config.num_hidden_layers * heads * head * size
        # The activations of one layer for a token: the widest products, and those around them.
        wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        self._prefill_bytes = size * (3 * wide + 12 * config.hidden_size)
        self._decoding_bytes = 8 * config.vocab_size

    def generate(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        """Decode a batch greedily, as :class:`~harness.local.engine.Engine` says."""
        return self.generator.generate(prefix, tails, max_tokens, stop_condition)

    def max_batch_size(self, prefix: int, tail: int, max_tokens: int) -> int:
        """How many prompts fit one batch, by an estimate of the memory that each takes."""
        if self._batch_tokens is not None:
            return self._batch_tokens // (tail + max_tokens)
        shares = self.generator.shares_prefix(prefix + tail + max_tokens)
        own = tail if shares else prefix + tail
        row = (
            (own + max_tokens) * self._kv_cache_bytes
            + own * self._prefill_bytes
            + self._decoding_bytes
        )
        most = _MAX_CPU_BATCH_SIZE if self._device.type == "cpu" else _MAX_GPU_BATCH_SIZE
        return min(
            most if shares else _MAX_UNSHARED_BATCH_SIZE,
            int(self._free() * _FREE_MEMORY_SHARE / row),
        )

    def _free(self) -> float:
        """The free bytes of memory, on the fullest of the devices that hold the model."""
        if self._device.type == "cpu":
            free = available()
            return float("inf") if free is None else free
        import torch

        return min(
            torch.cuda.mem_get_info(i)[0]
            + torch.cuda.memory_reserved(i)
            - torch.cuda.memory_allocated(i)
            for i in self.generator.cuda_devices
        )


def _adapter_files(folder: str) -> list[Path]:
    """The files of a LoRA adapter.

    Raises:
        CheckpointError: one is missing.
    """
    files = [Path(folder, name) for name in _ADAPTER]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise CheckpointError(
            f'adapter = "{folder}": not the folder of a LoRA adapter, {" and ".join(missing)} '
            f"not found in it. An adapter on the hub has to be downloaded first."
        )
    return files


def _load(checkpoint: Checkpoint, settings: TransformersSettings, kind: str) -> Any:
    """The model on its device, in evaluation mode, all weights from the folder.

    Raises:
        CheckpointError: transformers cannot load it, or the folder does not have all weights.
    """
    import torch
    import transformers
    from transformers import logging

    # Typed in part only.
    library: Any = transformers
    device = pick_device(settings.device)
    options: dict[str, Any] = {"dtype": getattr(torch, kind)}
    if device != "cpu":
        # `cuda` means all GPUs where there are several, `cuda:N` that one.
        several = device == "cuda" and len(gpus()) > 1
        options["device_map"] = "auto" if several else {"": device}
    if settings.quantization is not None:
        options["quantization_config"] = library.BitsAndBytesConfig(
            load_in_8bit=settings.quantization == "8bit",
            load_in_4bit=settings.quantization == "4bit",
            bnb_4bit_compute_dtype=getattr(torch, kind),
        )
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, report = library.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, local_files_only=True, output_loading_info=True, **options
        )
        if settings.adapter is not None:
            model = _merged(model, settings.adapter)
    except Exception as error:  # some hundred architectures raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"Model '{checkpoint.name}' cannot be loaded from {checkpoint.folder}: {lines[0]}"
        ) from None
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{checkpoint.folder}: {len(missing)} weights that the model needs are not in its "
            f"files (first: {missing[0]}). It is not a causal language model, or it is not whole."
        )
    return model.eval()


def _merged(model: Any, adapter: str) -> Any:
    """A model with a LoRA adapter in its weights."""
    from peft import PeftModel

    with warnings.catch_warnings():
        # peft 0.21 asks transformers for an attribute by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        merged: Any = PeftModel.from_pretrained(model, adapter)
    return merged.merge_and_unload()
