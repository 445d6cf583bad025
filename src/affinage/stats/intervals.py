"""Intervals over template groups: what new templates would have changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.stats
from numpy.typing import ArrayLike

from affinage.stats.runs import Average

__all__ = ["MINIMUM_EFFECTIVE", "Estimate", "clustered", "kish"]

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
    return float(values.sum() ** 2 / (values**2).sum())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval over template groups: *these adapters, new templates*."""

    value: float
    """Accuracy or difference, a fraction; NaN where no question was scored."""
    error: float | None
    """Jackknife standard error; None where no interval may be given."""
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
    if rows["group"].null_count():
        raise ValueError(f"template {rows.filter(pl.col('group').is_null())['template_id'][0]!r} has no template group")
    scored = rows.filter(pl.col(credit).is_not_null())
    if not scored.height:
        return Estimate(math.nan, None, None, None, 0, 0.0, 0, 0, level)
    if scored.group_by("cell").agg(pl.col("weight").n_unique())["weight"].max() != 1:
        raise ValueError("a cell has two weights")
    units = scored
    if average == "template":
        units = scored.group_by("cell", "weight", "group", "template_id").agg(pl.col(credit).mean())
    sums = units.group_by("cell", "weight", "group").agg(pl.col(credit).sum().alias("sum"), pl.len().alias("count"))
    cell = sums["cell"].rank("dense").to_numpy().astype(np.int64) - 1
    group = sums["group"].rank("dense").to_numpy().astype(np.int64) - 1
    shape = (int(cell.max()) + 1, int(group.max()) + 1)
    total, count = np.zeros(shape), np.zeros(shape)
    total[cell, group], count[cell, group] = sums["sum"].to_numpy(), sums["count"].to_numpy()
    weight = np.zeros(shape[0])
    weight[cell] = sums["weight"].to_numpy()
    value = float(weight @ (total.sum(1) / count.sum(1)))
    share = np.abs(weight) @ (count / count.sum(1, keepdims=True))
    effective = kish(share)
    left = count.sum(1, keepdims=True) - count
    numbers = (shape[1], effective, scored["mcq_id"].n_unique(), scored["template_id"].n_unique(), level)
    if effective < MINIMUM_EFFECTIVE or bool((left == 0).any()):
        return Estimate(value, None, None, None, *numbers)
    without = weight @ ((total.sum(1, keepdims=True) - total) / left)
    error = math.sqrt((shape[1] - 1) / shape[1] * float(((without - value) ** 2).sum()))
    half = float(scipy.stats.t.ppf((1 + level) / 2, effective - 1)) * error
    return Estimate(value, error, value - half, value + half, *numbers)
