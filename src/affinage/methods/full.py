"""Full fine-tuning: every weight of the model is trained. The upper reference under the same protocol, for models that fit.

Door 3, taken to its end: W + S for every weight W, S trained from zero. The model itself stays frozen: for the length of a pass the sums take the
weights' places, and its own tensors, never written to, are put back. So an adapter is the difference S, it is saved and tested as every other one
is, and the untouched model stands beside it in the same process.

Trained values: all of the model's, a tied weight once. Training holds S, its gradient and two moments in float32 beside the frozen weights and the
sums: 16 bytes per weight more than the frozen model and its activations. It runs alone, in no cohort.

What differs from training the weights themselves: AdamW's decay draws towards the frozen model, not towards zero (the default is no decay). S is in
float32, also where the model is not: small steps add up, as they do with float32 master weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Settings, exactly, parameter, register
from affinage.methods.spaces import Span
from affinage.records import BackboneShape

__all__ = ["Difference", "Full", "FullSettings"]


@final
class FullSettings(Settings):
    """There is nothing to set: every weight is trained."""


@final
class Difference(Adapter):
    """What is added to each weight.

    Args:
        tensors: per weight of the model, in its order, the difference.
        shape: of the backbone.
    """

    method = "full"

    def __init__(self, tensors: Mapping[str, Tensor], shape: BackboneShape) -> None:
        super().__init__(shape)
        self.names = tuple(tensors)
        self.shifts = nn.ParameterList([parameter(value) for value in tensors.values()])

    def doors(self) -> Doors:
        """Every weight with its difference."""
        return Doors(shifts=dict(zip(self.names, self.shifts, strict=True)))

    def final_tensors(self) -> dict[str, Tensor]:
        """The difference of each weight, under the weight's name."""
        return {name: value.detach() for name, value in zip(self.names, self.shifts, strict=True)}


@final
class Full(Method):
    """As many trained values as the model has."""

    name = "full"
    settings = FullSettings
    alone = True
    presets: ClassVar = {
        # The best of the shipped search `blend-methods-search`, which began with it (development side, SmolLM2, style text, loss choice, 24 steps,
        # five trainings): a usual rate for small chat models.
        "default": {"training": {"rate": 2e-5}},
    }
    space: ClassVar = {"training.rate": Span(1e-6, 1e-3)}

    def count(self, settings: FullSettings, shape: BackboneShape) -> int:
        """All of the model's."""
        return shape.parameters

    def build(self, settings: FullSettings, backbone: Backbone, key: Key) -> Adapter:
        """Zero, whatever the key: the adapter starts as the base."""
        return Difference({name: torch.zeros(size) for name, size in backbone.shape.weights}, backbone.shape)

    def restore(self, settings: FullSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From the difference of each weight."""
        exactly(tensors, dict(shape.weights), f"adapter of method {self.name}")
        return Difference({name: tensors[name] for name, _ in shape.weights}, shape)


register(Full())
