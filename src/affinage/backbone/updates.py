"""How updates of a model's linear modules and of its weights take part in one pass, and leave no trace behind it.

Letters: N nodes, n nodes of one adapter, E experts, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from affinage.backbone.doors import LowRank, Routed, Router
from affinage.records import UserError

__all__ = ["adding", "gate", "shifted"]


def adding(updates: Sequence[LowRank | Routed | None], segments: Sequence[int]) -> Any:
    """A forward hook of a linear module that adds each adapter's update to its own nodes.

    Args:
        updates: one per adapter of the pack; None for one that leaves this module alone.
        segments: [R + 1] where each adapter's nodes begin.
    """
    sizes = [after - before for before, after in pairwise(segments)]

    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0]
        # One adapter updates every row, however a mixture of experts has sorted them; several need to know whose row it is.
        if len(updates) > 1 and x.shape[:-1] != (1, segments[-1]):
            raise UserError(type(module).__name__, f"an input of shape {tuple(x.shape)}", "one row per node", "Leave this module out of the targets.")
        own = torch.split(x, sizes, dim=1) if len(updates) > 1 else (x,)
        parts = [
            part.new_zeros(*part.shape[:-1], output.shape[-1]) if update is None else _added(update, part)
            for part, update in zip(own, updates, strict=True)
        ]
        return output + (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))

    return add


def _added(update: LowRank | Routed, x: Tensor) -> Tensor:
    """What an update adds for the inputs [..., inputs]: [..., outputs], in their type."""
    low = x @ update.a.to(x.device, x.dtype).T
    if isinstance(update, Routed):
        weights = gate(update.router, x)
        if update.balance is not None:
            update.balance(weights.flatten(0, -2), weights.detach().flatten(0, -2) > 0)
        experts = weights.shape[-1]
        rank = update.b.shape[1] // experts
        each = low.view(*low.shape[:-1], -1, rank).expand(*low.shape[:-1], experts, rank)
        low = (each * weights.to(x.dtype)[..., None]).flatten(-2)
    return low @ (update.b * update.scale).to(x.device, x.dtype).T


def gate(router: Router, x: Tensor) -> Tensor:
    """How far each expert is open for each input: [..., E], float32, k of them above zero, summing to 1.

    Args:
        router: the perceptron.
        x: [..., inputs].
    """
    hidden = (x @ router.inner.to(x.device, x.dtype).T + router.inner_bias.to(x.device, x.dtype)).relu()
    logits = (hidden @ router.outer.to(x.device, x.dtype).T + router.outer_bias.to(x.device, x.dtype)).float()
    value = logits.softmax(-1) if router.twice else logits
    chosen = torch.zeros_like(value, dtype=torch.bool).scatter(-1, value.detach().topk(router.top, dim=-1).indices, True)
    return value.masked_fill(~chosen, float("-inf")).softmax(-1)


@contextmanager
def shifted(model: nn.Module, shifts: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with something added to its weights until the block ends; its own tensors are put aside and back, and never written to.

    The sum is made in float32 and cast to the weight's type.

    Args:
        model: the frozen model.
        shifts: per dotted name what is added, of the weight's size.

    Raises:
        UserError: a name that is none of the model's weights, or another size.
    """
    known = dict(model.named_parameters())
    for name, shift in shifts.items():
        if name not in known or known[name].shape != shift.shape:
            raise UserError("adapter", f"{name} of shape {list(shift.shape)}", "a weight of the model, of its shape", "Is it made for this model?")
    sums = {id(known[name]): (known[name].float() + shift.to(known[name].device)).to(known[name].dtype) for name, shift in shifts.items()}
    # A tied weight stands in several modules under one identity.
    places = [(module, leaf, own) for module in model.modules() for leaf, own in module._parameters.items() if own is not None and id(own) in sums]
    try:
        for module, leaf, own in places:
            module._parameters[leaf] = sums[id(own)]  # type: ignore[assignment]  # as torch.func.functional_call does
        yield
    finally:
        for module, leaf, own in places:
            module._parameters[leaf] = own
