"""What another adapter in a cohort takes in memory: peaks of small cohorts, and a plane through them.

    peak = base + adapters * (bytes of an adapter) + nodes of the largest pack * (bytes of a node)

Cohorts whose packs hold one adapter's step each tell the second term, cohorts whose step is one pack the third.
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
    adapter: int = 0
    """Bytes of one adapter's trained tensors, gradients and moments."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The plane through the measured rows."""

    base: float
    per_adapter: float
    """Bytes that another adapter adds where the packs stay as large."""
    per_node: float
    """Bytes that another node of the largest pack adds."""
    largest: float
    """Largest distance of a row from the plane, bytes."""


def one_step(work: StudyWork) -> int:
    """Nodes of one adapter's largest step: with this budget each pack is one adapter's step."""
    longest = 0
    for lesson in work.lessons:
        virtual = int(lesson.work.settings["length"]) if lesson.work.method == "prompt-tuning" else 0
        for batch in lesson.work.batches[:_STEPS]:
            longest = max(longest, step_nodes([encoded(question) for question in batch], "answer", "total") + virtual)
    return longest


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
    budget = one_step(work.first(sizes[-1], _STEPS, None))
    for nodes_per_pack in (budget, None):
        for size in sizes:
            if size == 1 and nodes_per_pack is None:
                continue  # one adapter's step is one pack already
            on_event(f"memory of a cohort of {size}, {'one pack' if nodes_per_pack is None else f'packs of {nodes_per_pack:,} nodes'}")
            cohort = work.first(size, _STEPS, nodes_per_pack)
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
        peak = _counted(talk.ask("memory"))
    except SideError as error:
        return Row(size, budget, f"does not run: {error}")
    finally:
        talk.close()
    nodes = max(taken["nodes"]) if budget is None else min(budget, max(taken["nodes"]))
    return Row(size, budget, "measured", nodes, before, peak, int(taken["state"]))


def _counted(memory: dict[str, Any]) -> int:
    """On CUDA the device's memory, else the process's."""
    return int(memory["resident"] if memory["device"] is None else memory["device"])


def fitted(rows: Sequence[Row]) -> Fit | None:
    """The plane through the measured rows by least squares; None where they are too few to tell its three numbers and to check them."""
    told = [row for row in rows if row.state == "measured"]
    matrix = np.array([[1.0, row.adapters, row.nodes] for row in told])
    if len(told) < 4 or np.linalg.matrix_rank(matrix) < 3:
        return None
    peaks = np.array([float(row.peak) for row in told])
    base, per_adapter, per_node = np.linalg.lstsq(matrix, peaks, rcond=None)[0]
    largest = float(np.abs(matrix @ (base, per_adapter, per_node) - peaks).max())
    return Fit(float(base), float(per_adapter), float(per_node), largest)
