"""Keys and values of nodes that stand in no pack: what attention reads of a context that was computed before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["States"]


@dataclass(frozen=True, slots=True)
class States:
    """C nodes as every layer's attention got them, in the backbone's type and on the layer's device; constants, whatever is trained."""

    keys: tuple[Tensor, ...]
    """Per layer [C, K, D], rotated where the model rotates."""
    values: tuple[Tensor, ...]
    """Per layer [C, K, Dv]."""

    def at(self, rows: Tensor) -> States:
        """Those of some rows, in their order."""
        return States(_chosen(self.keys, rows), _chosen(self.values, rows))

    def empty(self, nodes: int) -> States:
        """Room for so many nodes of the same layers."""
        return States(
            tuple(each.new_empty(nodes, *each.shape[1:]) for each in self.keys), tuple(each.new_empty(nodes, *each.shape[1:]) for each in self.values)
        )

    def put(self, first: int, other: States) -> None:
        """Copies another's nodes here, from row `first` on."""
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            mine[first : first + len(theirs)] = theirs


def _chosen(tensors: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
    there: dict[torch.device, Tensor] = {}
    for each in tensors:
        if each.device not in there:
            there[each.device] = rows.to(each.device)
    return tuple(each.index_select(0, there[each.device]) for each in tensors)
