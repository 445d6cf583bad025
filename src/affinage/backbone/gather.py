"""Rows chosen by index, and how gradients find the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

__all__ = ["Gather", "gathered"]


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows that are chosen by index, and how gradients find the way back."""

    index: Tensor
    """[F] row of each chosen one."""
    order: Tensor
    """[F] the chosen ones sorted by their row; those of one row are summed up in this order."""
    first: Tensor
    """[N] where the chosen ones of each row begin in `order`."""

    @classmethod
    def of(cls, index: Tensor, rows: int) -> Gather:
        """Of the chosen rows [F], out of so many."""
        counts = torch.bincount(index, minlength=rows)
        return cls(index, torch.argsort(index, stable=True), counts.cumsum(0) - counts)

    def summed(self, gradient: Tensor) -> Tensor:
        """[F, W] -> [N, W]: what came for each row, summed up in float32, in a fixed order, each row by one thread."""
        return nn.functional.embedding_bag(self.order, gradient, self.first, mode="sum")

    def up_to(self, rows: int) -> Gather:
        """The same with a way back for the first so many rows alone: what stands behind them gets no gradient."""
        return Gather(self.index, self.order[: int(self.first[rows])], self.first[:rows])

    def on(self, device: torch.device) -> Gather:
        """The same on another device."""
        return Gather(self.index.to(device), self.order.to(device), self.first.to(device))


@final
class _Gathered(torch.autograd.Function):
    """[N, W] -> [F, W]. Its gradient is `Gather.summed`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather
        return rows.index_select(0, gather.index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.gather.summed(gradient.contiguous()), None


def gathered(rows: Tensor, gather: Gather) -> Tensor:
    """[N, W] -> [F, W]."""
    return _Gathered.apply(rows, gather) if rows.requires_grad else rows.index_select(0, gather.index)  # type: ignore[no-untyped-call]
