"""Attention by strips: the kernel of every device until a benchmark says otherwise.

One autograd function for the whole of a layer's attention. What a framework would record step by step (slices, permutations, casts, and their
gradients) is written out: rows are chosen straight into the layout that the products want, results land in place, and the backward pass is four
products and the gradient of one softmax per group.

Letters: N nodes, S strips, Q queries and T keys per strip, K key/value heads, G query heads per key head, D head width, P prefix slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from affinage.backbone.gather import Gather, gathered

if TYPE_CHECKING:
    from affinage.backbone.attention import Group, Tree
    from affinage.backbone.kernels import Call, Window

__all__ = ["attend_by_strips"]


@dataclass(frozen=True, slots=True)
class _Block:
    """Strips of similar length as a batch of dense attentions."""

    group: Group
    heads: tuple[int, int]
    """K, G"""
    queries: slice
    """Its rows among the chosen query rows, in the order [S, K, G, Q]."""
    keys: slice
    """Its rows among the chosen key rows, in the order [S, K, P + T]."""
    gates: slice
    """Its rows among the gates, in the order [S, Q]."""

    def views(self, queries: Tensor, keys: Tensor, values: Tensor, results: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Its part of each, [S * K, G * Q or P + T, width]."""
        return self._part(queries, self.queries), self._part(keys, self.keys), self._part(values, self.keys), self._part(results, self.queries)

    def _part(self, rows: Tensor, own: slice) -> Tensor:
        """Some of the rows, a batch of them; in one call, since a step makes thousands of such views."""
        batch, width = len(self.group.adapter) * self.heads[0], rows.shape[1]
        each = (own.stop - own.start) // batch
        return rows.as_strided((batch, each, width), (each * width, width, 1), own.start * width)

    def split(self, score: Tensor) -> Tensor:
        """[S * K, G * Q, P + T] as [S, K, G, Q, P + T]."""
        return score.view(len(self.group.adapter), *self.heads, -1, score.shape[-1])

    def gated(self, gates: Tensor) -> Tensor:
        """Its part of the gates, [S, 1, 1, Q, P]."""
        return gates[self.gates].view(len(self.group.adapter), 1, 1, -1, gates.shape[1])


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which rows of queries, keys and values the strips read, for layers with so many heads."""

    blocks: tuple[_Block, ...]
    queries: Tensor
    """Rows of [N * K * G, D]."""
    padding: Tensor
    """Chosen query rows that are padding."""
    back: Tensor
    """[N * K * G] where each result stands among the chosen query rows."""
    keys: Gather
    """Rows of [N * K (+ R * P * K prefix rows, or C * K rows of contexts, which get no gradient), D]."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What a layer's scores go through; a layer's own tensors are no part of it, so that nothing is kept for the backward pass by accident."""

    scaling: float
    window: Window | None
    softcap: float | None

    def plain(self, *terms: Tensor | None) -> bool:
        """Whether weights are the softmax of masked scores and nothing else: no soft cap, none of these terms."""
        return self.softcap is None and all(term is None for term in terms)


def attend_by_strips(call: Call) -> Tensor:
    """[N, K * G, Dv] of a layer's call.

    Gradients of keys and values that several strips share are summed up in float32, in a fixed order, each row by one thread.
    """
    tree, (nodes, heads, width), wide = call.tree, call.query.shape, call.value.shape[-1]
    keys, values = call.key.reshape(-1, width), call.value.reshape(-1, wide)
    if call.prefix is not None:
        keys = torch.cat([keys, call.prefix.keys[call.layer].to(keys).reshape(-1, width)])
        values = torch.cat([values, call.prefix.values[call.layer].to(values).reshape(-1, wide)])
    kv_heads = call.key.shape[1]
    name = ("strips", heads, kv_heads)
    if name not in tree.masks:
        tree.masks[name] = _rows(tree, nodes, (kv_heads, heads // kv_heads), call.query.device)
    gates = None if tree.gates is None else gathered(tree.gates, tree.queries)
    before = None
    if tree.context is not None:
        before = tree.context.keys[call.layer].reshape(-1, width), tree.context.values[call.layer].reshape(-1, wide)
    how = tree.masks[name], _Form(call.scaling, call.window, call.softcap)
    result = _Attention.apply(call.query.reshape(-1, width), keys, values, gates, call.sinks, how, before)  # type: ignore[no-untyped-call]
    return result.view(nodes, heads, wide)  # type: ignore[no-any-return]


@final
class _Attention(torch.autograd.Function):
    """Queries [N * K * G, D], keys and values [rows, D], gates [sum of S * Q, P] or None, sinks [K * G] or None -> [N * K * G, Dv]."""

    @staticmethod
    def forward(  # noqa: PLR0917  (torch calls it with the inputs in a row)
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        gates: Tensor | None,
        sinks: Tensor | None,
        how: tuple[_Rows, _Form],
        before: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Keeps what was chosen and, of each block, the weights in the layer's type (the scores, where the weights are more than a softmax of them).

        `before`: keys and values of contexts, more rows of the two tables, without a gradient.
        """
        rows, form = how
        if before is not None:
            keys, values = torch.cat([keys, before[0]]), torch.cat([values, before[1]])
        chosen = queries.index_select(0, rows.queries), keys.index_select(0, rows.keys.index), values.index_select(0, rows.keys.index)
        out = values.new_empty(len(rows.queries), values.shape[1])
        plain, learning = form.plain(gates, sinks), any(ctx.needs_input_grad)
        kept = []
        for block in rows.blocks:
            q, k, v, result = block.views(*chosen, out)
            score = torch.baddbmm(q.new_empty(len(q), q.shape[1], k.shape[1]), q, k.transpose(1, 2), beta=0, alpha=form.scaling).float()
            bias = block.group.bias(form.window)
            if plain:
                block.split(score).add_(bias)
                weight = score.softmax(-1).to(v.dtype)
            else:
                terms = None if gates is None else block.gated(gates), sinks
                weight = _weights(block.split(score), bias, form.softcap, terms).view(score.shape).to(v.dtype)
            if learning:  # without a backward pass to come, each block's weights are freed before the next one's are made
                kept.append(weight if plain else score)
            torch.bmm(weight, v, out=result)
        ctx.save_for_backward(gates, sinks, *chosen, *kept)
        ctx.how = how
        return out.index_select(0, rows.back)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule, written out; where an input needs no gradient none is computed."""
        (rows, form), needed = ctx.how, ctx.needs_input_grad
        gates, sinks, *saved = ctx.saved_tensors
        chosen, kept = saved[:3], saved[3:]
        incoming = gradient.index_select(0, rows.queries).index_fill_(0, rows.padding, 0)
        to_queries, to_keys, to_values = (torch.empty_like(each) for each in chosen)
        to_gates = torch.empty_like(gates) if needed[3] else None
        to_sinks = torch.zeros_like(sinks) if needed[4] else None
        for block, each in zip(rows.blocks, kept, strict=True):
            q, k, v, g = block.views(*chosen, incoming)
            dq, dk, dv, _ = block.views(to_queries, to_keys, to_values, incoming)
            dw = torch.bmm(g, v.transpose(1, 2))
            if form.plain(gates, sinks):
                # In the layer's own type: the scores were rounded to it, which moved the weights farther than their own rounding does.
                weight, ds = each, torch._softmax_backward_data(dw, each, -1, dw.dtype)
            else:
                weight, ds, at_gates, at_sinks = _weights_backward(block, form, each, dw.float(), (gates, sinks))
                weight, ds = weight.to(v.dtype), ds.to(q.dtype)
                if to_gates is not None and at_gates is not None:
                    to_gates[block.gates] = at_gates
                if to_sinks is not None and at_sinks is not None:
                    to_sinks += at_sinks
            torch.bmm(weight.transpose(1, 2), g, out=dv)
            if needed[0]:
                torch.baddbmm(dq, ds, k, beta=0, alpha=form.scaling, out=dq)
            if needed[1]:
                torch.baddbmm(dk, ds.transpose(1, 2), q, beta=0, alpha=form.scaling, out=dk)
        return (
            to_queries.index_select(0, rows.back) if needed[0] else None,
            rows.keys.summed(to_keys) if needed[1] else None,
            rows.keys.summed(to_values) if needed[2] else None,
            to_gates,
            to_sinks,
            None,
            None,
        )


def _weights(score: Tensor, bias: Tensor, softcap: float | None, terms: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """[S, K, G, Q, T] from scores of that shape, float32.

    Args:
        score: scaled products of queries and keys.
        bias: 0 where a query sees a key, -inf elsewhere.
        softcap: see `attention.attend`.
        terms: gates [S, 1, 1, Q, P], factors of the keys and of the values in the first P slots; sinks [K * G], one more logit per head.
    """
    gates, sinks = terms
    opened = None if gates is None else nn.functional.pad(gates, (0, score.shape[-1] - gates.shape[-1]), value=1.0)
    if opened is not None:
        score = score * opened
    if softcap is not None:
        score = torch.tanh(score / softcap) * softcap
    score = score + bias
    if sinks is None:
        weight = score.softmax(-1)
    else:
        sink = sinks.float().view(1, score.shape[1], score.shape[2], 1, 1).expand(*score.shape[:-1], 1)
        weight = torch.cat([score, sink], dim=-1).softmax(-1)[..., :-1]
    return (weight if opened is None else weight * opened).contiguous()


def _weights_backward(
    block: _Block, form: _Form, score: Tensor, dw: Tensor, terms: tuple[Tensor | None, Tensor | None]
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """A block's weights, made again from its scores, and the gradients of its scores, of its gates [S * Q, P] and of the sinks."""
    gates, sinks = terms
    with torch.enable_grad():
        leaf = block.split(score).detach().requires_grad_()
        open_leaf = None if gates is None else block.gated(gates).detach().requires_grad_()
        sink_leaf = None if sinks is None else sinks.detach().requires_grad_()
        weight = _weights(leaf, block.group.bias(form.window), form.softcap, (open_leaf, sink_leaf))
    torch.autograd.backward(weight, block.split(dw), inputs=[each for each in (leaf, open_leaf, sink_leaf) if each is not None])
    at_scores, at_gates, at_sinks = (None if each is None else each.grad for each in (leaf, open_leaf, sink_leaf))
    assert at_scores is not None
    return weight.detach().view(score.shape), at_scores.reshape(score.shape), None if at_gates is None else at_gates.flatten(0, 3), at_sinks


def _rows(tree: Tree, nodes: int, heads: tuple[int, int], device: torch.device) -> _Rows:
    """Where the strips' rows stand, worked out on the CPU; made once per tree, number of heads and device."""
    kv_heads, repeat = heads
    slots, adapters = (0, 0) if tree.prefix is None else (tree.prefix.keys.shape[2], tree.prefix.keys.shape[1])
    beyond = adapters * slots if tree.context is None else len(tree.context.keys[0])
    head, kv_head = np.arange(kv_heads * repeat).reshape(kv_heads, repeat, 1), np.arange(kv_heads)[:, None]
    cut, at = tree.cut
    real = np.zeros(sum(strip.queries.size for strip in cut), bool)
    real[at] = True
    blocks, queries, keys, unpadded = [], [], [], []
    query_at = key_at = node_at = 0
    for group, strip in zip(tree.groups, cut, strict=True):
        (strips, long), path = strip.queries.shape, strip.keys.shape[1]
        queries.append((strip.queries[:, None, None] * (kv_heads * repeat) + head).ravel())
        mine = slice(node_at, node_at := node_at + strips * long)
        unpadded.append(np.broadcast_to(real[mine].reshape(strips, 1, 1, long), (strips, kv_heads, repeat, long)).ravel())
        # Padding repeats the strip's own root: weight 0 times another adapter's NaN would still be NaN.
        seen = np.where(np.arange(path) < (strip.start + strip.count)[:, None], strip.keys, strip.keys[:, :1])
        before = (nodes + strip.adapter[:, None] * slots + np.arange(slots)) * kv_heads
        keys.append(np.concatenate([before[:, None] + kv_head, seen[:, None] * kv_heads + kv_head], axis=2).ravel())
        own = slice(query_at, query_at := query_at + len(queries[-1])), slice(key_at, key_at := key_at + len(keys[-1]))
        blocks.append(_Block(group, heads, *own, mine))
    chosen, kept = np.concatenate(queries), np.concatenate(unpadded)
    back = np.empty(nodes * kv_heads * repeat, np.int64)
    back[chosen[kept]] = np.flatnonzero(kept)
    index, padding, results = (torch.from_numpy(each).to(device) for each in (chosen, np.flatnonzero(~kept), back))
    gather = Gather.of(torch.from_numpy(np.concatenate(keys)), (nodes + beyond) * kv_heads)
    if tree.context is not None:
        gather = gather.up_to(nodes * kv_heads)
    return _Rows(tuple(blocks), index, padding, results, gather.on(device))
