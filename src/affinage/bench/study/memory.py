"""What another adapter in a cohort takes in memory: peaks of small cohorts, and lines through them.

    peak = base + adapters * (bytes of an adapter) + nodes of the largest pack * (bytes of a node)

Cohorts whose packs hold one adapter's step each tell the second term, cohorts whose step is one pack the third. All adapters read the same questions,
so that each has as many nodes. The peaks are of what torch allocates: resident memory depends on how freed pieces lie, by more than an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affinage.bench.sides.ours import encoded
from affinage.bench.study.work import StudyWork, write_study
from affinage.bench.wire import SideError, Talk
from affinage.train import step_nodes

__all__ = ["Fit", "Row", "fitted", "measured_rows", "one_step"]

_SIZES = (1, 2, 4, 8)
"""Adapters of the cohorts."""
_STEPS = 2
"""The second has the moments of the first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cohort in a process of its own."""

    adapters: int
    nodes_per_pack: int | None
    """Budget of a pack; None where a step is one pack."""
    state: str
    """`measured`, or why it does not run."""
    nodes: int = 0
    """Of the largest pack."""
    before: int = 0
    """Bytes after loading, before the first step: resident memory, or on CUDA what is allocated there."""
    peak: int = 0
    """Largest such number in the steps."""
    allocated: int | None = None
    """The most that torch held at once on the CPU beyond what it held before the first step; None on CUDA."""
    adapter: int = 0
    """Bytes of one adapter's trained tensors, gradients and moments."""

    @property
    def held(self) -> int:
        """What torch allocated at most."""
        return self.peak if self.allocated is None else self.allocated


@dataclass(frozen=True, slots=True)
class Fit:
    """What the measured rows tell."""

    base: float
    per_adapter: float
    """Bytes that another adapter adds where the packs stay as large."""
    per_node: float
    """Bytes that another node of the largest pack adds."""
    off: float
    """Largest distance of a cohort with packs of one adapter's step from the line through those, bytes."""
    largest: float
    """Largest distance of any cohort, bytes."""


def one_step(work: StudyWork) -> int:
    """Nodes of the first adapter's largest step: with this budget each pack is one adapter's step."""
    own = work.lessons[0].work
    virtual = int(own.settings["length"]) if own.method == "prompt-tuning" else 0
    return virtual + max(step_nodes([encoded(question) for question in batch], "answer", "total") for batch in own.batches[:_STEPS])


def measured_rows(work: StudyWork, folder: Path, start: Callable[[], Talk], side: str, on_event: Callable[[str], None]) -> list[Row]:
    """Peaks of cohorts of 1, 2, 4 and 8 adapters, as far as the work has so many, a few steps each.

    Args:
        work: at least one adapter.
        folder: for files.
        start: starts a worker.
        side: the name of ours.
        on_event: told of each cohort before it begins.
    """
    rows = []
    sizes = [size for size in _SIZES if size <= len(work.lessons)]
    budget = one_step(work)
    for nodes_per_pack in (budget, None):
        for size in sizes:
            if size == 1 and nodes_per_pack is None:
                continue  # one adapter's step is one pack already
            on_event(f"memory of a cohort of {size}, {'one pack' if nodes_per_pack is None else f'packs of {nodes_per_pack:,} nodes'}")
            cohort = work.alike(size, _STEPS, nodes_per_pack)
            rows.append(_row(cohort, folder / f"{size}-{nodes_per_pack or 'one'}", start, side))
    return rows


def _row(work: StudyWork, folder: Path, start: Callable[[], Talk], side: str) -> Row:
    """One cohort's; the work has no other."""
    size, budget = work.members, work.nodes_per_pack
    path = write_study(folder, work)
    talk = start()
    try:
        talk.ask("open", side=side, work=path, options={})
        before = _counted(talk.ask("forget"))
        taken = talk.ask("train", number=0, folder=folder / "trained")
        after = talk.ask("memory")
    except SideError as error:
        return Row(size, budget, f"does not run: {error}")
    finally:
        talk.close()
    allocated = None if after["allocated"] is None else int(after["allocated"])
    return Row(size, budget, "measured", budget or max(taken["nodes"]), before, _counted(after), allocated, int(taken["state"]))


def _counted(memory: dict[str, Any]) -> int:
    """On CUDA the device's memory, else the process's."""
    return int(memory["resident"] if memory["device"] is None else memory["device"])


def fitted(rows: Sequence[Row]) -> Fit | None:
    """An adapter's bytes from the cohorts with equal packs, then a node's from all; None where they are too few to tell and to check these.

    Each by least squares. The first are not disturbed by the second, which are larger by far and grow with more than the number of nodes.
    """
    told = [row for row in rows if row.state == "measured"]
    equal = [row for row in told if row.nodes_per_pack is not None]
    if len(equal) < 3 or len({row.nodes for row in told}) < 2:
        return None
    per_adapter, _, off = _line([(row.adapters, row.held) for row in equal])
    per_node, base, largest = _line([(row.nodes, row.held - per_adapter * row.adapters) for row in told])
    return Fit(base, per_adapter, per_node, off, largest)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope, height at zero and largest distance of the line through points."""
    x, y = np.array(points, dtype=float).T
    slope, height = np.polyfit(x, y, 1)
    return float(slope), float(height), float(np.abs(slope * x + height - y).max())
