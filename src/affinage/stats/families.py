"""Families of comparisons, fixed by a study's plan before any result, and p-values corrected within a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from affinage.stats.resampling import TIE

__all__ = ["FAMILIES", "Comparison", "Family", "holm", "max_t", "planned_families"]

Family = Literal["own", "methods", "transfer"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_BLOCK = 1_000
"""Draws that are sorted at once: bounds the memory of a family of a thousand comparisons."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a family."""

    family: Family
    label: str
    """The method whose adapters are compared."""
    trained: str
    """Culture that the adapter was trained on; empty where two methods are compared over all cultures that both were trained on."""
    tested: str
    """Culture on which it is compared; empty likewise."""
    against: str = ""
    """The other method; empty for the untouched model."""


def planned_families(trained: Mapping[str, Sequence[str]], cultures: Sequence[str]) -> dict[Family, tuple[Comparison, ...]]:
    """Every family with its comparisons, a function of the plan alone.

    own: each method's adapter of each culture against the untouched model on that culture. methods: each pair of methods on the own cultures that
    both were trained on, pooled. transfer: each adapter against the untouched model on each culture that is not its own.

    Args:
        trained: method's label -> cultures that its adapters are trained on, as planned.
        cultures: tested cultures, as planned.

    Returns:
        Family -> its comparisons; a family that would be empty is left out.
    """
    found: dict[Family, tuple[Comparison, ...]] = {
        "own": tuple(Comparison("own", label, culture, culture) for label, own in trained.items() for culture in own),
        "methods": tuple(
            Comparison("methods", label, "", "", other) for label, other in combinations(trained, 2) if set(trained[label]) & set(trained[other])
        ),
        "transfer": tuple(
            Comparison("transfer", label, culture, tested)
            for label, own in trained.items()
            for culture in own
            for tested in cultures
            if tested != culture
        ),
    }
    return {family: comparisons for family, comparisons in found.items() if comparisons}


def holm(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Holm's step-down p-values: of the i-th smallest of m, max over j <= i of min(1, (m - j + 1) p_(j)).

    Holm (1979), "A simple sequentially rejective multiple test procedure". The family-wise error stays below the level whatever the dependence.

    Args:
        p: [m]; NaN where a comparison of the family cannot be tested (it counts in m all the same, as if its p were 1).

    Returns:
        [m], NaN where `p` is.

    Raises:
        ValueError: a p outside [0, 1], or not one row of them.
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 1 or bool(((values < 0) | (values > 1)).any()):
        raise ValueError(f"p-values between 0 and 1 in one row are needed, got {values.tolist()}")
    order = np.argsort(values)  # NaN last
    stepped = np.fmin(1.0, values[order] * (values.size - np.arange(values.size)))  # NaN is 1 here
    found = np.empty_like(values)
    found[order] = np.maximum.accumulate(stepped)
    found[np.isnan(values)] = np.nan
    return found


def max_t(observed: npt.NDArray[np.float64], null: npt.NDArray[np.float64], *, exact: bool) -> npt.NDArray[np.float64]:
    """Westfall and Young's step-down max-T p-values from the statistics of the same draws.

    Statistics are ordered from the largest; the i-th is compared with the largest statistic of each draw among itself and all smaller ones, and no
    p-value is smaller than that of a larger statistic. Westfall and Young (1993), algorithm 4.1; in this form Ge, Dudoit and Speed (2003),
    "Resampling-based multiple testing for microarray data analysis", box 2. It uses the dependence between the comparisons that Holm's must
    allow for in its worst form.

    Args:
        observed: [k] absolute statistics of the comparisons, on one scale.
        null: [draws, k] the same statistics under each draw.
        exact: whether the draws are all there are, what was observed among them; else (1 + count) / (1 + draws).

    Returns:
        [k].

    Raises:
        ValueError: shapes that do not match, no draw, or a statistic that is no number.
    """
    if observed.ndim != 1 or null.ndim != 2 or null.shape[1] != observed.size or not null.shape[0]:
        raise ValueError(f"statistics of the same comparisons are needed, got shapes {observed.shape} and {null.shape}")
    if np.isnan(observed).any() or np.isnan(null).any():
        raise ValueError("a statistic is no number")
    order = np.argsort(-observed, kind="stable")
    sorted_ = observed[order]
    count = np.zeros(observed.size, np.int64)
    for first in range(0, null.shape[0], _BLOCK):
        block = null[first : first + _BLOCK, order]
        largest = np.maximum.accumulate(block[:, ::-1], axis=1)[:, ::-1]
        count += (largest >= sorted_ - TIE).sum(0)
    p = count / null.shape[0] if exact else (1 + count) / (1 + null.shape[0])
    found = np.empty_like(observed)
    found[order] = np.maximum.accumulate(p)
    return found
