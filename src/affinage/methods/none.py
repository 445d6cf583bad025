"""The untouched model, travelling the same road as every adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Settings, exactly, register
from affinage.records import BackboneShape

__all__ = ["NoMethod", "NoSettings", "Untouched"]


@final
class NoSettings(Settings):
    """There is nothing to set."""


@final
class Untouched(Adapter):
    """Enters through no door."""

    method = "none"

    def doors(self) -> Doors:
        """None of them."""
        return Doors()

    def final_tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


@final
class NoMethod(Method):
    """Trains nothing: 0 parameters."""

    name = "none"
    settings = NoSettings
    presets: ClassVar = {"default": {"training": {"steps": 0}}, "paper": {"training": {"steps": 0}}}
    space: ClassVar = {}

    def count(self, settings: NoSettings, shape: BackboneShape) -> int:
        """0."""
        return 0

    def build(self, settings: NoSettings, backbone: Backbone, key: Key) -> Adapter:
        """The untouched model."""
        return Untouched(backbone.shape)

    def restore(self, settings: NoSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """The untouched model."""
        exactly(tensors, {}, "adapter of method none")
        return Untouched(shape)


register(NoMethod())
