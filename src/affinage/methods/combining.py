"""What can be done with finished adapters of one method: how alike they are, and two of them as one (Tailor, Yang et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from affinage.methods.base import Adapter, registry
from affinage.records import UserError

__all__ = ["joined", "similarity"]


def similarity(one: Adapter, other: Adapter) -> float:
    """The cosine of two adapters of one method, in [-1, 1]; it means something only for adapters that began alike.

    Of their mean virtual tokens, one of the two ways of SPoT (Vu et al. 2022), or of all their values where the method has no virtual tokens.

    Args:
        one: final tensors of the same shapes as the other's.
        other: an adapter of the same method.
    """
    rows = registry.get(one.method).rows
    mine, theirs = (_summary(adapter.final_tensors(), rows) for adapter in (one, other))
    return float(torch.nn.functional.cosine_similarity(mine, theirs, dim=0))


def _summary(tensors: Mapping[str, Tensor], rows: str | None) -> Tensor:
    """One vector that stands for an adapter."""
    if rows is not None:
        return tensors[rows].float().mean(0)
    return torch.cat([tensors[name].float().flatten() for name in sorted(tensors)])


def joined(one: Adapter, other: Adapter) -> dict[str, Tensor]:
    """The final tensors of two adapters as those of one whose virtual tokens are the first's and then the second's.

    Raises:
        UserError: the method has no virtual tokens.
    """
    rows = registry.get(one.method).rows
    if rows is None:
        raise UserError(
            f"method {one.method}", "no virtual tokens that could be put one after the other", "a method that trains a prompt", "Use another."
        )
    return {rows: torch.cat([one.final_tensors()[rows], other.final_tensors()[rows]])}
