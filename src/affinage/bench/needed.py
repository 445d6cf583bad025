"""The multiplications that one training step needs: counted from the tree, whatever an implementation does.

Letters: N nodes, M predicting nodes, L layers, H width, D head width, P prefix slots, r rank.

* Linear layers: N * inputs * outputs forward, the same backward where a trained tensor lies before the layer; frozen weights get no gradient.
* Attention: only over pairs of a node and what it sees of its path (itself, its ancestors, prefix slots). Per pair and query head D for the score
  and D for the result; backward D each for the gradients of weights, queries, keys and values, where a trained tensor lies before them. Nothing
  is counted for what a mask hides, for padding, or for computing anything a second time.
* Output layer: M * H * vocabulary forward, the same backward.
* The adapter's own: a low-rank update's products of r, a projection's.

What an implementation might leave out besides (the last layer's feed-forward at nodes that predict nothing) is counted, so that the number is the
same for every implementation. Plain linear modules are counted; a model with other products (experts in one tensor) gets too small a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from affinage.backbone import Backbone, Doors, LowRank
from affinage.backbone.shape import windows_of
from affinage.bench.products import recorded
from affinage.methods import Adapter
from affinage.pack import Packed, pack
from affinage.records import Encoded
from affinage.scoring import answer_branch

if TYPE_CHECKING:
    from affinage.backbone.attention import Window

__all__ = ["Needed", "needed", "visible_pairs"]


@dataclass(frozen=True, slots=True)
class Needed:
    """Multiplications of one step, forward and backward."""

    linear: int
    """Of the frozen linear layers."""
    attention: int
    output: int
    adapter: int
    """Of the adapter's own tensors."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.linear + self.attention + self.output + self.adapter

    def as_dict(self) -> dict[str, int]:
        """For JSON, with the total."""
        return {"linear": self.linear, "attention": self.attention, "output": self.output, "adapter": self.adapter, "total": self.total}


def needed(backbone: Backbone, adapter: Adapter, batch: Sequence[Encoded]) -> Needed:
    """What a step on the answers of a batch needs.

    Args:
        backbone: the frozen model.
        adapter: what is trained.
        batch: the questions; the loss is that of their right answers.

    Raises:
        ValueError: the adapter enters the model in a way that is not counted here.
    """
    packed = pack([adapter.place(answer_branch(each)) for each in batch])
    doors = adapter.doors()
    plain = all(isinstance(update, LowRank) for update in doors.updates.values())
    if doors.gates is not None or doors.additive is not None or doors.shifts or not plain:
        raise ValueError(f"method {adapter.method}: only vectors, prefix slots and low-rank updates are counted")
    calls: list[tuple[int, Tensor, Tensor]] = []
    with _reached(backbone) as reached, backbone.logits(packed, [doors], calls=calls):
        pass
    linears = backbone.shape.linears
    return Needed(
        linear=sum(packed.nodes * inputs * outputs * (2 if reached.get(name, False) else 1) for name, inputs, outputs in linears),
        attention=_attention(backbone, packed, doors, calls),
        output=2 * len(packed.predicting) * int(backbone.model.get_output_embeddings().weight.numel()),
        adapter=_updates(packed, doors, reached) + _making(adapter),
    )


def visible_pairs(packed: Packed, window: Window | None, slots: int) -> tuple[int, int]:
    """Pairs of a node and what it sees: nodes of its path (itself counted), and prefix slots.

    Args:
        packed: the tree.
        window: of the layer; positions count from the first slot.
        slots: P.
    """
    position = packed.depth + slots
    if window is None:
        seen = position + 1
    elif window.kind == "sliding":
        seen = np.minimum(position + 1, window.size)
    else:
        seen = position % window.size + 1
    text = np.minimum(seen, packed.depth + 1)
    return int(text.sum()), int((seen - text).sum())


def _attention(backbone: Backbone, packed: Packed, doors: Doors, calls: Sequence[tuple[int, Tensor, Tensor]]) -> int:
    """All layers. Queries are taken to depend on a trained tensor where keys or values do; in the first layer that can be a little too much."""
    config = backbone.model.config
    heads = int(config.get_text_config().num_attention_heads)
    windows = windows_of(config)
    slots = 0 if doors.keys is None else doors.keys.shape[1]
    total = 0
    for layer, key, value in calls:
        text, before = visible_pairs(packed, windows[layer], slots)
        wide, deep = heads * key.shape[-1], heads * value.shape[-1]
        total += (text + before) * (wide + deep)
        inside = key.requires_grad or value.requires_grad
        total += text * (inside * (deep + wide) + value.requires_grad * deep + key.requires_grad * wide)
        total += before * (deep + wide + deep + inside * wide)
    return total


def _updates(packed: Packed, doors: Doors, reached: dict[str, bool]) -> int:
    """Low-rank updates: x A and its product with B; backward the gradients of both factors, of x A, and of x where something trained is before."""
    total = 0
    for name, update in doors.updates.items():
        assert isinstance(update, LowRank)
        rank, inputs = update.a.shape
        outputs = update.b.shape[0]
        total += packed.nodes * rank * (3 * outputs + (3 if reached.get(name, False) else 2) * inputs)
    return total


def _making(adapter: Adapter) -> int:
    """What making the adapter's vectors, keys and values takes, forward and backward: a projection's products."""

    def both() -> None:
        doors = adapter.doors()
        made = [value for value in (doors.vectors, doors.keys, doors.values) if value is not None and value.grad_fn is not None]
        if made:
            torch.autograd.grad(made, list(adapter.parameters()), [torch.ones_like(value) for value in made])

    return sum(call.multiplications or 0 for call in recorded(both))


@contextmanager
def _reached(backbone: Backbone) -> Iterator[dict[str, bool]]:
    """Name of each plain linear module that is called meanwhile -> whether its input depends on a trained tensor."""
    found: dict[str, bool] = {}

    def note(name: str) -> Any:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            found[name] = bool(args[0].requires_grad)

        return hook

    handles = [backbone.model.get_submodule(name).register_forward_pre_hook(note(name)) for name, _, _ in backbone.shape.linears]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
