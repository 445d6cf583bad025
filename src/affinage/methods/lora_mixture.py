"""Mixture of low-rank experts, CuMA (Sun et al. 2026, arXiv 2601.04885): W x + scale * sum over experts of g_e B_e A_e x.

Door 3. The gate g = router(x, v) reads the module's own input x of each token and the culture's vector v, opens the k likeliest of E experts and
lets their weights sum to 1; scale = alpha / sqrt(r). Cultures share experts and routers and are trained together; what is handed on for one culture
are the experts, and the routers with its vector folded into their first bias.

Trained values: per module E * r * (inputs + outputs), or r * inputs + E * r * outputs where the experts share their A; per router
h * (inputs + c) + h + E * (h + 1); and the vectors, c * (K*D + 1) from descriptions or c * T as codes of T cultures.

What we took from the authors' code (github.com/Throll/CuMA): the router is a perceptron with one hidden layer and ReLU; query, key and value of a
layer share one, and so do gate and up projection; the term E * sum over e of f_e p_e of each router (f, the share of tokens that open e among all
opened; p, the mean weight) is added to the loss with the factor 0.01. Its code puts the chosen experts' probabilities through a second softmax, which
draws their weights towards equal ones; `gate: twice` does that, `once`, the default, makes the softmax over the chosen logits.

What differs: the culture's vector comes from the frozen model itself or is trained (`source`), not from another embedding model; the term counts the
nodes of a pack's tree, a shared beginning once, and where a step is cut into packs it is their mean. The router reads what the module reads, in the
frozen model's type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors, Routed, Router
from affinage.methods.base import Adapter, Key, Method, exactly, linear, parameter, register
from affinage.methods.linears import chosen, start_a
from affinage.methods.spaces import Choice, Span
from affinage.methods.together import CodedSettings, CultureCode, Shared, code_count, settled, start_code, taught
from affinage.records import BackboneShape

__all__ = ["Experts", "LoraMixture", "LoraMixtureSettings", "SharedExperts"]

_ONE_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Modules of one parent that read the same input, and share a router."""


@final
class LoraMixtureSettings(CodedSettings):
    """Values of the mixture."""

    rank: int = Field(8, ge=1)
    """r, rank of each expert."""
    alpha: float = Field(16.0, gt=0)
    """The update is scaled by alpha / sqrt(r)."""
    experts: int = Field(8, ge=2)
    """E, experts per module."""
    top: int = Field(2, ge=1)
    """k, experts that a token opens; at least two."""
    shared_a: bool = False
    """Whether the experts of a module have one A in common and differ in B alone."""
    hidden: int = Field(512, ge=1)
    """h, hidden width of a router."""
    gate: Literal["once", "twice"] = "once"
    """Softmax over the chosen experts' logits, or over their probabilities, as the authors' code has it."""
    balance: float = Field(0.01, ge=0)
    """Factor of the term that keeps all experts in use."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Linear modules by the end of their dotted names. Default: every plain linear module of the decoder layers."""

    @model_validator(mode="after")
    def _enough(self) -> LoraMixtureSettings:
        if self.top == 1:
            raise ValueError("top 1: a single open expert has the weight 1 whatever its router says, which would learn nothing; open two")
        if self.top > self.experts:
            raise ValueError(f"top {self.top} of {self.experts} experts")
        return self

    @property
    def scale(self) -> float:
        """Factor of the experts' sum."""
        return self.alpha / math.sqrt(self.rank)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which modules are updated, and which router each of them listens to."""

    modules: tuple[tuple[str, int, int], ...]
    """(name, inputs, outputs)"""
    router_of: tuple[str, ...]
    """Per module the name of its router."""
    routers: Mapping[str, int]
    """Router -> inputs."""

    @classmethod
    def of(cls, settings: LoraMixtureSettings, shape: BackboneShape) -> _Layout:
        """For the targets of these settings."""
        modules = tuple(chosen(LoraMixture.name, settings.targets, shape))
        names = tuple(_router(name) for name, _, _ in modules)
        return cls(modules, names, {router: inputs for router, (_, inputs, _) in zip(names, modules, strict=True)})

    def sizes(self, settings: LoraMixtureSettings) -> dict[str, tuple[int, ...]]:
        """Tensors that are handed on, by name."""
        wide = settings.experts * settings.rank
        sizes: dict[str, tuple[int, ...]] = {}
        for name, inputs, outputs in self.modules:
            sizes |= {f"{name}.a": (settings.rank if settings.shared_a else wide, inputs), f"{name}.b": (outputs, wide)}
        for router, inputs in self.routers.items():
            sizes |= {f"{router}.inner": (settings.hidden, inputs), f"{router}.inner_bias": (settings.hidden,)}
            sizes |= {f"{router}.outer": (settings.experts, settings.hidden), f"{router}.outer_bias": (settings.experts,)}
        return sizes

    def doors(self, settings: LoraMixtureSettings, tensors: Mapping[str, Tensor]) -> Doors:
        """The updates, with tensors as they are handed on; of modules that share a router the first tells how it is used."""
        terms: list[Tensor] = []
        told: set[str] = set()

        def balance(router: str, weights: Tensor, opened: Tensor) -> None:
            share = opened.float().mean(0) / settings.top
            term = settings.balance * settings.experts * (share * weights.mean(0)).sum()
            # A layer that is computed again in the backward pass says it again: kept, that would keep the whole layer in memory.
            if router not in told:
                told.add(router)
                terms.append(term)

        updates, heard = {}, set()
        for (name, _, _), router in zip(self.modules, self.router_of, strict=True):
            inner, inner_bias, outer, outer_bias = (tensors[f"{router}.{part}"] for part in ("inner", "inner_bias", "outer", "outer_bias"))
            listens = None if router in heard or not settings.balance else partial(balance, router)
            route = Router(inner, inner_bias, outer, outer_bias, settings.top, settings.gate == "twice")
            updates[name] = Routed(tensors[f"{name}.a"], tensors[f"{name}.b"], settings.scale, route, listens)
            heard.add(router)
        return Doors(updates=updates, terms=terms)


def _router(module: str) -> str:
    """The name of a module's router."""
    parent, _, leaf = module.rpartition(".")
    together = next((names for names in _ONE_INPUT if leaf in names), (leaf,))
    return f"{parent}.{re.sub('_proj', '', '_'.join(together))}.router"


@final
class SharedExperts(Shared):
    """Experts and routers of several cultures.

    Args:
        tensors: as `_Layout.sizes`, but without what the culture adds to a router.
        cultural: per router [h, c], what it makes of the culture's vector.
        code: the vectors.
        layout: which modules.
        settings: of the method.
        shape: of the backbone.
    """

    method = "lora-mixture"

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        cultural: Mapping[str, Tensor],
        code: CultureCode,
        *,
        layout: _Layout,
        settings: LoraMixtureSettings,
        shape: BackboneShape,
    ) -> None:
        super().__init__(shape, settings.cultures)
        self.layout, self.settings, self.names = layout, settings, tuple(tensors)
        self.tensors = nn.ParameterList([parameter(value) for value in tensors.values()])
        self.cultural = nn.ParameterList([parameter(value) for value in cultural.values()])
        self.code = code

    def _own(self) -> dict[str, Tensor]:
        """The culture's part: its vector folded into the routers' first biases."""
        tensors: dict[str, Tensor] = dict(zip(self.names, self.tensors, strict=True))
        vector = self.code.of(self.culture)
        for router, cultural in zip(self.layout.routers, self.cultural, strict=True):
            tensors[f"{router}.inner_bias"] = tensors[f"{router}.inner_bias"] + cultural @ vector
        return tensors

    def doors(self) -> Doors:
        """An update per module."""
        return self.layout.doors(self.settings, self._own())

    def final_tensors(self) -> dict[str, Tensor]:
        """Per module `.a` and `.b`, per router `.inner`, `.inner_bias`, `.outer` and `.outer_bias`."""
        return {name: value.detach() for name, value in self._own().items()}


@final
class Experts(Adapter):
    """Experts and routers of one culture, as they are handed on.

    Args:
        tensors: as `_Layout.sizes`.
        layout: which modules.
        settings: of the method.
        shape: of the backbone.
    """

    method = "lora-mixture"

    def __init__(self, tensors: Mapping[str, Tensor], *, layout: _Layout, settings: LoraMixtureSettings, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.layout, self.settings, self.names = layout, settings, tuple(tensors)
        self.tensors = nn.ParameterList([parameter(value) for value in tensors.values()])

    def doors(self) -> Doors:
        """An update per module."""
        return self.layout.doors(self.settings, dict(zip(self.names, self.tensors, strict=True)))

    def final_tensors(self) -> dict[str, Tensor]:
        """As it was read."""
        return {name: value.detach() for name, value in zip(self.names, self.tensors, strict=True)}


@final
class LoraMixture(Method):
    """See the module's docstring."""

    name = "lora-mixture"
    settings = LoraMixtureSettings
    presets: ClassVar = {
        # The best of the shipped search `blend-methods-search`, which began with it (development side, SmolLM2, style text, loss choice, 24 steps,
        # five trainings). On every module, so that smaller experts and routers than the authors'.
        "default": {"settings": {"rank": 4, "alpha": 8.0, "hidden": 64}, "training": {"rate": 1e-3}},
        # The authors' script for the World Values Survey; 3 epochs there.
        "paper": {
            "settings": {"shared_a": True, "hidden": 256, "gate": "twice", "targets": ("q_proj", "v_proj")},
            "training": {"rate": 2e-5, "schedule": "constant", "weight_decay": 0.01, "batch_size": 16},
        },
    }
    space: ClassVar = {"training.rate": Span(1e-5, 1e-2), "settings.rank": Choice((4, 8, 16)), "settings.experts": Choice((4, 8))}

    def settled(self, settings: LoraMixtureSettings, cultures: tuple[str, ...], culture: str | None) -> LoraMixtureSettings:
        """With the study's cultures."""
        return settled(self.name, settings, cultures, culture)

    def taught(self, settings: LoraMixtureSettings) -> tuple[str, ...]:
        """Every culture that is not held out."""
        return taught(settings)

    def count(self, settings: LoraMixtureSettings, shape: BackboneShape) -> int:
        """See the module's docstring."""
        layout, hidden, experts = _Layout.of(settings, shape), settings.hidden, settings.experts
        wide = experts * settings.rank
        modules = sum((settings.rank if settings.shared_a else wide) * inputs + wide * outputs for _, inputs, outputs in layout.modules)
        routers = sum(hidden * (inputs + settings.code) + hidden + experts * (hidden + 1) for inputs in layout.routers.values())
        return modules + routers + code_count(self.name, settings, shape)

    def build(self, settings: LoraMixtureSettings, backbone: Backbone, key: Key) -> Adapter:
        """Each A as LoRA's, B zero, routers as torch starts linear layers: the adapter starts as the base."""
        layout = _Layout.of(settings, backbone.shape)
        tensors: dict[str, Tensor] = {}
        cultural = {}
        sizes = layout.sizes(settings)
        for name, inputs, _ in layout.modules:
            tensors[f"{name}.a"] = start_a(sizes[f"{name}.a"][0], inputs, "mixture", name, *key)
            tensors[f"{name}.b"] = torch.zeros(sizes[f"{name}.b"])
        for router, inputs in layout.routers.items():
            inner = linear(settings.hidden, inputs + settings.code, "mixture inner", router, *key)
            outer = linear(settings.experts, settings.hidden, "mixture outer", router, *key)
            tensors |= {f"{router}.inner": inner[:, :inputs], f"{router}.inner_bias": inner[:, -1]}
            tensors |= {f"{router}.outer": outer[:, :-1], f"{router}.outer_bias": outer[:, -1]}
            cultural[router] = inner[:, inputs:-1]
        code = start_code(self.name, settings, backbone, key)
        return SharedExperts(tensors, cultural, code, layout=layout, settings=settings, shape=backbone.shape)

    def restore(self, settings: LoraMixtureSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """One culture's experts and routers."""
        layout = _Layout.of(settings, shape)
        sizes = layout.sizes(settings)
        exactly(tensors, sizes, f"adapter of method {self.name}")
        return Experts({name: tensors[name] for name in sizes}, layout=layout, settings=settings, shape=shape)


register(LoraMixture())
