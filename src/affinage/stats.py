"""From scores to numbers: credit per question, accuracy per run, spread over runs, intervals clustered by template group.

Every number of a report comes through here, from frames with one row per run and question. Accuracies and differences are fractions,
not percent. Two readings: `choice` (the best-scored option) and `free` (the greedy first token is the right letter). Two averages:
`template` (the headline: mean over templates of the template's accuracy) and `row` (the reference study: mean over question rows).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.stats

from affinage.records import Score

__all__ = [
    "AVERAGES",
    "MINIMUM_EFFECTIVE",
    "READINGS",
    "RUN",
    "Average",
    "Estimate",
    "Reading",
    "Spread",
    "clustered",
    "column_specificity",
    "paired",
    "per_run",
    "spread",
    "with_credit",
]

Average = Literal["template", "row"]
Reading = Literal["choice", "free"]
AVERAGES: tuple[Average, ...] = ("template", "row")
READINGS: tuple[Reading, ...] = ("choice", "free")

RUN = ("run", "label", "method", "trained_culture", "split", "start")
"""Columns that name a run; every frame of scores has them beside `culture` (tested), `template_id` and `mcq_id`."""

MINIMUM_EFFECTIVE = 10.0
"""With fewer effective template groups a number is shown without interval and without verdict."""

_RESOLUTION = 1e-9
"""Accuracies are ratios of small counts: a bound closer to zero than this is rounding, not a difference."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What several runs gave."""

    mean: float
    deviation: float | None
    """Sample deviation (n - 1); None for a single run."""
    count: int
    """n, the number of runs."""


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


def with_credit(scores: pl.DataFrame, score: Score = "total") -> pl.DataFrame:
    """Adds what each question earned in both readings.

    The best-scored option wins; k options that tie for best share the credit, 1/k each, as a coin would. Scores: `total` log p(option),
    mean `per-token` (lm-evaluation-harness's `acc_norm` idea), mean `per-character` (Gao 2021, "Multiple choice normalization"), `pmi`
    log p(option | question) - log p(option | empty question) (Holtzman et al. 2021, "Surface form competition").

    Args:
        scores: one row per run and question with `records.ItemScore`'s fields.
        score: how options are compared.

    Returns:
        The same rows with `choice` and `free` as credit in [0, 1] (null: unscored, or no letters were asked for) and `chance` = 1/options
        (null: unscored).

    Raises:
        ValueError: a scored row has no options, lists of different lengths, a score that is no number, or an answer outside its options.
    """
    scored = pl.col("state") == "scored"
    options = pl.col("logprob").list.len()
    partner = {"total": "logprob", "per-token": "tokens", "per-character": "characters", "pmi": "empty_logprob"}[score]
    rows = scores.filter(scored)
    _refuse(rows, options < 2, "fewer than two options have a score")
    _refuse(rows, options != pl.col(partner).list.len(), f"`logprob` and `{partner}` differ in length")
    _refuse(rows, (pl.col("answer") < 0) | (pl.col("answer") >= options), "the answer is outside the options")
    if score in {"per-token", "per-character"}:
        _refuse(rows, pl.col(partner).list.min() < 1, f"`{partner}` below 1")
    value = {"total": pl.col("logprob"), "pmi": pl.col("logprob") - pl.col(partner)}.get(score, pl.col("logprob") / pl.col(partner))
    rows = rows.with_columns(value.alias("_value"))
    _refuse(rows, pl.col("_value").list.eval(pl.element().is_nan() | pl.element().is_null()).list.any(), "a score that is no number")
    best = pl.col("_value").list.max()
    ties = pl.col("_value").list.eval((pl.element() == pl.element().max()).cast(pl.Int64)).list.sum()
    right = pl.col("_value").list.get(pl.col("answer")) == best
    rows = rows.with_columns((right.cast(pl.Float64) / ties).alias("choice"), pl.col("free").cast(pl.Float64), (1.0 / options).alias("chance")).drop(
        "_value"
    )
    nothing = pl.lit(None, dtype=pl.Float64)
    unscored = scores.filter(~scored).with_columns(nothing.alias("choice"), nothing.alias("free"), nothing.alias("chance"))
    return pl.concat([rows, unscored])


def _refuse(rows: pl.DataFrame, fault: pl.Expr, reason: str) -> None:
    """Raises a ValueError that names the first row where `fault` holds or is unknown."""
    faulty = rows.filter(fault.fill_null(value=True))
    if faulty.height:
        first = faulty.row(0, named=True)
        raise ValueError(f"run {first['run']!r}, question {first['mcq_id']!r}: {reason} ({faulty.height} such rows)")


def paired(tuned: pl.DataFrame, reference: pl.DataFrame, beside: Sequence[str] = ()) -> pl.DataFrame:
    """Each row of `tuned` with its credit minus the reference's credit for the same question on the same split's test side.

    Args:
        tuned: rows of `with_credit`.
        reference: rows of the untouched model, or of other adapters; several rows for one question are averaged first.
        beside: further columns that must agree: `start` pairs runs that began from the same tensor.

    Returns:
        The rows of `tuned`; `choice` and `free` are differences in [-1, 1], null where either side is unscored.
    """
    keys = ["split", "culture", "mcq_id", *beside]
    averaged = reference.group_by(keys).agg(pl.col("choice", "free").mean().name.suffix("_reference"))
    joined = tuned.join(averaged, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.col(reading) - pl.col(f"{reading}_reference") for reading in READINGS).drop(
        [f"{reading}_reference" for reading in READINGS]
    )


def per_run(rows: pl.DataFrame) -> pl.DataFrame:
    """Each run's number on each culture, by both averages and in both readings.

    Unscored questions are counted and left out of the mean: never wrong, never zero. Chance is the same average of 1/options.

    Args:
        rows: of `with_credit` or `paired`.

    Returns:
        Columns of `RUN`, `culture`, `reading`, `average`, `accuracy`, `chance`, `questions` (scored), `templates` (with a scored
        question), `unscored`; no row for a reading in which nothing was scored.
    """
    keys = [*RUN, "culture"]
    parts = []
    for reading in READINGS:
        scored = rows.filter(pl.col(reading).is_not_null())
        counts = scored.group_by(keys).agg(pl.col("mcq_id").n_unique().alias("questions"), pl.col("template_id").n_unique().alias("templates"))
        by_row = scored.group_by(keys).agg(pl.col(reading).mean().alias("accuracy"), pl.col("chance").mean())
        by_template = scored.group_by([*keys, "template_id"]).agg(pl.col(reading).mean().alias("accuracy"), pl.col("chance").mean())
        by_template = by_template.group_by(keys).agg(pl.col("accuracy", "chance").mean())
        for average, frame in (("template", by_template), ("row", by_row)):
            named = frame.with_columns(pl.lit(reading).alias("reading"), pl.lit(average).alias("average"))
            parts.append(named.join(counts, on=keys, nulls_equal=True))
    unscored = rows.group_by(keys).agg((pl.col("state") != "scored").sum().cast(pl.Int64).alias("unscored"))
    columns = [*keys, "reading", "average", "accuracy", "chance", "questions", "templates", "unscored"]
    return pl.concat(parts).join(unscored, on=keys).select(columns).sort(*keys, "reading", "average")


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample deviation sqrt(sum (x - mean)^2 / (n - 1)) over runs.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a spread needs finite values, got {list(values)}")
    array = np.asarray(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(values) > 1 else None, len(values))


def clustered(rows: pl.DataFrame, average: Average = "template", reading: Reading = "choice", level: float = 0.95) -> Estimate:
    """A linear combination of cells' accuracies with an interval over template groups.

    A cell is one run on one culture. The estimate is sum over cells of weight * accuracy(cell): with weights that sum to 1 a pooled
    accuracy, with weights of both signs a paired difference. The interval is the delete-one-group jackknife: leaving out a template group
    leaves it out of every cell at once (every split, start, culture and method share the draw of templates), so what is common to both sides
    of a difference cancels. Standard error sqrt((G - 1)/G * sum_g (theta_(g) - theta)^2) (Efron and Stein 1981; for clusters MacKinnon,
    Nielsen and Webb 2023, "CV3"), with Student's t at n - 1 degrees of freedom, n = (sum w)^2 / sum w^2 Kish's (1965) effective number of
    groups, w a group's share of all cells. (The number of groups itself would promise too much where a few groups hold most rows.)

    Args:
        rows: columns `cell` (any value), `weight` (the cell's), `group`, `template_id`, `mcq_id`, and the reading's credit; unscored rows
            are left out.
        average: over templates or over rows, inside each cell.
        reading: which credit.
        level: of the interval.

    Returns:
        The estimate; without interval where fewer than `MINIMUM_EFFECTIVE` groups are effective or a cell would be empty without one group.

    Raises:
        ValueError: a template without group (a missing cluster is never a default), or a cell with two weights.
    """
    if rows["group"].null_count():
        raise ValueError(f"template {rows.filter(pl.col('group').is_null())['template_id'][0]!r} has no template group")
    scored = rows.filter(pl.col(reading).is_not_null())
    if not scored.height:
        return Estimate(math.nan, None, None, None, 0, 0.0, 0, 0, level)
    if scored.group_by("cell").agg(pl.col("weight").n_unique())["weight"].max() != 1:
        raise ValueError("a cell has two weights")
    units = scored
    if average == "template":
        units = scored.group_by("cell", "weight", "group", "template_id").agg(pl.col(reading).mean())
    sums = units.group_by("cell", "weight", "group").agg(pl.col(reading).sum().alias("sum"), pl.len().alias("count"))
    cell = sums["cell"].rank("dense").to_numpy().astype(np.int64) - 1
    group = sums["group"].rank("dense").to_numpy().astype(np.int64) - 1
    shape = (int(cell.max()) + 1, int(group.max()) + 1)
    total, count = np.zeros(shape), np.zeros(shape)
    total[cell, group], count[cell, group] = sums["sum"].to_numpy(), sums["count"].to_numpy()
    weight = np.zeros(shape[0])
    weight[cell] = sums["weight"].to_numpy()
    value = float(weight @ (total.sum(1) / count.sum(1)))
    share = np.abs(weight) @ (count / count.sum(1, keepdims=True))
    effective = float(share.sum() ** 2 / (share**2).sum())
    left = count.sum(1, keepdims=True) - count
    numbers = (shape[1], effective, scored["mcq_id"].n_unique(), scored["template_id"].n_unique(), level)
    if effective < MINIMUM_EFFECTIVE or bool((left == 0).any()):
        return Estimate(value, None, None, None, *numbers)
    without = weight @ ((total.sum(1, keepdims=True) - total) / left)
    error = math.sqrt((shape[1] - 1) / shape[1] * float(((without - value) ** 2).sum()))
    half = float(scipy.stats.t.ppf((1 + level) / 2, effective - 1)) * error
    return Estimate(value, error, value - half, value + half, *numbers)


def column_specificity(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Own minus the mean of the other adapters on the same culture: M[c, c] - mean over a != c of M[a, c].

    Args:
        matrix: M[a, c], adapter of culture a tested on culture c; shape [cultures, cultures], at least two.

    Returns:
        One number per tested culture; NaN where a cell is missing.

    Raises:
        ValueError: not square, or fewer than two cultures.
    """
    cultures = matrix.shape[0]
    if matrix.ndim != 2 or matrix.shape != (cultures, cultures) or cultures < 2:
        raise ValueError(f"a square matrix of two or more cultures is needed, got shape {matrix.shape}")
    own = np.diagonal(matrix)
    return np.asarray(own - (matrix.sum(0) - own) / (cultures - 1), dtype=np.float64)
