"""LoRA (Hu et al. 2021, arXiv 2106.09685): W x + (alpha / r) B A x on named linear modules, section 4.1.

Door 3. Trained values: the sum of r * (inputs + outputs) over the modules. The rank-stabilised variant scales by alpha / sqrt(r) (Kalajdzievski 2023,
arXiv 2312.03732, section 3): the update then keeps its size when the rank grows. It wants another alpha: at r = 16 its factor is four times that of
the plain form. The paper's experiments update queries and values only, which is the preset `paper`; the default updates every plain linear module
of the decoder layers. The paper's code may put a dropout before A; here there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors, LowRank
from affinage.methods.base import Adapter, Key, Method, Peft, Settings, exactly, parameter, register
from affinage.methods.linears import chosen, peft_name, start_a
from affinage.methods.spaces import Choice, Span
from affinage.records import BackboneShape, UserError

__all__ = ["Lora", "LoraSettings", "LowRankUpdates"]


@final
class LoraSettings(Settings):
    """Values of LoRA."""

    rank: int = Field(16, ge=1)
    """r, rank of each update."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / r."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(r) instead."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Linear modules by the end of their dotted names: `q_proj`, `self_attn.q_proj`, `layers.3.mlp.up_proj`, or the whole name.
    Default: every plain linear module of the decoder layers."""

    @property
    def scale(self) -> float:
        """Factor of B A x."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)


@final
class LowRankUpdates(Adapter):
    """An A and a B per module.

    Args:
        modules: dotted names.
        a: per module [r, inputs].
        b: per module [outputs, r].
        scale: factor of B A x.
        shape: of the backbone.
    """

    method = "lora"

    def __init__(self, modules: tuple[str, ...], a: list[Tensor], b: list[Tensor], scale: float, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.modules_updated = modules
        self.a = nn.ParameterList([parameter(value) for value in a])
        self.b = nn.ParameterList([parameter(value) for value in b])
        self.scale = scale

    def doors(self) -> Doors:
        """An update per module."""
        return Doors(updates={name: LowRank(a, b, self.scale) for name, a, b in zip(self.modules_updated, self.a, self.b, strict=True)})

    def final_tensors(self) -> dict[str, Tensor]:
        """`<module>.a` [r, inputs] and `<module>.b` [outputs, r]."""
        tensors: dict[str, Tensor] = {}
        for name, a, b in zip(self.modules_updated, self.a, self.b, strict=True):
            tensors |= {f"{name}.a": a.detach(), f"{name}.b": b.detach()}
        return tensors


@final
class Lora(Method):
    """Sum of r * (inputs + outputs) trained values."""

    name = "lora"
    settings = LoraSettings
    peft_type = "LORA"
    presets: ClassVar = {
        # Found by the shipped search `demo-search`: development side, SmolLM2, style text, loss choice, 36 steps.
        "default": {"settings": {"rank": 16, "alpha": 32.0}, "training": {"rate": 1e-3}},
        "paper": {"settings": {"rank": 16, "alpha": 32.0, "targets": ("q_proj", "v_proj")}, "training": {"rate": 2e-4}},
    }
    space: ClassVar = {
        "training.rate": Span(1e-5, 1e-2),
        "settings.rank": Choice((4, 8, 16, 32, 64)),
        "settings.alpha": Choice((8.0, 16.0, 32.0, 64.0)),
    }

    def count(self, settings: LoraSettings, shape: BackboneShape) -> int:
        """Sum of r * (inputs + outputs)."""
        return sum(settings.rank * (inputs + outputs) for _, inputs, outputs in chosen(self.name, settings.targets, shape))

    def build(self, settings: LoraSettings, backbone: Backbone, key: Key) -> Adapter:
        """A uniform in +-1/sqrt(inputs) (kaiming-uniform with a = sqrt(5), as PEFT starts it), B zero: the adapter starts as the base."""
        a, b = [], []
        targets = chosen(self.name, settings.targets, backbone.shape)
        for name, inputs, outputs in targets:
            a.append(start_a(settings.rank, inputs, "lora", name, *key))
            b.append(torch.zeros(outputs, settings.rank))
        return LowRankUpdates(tuple(name for name, _, _ in targets), a, b, settings.scale, backbone.shape)

    def restore(self, settings: LoraSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `<module>.a` and `<module>.b`."""
        targets = chosen(self.name, settings.targets, shape)
        expected: dict[str, tuple[int, ...]] = {}
        for name, inputs, outputs in targets:
            expected |= {f"{name}.a": (settings.rank, inputs), f"{name}.b": (outputs, settings.rank)}
        exactly(tensors, expected, "adapter of method lora")
        names = tuple(name for name, _, _ in targets)
        return LowRankUpdates(names, [tensors[f"{name}.a"] for name in names], [tensors[f"{name}.b"] for name in names], settings.scale, shape)

    def to_peft(self, settings: LoraSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's LORA, every module by its whole name."""
        config = {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "inference_mode": True,
            "r": settings.rank,
            "lora_alpha": settings.alpha,
            "use_rslora": settings.rank_stabilised,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "target_modules": [name for name, _, _ in chosen(self.name, settings.targets, shape)],
        }
        return Peft(config, {peft_name(name): value for name, value in tensors.items()})

    def from_peft(self, settings: LoraSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under our names."""
        names = {peft_name(f"{name}.{part}"): f"{name}.{part}" for name, _, _ in chosen(self.name, settings.targets, shape) for part in ("a", "b")}
        strange = sorted(set(tensors) - set(names))
        if strange:
            raise UserError("PEFT adapter of type LORA", strange[0], "lora_A and lora_B of the target modules", "Only plain LoRA can be read.")
        return {names[name]: value for name, value in tensors.items()}


register(Lora())
