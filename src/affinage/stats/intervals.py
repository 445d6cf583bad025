"""Intervals over template groups: what new templates would have changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.stats
from numpy.typing import ArrayLike

from affinage.stats.bootstrap import CellSums, Floats, cell_sums
from affinage.stats.runs import Average

__all__ = ["MINIMUM_EFFECTIVE", "Estimate", "cell_weights", "clustered", "effective_groups", "jackknife", "kish"]

MINIMUM_EFFECTIVE = 10.0
"""With fewer effective template groups a number is shown without interval and without verdict."""

_RESOLUTION = 1e-9
"""Accuracies are ratios of small counts: a bound closer to zero than this is rounding, not a difference."""


def kish(weights: ArrayLike) -> float:
    """Kish's (1965) effective number, (sum w)^2 / sum w^2: so many equal weights make a mean as precise.

    Args:
        weights: [n], not all of them zero.
    """
    values = np.asarray(weights, np.float64)
    # Ten equal weights are ten, also where their sum is rounded.
    return round(float(values.sum() ** 2 / (values**2).sum()), 9)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval: over template groups alone (*these adapters, new templates*) unless who made it says otherwise."""

    value: float
    """Accuracy or difference, a fraction; NaN where no question was scored."""
    error: float | None
    """Standard error; None where no interval may be given."""
    low: float | None
    high: float | None
    groups: int
    """Template groups with a scored question."""
    effective: float
    """Kish's effective number of template groups."""
    questions: int
    """Distinct questions, counted once however many runs answered them."""
    templates: int
    level: float = 0.95

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low is not None and self.low > _RESOLUTION

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high is not None and self.high < -_RESOLUTION


def clustered(rows: pl.DataFrame, average: Average = "template", credit: str = "choice", level: float = 0.95) -> Estimate:
    """A linear combination of cells' accuracies with an interval over template groups.

    A cell is one run on one culture. The estimate is sum over cells of weight * accuracy(cell): with weights that sum to 1 a pooled
    accuracy, with weights of both signs a paired difference. The interval is the delete-one-group jackknife: leaving out a template group
    leaves it out of every cell at once (every split, start, culture and method share the draw of templates), so what is common to both sides
    of a difference cancels. Standard error sqrt((G - 1)/G * sum_g (theta_(g) - theta)^2) (Efron and Stein 1981; for clusters MacKinnon,
    Nielsen and Webb 2023, "CV3"), with Student's t at n - 1 degrees of freedom, n = (sum w)^2 / sum w^2 Kish's (1965) effective number of
    groups, w a group's share of all cells. (The number of groups itself would promise too much where a few groups hold most rows.)

    Args:
        rows: columns `cell` (any value), `weight` (the cell's), `group`, `template_id`, `mcq_id`, and the credit; rows
            without credit are left out.
        average: over templates or over rows, inside each cell.
        credit: the column that holds it: a reading, or another number in [-1, 1].
        level: of the interval.

    Returns:
        The estimate; without interval where fewer than `MINIMUM_EFFECTIVE` groups are effective or a cell would be empty without one group.

    Raises:
        ValueError: a template without group (a missing cluster is never a default), or a cell with two weights.
    """
    sums = cell_sums(rows, credit, average)
    scored = rows.filter(pl.col(credit).is_not_null())
    if not scored.height:
        return Estimate(math.nan, None, None, None, 0, 0.0, 0, 0, level)
    weight = cell_weights(scored, sums)
    value, error = jackknife(sums.total, sums.count, weight)
    effective = effective_groups(sums.count, weight)
    numbers = (len(sums.groups), effective, scored["mcq_id"].n_unique(), scored["template_id"].n_unique(), level)
    if effective < MINIMUM_EFFECTIVE or not np.isfinite(error):
        return Estimate(float(value), None, None, None, *numbers)
    half = float(scipy.stats.t.ppf((1 + level) / 2, effective - 1) * error)
    return Estimate(float(value), float(error), float(value) - half, float(value) + half, *numbers)


def cell_weights(rows: pl.DataFrame, sums: CellSums) -> Floats:
    """Each cell's weight, in the order of the sums; shape [cells].

    Raises:
        ValueError: a cell has two weights.
    """
    weights = rows.group_by("cell").agg(pl.col("weight").first(), pl.col("weight").n_unique().alias("weights")).sort("cell")
    if weights.filter(pl.col("weights") > 1).height:
        raise ValueError("a cell has two weights")
    if len(weights) != len(sums.cells):
        raise ValueError(f"{len(weights)} cells have a weight, {len(sums.cells)} have sums")
    return weights["weight"].cast(pl.Float64).to_numpy()


def jackknife(total: Floats, count: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """A linear combination of cells' means, and its delete-one-group standard error as `clustered` has it.

    Args:
        total: of `CellSums`; shape [..., cells, groups].
        count: likewise; may lack the leading axes.
        weight: shape [cells].

    Returns:
        Value and standard error, shape [...] each; the error is NaN where a cell would be empty without one group.
    """
    sums, counts, groups = total.sum(-1, keepdims=True), count.sum(-1, keepdims=True), total.shape[-1]
    value = (sums / counts)[..., 0] @ weight
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.einsum("c,...cg->...g", weight, np.where(counts > count, (sums - total) / (counts - count), np.nan))
    return np.asarray(value), np.asarray(np.sqrt((groups - 1) / groups * ((without - value[..., None]) ** 2).sum(-1)))


def effective_groups(count: Floats, weight: Floats) -> float:
    """Kish's effective number of template groups behind a linear combination of cells' means.

    Args:
        count: of `CellSums`; shape [cells, groups].
        weight: shape [cells].
    """
    return kish(np.abs(weight) @ (count / count.sum(1, keepdims=True)))
