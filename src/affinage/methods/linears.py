"""What the methods that update linear modules share: the choice of modules, the start of an A, PEFT's names."""

from __future__ import annotations

import torch
from torch import Tensor

from affinage.records import BackboneShape, UserError
from affinage.registry import suggest
from affinage.seeds import generator

__all__ = ["chosen", "peft_name", "start_a"]


def chosen(method: str, targets: tuple[str, ...] | None, shape: BackboneShape) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of the modules that are updated, each once, in the model's order.

    Args:
        method: its name, for messages.
        targets: ends of dotted names, whole parts: `q_proj`, `self_attn.q_proj`, `layers.3.mlp.up_proj`; None for every module.
        shape: of the backbone.

    Raises:
        UserError: a target that is the end of no plain linear module's name.
    """
    if targets is None:
        return list(shape.linears)
    names = [name for name, _, _ in shape.linears]
    for target in targets:
        if not any(_ends(name, target) for name in names):
            raise UserError(
                f"method {method}: targets",
                repr(target),
                "the end of the name of a plain linear module of the layers",
                suggest(target.rsplit(".", 1)[-1], {name.rsplit(".", 1)[-1] for name in names}),
            )
    return [linear for linear in shape.linears if any(_ends(linear[0], target) for target in targets)]


def _ends(name: str, target: str) -> bool:
    """Whether a dotted name is the target or ends with it, part by part."""
    return f".{name}".endswith(f".{target}")


def start_a(rank: int, inputs: int, *key: str | int | float) -> Tensor:
    """[rank, inputs] uniform in +-1/sqrt(inputs), from a named stream: kaiming-uniform with a = sqrt(5), as PEFT starts it."""
    return torch.from_numpy(generator(*key).uniform(-(inputs**-0.5), inputs**-0.5, (rank, inputs))).float()


def peft_name(name: str) -> str:
    """`x.q_proj.a` -> `base_model.model.x.q_proj.lora_A.weight`."""
    module, part = name.rsplit(".", 1)
    return f"base_model.model.{module}.lora_{part.upper()}.weight"
