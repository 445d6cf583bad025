"""The doors through which an adapter enters a model, and the only ones.

1. vectors at nodes of the tree that have no token; 2. something in attention, per layer; 3. an update of named linear modules, or of any weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Doors", "LowRank", "Routed", "Router"]


@dataclass(frozen=True, slots=True)
class LowRank:
    """An update of one linear module: y += scale * B A x."""

    a: Tensor
    """[r, inputs]"""
    b: Tensor
    """[outputs, r]"""
    scale: float


@dataclass(frozen=True, slots=True)
class Router:
    """Which experts a node opens, and how far: a perceptron of one hidden layer over the node's own input, then a choice of the likeliest."""

    inner: Tensor
    """[h, inputs]"""
    inner_bias: Tensor
    """[h]; what does not depend on the node (a culture) is in it."""
    outer: Tensor
    """[E, h]"""
    outer_bias: Tensor
    """[E]"""
    top: int
    """k, how many of the E experts a node opens."""
    twice: bool = False
    """Whether the chosen experts' probabilities, not their logits, go through the softmax that makes them sum to 1."""


@dataclass(frozen=True, slots=True)
class Routed:
    """Updates of one linear module by several experts: y += scale * sum over e of g_e B_e A_e x, with g from a router that reads x."""

    a: Tensor
    """[E * r, inputs], the experts' A below each other; [r, inputs] where they share one."""
    b: Tensor
    """[outputs, E * r], the experts' B side by side."""
    scale: float
    router: Router
    balance: Callable[[Tensor, Tensor], None] | None = None
    """Told of each pass, for a loss that keeps the experts in use: probabilities g [n, E] of an adapter's n nodes, and which of them are open."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What one adapter puts into the model in one pass; all of it float32, cast to the backbone's type as the last operation."""

    vectors: Tensor | None = None
    """[P, H] embeddings of the virtual tokens: id -1 is row 0."""
    keys: Tensor | None = None
    """[L, P, K, D] prefix keys as a cache would hold them; the text's positions start at P."""
    values: Tensor | None = None
    """[L, P, K, D] prefix values."""
    gates: Tensor | None = None
    """[L, H, P] before the prefix slots: a node whose layer gets h of it opens them by scale * sigmoid(h W)."""
    scales: Tensor | None = None
    """[L] scale of each layer's gates."""
    additive: Tensor | None = None
    """[L, K, D, D] M per key/value head: phi(q)^T M is added to the result of each of its query heads, phi = elu + 1."""
    updates: Mapping[str, LowRank | Routed] = field(default_factory=dict)
    """Update per dotted module name (`BackboneShape.linears`)."""
    shifts: Mapping[str, Tensor] = field(default_factory=dict)
    """What is added to the model's own weights, per dotted name (`BackboneShape.weights`); only for an adapter that is alone in its pack."""
    terms: list[Tensor] = field(default_factory=list)
    """Filled by the pass: what the method itself adds to its loss, each [] and with its factor on it, as a mean over the nodes of the pack."""
