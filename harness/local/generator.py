"""Greedy decoding with a loaded transformers model: with prefix sharing, or without.

Both write the same tokens. Prefix sharing computes the KV cache of a prefix once for all prompts
(:mod:`harness.local.shared_prefix`). Two cases go through transformers' own ``generate``: models
whose logits prefix sharing does not reproduce, which a probe finds out, and batches longer than a
model's sliding window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import GenerationConfig

from harness.local import shared_prefix
from harness.local.engine import GeneratedTokens, OutOfMemory, StopCondition
from harness.local.shared_prefix import BatchCache, PrefixCache

T = TypeVar("T")
# The token ids of the probe.
_PROBE_PREFIX, _PROBE_TAILS = (5, 9, 4, 7, 6, 3), ((8, 3), (4, 4, 9, 5, 7))
# The mean difference of logits that the probe allows, divided by their standard deviation.
# Rounding alone gives 1e-6 in float32 and 1e-2 in 16 bits.
_TOLERANCE, _TOLERANCE_16_BITS = 1e-3, 0.08
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")
# The kinds of rotary embedding whose frequencies depend on the length of a batch.
_LENGTH_DEPENDENT_ROPES = {"dynamic", "longrope"}


class Generator:
    """A model that continues prompts greedily.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        ends: the end-of-sequence ids.
    """

    def __init__(self, model: Any, ends: Iterable[int]) -> None:
        self._model = model
        self._ends = frozenset(ends)
        # A folder may propose penalties for sampling; greedy decoding has none.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        self._own_attention = model.config._attn_implementation
        self._prefix: tuple[tuple[int, ...], PrefixCache] | None = None
        self._window: int | None = None
        self._shares = self._probe()

    def shares_prefix(self, longest: int) -> bool:
        """Whether a batch whose longest row has ``longest`` tokens in all shares its prefix."""
        return self._shares and (self._window is None or longest <= self._window)

    @property
    def cuda_devices(self) -> set[int]:
        """The GPUs that hold the model, by number."""
        return {p.device.index for p in self._model.parameters() if p.device.type == "cuda"}

    def generate(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        """Decode a batch greedily, as :class:`~harness.local.engine.Engine` says."""
        shares = self.shares_prefix(len(prefix) + max(map(len, tails)) + max_tokens)
        decode = self._with_shared_prefix if shares else self._without_sharing
        with torch.inference_mode():
            answers, failure = _attempt(lambda: decode(prefix, tails, max_tokens, stop_condition))
        if answers is None:
            # Not in an exception handler, because a handled exception keeps its tensors alive.
            self._prefix = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemory(failure)
        return answers

    def _with_shared_prefix(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        rows, logits = self._start(prefix, tails)
        written: list[list[int]] = [[] for _ in tails]
        stopped = [False] * len(tails)
        # The row at each place of the batch; finished rows leave it.
        live = list(range(len(tails)))
        for step in range(1, max_tokens + 1):
            tokens: list[int] = logits.argmax(-1).tolist()
            for row, token in zip(live, tokens, strict=True):
                if token in self._ends:
                    stopped[row] = True
                else:
                    written[row].append(token)
                    stopped[row] = stop_condition(row, token)
            kept, moves = _compaction([not stopped[row] for row in live])
            if not kept or step == max_tokens:
                break
            rows.drop(moves, kept)
            for source, target in moves:
                live[target], tokens[target] = live[source], tokens[source]
            del live[kept:], tokens[kept:]
            logits = self._forward(tokens, rows.positions(), rows)
            rows.advance()
        return [
            GeneratedTokens(tokens, "stop" if ended else "length")
            for tokens, ended in zip(written, stopped, strict=True)
        ]

    def _start(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]]
    ) -> tuple[BatchCache, Tensor]:
        """Prefill: the KV cache of the prompts, and their last logits (rows, vocabulary)."""
        self._set_attention(shared_prefix.NAME)
        if self._prefix is None or self._prefix[0] != tuple(prefix):
            self._prefix = None  # frees its KV cache before the next one is computed
            state = PrefixCache(len(prefix))
            if prefix:
                self._forward(prefix, range(len(prefix)), state, [len(prefix) - 1])
            self._prefix = tuple(prefix), state
        rows = BatchCache(self._prefix[1], [len(tail) for tail in tails], self._model.device)
        packed = [token for tail in tails for token in tail]
        logits = self._forward(packed, rows.positions(), rows, rows.lasts())
        rows.advance()
        return rows, logits

    def _forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        state: PrefixCache | BatchCache,
        keep: Sequence[int] | None = None,
    ) -> Tensor:
        """The logits (tokens, vocabulary) of packed tokens, or only of those at ``keep``."""
        device = self._model.device
        logits: Tensor = self._model(
            input_ids=torch.tensor([list(tokens)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            use_cache=False,
            logits_to_keep=0 if keep is None else torch.tensor(keep, device=device),
            shared_prefix=state,
        ).logits
        return logits[0]

    def _without_sharing(
        self,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        max_tokens: int,
        stop_condition: StopCondition,
    ) -> list[GeneratedTokens]:
        self._set_attention(self._own_attention)
        device = self._model.device
        prompts = [[*prefix, *tail] for tail in tails]
        width = max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        written: list[list[int]] = [[] for _ in tails]
        stopped = [False] * len(tails)

        def criterion(ids: Tensor, scores: Any, **_: Any) -> Tensor:
            for row, token in enumerate(ids[:, -1].tolist()):
                if stopped[row]:
                    continue
                if token in self._ends:
                    stopped[row] = True
                else:
                    written[row].append(token)
                    stopped[row] = stop_condition(row, token)
            return torch.tensor(stopped, device=ids.device)

        self._model.generate(
            input_ids=torch.tensor(
                [[0] * pad + prompt for pad, prompt in zip(pads, prompts, strict=True)],
                device=device,
            ),
            attention_mask=torch.tensor(
                [[0] * pad + [1] * (width - pad) for pad in pads], device=device
            ),
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False,
                max_new_tokens=max_tokens,
                pad_token_id=0,
                eos_token_id=sorted(self._ends) or None,
            ),
            stopping_criteria=[criterion],
        )
        return [
            GeneratedTokens(tokens, "stop" if ended else "length")
            for tokens, ended in zip(written, stopped, strict=True)
        ]

    def _set_attention(self, name: str) -> None:
        if self._model.config._attn_implementation != name:
            self._model.set_attn_implementation(name)

    def _probe(self) -> bool:
        """Whether prefix sharing gives this model's own logits, tried on a few tokens."""
        config = self._model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if (
            not self._model._supports_attention_backend
            or kinds - {"full_attention", "sliding_attention"}
            or _ropes(getattr(config, "rope_parameters", None)) & _LENGTH_DEPENDENT_ROPES
        ):
            return False
        prefix, *tails = [
            [i % config.vocab_size for i in ids] for ids in (_PROBE_PREFIX, *_PROBE_TAILS)
        ]
        shared_prefix.register()
        with torch.inference_mode():
            own = torch.stack([self._own_logits([*prefix, *tail, 1]) for tail in tails], 1)
            try:
                rows, after_tails = self._start(prefix, tails)
                step = self._forward([1] * len(tails), rows.positions(), rows)
            except (shared_prefix.Unsupported, TypeError, ValueError, AttributeError):
                return False
            finally:
                self._prefix = None
        # Some layers pass their window to the attention; in others only the mask follows it.
        window = getattr(config, "sliding_window", None)
        windows = rows.windows | ({window} if window and kinds != {"full_attention"} else set())
        self._window = min(windows, default=None)
        tolerance = _TOLERANCE if own.dtype == torch.float32 else _TOLERANCE_16_BITS
        difference = torch.stack([after_tails, step]).float() - own.float()
        return bool(difference.abs().mean() <= tolerance * own.float().std())

    def _own_logits(self, tokens: list[int]) -> Tensor:
        """The logits of the last two tokens by the model's own attention: (2, vocabulary)."""
        self._set_attention(self._own_attention)
        ids = torch.tensor([tokens], device=self._model.device)
        logits: Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits[0, -2:]


def _compaction(living: Sequence[bool]) -> tuple[int, list[tuple[int, int]]]:
    """How many rows are live, and the moves (from, to) of the last ones into free places."""
    kept = sum(living)
    free = [place for place in range(kept) if not living[place]]
    last = [place for place in range(kept, len(living)) if living[place]]
    return kept, list(zip(last, free, strict=True))


def _ropes(parameters: Any) -> set[str]:
    """The kinds of rotary embedding in a configuration, for all kinds of layers."""
    if not isinstance(parameters, Mapping):
        return set()
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    return {str(table.get("rope_type")) for table in (parameters, *nested)}


def _attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """The result of some work, or ``None`` and the message if it ran out of memory."""
    try:
        return work(), ""
    except MemoryError as error:
        return None, str(error)
    except RuntimeError as error:
        message = str(error).splitlines()[0] if str(error) else ""
        if any(words in message.lower() for words in _OUT_OF_MEMORY):
            return None, message
        raise
