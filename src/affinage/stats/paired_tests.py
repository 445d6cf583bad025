"""Paired tests over template groups: signs of the groups' contributions to a difference are flipped, the same flips for a whole family.

The unit is the template group, the smallest part of a study that may be taken as drawn by itself. Where an adapter and its reference are alike,
which of the two earned what in a group is a matter of chance, so the group's contribution to the difference is as likely with the other sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse

from affinage import seeds
from affinage.stats.bootstrap import cell_sums
from affinage.stats.contrasts import Contrasts, contrasts, distinct, template_means, weights_of
from affinage.stats.effects import remaining_share, smallest_detectable, standardised
from affinage.stats.families import Comparison, holm, max_t
from affinage.stats.intervals import Estimate
from affinage.stats.resampling import DRAWS, TIE
from affinage.stats.runs import credited

__all__ = [
    "ROUGH_BELOW",
    "PairedTest",
    "Signs",
    "family_p_values",
    "null_statistics",
    "paired_tests",
    "sign_draws",
    "sign_flip",
    "statistics",
]

ROUGH_BELOW = 30.0
"""With fewer effective template groups p-values are exact only where the groups' contributions are symmetric around zero; where they are skewed, a
family's error was above its level in `bench/false_positives.py`, that of max-T most."""

_BLOCK = 1_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Signs:
    """Draws of a sign per template group, the same for every comparison of a family."""

    values: npt.NDArray[np.int8]
    """-1 or 1; shape [draws, groups]."""
    exact: bool
    """Whether they are all there are, each once."""

    def p_values(self, count: npt.NDArray[np.int64]) -> Floats:
        """Counts of draws that reach what was observed, as p-values.

        All there are hold the observed signs among them: count / draws. Of a sample the observed ones are one more: (1 + count) / (1 + draws), never
        zero (Phipson and Smyth 2010, "Permutation p-values should never be zero").
        """
        draws = len(self.values)
        return np.asarray(count / draws if self.exact else (1 + count) / (1 + draws))


def sign_draws(groups: int, key: Sequence[str | int | float], draws: int = DRAWS) -> Signs:
    """Signs for each template group: every combination where there are no more than `draws` of them, else independent fair draws.

    Args:
        groups: how many.
        key: of the random stream.
        draws: how many combinations at most.

    Raises:
        ValueError: no group or no draw.
    """
    if groups < 1 or draws < 1:
        raise ValueError(f"signs need groups and draws, got {groups} and {draws}")
    if 1 << groups <= draws:
        bits = (np.arange(1 << groups)[:, None] >> np.arange(groups)) & 1
        return Signs((1 - 2 * bits).astype(np.int8), exact=True)
    bits = seeds.generator("signs of template groups", groups, *key).integers(2, size=(draws, groups), dtype=np.int8)
    return Signs(np.asarray(1 - 2 * bits, np.int8), exact=False)


def statistics(contributions: Floats) -> Floats:
    """The studentised size of each difference: |sum_g d_g| / sqrt(sum_g d_g^2).

    The root is the standard deviation of the sum under random signs, and no flip changes it; so the statistic orders the flips of one comparison as
    |sum| does, and as Student's |t| = r sqrt((G - 1)/(G - r^2)) over the same G groups does, and puts all comparisons of a family on one scale.

    Args:
        contributions: [k, groups] what each template group adds to each difference.

    Returns:
        [k]; 0 where no group adds anything.
    """
    return np.asarray(np.abs(_scaled(contributions).sum(1)))


def null_statistics(contributions: Floats, signs: Signs) -> Floats:
    """`statistics` of the same contributions under each draw of signs.

    Args:
        contributions: [k, groups].
        signs: [draws, groups].

    Returns:
        [draws, k].

    Raises:
        ValueError: signs of another number of groups.
    """
    if contributions.shape[1] != signs.values.shape[1]:
        raise ValueError(f"signs of {signs.values.shape[1]} template groups do not fit {contributions.shape[1]}")
    scaled, draws = _scaled(contributions).T, len(signs.values)
    found = np.empty((draws, len(contributions)))
    for first in range(0, draws, _BLOCK):
        block = found[first : first + _BLOCK]
        np.abs(signs.values[first : first + _BLOCK].astype(np.float64) @ scaled, out=block)
    return found


def sign_flip(contributions: Floats, signs: Signs) -> Floats:
    """Two-sided sign-flip p-values of differences: how often random signs give a sum of the groups' contributions as far from zero as theirs.

    Exact where each group's contribution is symmetric around zero (Fisher 1935; Hemerik and Goeman 2018, "Exact testing with random
    permutations"); where only its mean is zero it holds as the number of groups grows (Canay, Romano and Shaikh 2017).

    Args:
        contributions: [k, groups].
        signs: [draws, groups].

    Returns:
        [k].

    Raises:
        ValueError: as `null_statistics`; or a contribution that is no number.
    """
    if not np.isfinite(contributions).all():
        raise ValueError("a template group's contribution is no number")
    return signs.p_values((null_statistics(contributions, signs) >= statistics(contributions) - TIE).sum(0))


def family_p_values(found: Contrasts, key: Sequence[str | int | float], draws: int = DRAWS) -> tuple[Floats, Floats, Floats]:
    """A family's p-values: of each sign-flip test, Holm's, and max-T's, all from the same draws of signs.

    Args:
        found: the family's differences; one without interval is not tested and counts in Holm's m.
        key: of the random stream.
        draws: of signs.

    Returns:
        Three of shape [comparisons], NaN where a comparison is not tested.
    """
    tested = ~np.isnan(found.errors)
    p, sharper = np.full(tested.size, np.nan), np.full(tested.size, np.nan)
    if tested.any():
        contributions = found.contributions[tested]
        signs = sign_draws(contributions.shape[1], key, draws)
        observed, null = statistics(contributions), null_statistics(contributions, signs)
        p[tested] = signs.p_values((null >= observed - TIE).sum(0))
        sharper[tested] = max_t(observed, null, exact=signs.exact)
    return p, holm(p), sharper


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One comparison of a family with all that is said about it."""

    comparison: Comparison
    estimate: Estimate
    """The difference, a fraction."""
    p: float | None
    """Of the two-sided sign-flip test; this and the next two are None where there is no interval, the test then being refused."""
    holm: float | None
    """Corrected within the family."""
    max_t: float | None
    """Corrected within the family by the joint distribution of its statistics."""
    effect: float | None
    """The difference in deviations between template groups; None without test, or where the groups do not differ."""
    remaining: float | None
    """The difference as a share of what the reference left to gain; None where nothing was left or nothing compared."""
    detectable: float | None
    """Smallest difference that would have been shown with a power of 80 %, a fraction; None without interval."""
    runs: int
    """Runs behind it."""

    def shown(self, level: float = 0.05) -> int:
        """1 where the difference is above zero both by its interval and by Holm's p-value, -1 where it is below, 0 where neither is shown."""
        if self.holm is None or self.holm >= level:
            return 0
        return int(self.estimate.above) - int(self.estimate.below)


def paired_tests(family: Sequence[Comparison], rows: pl.DataFrame, key: Sequence[str | int | float], draws: int = DRAWS) -> tuple[PairedTest, ...]:
    """Every comparison of a family, tested with the same draws of signs.

    A comparison's difference is the mean over its cells (run, tested culture) of the difference by template. A comparison without rows, or with too
    few template groups for an interval, is not tested; it stays in the family and counts in Holm's m.

    Args:
        family: as planned.
        rows: columns `comparison` (place in `family`), `run`, `culture`, `group`, `template_id`, `mcq_id`, `choice` (the paired difference, null
            where a side is unscored) and `reached` (the first side's own credit).
        key: of the random stream.
        draws: of signs.

    Raises:
        ValueError: a template without group, or a comparison that the family does not have.
    """
    scored = credited(rows, "choice")
    if not scored.height:
        return tuple(PairedTest(each, Estimate.nothing(), None, None, None, None, None, None, 0) for each in family)
    if not 0 <= int(str(scored["comparison"].min())) <= int(str(scored["comparison"].max())) < len(family):
        raise ValueError(f"rows of a comparison that is none of the {len(family)} of the family")
    units, cells = template_means(scored, ("comparison", "run", "culture"), ("choice", "reached"))
    comparison, cell = cells["comparison"].to_numpy(), units["cell"].to_numpy()
    weights = _mean_over_cells(comparison, len(family))
    found = contrasts(cell_sums(units), weights)
    reached = weights @ (np.bincount(cell, units["reached"].to_numpy()) / np.bincount(cell))
    questions = distinct(scored["comparison"].to_numpy(), scored["mcq_id"], len(family))
    templates = distinct(comparison[cell], units["template_id"], len(family))
    runs = distinct(comparison, cells["run"], len(family))
    p, corrected, sharper = family_p_values(found, key, draws)
    effect = standardised(found.contributions, found.shares)
    return tuple(
        PairedTest(
            comparison,
            estimate,
            _known(p[k]),
            _known(corrected[k]),
            _known(sharper[k]),
            None if np.isnan(p[k]) else _known(effect[k]),
            remaining_share(estimate.value, 1 - (float(reached[k]) - estimate.value)) if runs[k] else None,
            None if estimate.error is None else smallest_detectable(estimate.error),
            runs[k],
        )
        for k, (comparison, estimate) in enumerate(zip(family, found.estimates(questions, templates), strict=True))
    )


def _known(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if np.isnan(value) else float(value)


def _scaled(contributions: Floats) -> Floats:
    """Each comparison's contributions over the root of the sum of their squares."""
    size = np.sqrt((contributions**2).sum(1, keepdims=True))
    return np.asarray(np.divide(contributions, size, out=np.zeros_like(contributions), where=size > 0))


def _mean_over_cells(comparison: npt.NDArray[np.int64], comparisons: int) -> scipy.sparse.csr_array:
    """Weights under which each comparison is the mean over its cells; `comparison` is that of each cell."""
    share = 1.0 / np.bincount(comparison, minlength=comparisons)[comparison]
    return weights_of(comparison, np.arange(comparison.size), share, (comparisons, comparison.size))
