"""Many linear combinations of cells at once: values, shares of the template groups, and the interval of `clustered` for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse

from affinage.stats.bootstrap import CellSums
from affinage.stats.intervals import MINIMUM_EFFECTIVE, Estimate, delete_one_group, effective_numbers, group_shares, student
from affinage.stats.numbers import numbered

__all__ = ["Contrasts", "contrasts", "distinct", "template_means", "weights_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Linear combinations of cells' accuracies: contrast k is sum over cells c of weight[k, c] * accuracy(c)."""

    contributions: Floats
    """What each template group adds to each contrast; a row sums to its value. Shape [contrasts, groups]."""
    shares: Floats
    """The weight that each template group has in it (`group_shares`). Shape [contrasts, groups]."""
    errors: Floats
    """Standard errors (`delete_one_group`); NaN where no interval may be given. Shape [contrasts]."""

    @property
    def values(self) -> Floats:
        """Shape [contrasts]."""
        return np.asarray(self.contributions.sum(1))

    @property
    def effective(self) -> Floats:
        """Kish's effective number of template groups, 0 where a contrast has no cell; shape [contrasts]."""
        return effective_numbers(self.shares)

    def estimates(self, questions: Sequence[int], templates: Sequence[int], level: float = 0.95) -> tuple[Estimate, ...]:
        """Each contrast with its interval, as `clustered` gives it.

        Args:
            questions: distinct questions behind each contrast.
            templates: distinct templates behind each.
            level: of the intervals.
        """
        effective, groups, values = self.effective, (self.shares > 0).sum(1), self.values
        low, high = student(values, self.errors, effective - 1, level)
        found = []
        for k, error in enumerate(self.errors.tolist()):
            value = float(values[k]) if groups[k] else math.nan
            numbers = (int(groups[k]), float(effective[k]), questions[k], templates[k], level)
            if math.isnan(error):
                found.append(Estimate(value, None, None, None, *numbers))
            else:
                found.append(Estimate(value, error, float(low[k]), float(high[k]), *numbers))
        return tuple(found)


def template_means(rows: pl.DataFrame, keys: Sequence[str], credits_: Sequence[str] = ("choice",)) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Credit by template inside each cell: what sums by template are made of, a row per question put together to a row per template.

    Args:
        rows: columns `keys`, `group`, `template_id` and the credits, none of them null.
        keys: what names a cell.
        credits_: columns that are averaged.

    Returns:
        One row per cell and template (`cell`, a number from 0; `group`, `template_id`, the credits), and the keys of each cell in the order of its
        number.
    """
    cell, heads = numbered(rows, keys)
    unit, first = numbered(rows.select("template_id").with_columns(pl.Series("cell", cell)), ("cell", "template_id"))
    size = np.bincount(unit, minlength=len(first))
    means = [pl.Series(name, np.bincount(unit, rows[name].to_numpy(), len(first)) / size) for name in credits_]
    return rows[first].select("group", "template_id").with_columns(pl.Series("cell", cell[first]), *means), rows[heads].select(keys)


def distinct(part: npt.NDArray[np.int64], values: pl.Series, parts: int) -> list[int]:
    """How many different values each part has.

    Args:
        part: of each value, from 0.
        values: names, as many.
        parts: how many there are.
    """
    code, first = numbered(values.to_frame("value"), ("value",))
    width = len(first)
    # Sorted by hand: `np.unique` hashes integers, which takes several times as long for millions of them.
    pair = np.sort(part * width + code)
    new = np.diff(pair, prepend=-1) > 0
    return [int(count) for count in np.bincount(pair[new] // width, minlength=parts)]


def weights_of(contrast: npt.NDArray[np.int64], cell: npt.NDArray[np.int64], weight: Floats, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """Weights as a sparse matrix; entries of one place add up.

    Args:
        contrast: row of each entry.
        cell: column of each entry.
        weight: each entry.
        shape: (contrasts, cells).
    """
    return scipy.sparse.csr_array((weight, (contrast, cell)), shape=shape)


def contrasts(sums: CellSums, weights: scipy.sparse.csr_array) -> Contrasts:
    """Linear combinations of cells with the interval of `clustered`, for all of them in a few matrix products.

    There is no interval where fewer than `MINIMUM_EFFECTIVE` groups are effective or a cell would be empty without one of them.

    Args:
        sums: every cell's sums.
        weights: [contrasts, cells].

    Raises:
        ValueError: as many columns as there are cells are needed.
    """
    if weights.shape[1] != len(sums.cells):
        raise ValueError(f"a weight for each of {len(sums.cells)} cells is needed, got {weights.shape[1]}")
    contributions = weights @ (sums.total / sums.count.sum(1, keepdims=True))
    shares = group_shares(sums.count, weights)
    errors = delete_one_group(sums.total, sums.count, weights, contributions.sum(1))
    return Contrasts(contributions, shares, np.where(effective_numbers(shares) < MINIMUM_EFFECTIVE, np.nan, errors))
