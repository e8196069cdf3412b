"""Greedy generation over a loaded transformers model: the fast way, and the plain one.

Both write the same tokens. The fast way computes what prompts share once
(:mod:`harness.local.shared_prefix`); a model that it does not hold for, found out by trying, and
a batch beyond a model's sliding window are generated plainly, by transformers' own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import GenerationConfig

from harness.local import shared_prefix
from harness.local.backend import Done, Generated, OutOfMemory
from harness.local.shared_prefix import Prefix, Rows

T = TypeVar("T")
# Tried on a model before the fast way is trusted: ids, and the mean difference that is allowed, as
# a part of the logits' own spread. Rounding is at 1e-6 (float32) and 1e-2 (16 bits).
_PROBE_PREFIX, _TAILS = (5, 9, 4, 7, 6, 3), ((8, 3), (4, 4, 9, 5, 7))
_ALLOWED, _ALLOWED_16_BITS = 1e-3, 0.08
_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")
# Rotary frequencies that depend on how long a batch is.
_CHANGING_ROPES = {"dynamic", "longrope"}


class Generator:
    """A model that continues prompts greedily.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        ends: the ids that end an answer.
    """

    def __init__(self, model: Any, ends: Iterable[int]) -> None:
        self._model = model
        self._ends = frozenset(ends)
        # Penalties that a folder proposes for sampling have no place in greedy search.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        self._plain_name = model.config._attn_implementation
        self._prefix: tuple[tuple[int, ...], Prefix] | None = None
        self._window: int | None = None
        self._shares = self._try()

    def fast(self, longest: int) -> bool:
        """Whether rows of at most ``longest`` tokens, prompt and answer, go the fast way."""
        return self._shares and (self._window is None or longest <= self._window)

    @property
    def cuda_devices(self) -> set[int]:
        """The GPUs that hold the model, by number."""
        return {p.device.index for p in self._model.parameters() if p.device.type == "cuda"}

    def generate(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        """Continue prompts, as :class:`~harness.local.backend.Engine` says."""
        fast = self.fast(len(prefix) + max(map(len, tails)) + max_tokens)
        work = self._share if fast else self._plain
        with torch.inference_mode():
            written, failure = _attempt(lambda: work(prefix, tails, max_tokens, done))
        if written is None:
            # Out of the handler: an exception that is being handled keeps its tensors alive.
            self._prefix = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemory(failure)
        return written

    def _share(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        rows, logits = self._start(prefix, tails)
        written: list[list[int]] = [[] for _ in tails]
        stopped = [False] * len(tails)
        # Which row is at which place of the batch.
        live = list(range(len(tails)))
        for step in range(1, max_tokens + 1):
            tokens: list[int] = logits.argmax(-1).tolist()
            for row, token in zip(live, tokens, strict=True):
                if token in self._ends:
                    stopped[row] = True
                else:
                    written[row].append(token)
                    stopped[row] = done(row, token)
            kept, moves = _closed_up([not stopped[row] for row in live])
            if not kept or step == max_tokens:
                break
            rows.drop(moves, kept)
            for source, target in moves:
                live[target], tokens[target] = live[source], tokens[source]
            del live[kept:], tokens[kept:]
            logits = self._forward(tokens, rows.positions(), rows)
            rows.advance()
        return [
            Generated(tokens, "stop" if ended else "length")
            for tokens, ended in zip(written, stopped, strict=True)
        ]

    def _start(self, prefix: Sequence[int], tails: Sequence[Sequence[int]]) -> tuple[Rows, Tensor]:
        """Read prompts; the state after them, and the logits (rows, vocabulary)."""
        self._attend_by(shared_prefix.NAME)
        if self._prefix is None or self._prefix[0] != tuple(prefix):
            self._prefix = None  # two would be held at once
            read = Prefix(len(prefix))
            if prefix:
                self._forward(prefix, range(len(prefix)), read, [len(prefix) - 1])
            self._prefix = tuple(prefix), read
        rows = Rows(self._prefix[1], [len(tail) for tail in tails], self._model.device)
        packed = [token for tail in tails for token in tail]
        logits = self._forward(packed, rows.positions(), rows, rows.lasts())
        rows.advance()
        return rows, logits

    def _forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        state: Prefix | Rows,
        keep: Sequence[int] | None = None,
    ) -> Tensor:
        """The logits (tokens, vocabulary) of packed tokens, or of those at ``keep`` only."""
        device = self._model.device
        logits: Tensor = self._model(
            input_ids=torch.tensor([list(tokens)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            use_cache=False,
            logits_to_keep=0 if keep is None else torch.tensor(keep, device=device),
            shared_prefix=state,
        ).logits
        return logits[0]

    def _plain(
        self, prefix: Sequence[int], tails: Sequence[Sequence[int]], max_tokens: int, done: Done
    ) -> list[Generated]:
        self._attend_by(self._plain_name)
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
                    stopped[row] = done(row, token)
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
            Generated(tokens, "stop" if ended else "length")
            for tokens, ended in zip(written, stopped, strict=True)
        ]

    def _attend_by(self, name: str) -> None:
        if self._model.config._attn_implementation != name:
            self._model.set_attn_implementation(name)

    def _try(self) -> bool:
        """Whether the fast way gives this model's own logits, tried on a few tokens."""
        config = self._model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if (
            not self._model._supports_attention_backend
            or kinds - {"full_attention", "sliding_attention"}
            or _ropes(getattr(config, "rope_parameters", None)) & _CHANGING_ROPES
        ):
            return False
        prefix, *tails = [[i % config.vocab_size for i in ids] for ids in (_PROBE_PREFIX, *_TAILS)]
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
        # A layer names its window to the attention, or only its mask heeds it.
        named = getattr(config, "sliding_window", None)
        windows = rows.windows | ({named} if named and kinds != {"full_attention"} else set())
        self._window = min(windows, default=None)
        allowed = _ALLOWED if own.dtype == torch.float32 else _ALLOWED_16_BITS
        difference = torch.stack([after_tails, step]).float() - own.float()
        return bool(difference.abs().mean() <= allowed * own.float().std())

    def _own_logits(self, tokens: list[int]) -> Tensor:
        """The model's own logits of the last two of some tokens: (2, vocabulary)."""
        self._attend_by(self._plain_name)
        ids = torch.tensor([tokens], device=self._model.device)
        logits: Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits[0, -2:]


def _closed_up(living: Sequence[bool]) -> tuple[int, list[tuple[int, int]]]:
    """How many rows live, and which of the last ones (from, to) fill the places of the others."""
    kept = sum(living)
    free = [place for place in range(kept) if not living[place]]
    last = [place for place in range(kept, len(living)) if living[place]]
    return kept, list(zip(last, free, strict=True))


def _ropes(parameters: Any) -> set[str]:
    """The kinds of rotary positions that a configuration names, of all kinds of layers."""
    if not isinstance(parameters, Mapping):
        return set()
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    return {str(found.get("rope_type")) for found in (parameters, *nested)}


def _attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """What some work gives, or nothing and how the memory ran out."""
    try:
        return work(), ""
    except MemoryError as error:
        return None, str(error)
    except RuntimeError as error:
        said = str(error).splitlines()[0] if str(error) else ""
        if any(words in said.lower() for words in _NO_MEMORY):
            return None, said
        raise
