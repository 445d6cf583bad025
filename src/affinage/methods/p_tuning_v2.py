"""P-tuning v2 (Liu et al. 2022, arXiv 2110.07602): keys and values before the text in every layer, trained directly, section 3.2.

Door 2, as prefix-tuning, without the projection: the paper finds it of no steady use (section 3.3), and its code leaves it out by default.
Trained values: P * 2LKD.

Where we differ: the paper's code starts from normal values with deviation 1, as the embedding of an id per slot, which is our start `random`; a start
from a text's own keys and values is not in the paper. Its classification head is not needed: the answer's own tokens are scored, as with a
verbalizer, which section 3.3 compares it with. Its code puts the model's dropout of 0.1 on the prefix in training, as the preset `paper` does; a mask
is a function of the run's seed and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Peft, Settings, exactly, normal, parameter, register
from affinage.methods.prefixes import PEFT_TYPE, prefix_from_peft, prefix_of_tokens, prefix_to_peft, refuse_uneven_heads, split_prefix, wide
from affinage.methods.spaces import RATE, Span
from affinage.records import BackboneShape
from affinage.seeds import generator

__all__ = ["DeepPrompt", "PTuningV2", "PTuningV2Settings"]


@final
class PTuningV2Settings(Settings):
    """Values of P-tuning v2."""

    length: int = Field(16, ge=1)
    """P, slots per layer."""
    start: Literal["random", "text"] = "random"
    """`random`: normal values; `text`: the model's own keys and values over a text."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of a random start."""
    text: str | None = None
    """Text of the start `text`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the prefix's values that a training step leaves out; the others are scaled up by as much."""


@final
class DeepPrompt(Adapter):
    """Keys and values of every layer.

    Args:
        flat: [P, 2LKD].
        shape: of the backbone.
        dropout: share of the values that a training step leaves out.
    """

    method = "p-tuning-v2"

    def __init__(self, flat: Tensor, shape: BackboneShape, dropout: float = 0.0) -> None:
        super().__init__(shape)
        self.flat = parameter(flat)
        self.dropout = dropout

    def doors(self) -> Doors:
        """Slots in every layer."""
        flat: Tensor = self.flat
        if self.dropout and self.draw is not None:
            kept = generator("prefix dropout", *self.draw).random(flat.shape) >= self.dropout
            flat = flat * torch.from_numpy(kept).to(flat.device) / (1 - self.dropout)
        keys, values = split_prefix(flat, self.shape)
        return Doors(keys=keys, values=values)

    def final_tensors(self) -> dict[str, Tensor]:
        """`prefix` [P, 2LKD]."""
        return {"prefix": self.flat.detach()}


@final
class PTuningV2(Method):
    """P * 2LKD trained values."""

    name = "p-tuning-v2"
    settings = PTuningV2Settings
    peft_type = PEFT_TYPE
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"settings": {"length": 7, "start": "random"}, "training": {"rate": 8.3e-3}},
        "paper": {"settings": {"length": 20, "start": "random", "deviation": 1.0, "dropout": 0.1}, "training": {"rate": 5e-3}},
    }
    space: ClassVar = {"training.rate": RATE, "settings.length": Span(4, 64, whole=True)}
    rows = "prefix"

    def count(self, settings: PTuningV2Settings, shape: BackboneShape) -> int:
        """P * 2LKD."""
        return settings.length * wide(shape)

    def build(self, settings: PTuningV2Settings, backbone: Backbone, key: Key) -> Adapter:
        """Keys and values from the start's stream."""
        shape = backbone.shape
        refuse_uneven_heads(self.name, shape)
        if settings.start == "random":
            flat = normal((settings.length, wide(shape)), "p-tuning v2", *key, deviation=settings.deviation)
        else:
            flat = prefix_of_tokens(settings.start, settings.text, settings.length, backbone, key)
        return DeepPrompt(flat, shape, settings.dropout)

    def restore(self, settings: PTuningV2Settings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `prefix` [P, 2LKD]."""
        refuse_uneven_heads(self.name, shape)
        exactly(tensors, {"prefix": (settings.length, wide(shape))}, f"adapter of method {self.name}")
        return DeepPrompt(tensors["prefix"], shape, settings.dropout)

    def to_peft(self, settings: PTuningV2Settings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's PREFIX_TUNING, which is the same thing without a projection."""
        return prefix_to_peft(tensors["prefix"], shape)

    def from_peft(self, settings: PTuningV2Settings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensor under our name."""
        return prefix_from_peft(tensors, settings.length, shape)


register(PTuningV2())
