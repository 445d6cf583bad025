"""The kernel `measured`: attention as any other kernel computes it, and beside it where the weights go.

Attention is linear in the values. Given values that say which kind of key a row is (1 for its own kind, 0 for the others), it gives the sum of the
weights on each kind: the mass. So masses come from the same visibility, windows, caps, sinks and slots as the results, without a second definition of
any of them, in float32 whatever the model's type; they take the memory that the layer's attention takes, once more.

The kernel is a value that holds its listener, made for one measurement: nothing is left on a module.

Letters: N nodes, K key/value heads, G query heads per key head, D head width, P virtual tokens, R adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from affinage.backbone.attention import Prefix
from affinage.backbone.kernels import Call, Kernel

__all__ = ["measured"]


def measured(kernel: Kernel, told: Callable[[int, Tensor, Tensor], None]) -> Kernel:
    """A kernel that computes what another one does, and tells of every layer's call how the attention is spread.

    Args:
        kernel: computes the results.
        told: is given the layer; the masses [N, K * G, P + 1], float32, on each virtual token (prefix slots, or nodes without a token; the adapter's
            first one first) and last on the text; and the share [N, P + 1] of each in what a node sees: what equal weights would give. Masses sum
            to 1 less what a model's attention sinks take. Under gates a slot's mass is its weight times its gate, as it enters the result.
    """

    def compute(call: Call) -> Tensor:
        kinds = _kinds(call)
        call32 = replace(call, query=call.query.float(), key=call.key.float(), value=kinds[0], tree=replace(call.tree, prefix=kinds[1]))
        mass = kernel.compute(call32)
        # Without a query every visible key has the same score.
        level = replace(call32, query=torch.zeros_like(call32.query), softcap=None, sinks=None, tree=replace(call32.tree, gates=None))
        told(call.layer, mass, kernel.compute(level)[:, 0])
        return kernel.compute(call)

    return replace(kernel, name="measured", compute=compute)


def _kinds(call: Call) -> tuple[Tensor, Prefix | None]:
    """Values that say what a key is, [N, K, P + 1], and the prefix with such values, [L, R, P, K, P + 1].

    Raises:
        ValueError: an adapter with slots and with nodes of its own, whose virtual tokens would be counted together.
    """
    packed, prefix = call.tree.packed, call.prefix
    assert packed is not None
    nodes, heads = call.key.shape[:2]
    ids = torch.from_numpy(packed.ids).to(call.key.device)
    slots = 0 if prefix is None else prefix.keys.shape[2]
    placed = int((-ids).clamp(min=0).max())
    if slots and placed:
        raise ValueError("attention on slots and on nodes without a token at once")
    virtual = max(slots, placed)
    own = torch.nn.functional.one_hot(torch.where(ids < 0, -1 - ids, virtual), virtual + 1).float()
    values = own[:, None].expand(nodes, heads, virtual + 1)
    if prefix is None:
        return values, None
    layers, adapters = prefix.keys.shape[:2]
    said = torch.eye(slots, virtual + 1, device=call.key.device)[:, None].expand(layers, adapters, slots, heads, virtual + 1)
    return values, Prefix(prefix.keys.float(), said)
