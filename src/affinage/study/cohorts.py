"""Which adapters of a plan are trained in lockstep, and how large a step may be.

A cohort is neighbours in the plan: one method on one split from one start, each on another culture (or set of a control). It is trained as a whole
by the process that holds its first run that is not trained yet; members are then tested one by one, like any run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from affinage.config import ModelConfig
from affinage.records import BackboneShape
from affinage.study.costs import Adapter, Machine, Step, step_bytes, step_seconds, weight_bytes

if TYPE_CHECKING:
    from affinage.study.plan import PlannedRun

__all__ = ["LARGEST_COHORT", "Lockstep", "cohorts", "fitting", "neighbours"]

_MEMORY_SHARE = 0.6
"""Part of the memory that is free beside the model's weights that a step may take: the formula is an estimate, and batches differ."""

LARGEST_COHORT = 16
"""Members of a cohort that are chosen, at most: what a crash or a full disk can set back at once."""

_MEMBERS = (1, 2, 3, 4, 6, 8, 12, LARGEST_COHORT)
"""Sizes of a cohort that are compared."""

_ROOM = 1.25
"""A budget over the nodes of the steps that were counted, so that one with fewer shared beginnings is still one pack."""

_AS_GOOD = 1.02
"""What takes so little longer counts as equal, and the least memory decides."""


@dataclass(frozen=True, slots=True)
class Lockstep:
    """How a plan's adapters are trained together; fixed when the study begins, since sums are rounded in the packs' order."""

    members: int
    """Adapters of a cohort, at most."""
    nodes_per_pack: int
    """Budget of a training pack; a larger step is cut."""


def fitting(
    shape: BackboneShape, model: ModelConfig, step: Callable[[int, int | None], Step], machine: Machine, *, adapter: Adapter, most: int
) -> Lockstep:
    """How many adapters a step holds, and into what packs it is cut: what takes fewest seconds per question of what fits into memory.

    Large packs share what a batch has in common and pay what a pack costs once; strips are padded more in them, and memory grows.

    Args:
        shape: the model's.
        model: what it sets itself (`cohort`, `nodes_per_pack`) holds.
        step: (members, budget) -> what a step of them counts, made of the study's own questions.
        machine: its rates, and its memory before the model is loaded.
        adapter: of the method that needs most.
        most: neighbours in the plan that could be trained together, at most.
    """
    width = 2 if model.dtype == "bfloat16" else 4
    room = max(0, machine.free - weight_bytes(shape, model)) * _MEMORY_SHARE
    found: list[tuple[float, int, Lockstep]] = []
    for members in [model.cohort] if model.cohort else [size for size in _MEMBERS if size <= max(1, most)]:
        whole = sum(pack.nodes for pack in step(members, None).packs)
        budgets = [model.nodes_per_pack] if model.nodes_per_pack else [int(_ROOM * whole) >> halved for halved in range(_halvings(whole, members))]
        for budget in budgets:
            made = step(members, budget)
            needed = step_bytes(made, shape, width=width, training=True, adapter=adapter, members=members, recomputed=model.gradient_checkpointing)
            seconds = step_seconds(made, shape, machine.rates, width=width, adapter=adapter, members=members) / max(1, made.questions)
            found.append((seconds, needed, Lockstep(members, max(1, budget))))
    fits = [each for each in found if each[1] <= room]
    if not fits:
        return min(found, key=lambda each: each[1])[2]
    fastest = min(seconds for seconds, _, _ in fits)
    return min((each for each in fits if each[0] <= fastest * _AS_GOOD), key=lambda each: each[1])[2]


def _halvings(whole: int, members: int) -> int:
    """Budgets that are compared: a whole step, a half, ..., down to a few questions of one adapter, where packs share next to nothing."""
    return max(1, (whole // 64).bit_length()) if members == 1 else 1


def neighbours(runs: tuple[PlannedRun, ...]) -> int:
    """The largest number of a plan's runs that could be trained together."""
    return max((sum(1 for _ in same) for (trains, *_), same in groupby(runs, key=_alike) if trains), default=1)


def cohorts(runs: tuple[PlannedRun, ...], members: int) -> dict[str, tuple[PlannedRun, ...]]:
    """Path of each trained run -> the cohort that it is trained in, in the plan's order; a run of its own is in none.

    Args:
        runs: the plan's.
        members: of a cohort, at most; runs of a method that trains several cultures together are never parted.
    """
    found: dict[str, tuple[PlannedRun, ...]] = {}
    for (trains, *_), neighbours in groupby(runs, key=_alike):
        same = tuple(neighbours)
        most = len(same) if same[0].taught else members
        for first in range(0, len(same), most):
            cohort = same[first : first + most]
            if trains and len(cohort) > 1:
                found |= {run.path: cohort for run in cohort}
    return found


def _alike(run: PlannedRun) -> tuple[bool, str, str, int, str, str, str]:
    """What members of a cohort share: they are trained alike, on sets of one kind, and put alike; none does with a method that runs alone."""
    kind = "" if run.made is None else run.made.name.partition(".")[0]
    apart = run.path if run.method is not None and run.method.alone else ""
    if run.taught and run.method is not None:
        apart = run.method.settings.model_dump_json()
    return (run.trains, run.label, run.split.name, run.start, kind, run.prompt.model_dump_json(), apart)
