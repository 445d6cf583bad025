"""The second target, *the procedure*: what new templates, a new split and a new start would have changed together.

`clustered` keeps the runs as they are and asks about new templates. Here runs are drawn as well. A difference in split s, start k and template
group t is

    d_tsk = mu + template_t + split_s + start_sk + (template x split)_ts + rest_tsk,

templates crossed with splits as far as test sides overlap, starts nested in splits. The mean's variance is put together as for two crossed
random factors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.stats.bootstrap import Floats, cell_sums
from affinage.stats.components import Components, components
from affinage.stats.intervals import MINIMUM_EFFECTIVE, Estimate, cell_weights, effective_groups, jackknife, student
from affinage.stats.numbers import different
from affinage.stats.runs import Average, credited

__all__ = ["MINIMUM_SPLITS", "Decomposition", "Procedure", "Refusal", "Sides", "decompose", "procedure", "resampled"]

MINIMUM_SPLITS = 3
"""With fewer splits nothing is said about a new one."""

Refusal = Literal["folds", "splits", "templates"]
"""Why there is no interval: splits that are no draws of one procedure, too few splits, too few effective template groups."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of how a study's splits were made."""

    drawn: bool
    """Whether each split is a draw of its own; false for the folds of one division, and for topics."""
    test: float
    """Templates on a test side, the mean over splits."""
    train: float
    """Templates on a training side, likewise."""
    overlap: bool
    """Whether two splits share a template on their test sides or on their training sides."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """A difference as one of the procedure."""

    estimate: Estimate
    """The interval is over template groups, splits and starts."""
    degrees: float | None
    """Satterthwaite's degrees of freedom."""
    corrected: Estimate
    """The same number with the corrected resampled variance."""
    components: Components | None
    """None where there is no interval, or where they cannot be told apart: no template lies in two splits."""
    splits: int
    refusal: Refusal | None
    lower: bool
    """Whether the interval is a lower bound of the uncertainty: its splits share templates, so the runs are more alike than those of new data."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Variances of a mean over templates and splits; each of shape [...]."""

    value: Floats
    variance: Floats
    degrees: Floats
    """Satterthwaite's."""


def procedure(rows: pl.DataFrame, sides: Sides, average: Average = "template", credit: str = "choice", level: float = 0.95) -> Procedure:
    """A paired difference (or an accuracy) with an interval for a new split, a new start and new templates.

    Args:
        rows: as `clustered` has them, with weights above zero, `split` and `start`; a cell lies in one split and one start.
        sides: of the study's splits.
        average: over templates or over rows, inside each cell.
        credit: the column that holds the difference.
        level: of the interval.

    Raises:
        ValueError: as `clustered`, a weight is not above zero, or a cell lies in two splits or starts.
    """
    scored = credited(rows, credit)
    if not scored.height:
        nothing = Estimate.nothing(level)
        return Procedure(nothing, None, nothing, None, 0, "splits" if sides.drawn else "folds", sides.overlap)
    sums = cell_sums(scored, credit, average)
    weight = cell_weights(scored, sums)
    if not (weight > 0).all():
        raise ValueError("a cell's weight is not above zero: a difference is paired in the credit, not made of cells of both signs")
    of_cells = scored.group_by("cell").agg(pl.col("split", "start").unique()).sort("cell")
    if of_cells.filter((pl.col("split").list.len() > 1) | (pl.col("start").list.len() > 1)).height:
        raise ValueError("a cell lies in two splits or starts")
    split = _numbered(of_cells["split"].list.first())
    start = _numbered(of_cells["start"].list.first())
    count = int(split.max()) + 1
    effective = effective_groups(sums.count, weight)
    numbers = (len(sums.groups), effective, different(scored["mcq_id"]), different(scored["template_id"]), level)
    value = float(sums.means @ weight)
    number = Estimate(value, None, None, None, *numbers)
    if not sides.drawn or count < MINIMUM_SPLITS:
        return Procedure(number, None, number, None, count, "splits" if sides.drawn else "folds", sides.overlap)
    found = decompose(sums.total, sums.count, weight, split)
    if effective < MINIMUM_EFFECTIVE or not np.isfinite(found.variance):
        return Procedure(number, None, number, None, count, "templates", sides.overlap)
    interval = _estimate(number, float(found.variance), float(found.degrees))
    corrected = _estimate(number, float(resampled(sums.total, sums.count, weight, split, sides.test / sides.train)), count - 1)
    parts = components(sums.total, sums.count, weight, split, start)
    return Procedure(interval, float(found.degrees), corrected, parts, count, None, sides.overlap)


def decompose(total: Floats, count: Floats, weight: Floats, split: npt.NDArray[np.int64]) -> Decomposition:
    """Variance of a combination of cells' means over templates crossed with splits.

    V_T + max(0, V_R - V_TR). V_T is the delete-one-group jackknife of the whole (`clustered`); V_R = J/(J - 1) sum_s w_s^2 (Y_s - mean)^2 that of
    J splits' means; V_TR = max(0, (J W - V_T)/(J - 1)), W the sum over splits of each one's own jackknife, is what both hold of the noise of single
    templates in single splits, whatever templates the splits share. With the same ones in every split this is (MS_T + MS_R - MS_TR)/(n J) of the
    crossed analysis of variance (Clark 1973's quasi-F; for clusters of any overlap Cameron, Gelbach and Miller 2011), kept from falling below what
    templates alone explain.

    Degrees of freedom V^2 / sum_i (V_i^2 / df_i) over all three terms (Satterthwaite 1946): Kish's effective groups less one, J - 1, and (J - 1)/J
    times the splits' own together. V_R enters whole also where V_TR is subtracted, so a spread over few splits that happened to be small does not
    pass for one that is known to be.

    Args:
        total: of `CellSums`; shape [..., cells, groups].
        count: likewise; shape [cells, groups].
        weight: shape [cells].
        split: number of each cell's split, from 0; shape [cells].

    Returns:
        Value, variance and degrees of freedom, shape [...] each; the variance is NaN where a cell would be empty without one group.
    """
    splits = int(split.max()) + 1
    value, error = jackknife(total, count, weight)
    inside, degrees = np.zeros_like(value), 0.0
    for number in range(splits):
        here = split == number
        inside = inside + jackknife(total[..., here, :], count[here], weight[here])[1] ** 2
        degrees += effective_groups(count[here], weight[here]) - 1
    shares = np.bincount(split, weight, splits)
    means = _split_means(total, count, weight, split)
    deviations = means - (means @ shares / shares.sum())[..., None]
    templates, runs = error**2, splits / (splits - 1) * ((shares * deviations) ** 2).sum(-1)
    both = np.maximum((splits * inside - templates) / (splits - 1), 0.0)
    variance = templates + np.maximum(runs - both, 0.0)
    freedoms = effective_groups(count, weight) - 1, splits - 1, max(1.0, degrees * (splits - 1) / splits)
    terms = sum(term**2 / freedom for term, freedom in zip((templates, runs, both), freedoms, strict=True))
    # Where nothing varies at all any degrees of freedom do.
    found = np.where(terms > 0, variance**2 / np.where(terms > 0, terms, 1.0), splits - 1.0)
    return Decomposition(value, np.asarray(variance), found)


def resampled(total: Floats, count: Floats, weight: Floats, split: npt.NDArray[np.int64], ratio: float) -> Floats:
    """The corrected resampled variance of the mean over J splits, (1/J + n_test/n_train) s^2 (Nadeau and Bengio 2003), s^2 that of the splits' means.

    It allows for training sides that overlap by acting as if two splits' means were correlated by n_test/(n_test + n_train).

    Args:
        total: of `CellSums`; shape [..., cells, groups].
        count: likewise; shape [cells, groups].
        weight: shape [cells].
        split: number of each cell's split, from 0; shape [cells].
        ratio: templates on a test side over those on a training side.
    """
    means = _split_means(total, count, weight, split)
    return np.asarray((1 / means.shape[-1] + ratio) * means.var(-1, ddof=1))


def _split_means(total: Floats, count: Floats, weight: Floats, split: npt.NDArray[np.int64]) -> Floats:
    """Each split's part of the mean; shape [..., splits]."""
    means = total.sum(-1) / count.sum(-1) * weight
    member = split[:, None] == np.arange(int(split.max()) + 1)
    return np.asarray((means @ member) / (weight @ member))


def _estimate(number: Estimate, variance: float, degrees: float) -> Estimate:
    """The number with a t interval."""
    error = math.sqrt(variance)
    low, high = student(number.value, error, degrees, number.level)
    return replace(number, error=error, low=float(low), high=float(high))


def _numbered(values: pl.Series) -> npt.NDArray[np.int64]:
    """Each value's place among the different ones."""
    return np.asarray(values.rank("dense").to_numpy().astype(np.int64) - 1)
