"""Intervals over template groups: what new templates would have changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
import scipy.sparse
import scipy.stats
from numpy.typing import ArrayLike

from affinage.stats.bootstrap import CellSums, Floats, cell_sums
from affinage.stats.numbers import different, numbered
from affinage.stats.resampling import TIE
from affinage.stats.runs import Average, credited

__all__ = [
    "MINIMUM_EFFECTIVE",
    "Estimate",
    "Weights",
    "cell_weights",
    "clustered",
    "delete_one_group",
    "effective_groups",
    "effective_numbers",
    "group_shares",
    "jackknife",
    "kish",
    "student",
]

MINIMUM_EFFECTIVE = 10.0
"""With fewer effective template groups a number is shown without interval and without verdict."""


Weights: TypeAlias = Floats | scipy.sparse.csr_array
"""Weights of cells in linear combinations of their means: of one, shape [cells], or of many, [combinations, cells], dense or sparse."""


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

    @classmethod
    def nothing(cls, level: float = 0.95) -> Estimate:
        """Where no question was scored."""
        return cls(math.nan, None, None, None, 0, 0.0, 0, 0, level)

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low is not None and self.low > TIE

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high is not None and self.high < -TIE


def clustered(rows: pl.DataFrame, average: Average = "template", credit: str = "choice", level: float = 0.95) -> Estimate:
    """A linear combination of cells' accuracies with an interval over template groups.

    A cell is one run on one culture. The estimate is sum over cells of weight * accuracy(cell): with weights that sum to 1 a pooled
    accuracy, with weights of both signs a paired difference. The interval is the delete-one-group jackknife: leaving out a template group
    leaves it out of every cell at once (every split, start, culture and method share the draw of templates), so what is common to both sides
    of a difference cancels. Standard error of `delete_one_group`, with Student's t at n - 1 degrees of freedom, n the effective number of groups
    (`effective_groups`). (The number of groups itself would promise too much where a few groups hold most rows.)

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
    scored = credited(rows, credit)
    if not scored.height:
        return Estimate.nothing(level)
    weight = cell_weights(scored, sums)
    value, error = jackknife(sums.total, sums.count, weight)
    effective = effective_groups(sums.count, weight)
    numbers = (len(sums.groups), effective, different(scored["mcq_id"]), different(scored["template_id"]), level)
    if effective < MINIMUM_EFFECTIVE or not np.isfinite(error):
        return Estimate(float(value), None, None, None, *numbers)
    low, high = student(value, error, effective - 1, level)
    return Estimate(float(value), float(error), float(low), float(high), *numbers)


def cell_weights(rows: pl.DataFrame, sums: CellSums) -> Floats:
    """Each cell's weight, in the order of the sums; shape [cells].

    Raises:
        ValueError: a cell has two weights.
    """
    cell, heads = numbered(rows, ("cell",))
    weights = rows["weight"].cast(pl.Float64).to_numpy()
    if (weights != weights[heads][cell]).any():
        raise ValueError("a cell has two weights")
    if len(heads) != len(sums.cells):
        raise ValueError(f"{len(heads)} cells have a weight, {len(sums.cells)} have sums")
    return np.asarray(weights[heads][rows["cell"][heads].arg_sort().to_numpy()])


def jackknife(total: Floats, count: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """A linear combination of cells' means, and its standard error (`delete_one_group`).

    Args:
        total: of `CellSums`; shape [..., cells, groups].
        count: likewise; may lack the leading axes.
        weight: shape [cells].

    Returns:
        Value and standard error, shape [...] each; the error is NaN where a cell would be empty without one group.
    """
    value = np.asarray((total.sum(-1) / count.sum(-1)) @ weight)
    return value, delete_one_group(total, count, weight, value)


def delete_one_group(total: Floats, count: Floats, weights: Weights, value: Floats) -> Floats:
    """Standard errors of linear combinations of cells' means by the delete-one-group jackknife.

    sqrt((G - 1)/G * sum_g (theta_(g) - theta)^2) with theta_(g) the combination of the means without template group g and G the groups of the
    combination's own cells (Efron and Stein 1981; for clusters MacKinnon, Nielsen and Webb 2023, "CV3").

    Args:
        total: of `CellSums`; shape [..., cells, groups].
        count: likewise; may lack the leading axes.
        weights: of the combinations; sparse ones know no leading axes.
        value: theta of each combination; shape [...] for one, [..., combinations] for many.

    Returns:
        Shape of `value`; NaN where a cell of the combination would be empty without one group.
    """
    sums, sizes = total.sum(-1, keepdims=True), count.sum(-1, keepdims=True)
    left = sizes - count
    without = weights @ ((sums - total) / np.where(left > 0, left, 1.0))
    groups = np.maximum((abs(weights) @ count > 0).sum(-1), 1)
    errors = np.sqrt((groups - 1) / groups * ((without - value[..., None]) ** 2).sum(-1))
    empty = (left <= 0).any(-1, keepdims=True).astype(np.float64)
    return np.where((abs(weights) @ empty)[..., 0] > 0, np.nan, errors)


def student(value: ArrayLike, error: ArrayLike, degrees: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Student's t intervals: value -+ t((1 + level)/2; degrees) * error.

    Args:
        value: of each estimate.
        error: its standard error; NaN where there is no interval.
        degrees: of freedom, any number above zero where there is an interval; the three have one shape or are single numbers.
        level: of the intervals.

    Returns:
        Lower and upper bounds; NaN where there is no interval.
    """
    half = scipy.stats.t.ppf((1 + level) / 2, degrees) * error
    return np.asarray(value - half), np.asarray(value + half)


def kish(weights: ArrayLike) -> float:
    """Kish's (1965) effective number, (sum w)^2 / sum w^2: so many equal weights make a mean as precise.

    Args:
        weights: [n]; where all are zero the number is 0.
    """
    return float(effective_numbers(np.asarray(weights, np.float64)))


def effective_numbers(weights: Floats) -> Floats:
    """`kish` of many lists of weights; shape [..., n] to [...]."""
    squares = (weights**2).sum(-1)
    found = np.divide(weights.sum(-1) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
    # Ten equal weights are ten, also where their sum is rounded.
    return np.asarray(np.round(found, 9))


def group_shares(count: Floats, weights: Weights) -> Floats:
    """The weight that each template group has in linear combinations of cells' means: sum over cells of |weight| * the group's share of the cell.

    Args:
        count: of `CellSums`; shape [cells, groups].
        weights: of the combinations.

    Returns:
        Shape [groups] for one combination, [combinations, groups] for many.
    """
    return np.asarray(abs(weights) @ (count / count.sum(-1, keepdims=True)))


def effective_groups(count: Floats, weight: Floats) -> float:
    """Kish's effective number of template groups behind a linear combination of cells' means.

    Args:
        count: of `CellSums`; shape [cells, groups].
        weight: shape [cells].
    """
    return kish(group_shares(count, weight))
