"""Invented studies whose truth is known, and the intervals that `affinage.stats` gives for them (see coverage.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from affinage import data, seeds
from affinage.config import DataConfig
from affinage.stats import MINIMUM_EFFECTIVE, MINIMUM_SPLITS, draw_groups
from affinage.stats.bootstrap import Floats
from affinage.stats.intervals import effective_groups, jackknife
from affinage.stats.procedure import decompose, resampled
from affinage.stats.studentised import bootstrap_t

STARTS, SHARE, EQUAL = 2, 0.2, 8
"""Runs per split; the test side's share of the pool of templates; rows per template where all have the same."""

GAIN, RIGHT, WRONG = 0.10, 0.25, 0.15
"""A row's difference is +1 with probability RIGHT plus what its run is worth, -1 with probability WRONG, else 0; its mean is GAIN."""

OF_SPLIT, OF_START, SAME = 0.03, 0.02, 0.8
"""Deviations of a run's worth; the probability that a template answers in a run as it does in general."""

LOG_MEAN, LOG_DEVIATION, MOST_ROWS = 3.284, 1.638, 1092
"""Of the logarithm of BLEnD's rows per template, over its 16 cultures: without the data the rows are log-normal with these, from 1 to so many."""

DRAWS, LEVEL, ROUNDING = 999, 0.95, 1e-7
"""Draws of a studentised interval; what an interval promises; a deviation below which sums of squares are rounding."""

INTERVALS = {
    "template": "(a) by template",
    "row-jackknife": "(a) by row, jackknife",
    "quantiles": "the same, studentised alone",
    "row": "(a) by row, as given",
    "procedure": "(b)",
    "corrected": "(b), corrected",
}


@dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    templates: int
    rows: str
    correlation: float
    splits: int
    shared: bool = False
    """Whether a run's worth is made by the templates that it was trained on, which splits of one pool share."""

    @property
    def name(self) -> str:
        """Key of its random streams, and in the result."""
        return f"{self.templates} {self.rows} {self.correlation} {self.splits}" + (" shared" if self.shared else "")


@dataclass(frozen=True)
class Studies:
    """Invented studies with the same sides and rows; arrays as `stats.CellSums` has them, a cell being a run."""

    total: Floats
    """Sums of differences; shape [studies, runs, groups]."""
    count: Floats
    """Rows; shape [runs, groups]."""
    split: npt.NDArray[np.int64]
    worth: Floats
    """The runs' true mean differences; shape [studies, runs]."""


def invent(cell: Cell, sizes: Callable[[np.random.Generator, int], Floats], number: int, studies: int) -> Studies:
    """Draws studies whose rows of one template have exactly the wanted correlation within a run.

    Each template has a uniform number, each run takes it over with probability `SAME` or draws another, and each row takes its run's over
    with probability sqrt(correlation) or draws its own; where the number falls says whether the row is +1, -1 or 0.
    """
    rng = seeds.generator("coverage", cell.name, number)
    pool = round(cell.templates / SHARE)
    tested = np.stack([rng.permutation(pool) < cell.templates for _ in range(cell.splits)])
    rows = sizes(rng, pool)
    if cell.shared:
        trained = ~tested
        of_split = rng.normal(0, OF_SPLIT, (studies, pool)) @ trained.T / np.sqrt(trained.sum(1))
    else:
        of_split = rng.normal(0, OF_SPLIT, (studies, cell.splits))
    worth = np.repeat(of_split, STARTS, axis=1) + rng.normal(0, OF_START, (studies, cell.splits * STARTS))
    worth = np.clip(worth, -RIGHT, 1 - RIGHT - WRONG)
    union = np.flatnonzero(tested.any(0))
    general = rng.random((studies, pool))
    split = np.repeat(np.arange(cell.splits), STARTS)
    total, count = np.zeros((studies, len(split), len(union))), np.zeros((len(split), len(union)))
    for run, side in enumerate(split):
        here = np.flatnonzero(tested[side])
        columns = np.searchsorted(union, here)
        taken = np.where(rng.random((studies, len(here))) < SAME, general[:, here], rng.random((studies, len(here))))
        right = (RIGHT + worth[:, run])[:, None]
        whole = (taken < right).astype(np.int64) - (taken > 1 - WRONG)
        many = np.broadcast_to(rows[here].astype(np.int64), taken.shape)
        alike = rng.binomial(many, math.sqrt(cell.correlation))
        plus = rng.binomial(many - alike, right)
        minus = rng.binomial(many - alike - plus, np.minimum(1.0, WRONG / (1 - right)))
        total[:, run, columns] = alike * whole + plus - minus
        count[run, columns] = rows[here]
    return Studies(total, count, split, GAIN + worth)


def intervals(studies: Studies, number: int, cell: Cell) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Per kind of interval: truth, lower and upper bounds, NaN where the code gives none; shape [studies] each."""
    runs = studies.total.shape[1]
    weight = np.full(runs, 1 / runs)
    there = (studies.count > 0).astype(np.float64)
    accuracy = np.divide(studies.total, studies.count, out=np.zeros_like(studies.total), where=studies.count > 0)
    adapters, everywhere = studies.worth @ weight, np.full(len(studies.total), GAIN)
    bounds = {}
    for kind, total, count in (("template", accuracy, there), ("row-jackknife", studies.total, studies.count)):
        value, error = jackknife(total, count, weight)
        effective = effective_groups(count, weight)
        bounds[kind] = _bounds(value, error, effective - 1, refused=effective < MINIMUM_EFFECTIVE)
        yield kind, adapters, *bounds[kind]
    low, high = _studentised(studies, weight, number, cell)
    yield "quantiles", adapters, low, high
    yield "row", adapters, np.minimum(low, bounds["row-jackknife"][0]), np.maximum(high, bounds["row-jackknife"][1])
    effective = effective_groups(there, weight)
    nothing = np.full(len(studies.total), np.nan)
    if cell.splits < MINIMUM_SPLITS:
        yield "procedure", everywhere, nothing, nothing
        yield "corrected", everywhere, nothing, nothing
        return
    found = decompose(accuracy, there, weight, studies.split)
    refused = effective < MINIMUM_EFFECTIVE
    yield "procedure", everywhere, *_bounds(found.value, np.sqrt(found.variance), found.degrees, refused=refused)
    error = np.sqrt(resampled(accuracy, there, weight, studies.split, SHARE / (1 - SHARE)))
    yield "corrected", everywhere, *_bounds(found.value, error, cell.splits - 1, refused=refused)


def _bounds(value: Floats, error: Floats, degrees: Floats | float, *, refused: bool) -> tuple[Floats, Floats]:
    half = np.full_like(value, np.nan) if refused else scipy.stats.t.ppf((1 + LEVEL) / 2, degrees) * error
    return value - half, value + half


def _studentised(studies: Studies, weight: Floats, number: int, cell: Cell) -> tuple[Floats, Floats]:
    """The studentised bounds of each study; the starts of a split have the same rows and are one cell."""
    first = np.arange(0, len(studies.split), STARTS)
    total, count = np.add.reduceat(studies.total, first, axis=1) / STARTS, studies.count[first]
    weights = np.add.reduceat(weight, first)
    if effective_groups(count, weights) < MINIMUM_EFFECTIVE:
        nothing = np.full(len(total), np.nan)
        return nothing, nothing
    counts = draw_groups(total.shape[2], DRAWS, ("coverage", cell.name, number))
    value, error, quantiles = pivots(total, count, weights, counts)
    expected = bootstrap_t(total[0], count, weights, counts, LEVEL)
    np.testing.assert_allclose((error[0], *quantiles[:, 0]), (expected[0], *expected[1]), rtol=1e-6, err_msg=cell.name)
    quantiles = np.where(np.isfinite(quantiles).all(0), quantiles, np.nan)
    return value - quantiles[1] * error, value - quantiles[0] * error


def pivots(total: Floats, count: Floats, weight: Floats, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """`stats.studentised.bootstrap_t` of many studies with the same rows, its squares multiplied out: few large matrix products.

    With A_c a cell's weight over its size and m_c its mean in a draw, sum_g k_g (sum_c A_c (t_cg - m_c n_cg))^2 is a sum over pairs of cells of
    products of draws with t t', t n' and n n'.

    Args:
        total: shape [studies, cells, groups].
        count: shape [cells, groups].
        weight: shape [cells].
        counts: shape [draws, groups].

    Returns:
        Value and error, shape [studies]; quantiles, shape [2, studies], NaN where too many draws lack a cell.
    """
    studies, cells, groups = total.shape
    drawn = np.concatenate([np.ones((1, groups)), counts])
    drawn = drawn[(drawn @ count.T > 0).all(1)]
    sizes = drawn @ count.T
    share = weight / sizes

    def over(products: Floats) -> Floats:
        return np.asarray((drawn @ products.reshape(-1, groups).T).reshape(len(drawn), *products.shape[:-1]))

    means = over(total) / sizes[:, None]
    variances = np.zeros((len(drawn), studies))
    for one in range(cells):
        for other in range(cells):
            both = (share[:, one] * share[:, other])[:, None]
            crossed = over(total[:, one] * count[other]) * means[:, :, other]
            sized = over((count[one] * count[other])[None]) * means[:, :, one] * means[:, :, other]
            if other >= one:
                variances += (1 + (other > one)) * both * over(total[:, one] * total[:, other])
            variances += both * (sized - 2 * crossed)
    there = int((count.sum(0) > 0).sum())
    values, errors = means @ weight, np.sqrt(there / (there - 1) * np.maximum(variances, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(np.abs(values - values[0]) < ROUNDING, 0.0, (values - values[0]) / np.where(errors < ROUNDING, 0.0, errors))[1:]
    enough = len(found) >= 0.99 * len(counts)
    levels = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return values[0], errors[0], np.quantile(found, levels, axis=0, method="inverted_cdf") if enough else np.full((2, studies), np.nan)


def sizes_of(kind: str, blend: str) -> Callable[[np.random.Generator, int], Floats]:
    """How many rows each template has: all the same, or drawn from the counts of BLEnD's templates in all cultures."""
    if kind == "equal":
        return lambda rng, pool: np.full(pool, float(EQUAL))
    if not blend:
        return lambda rng, pool: np.clip(np.round(rng.lognormal(LOG_MEAN, LOG_DEVIATION, pool)), 1, MOST_ROWS)
    real = data.load(DataConfig(source="blend", path=blend)).row_counts["rows"].to_numpy().astype(np.float64)
    return lambda rng, pool: rng.choice(real, pool)


def about(blend: str) -> dict[str, object]:
    """What the studies are made of, in words."""
    drawn = "its own counts" if blend else f"log-normal ({LOG_MEAN}, {LOG_DEVIATION}), at most {MOST_ROWS}"
    return {
        "starts": STARTS,
        "test side": f"{SHARE} of the pool",
        "rows": f"equal: {EQUAL}; blend: {drawn}",
        "a row": f"+1 with probability {RIGHT} plus its run's worth, -1 with {WRONG}; mean {GAIN}",
        "a run's worth": f"deviation {OF_SPLIT} by split, {OF_START} by start",
        "template in run as in general": SAME,
        "draws of a studentised interval": DRAWS,
        "interval": LEVEL,
    }
