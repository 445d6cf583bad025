"""Decoder layers compiled by torch.compile, and how many compilations that took.

Each layer is compiled around its attention, which stays as it is: what differs between packs (strips, prefix slots, adapters) is in there, so
that one compilation per kind of pass serves every adapter and every pack. Lengths are dynamic.

Low-rank updates are hooks on a layer's modules, which are compiled with it; a cohort's split its nodes by counts that change with every pack, so
those are refused. So are CUDA graphs (`reduce-overhead`): they replay one fixed list of addresses, while the numbers of nodes, of predicted ones
and of strips change with every pack; packs of fixed size would have to be filled up with nodes that nobody asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch._dynamo.backends.registry import lookup_backend

from affinage.backbone.doors import Doors, LowRank
from affinage.config import ModelConfig
from affinage.records import UserError

__all__ = ["MOST_COMPILATIONS", "compilations", "compile_layers", "counted", "refuse_uncompilable", "require_compilable"]

BACKEND = "inductor"
"""torch.compile's own; tests that have no time for machine code put another here."""

MOST_COMPILATIONS = 16
"""Of one function of a layer; beyond it torch.compile warns and runs that function as it is."""

_made: Counter[str] = Counter()


def compilations() -> dict[str, int]:
    """How many graphs this process has compiled, by what for."""
    return dict(_made)


def counted(what: str, most: int) -> Callable[..., Any]:
    """torch.compile's backend, each call of which is counted.

    Args:
        what: the name to count under.
        most: compilations of one function that torch.compile is to allow, at least, in this process.
    """
    torch._dynamo.config.recompile_limit = max(most, torch._dynamo.config.recompile_limit)

    def compile_graph(graph: Any, inputs: list[Any], **options: Any) -> Any:
        _made[what] += 1
        return lookup_backend(BACKEND)(graph, inputs, **options)

    return compile_graph


def require_compilable(config: ModelConfig) -> None:
    """Refuses what cannot be compiled, before weights are read.

    Raises:
        UserError: CUDA graphs, gradient checkpointing or quantised weights are wanted too.
    """
    if config.compile == "reduce-overhead":
        raise UserError(
            "model.compile", "'reduce-overhead' (CUDA graphs)", "true or false: a pack's sizes change from step to step", "Set it to true."
        )
    for name, wanted in (("gradient_checkpointing", config.gradient_checkpointing), ("quantisation", config.quantisation != "none")):
        if config.compile and wanted:
            raise UserError("model.compile", f"true beside `model.{name}`", "one of the two", "Leave one of them out.")


def compile_layers(layers: nn.ModuleList) -> None:
    """Has each decoder layer compiled when it is first called; layers of one kind share their compilations.

    Sets, for the whole process, that torch.compile looks whether hooks have changed: else it computes with those of an earlier step.
    """
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    backend = counted("decoder layers", MOST_COMPILATIONS)
    for layer in layers:
        layer.compile(backend=backend, dynamic=True)


def refuse_uncompilable(doors: Sequence[Doors]) -> None:
    """Refuses adapters that enter the layers in a way that would be compiled anew for every pack, or wrongly.

    Raises:
        UserError: naming what the adapter does.
    """
    found = {
        "gates": any(door.gates is not None for door in doors),
        "shifted weights": any(door.shifts for door in doors),
        "routed updates": any(not isinstance(update, LowRank) for door in doors for update in door.updates.values()),
        "updates of modules in a cohort": len(doors) > 1 and any(door.updates for door in doors),
    }
    strange = [name for name, stands in found.items() if stands]
    if strange:
        todo = "Set it to false, or `model.cohort` to 1 for updates."
        raise UserError("model.compile", f"an adapter with {' and '.join(strange)}", "virtual tokens, prefixes, or one adapter's updates", todo)
