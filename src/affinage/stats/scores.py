"""What an accuracy and a probability are worth: above chance, of what was left to gain, and how far probabilities are right about themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.stats.bootstrap import cell_sums
from affinage.stats.effects import remaining_share
from affinage.stats.intervals import Estimate, cell_weights, clustered
from affinage.stats.runs import Average, credited

__all__ = ["Binning", "Curve", "brier", "brier_binary", "chance_centred", "reliability", "share_of_left", "template_weights"]

Floats = npt.NDArray[np.float64]
Binning = Literal["width", "mass"]

_TOLERANCE = 1e-6
"""How far shares may be from summing to 1: rounding of a softmax."""


def chance_centred(accuracy: npt.ArrayLike, chance: npt.ArrayLike) -> Floats:
    """Accuracy (or one question's credit) on a scale where chance is 0 and all right is 1: (accuracy - chance) / (1 - chance).

    The classical correction for guessing (Frary 1988), and kappa with equal marginals (Brennan and Prediger 1981). Below zero where it is below
    chance; with 1/chance options the lowest is -chance / (1 - chance).

    Args:
        accuracy: fractions, NaN where unknown; any shape.
        chance: 1/options, the same shape or one number.

    Raises:
        ValueError: a chance outside (0, 1).
    """
    right, blind = np.asarray(accuracy, np.float64), np.asarray(chance, np.float64)
    if not bool((np.isnan(blind) | ((blind > 0) & (blind < 1))).all()):
        raise ValueError("chance must lie between 0 and 1")
    return np.asarray((right - blind) / (1 - blind))


def share_of_left(rows: pl.DataFrame, average: Average = "template", level: float = 0.95) -> Estimate:
    """Gain as a share of what the reference left to gain, (tuned - reference) / (1 - reference), with an interval over template groups.

    `remaining_share` R = G / L of two means over the same questions. Its error is that of the mean of (g_i - R l_i) / L (the ratio's linearisation;
    Cochran 1977, section 6.4), by the jackknife of `clustered`, so both means share the draw of template groups.

    Args:
        rows: as `clustered`, with `gain` (tuned minus reference) and `left` (1 minus the reference's credit) per question; both or neither are null.
        average: over templates or over rows, inside each cell.
        level: of the interval.

    Returns:
        The share; NaN without interval where nothing was left or nothing was scored.

    Raises:
        ValueError: as `clustered`; or a row that has one of the two numbers.
    """
    if rows.filter(pl.col("gain").is_null() != pl.col("left").is_null()).height:
        raise ValueError("a gain without what was left, or the other way round")
    gain, left = _means(rows, average)
    ratio = remaining_share(gain, left)
    if ratio is None:
        return replace(clustered(rows, average, "gain", level), value=math.nan, error=None, low=None, high=None)
    found = clustered(rows.with_columns(((pl.col("gain") - ratio * pl.col("left")) / left).alias("_linear")), average, "_linear", level)
    if found.low is None or found.high is None:
        return replace(found, value=ratio)
    return replace(found, value=ratio, low=ratio + found.low, high=ratio + found.high)


def _means(rows: pl.DataFrame, average: Average) -> tuple[float, float]:
    """Weighted means over cells of `gain` and `left`; zeros where nothing is scored."""
    gain, left = (cell_sums(rows, credit, average) for credit in ("gain", "left"))
    weight = cell_weights(credited(rows, "gain"), gain)
    return float(gain.means @ weight), float(left.means @ weight)


def brier(shares: npt.ArrayLike, answer: npt.ArrayLike) -> Floats:
    """Brier score of each question: sum over options of (p - y)^2, y being 1 for the right option and else 0 (Brier 1950, equation 2).

    From 0 (certain and right) to 2 (certain and wrong); equal shares of C options score 1 - 1/C.

    Args:
        shares: probability of each option, NaN behind the last option of a question with fewer; a row sums to 1. Shape [questions, options].
        answer: index of the right option; shape [questions].

    Returns:
        Shape [questions].

    Raises:
        ValueError: shares that do not sum to 1 or lie outside [0, 1], or an answer that is none of the options.
    """
    probability = np.asarray(shares, np.float64)
    right = np.asarray(answer, np.int64)
    if probability.ndim != 2 or right.shape != probability.shape[:1]:
        raise ValueError(f"shares [questions, options] and one answer each are needed, got shapes {probability.shape} and {right.shape}")
    missing = np.isnan(probability)
    outside = (probability < -_TOLERANCE) | (probability > 1 + _TOLERANCE)
    if outside.any() or (np.abs(np.nansum(probability, axis=1) - 1) > _TOLERANCE).any():
        raise ValueError("the shares of a question must lie between 0 and 1 and sum to 1")
    if ((right < 0) | (right >= probability.shape[1])).any() or missing[np.arange(len(right)), right].any():
        raise ValueError("an answer that is none of the options")
    distance = np.where(missing, 0.0, probability)
    squares = (distance**2).sum(axis=1)
    # sum (p - y)^2 = sum p^2 - 2 p_right + 1.
    return np.asarray(squares - 2 * distance[np.arange(len(right)), right] + 1)


def brier_binary(confidence: npt.ArrayLike, right: npt.ArrayLike) -> Floats:
    """(p - y)^2 of the chosen option alone: p its probability, y whether it is right (half of Brier's sum for a forecast of two classes).

    Args:
        confidence: probability of the chosen option; shape [questions].
        right: credit in [0, 1]; shape [questions].

    Raises:
        ValueError: numbers outside [0, 1], or shapes that differ.
    """
    probability, outcome, _ = _checked(confidence, right, None)
    return np.asarray((probability - outcome) ** 2)


@dataclass(frozen=True, slots=True)
class Curve:
    """A reliability curve: questions in bins of confidence. Empty bins are left out; every array is [bins]."""

    low: Floats
    """Lowest confidence in the bin (`mass`), or its lower edge, which belongs to the bin below (`width`)."""
    high: Floats
    """Highest confidence in the bin, or its upper edge, which belongs to it."""
    confidence: Floats
    """Weighted mean of the confidences."""
    right: Floats
    """Weighted mean of the credits."""
    share: Floats
    """Of all weight; sums to 1."""
    count: npt.NDArray[np.int64]
    """Questions."""
    noise: Floats
    """Variance of `right` if every confidence were the true probability and questions were independent: sum w^2 p(1 - p) / (sum w)^2."""
    spread: Floats
    """Unbiased estimate of the variance of `right` for independent questions; NaN where a bin holds one question."""

    @property
    def error(self) -> float:
        """Expected calibration error: sum over bins of share * |right - confidence| (Naeini et al. 2015; Guo et al. 2017, equation 3)."""
        return float(self.share @ np.abs(self.right - self.confidence))

    @property
    def by_chance(self) -> float:
        """The expected calibration error that would be seen if every confidence were right: sum of share * sqrt(2 noise / pi).

        |right - confidence| of a bin is never negative, so its mean is above zero however well calibrated the model is (the mean of a normal
        deviate's size). It counts questions as independent; questions of one template are not, so the true floor is higher.
        """
        return float(self.share @ np.sqrt(2 * self.noise / math.pi))

    @property
    def debiased(self) -> float:
        """Root mean square calibration error without that bias: sqrt of sum of share * ((right - confidence)^2 - spread), at least 0.

        Kumar et al. 2019, section 4 (their spread is right (1 - right) / (n - 1)). Bins of one question are left out. NaN where all are.
        """
        known = ~np.isnan(self.spread)
        if not known.any():
            return math.nan
        share = self.share[known] / self.share[known].sum()
        squared = float(share @ ((self.right - self.confidence)[known] ** 2 - self.spread[known]))
        return math.sqrt(max(0.0, squared))


def reliability(
    confidence: npt.ArrayLike, right: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, bins: int = 15, binning: Binning = "width"
) -> Curve:
    """How often the chosen option is right, by the probability that the model gives it.

    Args:
        confidence: probability of the chosen option; shape [questions].
        right: credit in [0, 1]; shape [questions].
        weight: of each question, above zero; default: alike.
        bins: how many; 15 in Guo et al. 2017.
        binning: `width`: (k/bins, (k + 1)/bins], 0 in the first (Guo et al. 2017); `mass`: about equal weight in each, equal confidences together
            (Nguyen and O'Connor 2015; Kumar et al. 2019, section 3).

    Raises:
        ValueError: no question, fewer than one bin, numbers outside [0, 1], a weight that is not above zero, or shapes that differ.
    """
    probability, outcome, weights = _checked(confidence, right, weight)
    if bins < 1 or not len(probability):
        raise ValueError(f"at least one bin and one question are needed, got {bins} and {len(probability)}")
    place = _width(probability, bins) if binning == "width" else _mass(probability, weights, bins)
    used, group = np.unique(place, return_inverse=True)

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(group, values, minlength=len(used)))

    mass, squares = total(weights), total(weights**2)
    mean, accuracy = total(weights * probability) / mass, total(weights * outcome) / mass
    # Unbiased for independent questions: sum w^2 (y - mean)^2 / W^2 has the mean of the variance times 1 - sum w^2 / W^2 where all have one variance.
    freedom = 1 - squares / mass**2
    raw = total(weights**2 * (outcome - accuracy[group]) ** 2) / mass**2
    count = np.bincount(group, minlength=len(used))
    low, high = np.full(len(used), np.inf), np.full(len(used), -np.inf)
    np.minimum.at(low, group, probability)
    np.maximum.at(high, group, probability)
    return Curve(
        low=used / bins if binning == "width" else low,
        high=(used + 1) / bins if binning == "width" else high,
        confidence=mean,
        right=accuracy,
        share=mass / mass.sum(),
        count=count,
        noise=total(weights**2 * probability * (1 - probability)) / mass**2,
        spread=np.divide(raw, freedom, out=np.full(len(used), np.nan), where=count > 1),
    )


def template_weights(rows: pl.DataFrame) -> Floats:
    """The weight of each row in the headline's mean: every (run, tested culture) alike, in it every template, in it every question.

    Args:
        rows: columns `run`, `culture`, `template_id`; all of them scored.

    Returns:
        Shape [rows], sums to 1.
    """
    cell, template = ["run", "culture"], ["run", "culture", "template_id"]
    weight = 1.0 / (pl.col("template_id").n_unique().over(cell) * pl.len().over(template))
    values = rows.select(weight.alias("weight"))["weight"].to_numpy()
    return np.asarray(values / values.sum())


def _width(probability: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each confidence, closed above; 0 belongs to the first."""
    return np.maximum(np.ceil(probability * bins - 1e-12).astype(np.int64) - 1, 0)


def _mass(probability: Floats, weights: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Bins of about equal weight; equal confidences are never parted, so that the order of the questions does not matter."""
    # Softmaxes of the same numbers, added in another order, must stay equal.
    inverse = np.unique(np.round(probability, 9), return_inverse=True)[1]
    mass = np.bincount(inverse, weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.asarray(np.minimum((middle * bins).astype(np.int64), bins - 1)[inverse])


def _checked(confidence: npt.ArrayLike, right: npt.ArrayLike, weight: npt.ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Confidences, credits and weights of the same questions; rounding beyond 0 and 1 is cut."""
    probability, outcome = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    weights = np.ones_like(probability) if weight is None else np.asarray(weight, np.float64)
    if probability.ndim != 1 or probability.shape != outcome.shape or probability.shape != weights.shape:
        raise ValueError(f"one confidence, credit and weight per question are needed, got {probability.shape}, {outcome.shape}, {weights.shape}")
    for name, values in (("confidence", probability), ("credit", outcome)):
        if not bool(((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE)).all()):
            raise ValueError(f"a {name} outside 0 to 1")
    if not bool((weights > 0).all()):
        raise ValueError("every weight must be above zero")
    return np.clip(probability, 0.0, 1.0), np.clip(outcome, 0.0, 1.0), weights
