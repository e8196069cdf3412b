"""The light engine for models on this machine: CTranslate2, without torch at run time.

Facts about ``generate_batch`` that this rests on (https://opennmt.net/CTranslate2, 4.8; held by
tests): ``max_length`` counts answer tokens; the callback is told answer tokens only, the end token
among them; the state after a static prompt is kept by the model for good, for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from harness.errors import CheckpointError
from harness.local.backend import (
    Done,
    Engine,
    Generated,
    LocalBackend,
    LocalSettings,
    OutOfMemory,
)
from harness.local.checkpoints import Checkpoint, TextTokenizer, exact_type, pick_device
from harness.local.checkpoints.devices import ComputeType, gpu_of
from harness.local.checkpoints.memory import weights
from harness.local.checkpoints.vocabulary import read_vocabulary
from harness.local.ctranslate2_models import CTranslate2Model, is_out_of_memory

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# More rows are slower on CPUs: each has a copy of the shared beginning, read at every step.
_ROWS_ON_CPU = 8
_MOST_ROWS_ON_GPU = 64
# Of what a GPU has beside the weights, the part that a batch's keys and values may take.
_KEYS_AND_VALUES = 0.5
_MOST_STATIC_PROMPTS = 4


class CTranslate2Settings(LocalSettings):
    """The keys of ``backend = "ctranslate2"``, those of all local backends and one more.

    ``compute_type``: ``auto`` is exact, float32 on a CPU and bfloat16 on a GPU (float16 before
    Ampere). The int8 types are smaller and faster and change outputs.
    """

    backend: ClassVar[str] = "ctranslate2"

    compute_type: ComputeType = "auto"


class CTranslate2Backend(LocalBackend):
    """A causal model on CTranslate2; one of the transformers layout is converted once."""

    endpoint = "ctranslate2"
    settings: CTranslate2Settings

    def engine_identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The major version and the type that is computed in."""
        kind: str = self.settings.compute_type
        try:
            major = version("ctranslate2").partition(".")[0]
        except PackageNotFoundError:
            raise CheckpointError(
                "CTranslate2 is not installed. Install it (pip install ctranslate2), or use "
                'backend = "transformers".'
            ) from None
        # A type that is named needs no look at the machine: answers made on a GPU can be read,
        # and run again from the store, without one.
        if kind == "auto":
            kind = exact_type(pick_device(self.settings.device))
        return {"version": major, "type": kind}

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that the engine is installed and the model fits the machine."""
        self._model(checkpoint).require(
            advice='Choices: a smaller compute_type ("int8" changes outputs), a smaller model, '
            'or one served on a larger machine, with backend = "openai".'
        )

    def open_engine(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> Engine:
        """Load the model; one of the transformers layout is converted before, once."""
        return CTranslate2Engine(self._model(checkpoint), tokenizer, self.settings.batch_tokens)

    def _model(self, checkpoint: Checkpoint) -> CTranslate2Model:
        compute_type = self.engine_identity(checkpoint)["type"]
        device = pick_device(self.settings.device)
        return CTranslate2Model(checkpoint, "causal", device, compute_type)


class CTranslate2Engine:
    """A loaded model.

    Args:
        model: what is loaded.
        tokenizer: says which tokens end an answer.
        batch_tokens: bounds rows times tokens of a batch, in place of the memory.
    """

    def __init__(
        self, model: CTranslate2Model, tokenizer: TextTokenizer, batch_tokens: int | None = None
    ) -> None:
        self._tokens = read_vocabulary(model.folder, tokenizer)
        self._ends = sorted(tokenizer.ends)
        self._batch_tokens = batch_tokens
        self._room = _rows_times_tokens(model)
        self._static: set[tuple[int, ...]] = set()
        self._model = model.open()

    def rows(self, prefix: int, tail: int, max_tokens: int) -> int:
        """How many rows fit one batch. Each row has a copy of the prefix's keys and values."""
        if self._batch_tokens is not None:
            return self._batch_tokens // (tail + max_tokens)
        if self._room is None:
            return _ROWS_ON_CPU
        return min(_MOST_ROWS_ON_GPU, self._room // (prefix + tail + max_tokens))

    def generate(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        """Continue prompts greedily, as :class:`~harness.local.backend.Engine` says.

        The engine returns prompts with answers where a prompt is but one token long, so such
        tails take a token of the prefix; without a prefix they are asked alone.
        """
        if min(map(len, tails)) == 1 and len(tails) > 1:
            if not prefix:
                return self._apart(tails, max_tokens, done)
            tails = [[prefix[-1], *tail] for tail in tails]
            prefix = prefix[:-1]
        self._forget_static(tuple(prefix))
        ends = set(self._ends)
        stopped: set[int] = set()

        def step(result: Any) -> bool:
            if result.token_id in ends or done(result.batch_id, result.token_id):
                stopped.add(result.batch_id)
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
            Generated(list(result.sequences_ids[0]), "stop" if row in stopped else "length")
            for row, result in enumerate(results)
        ]

    def _apart(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        """Prompts one by one, where one of them is a single token."""
        return [
            self.generate([], [prompt], max_tokens, lambda _, token, row=row: done(row, token))[0]  # type: ignore[misc]
            for row, prompt in enumerate(prompts)
        ]

    def _forget_static(self, prefix: tuple[int, ...]) -> None:
        """Load the model anew before it keeps too many static prompts (of a 7B, 0.5 GB each)."""
        if prefix and prefix not in self._static:
            if len(self._static) == _MOST_STATIC_PROMPTS:
                self._model.unload_model()
                self._model.load_model()
                self._static.clear()
            self._static.add(prefix)


def _rows_times_tokens(model: CTranslate2Model) -> int | None:
    """How many tokens the KV cache of all rows together can hold; ``None`` on a CPU."""
    if model.device == "cpu":
        return None
    config = model.checkpoint.config
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads")
    layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
    if not (heads and layers and width):
        return _ROWS_ON_CPU * 2048  # a converted folder does not say
    head = config.get("head_dim") or width // config["num_attention_heads"]
    size = 4 if model.compute_type.endswith("float32") else 2
    weight_bytes = weights(model.checkpoint) * _BYTES.get(model.compute_type, 1)
    free = gpu_of(model.device).memory - weight_bytes
    return int(free * _KEYS_AND_VALUES / (2 * layers * heads * head * size))
