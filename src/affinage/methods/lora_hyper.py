"""LoRA from a hypernetwork, Zhyper (Abdalla et al. 2025, arXiv 2510.19733): W x + scale * B diag(z) A x, z = network(culture, layer, kind of module).

Door 3. All cultures share A and B of each module; a small network makes z, r numbers per module, from the culture's vector and trained vectors of the
layer and of the kind of module. Cultures are trained together. What is handed on for one culture is plain LoRA, B with diag(z) in it; PEFT loads it.
A culture that is held out gets its LoRA from its description alone (of codes, from the trained ones' mean).

Trained values: the sum of r * (inputs + outputs) over the modules; d * (L + M) for L layers and M kinds of modules;
h * (c + 2d + 1) + r * (h + 1) of the network; and the vectors, c * (K*D + 1) from descriptions or c * T as codes of T cultures.

What we chose: the authors' code (github.com/machinelearningnuremberg/Zhyper) reads descriptions with another embedding model and has a deep residual
network with dropouts, layer norms and a head per kind of module. Here the frozen model itself reads the descriptions (`together.py`), the network has
one hidden layer with SiLU and one head, and z = 1 + head, so that the shared LoRA is the middle around which cultures differ. There is no penalty on
the size of z.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors, LowRank
from affinage.methods.base import Adapter, Key, Method, Peft, linear, normal, parameter, register, registry
from affinage.methods.linears import chosen, start_a
from affinage.methods.lora import LoraSettings
from affinage.methods.spaces import Choice, Span
from affinage.methods.together import CodedSettings, CultureCode, Shared, code_count, settled, start_code, taught
from affinage.records import BackboneShape

__all__ = ["HyperLora", "LoraHyper", "LoraHyperSettings"]


@final
class LoraHyperSettings(CodedSettings):
    """Values of the hypernetwork and of its LoRA."""

    rank: int = Field(16, ge=1)
    """r, rank of each update."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / r."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(r) instead."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Linear modules by the end of their dotted names. Default: every plain linear module of the decoder layers."""
    place: int = Field(32, ge=1)
    """d, width of the vectors of a layer and of a kind of module."""
    hidden: int = Field(256, ge=1)
    """h, hidden width of the network."""

    @property
    def lora(self) -> LoraSettings:
        """Of what is handed on."""
        return LoraSettings(rank=self.rank, alpha=self.alpha, rank_stabilised=self.rank_stabilised, targets=self.targets)


def _places(modules: list[tuple[str, int, int]]) -> tuple[list[int], list[int]]:
    """Per module the number of its layer and of its kind, among those that there are."""
    found = [re.search(r"\.(\d+)\.(.+)", name) for name, _, _ in modules]
    pairs = [(match.group(1), match.group(2)) if match else ("", name) for match, (name, _, _) in zip(found, modules, strict=True)]
    layers, kinds = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    return [layers.index(layer) for layer, _ in pairs], [kinds.index(kind) for _, kind in pairs]


@final
class HyperLora(Shared):
    """An A and a B per module, and the network that makes each culture's z.

    Args:
        modules: (name, inputs, outputs) of each.
        a: per module [r, inputs].
        b: per module [outputs, r].
        layers: [L, d].
        kinds: [M, d].
        inner: [h, c + 2d + 1], weight and bias.
        outer: [r, h + 1], weight and bias.
        code: the cultures' vectors.
        settings: of the method.
        shape: of the backbone.
    """

    method = "lora-hyper"

    def __init__(
        self,
        modules: list[tuple[str, int, int]],
        a: list[Tensor],
        b: list[Tensor],
        *,
        layers: Tensor,
        kinds: Tensor,
        inner: Tensor,
        outer: Tensor,
        code: CultureCode,
        settings: LoraHyperSettings,
        shape: BackboneShape,
    ) -> None:
        super().__init__(shape, settings.cultures)
        self.names = tuple(name for name, _, _ in modules)
        self.layer_of, self.kind_of = _places(modules)
        self.scale = settings.lora.scale
        self.a = nn.ParameterList([parameter(value) for value in a])
        self.b = nn.ParameterList([parameter(value) for value in b])
        self.layers, self.kinds = parameter(layers), parameter(kinds)
        self.inner_weight, self.inner_bias = parameter(inner[:, :-1]), parameter(inner[:, -1])
        self.outer_weight, self.outer_bias = parameter(outer[:, :-1]), parameter(outer[:, -1])
        self.code = code

    def _z(self) -> Tensor:
        """[modules, r] for the culture under which it is read."""
        device = self.layers.device
        layer = self.layers.index_select(0, torch.tensor(self.layer_of, device=device))
        kind = self.kinds.index_select(0, torch.tensor(self.kind_of, device=device))
        given = torch.cat([self.code.of(self.culture).expand(len(layer), -1), layer, kind], dim=1)
        hidden = nn.functional.silu(nn.functional.linear(given, self.inner_weight, self.inner_bias))
        return 1 + nn.functional.linear(hidden, self.outer_weight, self.outer_bias)

    def doors(self) -> Doors:
        """An update per module."""
        parts = zip(self.names, self.a, self.b, self._z(), strict=True)
        return Doors(updates={name: LowRank(a, b * z, self.scale) for name, a, b, z in parts})

    def final_tensors(self) -> dict[str, Tensor]:
        """Plain LoRA of the culture: `<module>.a` [r, inputs] and `<module>.b` [outputs, r]."""
        tensors: dict[str, Tensor] = {}
        for name, a, b, z in zip(self.names, self.a, self.b, self._z(), strict=True):
            tensors |= {f"{name}.a": a.detach(), f"{name}.b": (b * z).detach()}
        return tensors


@final
class LoraHyper(Method):
    """See the module's docstring."""

    name = "lora-hyper"
    settings = LoraHyperSettings
    peft_type = "LORA"
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"settings": {"rank": 8}, "training": {"rate": 1.1e-3}},
        # The authors' script: queries and values, 2.5e-5 after a warm-up; alpha, rank and width of the hidden layer are ours.
        "paper": {"settings": {"targets": ("q_proj", "v_proj")}, "training": {"rate": 2.5e-5, "warmup": 0.2, "weight_decay": 0.01}},
    }
    space: ClassVar = {
        "training.rate": Span(1e-5, 1e-2),
        "settings.rank": Choice((4, 8, 16, 32)),
        "settings.source": Choice(("description", "code")),
    }

    def settled(self, settings: LoraHyperSettings, cultures: tuple[str, ...], culture: str | None) -> LoraHyperSettings:
        """With the study's cultures."""
        return settled(self.name, settings, cultures, culture)

    def taught(self, settings: LoraHyperSettings) -> tuple[str, ...]:
        """Every culture that is not held out."""
        return taught(settings)

    def count(self, settings: LoraHyperSettings, shape: BackboneShape) -> int:
        """See the module's docstring."""
        modules = chosen(self.name, settings.targets, shape)
        layers, kinds = (max(places) + 1 for places in _places(modules))
        shared = sum(settings.rank * (inputs + outputs) for _, inputs, outputs in modules)
        network = settings.hidden * (settings.code + 2 * settings.place + 1) + settings.rank * (settings.hidden + 1)
        return shared + settings.place * (layers + kinds) + network + code_count(self.name, settings, shape)

    def build(self, settings: LoraHyperSettings, backbone: Backbone, key: Key) -> Adapter:
        """A and B as LoRA's, so that the adapter starts as the base; the network as torch starts linear layers and embeddings."""
        modules = chosen(self.name, settings.targets, backbone.shape)
        layers, kinds = (max(places) + 1 for places in _places(modules))
        return HyperLora(
            modules,
            [start_a(settings.rank, inputs, "hyper", name, *key) for name, inputs, _ in modules],
            [torch.zeros(outputs, settings.rank) for _, _, outputs in modules],
            layers=normal((layers, settings.place), "hyper layers", *key),
            kinds=normal((kinds, settings.place), "hyper kinds", *key),
            inner=linear(settings.hidden, settings.code + 2 * settings.place, "hyper inner", *key),
            outer=linear(settings.rank, settings.hidden, "hyper outer", *key),
            code=start_code(self.name, settings, backbone, key),
            settings=settings,
            shape=backbone.shape,
        )

    def restore(self, settings: LoraHyperSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """One culture's plain LoRA."""
        return registry.get("lora").restore(settings.lora, shape, tensors)

    def to_peft(self, settings: LoraHyperSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's LORA, as `lora` has it."""
        return registry.get("lora").to_peft(settings.lora, shape, tensors)

    def from_peft(self, settings: LoraHyperSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under our names."""
        return registry.get("lora").from_peft(settings.lora, shape, tensors)


register(LoraHyper())
