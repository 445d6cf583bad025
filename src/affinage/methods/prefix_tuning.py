"""Prefix-tuning (Li and Liang 2021, arXiv 2101.00190): P trained keys and values before the text in every layer, equation 3.

Door 2: slots in attention; the text's positions start at P. With a projection the prefix is Linear(p, 2LKD)(tanh(Linear(H, p)(embedding))),
section 4.3, and only the resulting prefix is handed on. Keys are as a cache holds them: nothing rotates them, so a random start has no
positions and one made from tokens has those of 0..P-1.

Trained values: with a projection of width p: p(H + 1) + 2LKD(p + 1) + P*H; without: P * 2LKD. The embedding has width H here, as in the reference
study; PEFT uses K*D under grouped queries, so its counts differ there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Peft, Settings, exactly, linear, normal, parameter, register
from affinage.methods.prefixes import PEFT_TYPE, prefix_from_peft, prefix_of_tokens, prefix_to_peft, refuse_uneven_heads, split_prefix, wide
from affinage.methods.spaces import SOFT
from affinage.methods.starts import Start
from affinage.records import BackboneShape

__all__ = ["PrefixTuning", "PrefixTuningSettings", "ProjectedPrefix", "SoftPrefix"]

FIT_STEPS, FIT_RATE = 500, 1e-4
"""A projection is fitted to a text's keys and values by so many Adam steps of mean squared error at this rate."""


@final
class PrefixTuningSettings(Settings):
    """Values of prefix-tuning."""

    length: int = Field(4, ge=1)
    """P, slots per layer."""
    projection: int | None = Field(None, ge=1)
    """p, width of the projection; null trains keys and values directly."""
    start: Start = "vocabulary"
    """`random`: normal values; `vocabulary`, `text`: the model's own keys and values over sampled tokens or a text."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of a random start: of the embedding where there is a projection, else of keys and values."""
    text: str | None = None
    """Text of the start `text`."""


@final
class SoftPrefix(Adapter):
    """Keys and values, trained directly.

    Args:
        flat: [P, 2LKD].
        shape: of the backbone.
    """

    method = "prefix-tuning"

    def __init__(self, flat: Tensor, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.flat = parameter(flat)

    def doors(self) -> Doors:
        """Slots in every layer."""
        keys, values = split_prefix(self.flat, self.shape)
        return Doors(keys=keys, values=values)

    def final_tensors(self) -> dict[str, Tensor]:
        """`prefix` [P, 2LKD]."""
        return {"prefix": self.flat.detach()}


@final
class ProjectedPrefix(Adapter):
    """Keys and values made by a two-layer perceptron from an embedding of the slots.

    Args:
        embedding: [P, H].
        inner: [p, H + 1], weight and bias of the first layer.
        outer: [2LKD, p + 1], weight and bias of the second.
        shape: of the backbone.
    """

    method = "prefix-tuning"

    def __init__(self, embedding: Tensor, inner: Tensor, outer: Tensor, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.embedding = parameter(embedding)
        self.inner_weight, self.inner_bias = parameter(inner[:, :-1]), parameter(inner[:, -1])
        self.outer_weight, self.outer_bias = parameter(outer[:, :-1]), parameter(outer[:, -1])

    def flat(self) -> Tensor:
        """[P, 2LKD]."""
        hidden = nn.functional.linear(self.embedding, self.inner_weight, self.inner_bias).tanh()
        return nn.functional.linear(hidden, self.outer_weight, self.outer_bias)

    def doors(self) -> Doors:
        """Slots in every layer."""
        keys, values = split_prefix(self.flat(), self.shape)
        return Doors(keys=keys, values=values)

    def final_tensors(self) -> dict[str, Tensor]:
        """`prefix` [P, 2LKD]; the projection has done its work."""
        return {"prefix": self.flat().detach()}


@final
class PrefixTuning(Method):
    """With a projection p(H + 1) + 2LKD(p + 1) + P*H trained values, without P * 2LKD."""

    name = "prefix-tuning"
    settings = PrefixTuningSettings
    peft_type = PEFT_TYPE
    presets: ClassVar = {
        # Found by the shipped search `blend-small-search`: development side, SmolLM2, style text, loss choice, 24 steps.
        "default": {"settings": {"length": 16, "start": "vocabulary"}, "training": {"rate": 1e-2}},
        "paper": {"settings": {"length": 4, "projection": 256, "start": "random", "deviation": 1.0}, "training": {"rate": 1e-7}},
    }
    space: ClassVar = SOFT
    rows = "prefix"

    def count(self, settings: PrefixTuningSettings, shape: BackboneShape) -> int:
        """See the module's docstring."""
        if settings.projection is None:
            return settings.length * wide(shape)
        return settings.projection * (shape.width + 1) + wide(shape) * (settings.projection + 1) + settings.length * shape.width

    def build(self, settings: PrefixTuningSettings, backbone: Backbone, key: Key) -> Adapter:
        """Keys and values, or their projection, from the start's stream."""
        shape = backbone.shape
        refuse_uneven_heads(self.name, shape)
        target = None
        if settings.start != "random":
            target = prefix_of_tokens(settings.start, settings.text, settings.length, backbone, key)
        if settings.projection is None:
            flat = target if target is not None else normal((settings.length, wide(shape)), "prefix", *key, deviation=settings.deviation)
            return SoftPrefix(flat, shape)
        adapter = ProjectedPrefix(
            normal((settings.length, shape.width), "prefix embedding", *key, deviation=settings.deviation),
            linear(settings.projection, shape.width, "prefix inner", *key),
            linear(wide(shape), settings.projection, "prefix outer", *key),
            shape,
        )
        if target is not None:
            _fit(adapter, target)
        return adapter

    def restore(self, settings: PrefixTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `prefix` [P, 2LKD]; without a projection, whatever made it."""
        refuse_uneven_heads(self.name, shape)
        exactly(tensors, {"prefix": (settings.length, wide(shape))}, "adapter of method prefix-tuning")
        return SoftPrefix(tensors["prefix"], shape)

    def to_peft(self, settings: PrefixTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's PREFIX_TUNING."""
        return prefix_to_peft(tensors["prefix"], shape)

    def from_peft(self, settings: PrefixTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensor under our name."""
        return prefix_from_peft(tensors, settings.length, shape)


def _fit(adapter: ProjectedPrefix, target: Tensor) -> None:
    """Brings the projection's prefix near a text's keys and values."""
    optimiser = torch.optim.Adam(adapter.parameters(), lr=FIT_RATE)
    for _ in range(FIT_STEPS):
        optimiser.zero_grad()
        nn.functional.mse_loss(adapter.flat(), target).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    adapter.zero_grad()


register(PrefixTuning())
