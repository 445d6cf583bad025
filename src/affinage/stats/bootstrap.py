"""Template groups drawn with replacement: one draw for every run, culture and method of a study.

Two matrices hold all that a mean needs: per cell and template group the sum of the credit and how much it is a sum of. A bootstrap sample is
a row of counts, how often each group was drawn; its means are two matrix products. Since a draw is of groups and not of rows, every split,
start, culture, method and option order sees the same draw, and what they share cancels in their differences and in their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage import seeds
from affinage.stats.numbers import numbered
from affinage.stats.resampling import DRAWS
from affinage.stats.runs import Average, credited

__all__ = ["CellSums", "Draws", "Floats", "cell_sums", "draw", "draw_groups"]

_BLOCK = 1 << 19
"""Numbers that are held at once while groups are drawn or draws are multiplied: 4 MiB."""

Floats = npt.NDArray[np.float64]
"""An array of accuracies, sums or weights."""


@dataclass(frozen=True, slots=True)
class CellSums:
    """What every cell earned in every template group. A cell is anything with a mean of its own, as a run on a culture."""

    total: Floats
    """Sum of the credit (by row), or of the templates' accuracies (by template); shape [cells, groups]."""
    count: Floats
    """Rows, or templates, that it is a sum of; 0 where a cell has none of the group; shape [cells, groups]."""
    cells: pl.Series
    """The values of `cell`, sorted; length [cells]."""
    groups: tuple[str, ...]
    """Names of the template groups; length [groups]."""

    @property
    def means(self) -> Floats:
        """Each cell's accuracy; shape [cells]."""
        return np.asarray(self.total.sum(-1) / self.count.sum(-1))


def cell_sums(rows: pl.DataFrame, credit: str = "choice", average: Average = "template", groups: Sequence[str] | None = None) -> CellSums:
    """The sums of every cell in every template group.

    Args:
        rows: columns `cell` (any value that can be sorted), `group`, `template_id`, and the credit; rows without credit are left out, so a cell
            without any row of credit is no cell.
        credit: the column that holds what is averaged.
        average: over templates or over rows, inside each cell.
        groups: the columns of the matrices where several sums share one draw; default: the groups of the scored rows, sorted.

    Raises:
        ValueError: a template without group (a missing cluster is never a default), or a group that is not among `groups`.
    """
    if rows["group"].null_count():
        raise ValueError(f"template {rows.filter(pl.col('group').is_null())['template_id'][0]!r} has no template group")
    units = credited(rows, credit)
    cell, heads = numbered(units, ("cell",))
    cells, group, values = units["cell"][heads], units["group"], units[credit].cast(pl.Float64).to_numpy()
    if average == "template":
        template, _ = numbered(units, ("group", "template_id"))
        unit, first = numbered(pl.DataFrame({"cell": cell, "template": template}), ("cell", "template"))
        values = np.bincount(unit, values) / np.bincount(unit)
        cell, group = cell[first], group[first]
    there, of = numbered(group.to_frame("group"), ("group",))
    known = group[of].to_list()
    names = tuple(sorted(known)) if groups is None else tuple(groups)
    place = {name: column for column, name in enumerate(names)}
    unknown = set(known) - set(place)
    if unknown:
        raise ValueError(f"template group {min(unknown)!r} is not among the {len(names)} that are drawn from")
    order = cells.arg_sort().to_numpy()
    row = np.argsort(order)[cell]
    column = np.array([place[name] for name in known], np.int64)[there]
    shape = len(cells), len(names)
    sums = [np.bincount(row * shape[1] + column, weights, shape[0] * shape[1]) for weights in (values, np.ones(len(row)))]
    total, count = (np.asarray(each, np.float64).reshape(shape) for each in sums)
    cells = cells[order]
    return CellSums(total, count, cells, names)


def draw_groups(groups: int, draws: int, key: Sequence[str | int | float]) -> npt.NDArray[np.int64]:
    """How often each template group is in each bootstrap sample of as many groups, drawn with replacement (Efron 1979; Field and Welsh 2007).

    Args:
        groups: how many there are to draw from.
        draws: bootstrap samples; more of them leave the first ones as they are.
        key: of the random stream.

    Returns:
        Counts; shape [draws, groups], every row sums to `groups`.

    Raises:
        ValueError: nothing to draw from, or no draw.
    """
    if groups < 1 or draws < 1:
        raise ValueError(f"a bootstrap needs groups and draws, got {groups} and {draws}")
    stream = seeds.generator("draws of template groups", groups, *key)
    counts = np.empty((draws, groups), np.int64)
    for first in range(0, draws, step := max(1, _BLOCK // groups)):
        rows = min(step, draws - first)
        chosen = stream.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        counts[first : first + rows] = np.bincount(chosen.ravel(), minlength=rows * groups).reshape(rows, groups)
    return counts


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap samples of a study's template groups; every table that uses the same record sees the same samples."""

    counts: npt.NDArray[np.int64]
    """Shape [draws, groups]."""
    groups: tuple[str, ...]
    """Names of the groups, in the order of the columns."""

    def means(self, sums: CellSums) -> Floats:
        """Every cell's accuracy in every draw.

        Args:
            sums: over the same groups (`cell_sums(..., groups=draws.groups)`).

        Returns:
            Shape [draws, cells]; NaN where a draw holds no group of a cell.

        Raises:
            ValueError: the sums are over other groups, or in another order.
        """
        if sums.groups != self.groups:
            raise ValueError(f"draws of {len(self.groups)} template groups do not fit sums over {len(sums.groups)} others")
        found = np.empty((len(self.counts), len(sums.total)))
        for first in range(0, len(found), step := max(1, _BLOCK // max(sums.total.shape))):
            drawn = self.counts[first : first + step].astype(np.float64)
            with np.errstate(invalid="ignore"):
                found[first : first + step] = (drawn @ sums.total.T) / (drawn @ sums.count.T)
        return found


def draw(groups: Sequence[str], key: Sequence[str | int | float], draws: int = DRAWS) -> Draws:
    """Bootstrap samples of named template groups.

    Args:
        groups: their names; the draw depends on their number and on the order that `Draws` keeps, which is the sorted one.
        key: of the random stream.
        draws: how many.

    Raises:
        ValueError: no group, a name that stands twice, or no draw.
    """
    names = tuple(sorted(groups))
    if len(set(names)) < len(names):
        raise ValueError("a template group stands twice")
    return Draws(draw_groups(len(names), draws, key), names)
