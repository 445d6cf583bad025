"""The kernel `sdpa`: attention by strips through PyTorch's scaled_dot_product_attention.

Keys and values are repeated for grouped queries before the call: with `enable_gqa` and a mask PyTorch leaves its fused kernels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from affinage.backbone.attention import Group, Tree
from affinage.backbone.gather import Gather, gathered
from affinage.backbone.kernels import Call, refuse

__all__ = ["attend_by_sdpa"]


def attend_by_sdpa(call: Call) -> Tensor:
    """The result of every node, [N, K * G, Dv].

    Attention sinks are one more key of zeros, whose score is the sink and whose value is zero.

    Raises:
        UserError: the scores have a soft cap, or the adapter gates its slots: the library's kernels know neither.
    """
    tree = call.tree
    if call.softcap is not None:
        raise refuse("sdpa", "a soft cap on the scores")
    if tree.gates is not None:
        raise refuse("sdpa", "gates on the prefix slots")
    (nodes, heads, width), (_, kv_heads, wide) = call.query.shape, call.value.shape
    slots = 0 if call.prefix is None else call.prefix.keys.shape[2]
    queries = gathered(call.query.reshape(nodes, -1), tree.queries)
    if "sdpa rows" not in tree.masks:
        tree.masks["sdpa rows"] = _rows(tree, nodes)
    keys_of, back = tree.masks["sdpa rows"]
    keys = gathered(torch.cat([call.key, call.value], dim=-1).reshape(nodes, -1), keys_of)
    results, query_at, key_at = [], 0, 0
    for group in tree.groups:
        strips, long = group.query_position.shape
        path = group.key_position.shape[1] - slots
        q = queries[query_at : query_at + strips * long].view(strips, long, heads, width).transpose(1, 2)
        both = keys[key_at : key_at + strips * path].view(strips, path, kv_heads, width + wide).transpose(1, 2)
        k, v = both[..., :width], both[..., width:]
        query_at, key_at = query_at + strips * long, key_at + strips * path
        if call.prefix is not None:
            k = torch.cat([_slots(call.prefix.keys[call.layer], group.adapter, k), k], dim=2)
            v = torch.cat([_slots(call.prefix.values[call.layer], group.adapter, v), v], dim=2)
        mask = _mask(call, group, q)
        if call.sinks is not None:
            k, v = nn.functional.pad(k, (0, 0, 0, 1)), nn.functional.pad(v, (0, 0, 0, 1))
            sink = call.sinks.to(q.dtype).view(1, heads, 1, 1).expand(strips, heads, long, 1)
            mask = torch.cat([mask.expand(-1, heads, -1, -1), sink], dim=-1)
        repeat = heads // kv_heads
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=call.scaling)
        results.append(out.transpose(1, 2).reshape(strips * long, heads * wide))
    return gathered(torch.cat(results), back).view(nodes, heads, wide)


def _rows(tree: Tree, nodes: int) -> tuple[Gather, Gather]:
    """The keys of all groups, [sum of S * T] nodes, and where each node's result stands in the groups' results laid end to end, [N]."""
    keys = []
    for strip in tree.cut[0]:
        # Padding repeats the strip's own root: weight 0 times another adapter's NaN would still be NaN.
        inside = np.arange(strip.keys.shape[1]) < (strip.start + strip.count)[:, None]
        keys.append(np.where(inside, strip.keys, strip.keys[:, :1]).ravel())
    device, back = tree.queries.index.device, tree.cut[1]
    rows = torch.from_numpy(np.concatenate(keys)), torch.from_numpy(back)
    return Gather.of(rows[0], nodes).on(device), Gather.of(rows[1], len(tree.queries.index)).on(device)


def _mask(call: Call, group: Group, query: Tensor) -> Tensor:
    """[S, 1, Q, P + T] in the type of the queries, made once per tree, group, window and type."""
    kept = call.tree.masks
    key = (id(group), call.window, query.dtype)
    if key not in kept:
        kept[key] = group.bias(call.window)[:, 0].to(query.dtype)
    mask: Tensor = kept[key]
    return mask


def _slots(prefix: Tensor, adapter: Tensor, like: Tensor) -> Tensor:
    """[R, P, K, D] -> [S, K, P, D] in the backbone's type."""
    return prefix.index_select(0, adapter).transpose(1, 2).to(like.dtype)
