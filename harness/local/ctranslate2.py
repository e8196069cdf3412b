"""The light local engine: CTranslate2, which needs no torch at run time.

This relies on three facts about ``generate_batch`` (https://opennmt.net/CTranslate2, 4.8), which
tests hold: ``max_length`` counts answer tokens; the callback gets answer tokens only, the
end-of-sequence token among them; the model keeps the KV cache of every static prompt until it is
unloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from harness.errors import CheckpointError
from harness.local.backend import LocalBackend, LocalSettings
from harness.local.checkpoints import Checkpoint, TextTokenizer, exact_type, pick_device
from harness.local.checkpoints.devices import ComputeType, gpu_of
from harness.local.checkpoints.memory import weights
from harness.local.checkpoints.vocabulary import read_vocabulary
from harness.local.ctranslate2_models import CTranslate2Model, is_out_of_memory
from harness.local.engine import Engine, GeneratedTokens, OutOfMemory, StopCondition

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Larger batches are slower on CPUs: each prompt has a copy of the prefix's KV cache, which is read
# at every decoding step.
_CPU_BATCH_SIZE = 8
_MAX_GPU_BATCH_SIZE = 64
# The part of a GPU's memory beside the weights that the KV cache of a batch may take.
_KV_CACHE_SHARE = 0.5
_MAX_STATIC_PROMPTS = 4


class CTranslate2Settings(LocalSettings):
    """The keys of ``backend = "ctranslate2"``: those of all local backends and one more.

    ``compute_type``: ``auto`` is exact, float32 on a CPU and bfloat16 on a GPU (float16 before
    Ampere). The int8 types are smaller and faster and change outputs.
    """

    backend: ClassVar[str] = "ctranslate2"

    compute_type: ComputeType = "auto"


class CTranslate2Backend(LocalBackend):
    """A causal model on CTranslate2. A checkpoint of transformers' layout is converted once."""

    endpoint = "ctranslate2"
    settings: CTranslate2Settings

    def engine_identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The major version and the type that the engine computes in."""
        compute_type: str = self.settings.compute_type
        try:
            major = version("ctranslate2").partition(".")[0]
        except PackageNotFoundError:
            raise CheckpointError(
                "CTranslate2 is not installed. Install it (pip install ctranslate2), or use "
                'backend = "transformers".'
            ) from None
        # With a type other than auto, the answers of a GPU can be looked up without one.
        if compute_type == "auto":
            compute_type = exact_type(pick_device(self.settings.device))
        return {"version": major, "type": compute_type}

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that the engine is installed and the model fits the machine."""
        self._model(checkpoint).require(
            advice='Choices: a smaller compute_type ("int8" changes outputs), a smaller model, '
            'or one served on a larger machine, with backend = "openai".'
        )

    def open_engine(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Engine:
        """Load the model. The first time, a checkpoint of transformers' layout is converted."""
        return CTranslate2Engine(self._model(checkpoint), tokenizer, self.settings.batch_tokens)

    def _model(self, checkpoint: Checkpoint) -> CTranslate2Model:
        compute_type = self.engine_identity(checkpoint)["type"]
        device = pick_device(self.settings.device)
        return CTranslate2Model(checkpoint, "causal", device, compute_type)


class CTranslate2Engine:
    """A loaded model.

    Args:
        model: what is loaded.
        tokenizer: knows the end-of-sequence tokens.
        batch_tokens: bounds a batch, prompts times tokens, in place of the memory.
    """

    def __init__(
        self, model: CTranslate2Model, tokenizer: TextTokenizer, batch_tokens: int | None = None
    ) -> None:
        self._tokens = read_vocabulary(model.folder, tokenizer)
        self._ends = sorted(tokenizer.ends)
        self._batch_tokens = batch_tokens
        self._kv_cache_tokens = _kv_cache_tokens(model)
        self._static_prompts: set[tuple[int, ...]] = set()
        self._model = model.open()

    def max_batch_size(self, prefix: int, tail: int, max_tokens: int) -> int:
        """How many prompts fit one batch. Each has a copy of the prefix's KV cache."""
        if self._batch_tokens is not None:
            return self._batch_tokens // (tail + max_tokens)
        if self._kv_cache_tokens is None:  # on a CPU
            return _CPU_BATCH_SIZE
        return min(_MAX_GPU_BATCH_SIZE, self._kv_cache_tokens // (prefix + tail + max_tokens))

    def generate(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        """Decode a batch greedily, as :class:`~harness.local.engine.Engine` says.

        CTranslate2 returns the prompts with the answers if a prompt has one token only. Such
        tails therefore take a token of the prefix; without a prefix, each prompt is a batch.
        """
        if min(map(len, tails)) == 1 and len(tails) > 1:
            if not prefix:
                return self._one_by_one(tails, max_tokens, stop_condition)
            tails = [[prefix[-1], *tail] for tail in tails]
            prefix = prefix[:-1]
        self._limit_static_prompts(tuple(prefix))
        ends = set(self._ends)
        stopped_rows: set[int] = set()

        def step(result: Any) -> bool:
            if result.token_id in ends or stop_condition(result.batch_id, result.token_id):
                stopped_rows.add(result.batch_id)
                return True
            return False

        try:
            results = self._model.generate_batch(
                [[self._tokens[i] for i in tail] for tail in tails],
                static_prompt=[self._tokens[i] for i in prefix] or None,
                cache_static_prompt=True,
                include_prompt_in_result=False,
                end_token=self._ends or None,
                max_length=max_tokens,
                sampling_topk=1,
                callback=step,
            )
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(str(error)) from None
            raise
        return [
            GeneratedTokens(
                list(result.sequences_ids[0]), "stop" if row in stopped_rows else "length"
            )
            for row, result in enumerate(results)
        ]

    def _one_by_one(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, stop_condition: StopCondition
    ) -> list[GeneratedTokens]:
        """Each prompt as a batch of its own."""

        def answer(row: int, prompt: Sequence[int]) -> GeneratedTokens:
            # The engine calls its only row 0.
            (tokens,) = self.generate(
                [], [prompt], max_tokens, lambda _, token: stop_condition(row, token)
            )
            return tokens

        return [answer(row, prompt) for row, prompt in enumerate(prompts)]

    def _limit_static_prompts(self, prefix: tuple[int, ...]) -> None:
        """Reload the model before it holds more static prompts than allowed.

        A static prompt of a 7B model takes 0.5 GB.
        """
        if prefix and prefix not in self._static_prompts:
            if len(self._static_prompts) == _MAX_STATIC_PROMPTS:
                self._model.unload_model()
                self._model.load_model()
                self._static_prompts.clear()
            self._static_prompts.add(prefix)


def _kv_cache_tokens(model: CTranslate2Model) -> int | None:
    """The tokens of all prompts of a batch that a GPU's memory holds; ``None`` on a CPU."""
    if model.device == "cpu":
        return None
    config = model.checkpoint.config
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads")
    layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
    if not (heads and layers and width):
        return _CPU_BATCH_SIZE * 2048  # a converted folder does not say
    head = config.get("head_dim") or width // config["num_attention_heads"]
    size = 4 if model.compute_type.endswith("float32") else 2
    weight_bytes = weights(model.checkpoint) * _BYTES.get(model.compute_type, 1)
    free = gpu_of(model.device).memory - weight_bytes
    return int(free * _KV_CACHE_SHARE / (2 * layers * heads * head * size))
