"""Attention of many rows to one prefix that is kept once.

The prompts of a run begin with the same thousand tokens. Their keys and values are computed once,
and the attention of all rows to them is one matrix product per layer: the rows' queries lie side
by side. What a row attends to beyond the prefix (its own tail and what it wrote) is computed
beside it, and the two are merged by the logarithms of their softmax sums, which is exact. (The
idea is known as cascade or bifurcated attention: https://arxiv.org/abs/2403.08845.)

A model is driven through transformers' attention interface, with all rows packed into one
sequence, without padding and without a cache of its own: a registered function receives the
queries, keys and values of each layer, and the state as a keyword argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: The name that the function is registered under.
NAME = "harness_shared_prefix"
# The most elements of one product of queries and keys: 128 MiB of float32.
_SCORES = 2**25
# The tokens that a batch's own keys and values grow by.
_BLOCK = 64
# What models tell an attention function that changes nothing here. `sliding_window` is heeded by
# whoever asks for `window`.
_HARMLESS = {"position_ids", "cache_position", "dropout", "is_causal", "use_cache", "return_dict"}


class Unsupported(Exception):
    """A model asks its attention for something that is not done here."""


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    shared_prefix: Prefix | Rows | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers' interface has it.

    Shapes: query (1, heads, tokens, size), key and value (1, kv heads, tokens, size); the result
    is (1, tokens, heads, size).

    Raises:
        Unsupported: there is a mask, no state, or an argument that is not known to be harmless.
    """
    asked = {name for name, given in others.items() if given is not None and given is not False}
    asked -= _HARMLESS
    if shared_prefix is None or attention_mask is not None or asked:
        raise Unsupported(", ".join(sorted(asked)) or "no state, or a mask of its own")
    if sliding_window is not None:
        shared_prefix.windows.add(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scale), None


def register() -> None:
    """Make the function known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)


class Prefix:
    """The keys and values of the tokens that all rows begin with; there may be none.

    ``windows`` are the sliding windows that the layers named.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.windows: set[int] = set()
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The prefix's attention to itself; its keys and values are kept."""
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

    def attended(self, layer: int, query: Tensor) -> tuple[Tensor, Tensor]:
        """What scaled queries (kv heads, n, size), which all come after it, take from it.

        Returns:
            Their attention (kv heads, n, size), and the logarithm of its softmax sums
            (kv heads, n, 1), float32.
        """
        keys, values = self._keys[layer], self._values[layer]
        if query.device.type == "cpu" and keys.shape == values.shape:
            # A third faster than the products one by one; the public function hides its sums.
            out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query[None], keys[None], values[None], scale=1.0
            )
            return out[0], sums[0].unsqueeze(-1)
        keys = keys.transpose(1, 2)
        step = max(1, _SCORES // (len(query) * self.length))
        queries = torch.split(query, step, 1)
        parts = [_softmax(torch.bmm(some, keys), values) for some in queries]
        return _join(parts, 1)


class Rows:
    """The batch: rows of different lengths, each with the keys and values of its own tokens.

    Rows end at the same slot, so that a step is written to one place and pads lie on the left:
    ``[pads | tail | what was written]``.
    """

    def __init__(self, prefix: Prefix, lengths: Sequence[int], device: torch.device) -> None:
        self.windows = prefix.windows
        self._prefix = prefix
        self._width = max(lengths)
        self._starts = [self._width - length for length in lengths]
        self._end = 0
        self._room = self._width + _BLOCK
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        # The packed tokens' rows and slots.
        self._row = [row for row, length in enumerate(lengths) for _ in range(length)]
        self._slot = [slot for start in self._starts for slot in range(start, self._width)]
        # Per device: the layers of one model may lie on several.
        self._first: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}
        self._pads: dict[torch.device, Tensor] = {}

    def positions(self) -> list[int]:
        """Where the next tokens stand in their prompts: of every tail, or of one step."""
        offset = self._prefix.length
        if self._end == 0:
            starts = self._starts
            return [
                offset + slot - starts[row] for row, slot in zip(self._row, self._slot, strict=True)
            ]
        return [offset + self._end - start for start in self._starts]

    def lasts(self) -> list[int]:
        """Where in the packed tails each row's last token is."""
        lasts, at = [], -1
        for start in self._starts:
            at += self._width - start
            lasts.append(at)
        return lasts

    def advance(self) -> None:
        """All layers have seen a pass: the tails, or one token a row."""
        self._end = self._end + 1 if self._end else self._width
        self._first.clear()

    def drop(self, moves: Sequence[tuple[int, int]], count: int) -> None:
        """Keep ``count`` rows, after moving rows (from, to): the last ones into freed places."""
        for source, target in moves:
            self._starts[target] = self._starts[source]
        del self._starts[count:]
        if not moves:
            return
        sources, targets = map(list, zip(*moves, strict=True))
        for kept in (self._keys, self._values):
            for held in kept.values():
                held[targets, :, : self._end] = held[sources, :, : self._end]
        for pads in self._pads.values():
            pads[targets] = pads[sources]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The attention of a pass's tokens to the prefix and to their own rows."""
        _, heads, tokens, size = query.shape
        groups = heads // key.shape[1]
        scaled = query[0] * scale
        # Heads that share a key lie together.
        grouped = scaled.reshape(key.shape[1], groups * tokens, size)
        within = self._tails if self._end == 0 else self._step
        own, own_sum = within(layer, scaled, key[0], value[0])
        if self._prefix.length:
            shared, shared_sum = self._prefix.attended(layer, grouped)
            shape = (heads, tokens, -1)
            share = torch.sigmoid(shared_sum.reshape(shape) - own_sum)
            own = torch.lerp(own, shared.reshape(shape), share.to(own.dtype))
        return own.transpose(0, 1).unsqueeze(0).contiguous()

    def _tails(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The tails' attention to themselves; (heads, tokens, size) and its sums."""
        row, slot, starts = self._packing(query.device)
        count, width, (heads, tokens, size) = len(self._starts), self._width, query.shape
        shared = len(key)
        groups = heads // shared
        keys = key.new_zeros(count, shared, self._room, key.shape[-1])
        values = value.new_zeros(count, shared, self._room, value.shape[-1])
        keys[row, :, slot] = key.transpose(0, 1)
        values[row, :, slot] = value.transpose(0, 1)
        self._keys[layer], self._values[layer] = keys, values

        # Padded only here: (rows, kv heads, slots, heads that share a key, size).
        padded = query.new_zeros(count, shared, width, groups, size)
        padded[row, :, slot] = query.transpose(0, 1).view(tokens, shared, groups, size)
        places = torch.arange(width, device=query.device)
        out = value.new_empty(count, shared, width, groups, value.shape[-1])
        sums = torch.empty(count, shared, width, groups, 1, device=query.device)
        rows = max(1, _SCORES // (heads * width * width))
        step = max(1, _SCORES // (rows * heads * width))
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
        # Pads attended to nothing (NaN) and are left behind here.
        shape = (tokens, heads, -1)
        packed, packed_sums = out[row, :, slot].view(shape), sums[row, :, slot].view(shape)
        return packed.transpose(0, 1), packed_sums.transpose(0, 1)

    def _step(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """One token a row attends to its row; (heads, rows, size) and its sums."""
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
            pads = self._hidden(query.device)[:count, left : end + 1]
            scores.view(count, -1, end + 1 - left).masked_fill_(pads[:, None], -torch.inf)
        own, sums = _softmax(scores, v)
        shape = (count, heads, -1)
        return own.view(shape).transpose(0, 1), sums.view(shape).transpose(0, 1)

    def _grow(self, layer: int) -> None:
        for kept in (self._keys, self._values):
            held = kept[layer][: len(self._starts)]
            kept[layer] = functional.pad(held, (0, 0, 0, _BLOCK))

    def _packing(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if device not in self._first:
            made = (
                torch.tensor(ids, device=device) for ids in (self._row, self._slot, self._starts)
            )
            self._first[device] = (next(made), next(made), next(made))
        return self._first[device]

    def _hidden(self, device: torch.device) -> Tensor:
        """Which slots are pads, (rows, slots); there are none where rows have written."""
        pads = self._pads.get(device)
        if pads is None or pads.shape[1] <= self._end:
            starts = torch.tensor(self._starts, device=device)
            places = torch.arange(self._end + _BLOCK, device=device)
            pads = self._pads[device] = places < starts[:, None]
        return pads


def _softmax(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of products (n, queries, keys), which are overwritten, over values (n, keys, size).

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
