"""What an adapter does inside attention beside its prefix slots: a term added to each head's result, and gates before the slots.

Letters: N nodes, R adapters, L layers, K key/value heads, G query heads per key head, D head width, P prefix slots, H width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from affinage.records import UserError

__all__ = ["Additive", "Gates"]


@dataclass(frozen=True, slots=True)
class Additive:
    """phi(q)^T M, added to each head's result behind the softmax; phi = elu + 1."""

    maps: Tensor
    """[L, R, K, D, D] M of each layer, adapter and key/value head; the query heads of a group share one."""
    sizes: list[int]
    """[R] nodes of each adapter, which stand side by side."""

    def of(self, module: nn.Module, layer: int, query: Tensor, value: Tensor) -> Tensor:
        """The term, [N, K * G, D], in the type of the values.

        Args:
            module: the attention layer, for messages.
            layer: its index.
            query: [N, K * G, D] as attention gets it: rotated where the model rotates, not yet scaled.
            value: [N, K, D].

        Raises:
            UserError: the layer's heads are not those that M was made for.
        """
        maps = self.maps[layer]
        (_, kv_heads, inputs, outputs), width = maps.shape, query.shape[-1]
        if (kv_heads, inputs, outputs) != (value.shape[1], width, value.shape[2]):
            raise UserError(
                f"attention of {type(module).__name__}",
                f"an additive term for {kv_heads} heads of width {inputs} in layer {layer}",
                f"{value.shape[1]} heads with keys of width {width} and values of width {value.shape[2]}",
                "Use another method with this model.",
            )
        features = (nn.functional.elu(query.float()) + 1).to(value.dtype).view(len(query), kv_heads, -1, width).transpose(0, 1)
        # Adapter by adapter: in one product, another's NaN times zero would still be NaN.
        parts = [own.flatten(1, 2) @ m for own, m in zip(torch.split(features, self.sizes, dim=1), maps.to(value.dtype), strict=True)]
        return torch.cat(parts, dim=1).view(kv_heads, len(query), -1, outputs).transpose(0, 1).reshape(len(query), -1, outputs)


@dataclass(frozen=True, slots=True)
class Gates:
    """How far each node opens each prefix slot of a layer: scale * sigmoid(h W), h being what the layer gets of that node."""

    weights: Tensor
    """[L, R, H, P] W."""
    scales: Tensor
    """[L, R]"""
    sizes: list[int]
    """[R] nodes of each adapter, which stand side by side."""

    def open(self, layer: int, hidden: Tensor) -> Tensor:
        """[N, P], float32.

        Args:
            layer: index.
            hidden: [N, H], input of the layer.
        """
        parts = [
            scale.to(own.device) * (own @ weight.to(own.device, own.dtype)).float().sigmoid()
            for own, weight, scale in zip(torch.split(hidden, self.sizes), self.weights[layer], self.scales[layer], strict=True)
        ]
        return torch.cat(parts)
