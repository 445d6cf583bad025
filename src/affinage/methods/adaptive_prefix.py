"""Adaptive prefix (Zhang et al. 2023, arXiv 2305.15212): a prefix gated per slot, sigmoid(h_{l-1} W_l), and scaled per layer, section 3.

Door 2: prefix slots as in prefix-tuning, trained directly, and gates before them. In layer l the slots' keys and values are
lambda_l * alpha_l * [P_k; P_v], with one gate of alpha_l per slot and one lambda_l per layer.

Trained values: P * 2LKD + L * (H * P + 1): the prefix, W_l [H, P] and lambda_l.

The paper works with encoders, and we know of no public code that says of which position h_{l-1} is. A decoder has no summary of the sequence when it
reads the first token, and one taken from the sequence's end would look ahead. So each token gates the slots for its own query: h_{l-1} is what layer
l gets of that very token, before the layer's normalisation. A token's gates depend on nothing but what it can see, and a question scores the same in
any company. Query i then sees slot j as key g_ij k_j and value g_ij v_j, g_i = lambda_l * sigmoid(h_i W_l); a closed gate leaves a slot with score 0
and value 0, not without weight. We start from open gates, W_l = 0 and lambda_l = 2, where every g is 1: prefix-tuning with the same prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Settings, exactly, normal, parameter, register
from affinage.methods.prefixes import prefix_of_tokens, refuse_uneven_heads, split_prefix, wide
from affinage.methods.spaces import SOFT
from affinage.methods.starts import Start
from affinage.records import BackboneShape

__all__ = ["AdaptivePrefix", "AdaptivePrefixSettings", "GatedPrefix"]


@final
class AdaptivePrefixSettings(Settings):
    """Values of the adaptive prefix."""

    length: int = Field(16, ge=1)
    """P, slots per layer."""
    start: Start = "vocabulary"
    """`random`: normal values; `vocabulary`, `text`: the model's own keys and values over sampled tokens or a text."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of a random start."""
    text: str | None = None
    """Text of the start `text`."""


@final
class GatedPrefix(Adapter):
    """Keys and values, a gate before each, and a scale per layer.

    Args:
        flat: [P, 2LKD].
        gates: [L, H, P], W of each layer.
        scales: [L], lambda of each layer.
        shape: of the backbone.
    """

    method = "adaptive-prefix"

    def __init__(self, flat: Tensor, gates: Tensor, scales: Tensor, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.flat, self.gates, self.scales = parameter(flat), parameter(gates), parameter(scales)

    def doors(self) -> Doors:
        """Slots in every layer, and what opens them."""
        keys, values = split_prefix(self.flat, self.shape)
        return Doors(keys=keys, values=values, gates=self.gates, scales=self.scales)

    def final_tensors(self) -> dict[str, Tensor]:
        """`prefix` [P, 2LKD], `gates` [L, H, P], `scales` [L]."""
        return {"prefix": self.flat.detach(), "gates": self.gates.detach(), "scales": self.scales.detach()}


@final
class AdaptivePrefix(Method):
    """P * 2LKD + L * (H * P + 1) trained values."""

    name = "adaptive-prefix"
    settings = AdaptivePrefixSettings
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"settings": {"length": 4, "start": "vocabulary"}, "training": {"rate": 4.3e-4}},
    }
    space: ClassVar = SOFT

    def count(self, settings: AdaptivePrefixSettings, shape: BackboneShape) -> int:
        """P * 2LKD + L * (H * P + 1)."""
        return settings.length * wide(shape) + shape.layers * (shape.width * settings.length + 1)

    def build(self, settings: AdaptivePrefixSettings, backbone: Backbone, key: Key) -> Adapter:
        """Keys and values from the start's stream behind open gates."""
        shape = backbone.shape
        refuse_uneven_heads(self.name, shape)
        if settings.start == "random":
            flat = normal((settings.length, wide(shape)), "adaptive prefix", *key, deviation=settings.deviation)
        else:
            flat = prefix_of_tokens(settings.start, settings.text, settings.length, backbone, key)
        return GatedPrefix(flat, torch.zeros(shape.layers, shape.width, settings.length), torch.full((shape.layers,), 2.0), shape)

    def restore(self, settings: AdaptivePrefixSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `prefix`, `gates` and `scales`."""
        refuse_uneven_heads(self.name, shape)
        expected: dict[str, tuple[int, ...]] = {
            "prefix": (settings.length, wide(shape)),
            "gates": (shape.layers, shape.width, settings.length),
            "scales": (shape.layers,),
        }
        exactly(tensors, expected, f"adapter of method {self.name}")
        return GatedPrefix(tensors["prefix"], tensors["gates"], tensors["scales"], shape)


register(AdaptivePrefix())
