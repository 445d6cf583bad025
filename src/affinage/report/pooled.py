"""Numbers pooled over cultures, splits and starts, each (run, tested culture) alike, with their interval over template groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from affinage.stats import Average, Estimate, cell_sums, clustered, contrasts, credited, different, numbered, weights_of
from affinage.stats.contrasts import distinct

__all__ = ["Line", "Quantity", "cellwise", "line", "pooled", "pooled_by"]

Quantity = Literal["accuracy", "difference"]

_NEEDED = ("run", "culture", "group", "template_id", "mcq_id")
"""What a pooled number knows of a row, beside its credit."""


@dataclass(frozen=True, slots=True)
class Line:
    """One pooled number."""

    label: str
    """The method that it is about; empty for what stands beside every method."""
    name: str
    """What it is a number of, in words."""
    quantity: Quantity
    estimate: Estimate
    runs: int
    """Runs that are there."""
    expected: int
    """Runs that the plan has for it."""

    @property
    def missing(self) -> int:
        """Planned runs that are not there."""
        return self.expected - self.runs


def line(
    label: str,
    name: str,
    rows: pl.DataFrame,
    expected: int,
    *,
    quantity: Quantity = "accuracy",
    credit: str = "choice",
    where: pl.Expr | None = None,
    average: Average = "template",
) -> Line:
    """The pooled number of some rows.

    Args:
        label: the method that it is about.
        name: what it is a number of.
        rows: as `pooled`.
        expected: runs that the plan has for it.
        quantity: what the credit is; a difference where `rows` come from `stats.paired`.
        credit: the column that holds it.
        where: which of the rows; a run counts as there also where none of its rows is among them.
        average: over templates or rows, inside each (run, tested culture).
    """
    chosen = rows if where is None else rows.lazy().filter(where).select(*_NEEDED, credit).collect()
    return Line(label, name, quantity, pooled(chosen, credit, average), different(rows["run"]), expected)


def pooled(rows: pl.DataFrame, credit: str = "choice", average: Average = "template") -> Estimate:
    """Mean over (run, tested culture) of the accuracy by template.

    Args:
        rows: of `Evidence.rows`, or of `stats.paired`.
        credit: the column that holds what is averaged; rows where it is null are left out.
        average: over templates or rows, inside each (run, tested culture).
    """
    return clustered(cellwise(rows, credit), average, credit)


def pooled_by(rows: pl.DataFrame, by: str, credit: str = "choice", average: Average = "template") -> Mapping[str, Estimate]:
    """`pooled` of the rows of each value of a column, all at once: of many small tables one by one costs more than their work.

    Args:
        rows: as `pooled`.
        by: a column that is the same for all rows of a run on a tested culture.
        credit: as `pooled`.
        average: as `pooled`.

    Returns:
        The estimate of each value that has a row with a credit.
    """
    units = cellwise(rows, credit, (by,))
    if not units.height:
        return {}
    part, first = numbered(units, (by,))
    parts, (_, heads) = len(first), numbered(units, ("cell",))
    of = part[heads]  # cells are numbered from 0 as they come, so the one with the number k is row k of the sums
    weights = weights_of(of, np.arange(len(of)), 1.0 / np.bincount(of)[of], (parts, len(of)))
    found = contrasts(cell_sums(units, credit, average), weights)
    estimates = found.estimates(distinct(part, units["mcq_id"], parts), distinct(part, units["template_id"], parts))
    return dict(zip(units[by][first].to_list(), estimates, strict=True))


def cellwise(rows: pl.DataFrame, credit: str = "choice", beside: Sequence[str] = ()) -> pl.DataFrame:
    """The rows that have a credit, with the `cell` and `weight` that `stats.clustered` asks for: every (run, tested culture) alike.

    Args:
        rows: as `pooled`.
        credit: as `pooled`.
        beside: further columns that are needed; the others are left away.
    """
    scored = credited(rows.select(sorted({*_NEEDED, *beside, credit})), credit)
    cell, first = numbered(scored, ("run", "culture"))
    return scored.with_columns(pl.Series("cell", cell), pl.lit(1.0 / max(1, len(first))).alias("weight"))
