"""Prefix sharing: attention of a batch to one prefix whose KV cache exists once.

The prompts of a run share about their first thousand tokens. The prefix's keys and values are
computed once. The attention of all rows to them is one matrix product a layer, over the queries
of all rows. The attention of a row to its own tokens (its tail and its answer) is computed apart,
and the two are merged by the logarithms of their softmax sums, which is exact. This is known as
cascade or bifurcated attention: https://arxiv.org/abs/2403.08845.

The model calls :func:`attention` through transformers' attention interface. All rows are packed
into one sequence, without padding and without transformers' KV cache; the caches of this module
come as a keyword argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: The name that the function is registered under.
NAME = "harness_shared_prefix"
# The most elements of one matrix of attention scores: 128 MiB of float32.
_MAX_SCORES = 2**25
# The tokens that a batch's KV cache grows by.
_BLOCK = 64
# Keyword arguments of models that change nothing here. A `sliding_window` is collected in
# `windows`, and the caller keeps batches shorter than it.
_HARMLESS = {"position_ids", "cache_position", "dropout", "is_causal", "use_cache", "return_dict"}


class Unsupported(Exception):
    """A model passes its attention an argument that prefix sharing does not support."""


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    shared_prefix: PrefixCache | BatchCache | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers' interface has it.

    Shapes: query (1, heads, tokens, size), key and value (1, kv heads, tokens, size); the result
    is (1, tokens, heads, size).

    Raises:
        Unsupported: there is a mask, no cache, or an argument that is not known to be harmless.
    """
    arguments = {name for name, value in others.items() if value is not None and value is not False}
    arguments -= _HARMLESS
    if shared_prefix is None or attention_mask is not None or arguments:
        raise Unsupported(", ".join(sorted(arguments)) or "no cache, or an attention mask")
    if sliding_window is not None:
        shared_prefix.windows.add(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scale), None


def register() -> None:
    """Register :func:`attention` with transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)


class PrefixCache:
    """The KV cache of the tokens that all rows begin with; there may be none.

    ``length`` counts those tokens; ``windows`` are the sliding windows of the layers, in tokens.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.windows: set[int] = set()
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The causal attention of the prefix to itself; fills the cache of the layer."""
        self._keys[layer], self._values[layer] = key[0].contiguous(), value[0].contiguous()
        out = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out.transpose(1, 2).contiguous()

    def attention_of(self, layer: int, query: Tensor) -> tuple[Tensor, Tensor]:
        """The attention of scaled queries (kv heads, n, size) of later tokens to the prefix.

        Returns:
            The attention (kv heads, n, size), and the logarithms of its softmax sums
            (kv heads, n, 1), float32.
        """
        keys, values = self._keys[layer], self._values[layer]
        if query.device.type == "cpu" and keys.shape == values.shape:
            # A third faster than matrix products, and unlike the public function it returns the
            # softmax sums.
            out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query[None], keys[None], values[None], scale=1.0
            )
            return out[0], sums[0].unsqueeze(-1)
        keys = keys.transpose(1, 2)
        step = max(1, _MAX_SCORES // (len(query) * self.length))
        queries = torch.split(query, step, 1)
        parts = [_softmax(torch.bmm(part, keys), values) for part in queries]
        return _join(parts, 1)


class BatchCache:
    """The KV cache of a batch beyond the prefix: each row's tail and answer.

    A row is ``[padding | tail | answer]``. Padding is on the left, so that all rows end at the
    same slot and a decoding step writes to one slot.
    """

    def __init__(self, prefix: PrefixCache, lengths: Sequence[int], device: torch.device) -> None:
        self.windows = prefix.windows
        self._prefix = prefix
        self._width = max(lengths)
        self._starts = [self._width - length for length in lengths]
        self._end = 0
        self._capacity = self._width + _BLOCK
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        # The row and the slot of each packed token of the tails.
        self._row = [row for row, length in enumerate(lengths) for _ in range(length)]
        self._slot = [slot for start in self._starts for slot in range(start, self._width)]
        # By device, as the layers of one model may be on several.
        self._packing: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}
        self._padding: dict[torch.device, Tensor] = {}

    def positions(self) -> list[int]:
        """The positions of the next tokens: those of all tails, or one a row in a step."""
        offset = self._prefix.length
        if self._end == 0:
            starts = self._starts
            return [
                offset + slot - starts[row] for row, slot in zip(self._row, self._slot, strict=True)
            ]
        return [offset + self._end - start for start in self._starts]

    def lasts(self) -> list[int]:
        """The index of each row's last token among the packed tails."""
        lasts, at = [], -1
        for start in self._starts:
            at += self._width - start
            lasts.append(at)
        return lasts

    def advance(self) -> None:
        """Count a forward pass as done: that of the tails, or one token a row."""
        self._end = self._end + 1 if self._end else self._width
        self._packing.clear()

    def drop(self, moves: Sequence[tuple[int, int]], count: int) -> None:
        """Move rows (from, to), the last ones into free places, then keep the first ``count``."""
        for source, target in moves:
            self._starts[target] = self._starts[source]
        del self._starts[count:]
        if not moves:
            return
        sources, targets = map(list, zip(*moves, strict=True))
        for cache in (self._keys, self._values):
            for tensor in cache.values():
                tensor[targets, :, : self._end] = tensor[sources, :, : self._end]
        for pads in self._padding.values():
            pads[targets] = pads[sources]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The attention of the pass's tokens to the prefix and to their own row."""
        _, heads, tokens, size = query.shape
        groups = heads // key.shape[1]
        scaled = query[0] * scale
        # Query heads that share a key head are adjacent.
        grouped = scaled.reshape(key.shape[1], groups * tokens, size)
        within = self._tails if self._end == 0 else self._step
        own, own_sum = within(layer, scaled, key[0], value[0])
        if self._prefix.length:
            shared, shared_sum = self._prefix.attention_of(layer, grouped)
            shape = (heads, tokens, -1)
            share = torch.sigmoid(shared_sum.reshape(shape) - own_sum)
            own = torch.lerp(own, shared.reshape(shape), share.to(own.dtype))
        return own.transpose(0, 1).unsqueeze(0).contiguous()

    def _tails(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The attention of the tails to themselves; (heads, tokens, size) and its sums."""
        row, slot, starts = self._packing_on(query.device)
        count, width, (heads, tokens, size) = len(self._starts), self._width, query.shape
        shared = len(key)
        groups = heads // shared
        keys = key.new_zeros(count, shared, self._capacity, key.shape[-1])
        values = value.new_zeros(count, shared, self._capacity, value.shape[-1])
        keys[row, :, slot] = key.transpose(0, 1)
        values[row, :, slot] = value.transpose(0, 1)
        self._keys[layer], self._values[layer] = keys, values

        # Padded to (rows, kv heads, slots, query heads of a key head, size).
        padded = query.new_zeros(count, shared, width, groups, size)
        padded[row, :, slot] = query.transpose(0, 1).view(tokens, shared, groups, size)
        places = torch.arange(width, device=query.device)
        out = value.new_empty(count, shared, width, groups, value.shape[-1])
        sums = torch.empty(count, shared, width, groups, 1, device=query.device)
        rows = max(1, _MAX_SCORES // (heads * width * width))
        step = max(1, _MAX_SCORES // (rows * heads * width))
        for first in range(0, count, rows):
            some = slice(first, min(first + rows, count))
            left = min(self._starts[some])
            k = keys[some, :, left:width].flatten(0, 1).transpose(1, 2)
            v = values[some, :, left:width].flatten(0, 1)
            for begin in range(left, width, step):
                at = slice(begin, min(begin + step, width))
                q = padded[some, :, at]
                scores = torch.bmm(q.flatten(2, 3).flatten(0, 1), k).view(*q.shape[:4], -1)
                hidden = places[left:] > places[at, None]
                hidden = hidden | (places[left:] < starts[some, None, None])
                scores.masked_fill_(hidden[:, None, :, None], -torch.inf)
                part, total = _softmax(scores.view(len(k), -1, k.shape[-1]), v)
                out[some, :, at] = part.view(*q.shape[:4], -1)
                sums[some, :, at] = total.view(*q.shape[:4], 1)
        # Padding attended to nothing, so its result is NaN; it is dropped here.
        shape = (tokens, heads, -1)
        packed, packed_sums = out[row, :, slot].view(shape), sums[row, :, slot].view(shape)
        return packed.transpose(0, 1), packed_sums.transpose(0, 1)

    def _step(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The attention of one token a row to its row; (heads, rows, size) and its sums."""
        heads, count, size = query.shape
        end = self._end
        if end == self._keys[layer].shape[2]:
            self._grow(layer)
        left = min(self._starts)
        keys, values = self._keys[layer][:count], self._values[layer][:count]
        keys[:, :, end] = key.transpose(0, 1)
        values[:, :, end] = value.transpose(0, 1)
        k = keys[:, :, left : end + 1].flatten(0, 1).transpose(1, 2)
        v = values[:, :, left : end + 1].flatten(0, 1)
        q = query.transpose(0, 1).reshape(len(k), -1, size)
        scores = torch.bmm(q, k)
        if left < self._width:
            pads = self._padding_mask(query.device)[:count, left : end + 1]
            scores.view(count, -1, end + 1 - left).masked_fill_(pads[:, None], -torch.inf)
        own, sums = _softmax(scores, v)
        shape = (count, heads, -1)
        return own.view(shape).transpose(0, 1), sums.view(shape).transpose(0, 1)

    def _grow(self, layer: int) -> None:
        for cache in (self._keys, self._values):
            live = cache[layer][: len(self._starts)]
            cache[layer] = functional.pad(live, (0, 0, 0, _BLOCK))

    def _packing_on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if device not in self._packing:
            row, slot, starts = (
                torch.tensor(ids, device=device) for ids in (self._row, self._slot, self._starts)
            )
            self._packing[device] = row, slot, starts
        return self._packing[device]

    def _padding_mask(self, device: torch.device) -> Tensor:
        """Which slots are padding, (rows, slots); answers have none."""
        pads = self._padding.get(device)
        if pads is None or pads.shape[1] <= self._end:
            starts = torch.tensor(self._starts, device=device)
            places = torch.arange(self._end + _BLOCK, device=device)
            pads = self._padding[device] = places < starts[:, None]
        return pads


def _softmax(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention of scores (n, queries, keys), overwritten, to values (n, keys, size).

    Returns:
        The attention (n, queries, size) and the logarithms of its sums (n, queries, 1), float32.
    """
    scores = scores.float()
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    out = torch.bmm(weights.to(values.dtype), values)
    return out.div_(total.to(out.dtype)), top.add_(total.log())


def _join(parts: list[tuple[Tensor, Tensor]], dim: int) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([out for out, _ in parts], dim), torch.cat([total for _, total in parts], dim)
