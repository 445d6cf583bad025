"""Prefix-Tuning+ (Wang et al. 2025, arXiv 2506.13674): o_i = attention(q_i, K, V) + phi(q_i)^T M, a prefix's work done outside the softmax.

Door 2, an additive term: a prefix inside the softmax takes weight away from a short text and loses its own to a long one. The paper replaces the
sum over the slots, sim(q_i, k_j) v_j, by a feature map of the query times one trained matrix. Nothing is put before the text, so its positions stay
as they are.

Trained values: L * K * D^2, an M [D, D] per layer and key/value head.

We know of no public code. What we chose: phi = elu + 1, the positive map of linear attention (Katharopoulos et al. 2020, arXiv 2006.16236, equation
7); q_i as attention gets it, rotated where the model rotates and not yet scaled; the query heads of a group share one M, as they would share a
prefix's keys and values; M = 0 at the start, so that the adapter starts as the base; no further bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Settings, exactly, parameter, register
from affinage.methods.prefixes import refuse_uneven_heads
from affinage.records import BackboneShape

__all__ = ["OuterPrefix", "PrefixTuningPlus", "PrefixTuningPlusSettings"]


@final
class PrefixTuningPlusSettings(Settings):
    """There is nothing to set: the shape of M is the model's."""


@final
class OuterPrefix(Adapter):
    """A matrix per layer and key/value head.

    Args:
        maps: [L, K, D, D].
        shape: of the backbone.
    """

    method = "prefix-tuning-plus"

    def __init__(self, maps: Tensor, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.maps = parameter(maps)

    def doors(self) -> Doors:
        """The additive term."""
        return Doors(additive=self.maps)

    def final_tensors(self) -> dict[str, Tensor]:
        """`maps` [L, K, D, D]."""
        return {"maps": self.maps.detach()}


@final
class PrefixTuningPlus(Method):
    """L * K * D^2 trained values."""

    name = "prefix-tuning-plus"
    settings = PrefixTuningPlusSettings
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"training": {"rate": 6.8e-4}},
    }

    def count(self, settings: PrefixTuningPlusSettings, shape: BackboneShape) -> int:
        """L * K * D^2."""
        return shape.layers * shape.kv_heads * shape.head_width**2

    def build(self, settings: PrefixTuningPlusSettings, backbone: Backbone, key: Key) -> Adapter:
        """M = 0, whatever the key: the adapter starts as the base."""
        refuse_uneven_heads(self.name, backbone.shape)
        return OuterPrefix(torch.zeros(_size(backbone.shape)), backbone.shape)

    def restore(self, settings: PrefixTuningPlusSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `maps` [L, K, D, D]."""
        refuse_uneven_heads(self.name, shape)
        exactly(tensors, {"maps": _size(shape)}, f"adapter of method {self.name}")
        return OuterPrefix(tensors["maps"], shape)


def _size(shape: BackboneShape) -> tuple[int, int, int, int]:
    """[L, K, D, D]."""
    return shape.layers, shape.kv_heads, shape.head_width, shape.head_width


register(PrefixTuningPlus())
