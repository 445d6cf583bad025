"""A studentised bootstrap interval over template groups, for averages over rows: groups of unequal size and few of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.stats.bootstrap import Draws, Floats, cell_sums
from affinage.stats.intervals import MINIMUM_EFFECTIVE, Estimate, cell_weights, effective_groups, jackknife, student
from affinage.stats.numbers import different
from affinage.stats.runs import Average, credited

__all__ = ["FEW_EFFECTIVE", "bootstrap_t", "studentised"]

FEW_EFFECTIVE = 30.0
"""A studentised interval that rests on fewer effective template groups is shown with a warning."""

_LOST = 0.01
"""Share of draws that may lack all groups of some cell; with more there is no interval."""

_ROUNDING = 1e-12
"""Sums of the same credits in another order differ by less; a draw of groups that are all alike has no error."""

_BLOCK = 1 << 19
"""Numbers that are held at once: 4 MiB."""


def studentised(rows: pl.DataFrame, draws: Draws, average: Average = "row", credit: str = "choice", level: float = 0.95) -> Estimate:
    """The same combination of cells' accuracies as `clustered`, with a bootstrap-t interval: *these adapters, new templates*.

    Each draw b of template groups gives theta_b and its own standard error s_b; with q the quantiles of (theta_b - theta)/s_b the interval is
    [theta - q_(1 - a/2) s, theta - q_(a/2) s] (Efron 1979; DiCiccio and Efron 1996, section 4; over clusters Cameron, Gelbach and Miller 2008,
    "pairs cluster bootstrap-t"). It need not be symmetric. s is the infinitesimal jackknife over groups, sqrt(G/(G - 1) sum_g m_g u_g^2) with
    m_g how often group g was drawn and u_g its part of theta's linear expansion.

    Each bound is the farther of this one and that of `clustered`: where a few groups hold most rows, draws from them do not know how large another
    group might have been, and the studentised interval alone is too narrow (simulated in bench/coverage.py).

    Args:
        rows: as `clustered` has them.
        draws: of all template groups of the study; its groups must be those of the rows or more.
        average: over rows or over templates, inside each cell.
        credit: the column that holds it.
        level: of the interval.

    Returns:
        The estimate; without interval under the conditions of `clustered`, or where more than 1 % of the draws leave a cell empty. Whether it
        rests on fewer than `FEW_EFFECTIVE` groups is for who shows it to say.

    Raises:
        ValueError: a template without group, a group that is not drawn from, or a cell with two weights.
    """
    sums = cell_sums(rows, credit, average, draws.groups)
    scored = credited(rows, credit)
    if not scored.height:
        return Estimate.nothing(level)
    weight = cell_weights(scored, sums)
    effective = effective_groups(sums.count, weight)
    there = int((sums.count.sum(0) > 0).sum())
    numbers = (there, effective, different(scored["mcq_id"]), different(scored["template_id"]), level)
    value = float(sums.means @ weight)
    lone = bool(((sums.count > 0).sum(1) < 2).any())
    if effective < MINIMUM_EFFECTIVE or lone:
        return Estimate(value, None, None, None, *numbers)
    error, quantiles = bootstrap_t(sums.total, sums.count, weight, draws.counts, level)
    if not np.isfinite(quantiles).all():
        return Estimate(value, None, None, None, *numbers)
    low, high = student(value, jackknife(sums.total, sums.count, weight)[1], effective - 1, level)
    return Estimate(
        value, error, min(value - float(quantiles[1]) * error, float(low)), max(value - float(quantiles[0]) * error, float(high)), *numbers
    )


def bootstrap_t(total: Floats, count: Floats, weight: Floats, counts: npt.NDArray[np.int64], level: float = 0.95) -> tuple[float, Floats]:
    """The standard error of a combination of cells' means, and the quantiles of its studentised draws.

    Args:
        total: of `CellSums`; shape [cells, groups].
        count: likewise.
        weight: shape [cells].
        counts: of `Draws`; shape [draws, groups].
        level: 0.95 asks for the quantiles 0.025 and 0.975.

    Returns:
        The error, and the two quantiles (observed draws, no interpolation), NaN where too many draws lack a cell.
    """
    value, error = _combination(total, count, weight, np.ones((1, total.shape[1])))
    step = max(1, _BLOCK // max(total.shape))
    blocks = [_combination(total, count, weight, counts[first : first + step].astype(np.float64)) for first in range(0, len(counts), step)]
    values, errors = (np.concatenate([block[part] for block in blocks]) for part in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(np.abs(values - value) < _ROUNDING, 0.0, (values - value) / np.where(errors < _ROUNDING, 0.0, errors))
    found = found[~np.isnan(found)]
    if len(found) < (1 - _LOST) * len(counts):
        return float(error[0]), np.full(2, np.nan)
    return float(error[0]), np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")


def _combination(total: Floats, count: Floats, weight: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Value and standard error in each draw; shape [draws] each, NaN where a draw lacks a cell."""
    groups = int((count.sum(0) > 0).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = drawn @ count.T
        means = (drawn @ total.T) / sizes
        parts = (weight / sizes) @ total - (weight * means / sizes) @ count
    return means @ weight, np.sqrt(groups / max(1, groups - 1) * (drawn * parts**2).sum(1))
