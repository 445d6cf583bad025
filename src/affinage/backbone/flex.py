"""The kernel `flex`: attention over the whole tree by PyTorch's block-sparse FlexAttention.

Nodes stand in preorder, so that node i sees node j when j <= i < end[j]: a mask of few dense blocks. Each adapter's prefix slots stand before its
nodes and are seen from its first node to its last. Every adapter begins a block of its own, among the queries and among the keys: blocks of two
adapters are empty, and the compiled kernel never computes them, so that one adapter's NaN cannot reach another there. Lengths are rounded up to few
multiples of 128, so that few kernels are compiled.

On CUDA the kernel is compiled; on a CPU PyTorch has no backward pass for it, so there it is computed by definition and refuses training. The
definition multiplies masked weights of 0 too: on a CPU one adapter's NaN does reach the others of its pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from affinage.backbone.compiled import counted
from affinage.backbone.kernels import Call, refuse, rounded
from affinage.pack import Ints, Packed

__all__ = ["BLOCK", "MOST_KERNELS", "Layout", "attend_by_flex", "lengths"]

BLOCK = 128
"""Rows and columns of a block of the mask; lengths are multiples of it."""

MOST_KERNELS = 96
"""Compilations, forward and backward counted as one, beyond which PyTorch gives up with an error. Up to 32,768 rows round to 16 lengths, and there
are about twice as many pairs of them; windows and soft caps are kernels of their own."""


Bools = npt.NDArray[np.bool_]
_Spans = tuple[Ints, Ints, Ints, Ints]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the nodes and slots of a tree stand among the padded queries and keys."""

    slots: int
    """P, prefix slots of each adapter."""
    sizes: tuple[int, ...]
    """[R] nodes of each adapter."""
    queries: tuple[int, ...]
    """[R] rows that each adapter's nodes are padded to; together one of few lengths."""
    keys: tuple[int, ...]
    """[R] rows that each adapter's slots and nodes are padded to; likewise."""

    @classmethod
    def of(cls, packed: Packed, slots: int) -> Layout:
        """Of a pack whose adapters have so many prefix slots each."""
        sizes = tuple(after - before for before, after in pairwise(packed.segments.tolist()))
        return cls(slots, sizes, _whole(sizes), _whole([slots + size for size in sizes]))


def _whole(counts: Sequence[int]) -> tuple[int, ...]:
    """Each count in whole blocks, the last one filled up to one of few sums."""
    *blocks, last = (-(-count // BLOCK) for count in counts)
    return tuple(BLOCK * count for count in (*blocks, rounded(sum(blocks) + last) - sum(blocks)))


def lengths(packed: Packed, slots: int) -> tuple[int, int]:
    """Queries and keys that a tree is padded to: multiples of 128 of which there are few.

    Args:
        packed: the batch.
        slots: prefix slots of each adapter.
    """
    layout = Layout.of(packed, slots)
    return sum(layout.queries), sum(layout.keys)


def attend_by_flex(call: Call) -> Tensor:
    """The result of every node, [N, K * G, Dv].

    With attention sinks s, softmax over scores and sink is softmax over the scores times sigmoid(logsumexp(scores) - s).

    Raises:
        UserError: the adapter gates its slots (a weight would change behind the softmax, where FlexAttention lets nothing in), or a gradient is
            wanted on a CPU.
    """
    packed = call.tree.packed
    if packed is None:
        raise ValueError("a tree without its pack")
    if call.tree.gates is not None:
        raise refuse("flex", "gates on the prefix slots")
    tensors = (call.query, call.key, call.value) + (() if call.prefix is None else (call.prefix.keys, call.prefix.values))
    if not _has_backward(call.query.device) and torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        raise refuse("flex", "training on a CPU, where PyTorch's FlexAttention has no backward pass")
    prefix = call.prefix
    layout = Layout.of(packed, 0 if prefix is None else prefix.keys.shape[2])
    q = _laid_out(call.query, layout.sizes, layout.queries)
    k = _laid_out(call.key, layout.sizes, layout.keys, None if prefix is None else prefix.keys[call.layer])
    v = _laid_out(call.value, layout.sizes, layout.keys, None if prefix is None else prefix.values[call.layer])
    run = _compiled() if q.device.type == "cuda" else _by_definition
    settings = {"score_mod": None if call.softcap is None else _capped(call.softcap), "block_mask": _block_mask(call, packed, layout)}
    if call.sinks is None:
        out: Tensor = run(q, k, v, **settings, scale=call.scaling, enable_gqa=True)
    else:
        out, more = run(q, k, v, **settings, scale=call.scaling, enable_gqa=True, return_aux=AuxRequest(lse=True))
        out = (out * torch.sigmoid(more.lse - call.sinks.float().view(1, -1, 1))[..., None]).to(v.dtype)
    own = torch.split(out[0].transpose(0, 1), list(layout.queries))
    return torch.cat([part[:size] for part, size in zip(own, layout.sizes, strict=True)])


def _has_backward(device: torch.device) -> bool:
    """Whether PyTorch lets gradients through on a device."""
    return device.type == "cuda"


def _laid_out(rows: Tensor, sizes: Sequence[int], padded: Sequence[int], slots: Tensor | None = None) -> Tensor:
    """[N, heads, width] -> [1, heads, sum of padded, width]: each adapter's slots [R, P, heads, width], its rows, zeros behind them."""
    parts = []
    for adapter, (own, count) in enumerate(zip(torch.split(rows, list(sizes)), padded, strict=True)):
        whole = own if slots is None else torch.cat([slots[adapter].to(own.dtype), own])
        parts.append(nn.functional.pad(whole, (0, 0, 0, 0, 0, count - len(whole))))
    return torch.cat(parts).transpose(0, 1)[None]


def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    return cap


def _block_mask(call: Call, packed: Packed, layout: Layout) -> BlockMask:
    """Made once per tree and window, from the spans of the keys: never from a mask of all queries times all keys."""
    kept = call.tree.masks
    if call.window not in kept:
        spans = _spans(packed, layout)
        reached, whole = _blocks(spans, sum(layout.queries) // BLOCK)
        if call.window is not None:  # which may leave something of any block out
            whole = np.zeros_like(whole)
        kept[call.window] = BlockMask.from_kv_blocks(
            *_ordered(reached & ~whole, call.query.device),
            *_ordered(whole, call.query.device),
            BLOCK,
            _visible(call, spans),
            (sum(layout.queries), sum(layout.keys)),
        )
    mask: BlockMask = kept[call.window]
    return mask


def _blocks(spans: _Spans, rows: int) -> tuple[Bools, Bools]:
    """[rows, columns] whether any query of a row of blocks sees a key of the column, and whether every one sees every key; without windows."""
    first, last = (each.reshape(-1, BLOCK) for each in spans[:2])
    reached = [((first < begin + BLOCK) & (last > begin) & (first < last)).any(1) for begin in range(0, rows * BLOCK, BLOCK)]
    whole = [((first <= begin) & (last >= begin + BLOCK)).all(1) for begin in range(0, rows * BLOCK, BLOCK)]
    return np.stack(reached), np.stack(whole)


def _ordered(dense: Bools, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of a table of blocks how many of each row stand in it, [1, 1, rows], and their columns before the others, [1, 1, rows, columns]."""
    columns = np.argsort(~dense, axis=1, kind="stable").astype(np.int32)
    count = dense.sum(1).astype(np.int32)
    return torch.from_numpy(count).to(device)[None, None], torch.from_numpy(columns).to(device)[None, None]


def _spans(packed: Packed, layout: Layout) -> _Spans:
    """Per key the first query that sees it, one past the last, and its position; per query its position.

    An added query sees what its adapter's last node sees: a row without any key would have no softmax. Nobody sees an added key.
    """
    first, last, key_position = (np.zeros(sum(layout.keys), np.int64) for _ in range(3))
    query_position = np.zeros(sum(layout.queries), np.int64)
    node, query, key = 0, 0, 0
    for size, queries, keys in zip(layout.sizes, layout.queries, layout.keys, strict=True):
        depth, end = packed.depth[node : node + size] + layout.slots, packed.end[node : node + size] - node
        slots, own = slice(key, key + layout.slots), slice(key + layout.slots, key + layout.slots + size)
        first[slots], last[slots], key_position[slots] = query, query + queries, np.arange(layout.slots)
        first[own], last[own], key_position[own] = query + np.arange(size), query + np.where(end == size, queries, end), depth
        query_position[query : query + queries] = np.append(depth, np.repeat(depth[-1], queries - size))
        node, query, key = node + size, query + queries, key + keys
    return first, last, key_position, query_position


def _visible(call: Call, spans: _Spans) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Whether query i sees key j: i lies between the key's first and last, and in its window."""
    first, last, key_position, query_position = (torch.from_numpy(each).to(call.query.device) for each in spans)

    def inside(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (first[j] <= i) & (i < last[j])

    if call.window is None:
        return inside
    size = call.window.size

    def sliding(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return inside(batch, head, i, j) & (query_position[i] - key_position[j] < size)

    def chunked(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return inside(batch, head, i, j) & (query_position[i] // size == key_position[j] // size)

    return sliding if call.window.kind == "sliding" else chunked


def _by_definition(*arguments: Any, **settings: Any) -> Any:
    """FlexAttention without a compiled kernel, and without the warning that it is slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        return flex_attention(*arguments, **settings)


@cache
def _compiled() -> Callable[..., Any]:
    """FlexAttention with kernels for the shapes at hand, one per process."""
    compiled: Callable[..., Any] = torch.compile(flex_attention, backend=counted("flex attention", MOST_KERNELS), dynamic=False, fullgraph=True)
    return compiled
