"""Whether cultures whose adapters are alike also help each other: correlation of two square tables over cultures, tested by relabelling."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from affinage.seeds import generator
from affinage.stats import DRAWS, TIE

__all__ = ["FEWEST", "Mantel", "centred", "mantel", "symmetric"]

Floats = npt.NDArray[np.float64]

FEWEST = 4
"""Cultures below which nothing is computed: of three, a symmetric table is zero once its rows and columns are centred."""
_EXACT = 8
"""Cultures up to which every relabelling is tried (8! = 40,320)."""


@dataclass(frozen=True, slots=True)
class Mantel:
    """A correlation of two tables over the same cultures."""

    correlation: float
    p: float
    """Two-sided: share of the relabellings with a correlation at least as far from zero, the one observed among them."""
    relabellings: int
    """How many were tried, the one observed among them."""
    exact: bool
    """Whether they are all there are."""


def symmetric(table: Floats) -> Floats:
    """The mean of a table [n, n] and its transpose."""
    return np.asarray((table + table.T) / 2, np.float64)


def centred(table: Floats) -> Floats:
    """A table [n, n] without the effects of its rows and columns, the diagonal left out and zero afterwards.

    The effects are those of least squares over the cells outside the diagonal, so that there every row and column of the result sums to zero. With
    the diagonal among them, how much each adapter gains at home would stand in every cell of its row and column.

    Args:
        table: [n, n], n at least 3, finite outside the diagonal.
    """
    n = len(table)
    off = ~np.eye(n, dtype=bool)
    values = np.where(off, table, 0.0)
    rows, columns, total = values.sum(axis=1), values.sum(axis=0), values.sum()
    # Normal equations of x_ij = m + r_i + c_j over i != j, both effects summing to zero, solved in closed form.
    mean = total / (n * (n - 1))
    row, column = rows - (n - 1) * mean, columns - (n - 1) * mean
    row_effect = ((n - 1) * row + column) / (n * (n - 2))
    column_effect = ((n - 1) * column + row) / (n * (n - 2))
    return np.where(off, values - mean - row_effect[:, None] - column_effect[None, :], 0.0)


def mantel(one: Floats, other: Floats, *key: str | int) -> Mantel | None:
    """Pearson's correlation of two symmetric tables over their pairs of cultures, and how rare it is when the names of one are mixed up.

    Mantel (1967), "The detection of disease clustering and a generalized regression approach". The pairs of a table are not independent of each
    other, the cultures are what is drawn; so rows and columns are relabelled together.

    Args:
        one: [n, n] symmetric; its diagonal is not read.
        other: [n, n] likewise.
        *key: names the stream of the draws: `DRAWS` relabellings where there are too many to go through.

    Returns:
        None where one of them has the same value for every pair, or there are fewer than `FEWEST` cultures.

    Raises:
        ValueError: tables that are not square, of different size or not symmetric, or a value that is no number.
    """
    n = len(one)
    if one.shape != (n, n) or other.shape != (n, n):
        raise ValueError(f"tables of {one.shape} and {other.shape}, where two square ones of one size are needed")
    left, right = np.triu_indices(n, 1)
    for table in (one, other):
        if not np.isfinite(table[left, right]).all() or not np.allclose(table[left, right], table[right, left]):
            raise ValueError("a table with a value that is no number, or that is not symmetric")
    if n < FEWEST:
        return None
    fixed = _standard(one[left, right])
    moved = _standard(other[left, right])
    if fixed is None or moved is None:
        return None
    table = np.zeros((n, n))
    table[left, right] = table[right, left] = moved
    exact = n <= _EXACT
    if exact:
        names = np.array(list(itertools.permutations(range(n))))
    else:
        stream = generator("mantel", *key)
        names = np.array([np.arange(n), *(stream.permutation(n) for _ in range(DRAWS))])
    values = np.concatenate([table[part[:, left], part[:, right]] @ fixed for part in np.array_split(names, math.ceil(len(names) / 5000))])
    observed = float(values[0])
    return Mantel(observed, float((np.abs(values) >= abs(observed) - TIE).mean()), len(names), exact)


def _standard(values: Floats) -> Floats | None:
    """Mean 0 and length 1; None for equal values."""
    apart = values - values.mean()
    length = float(np.linalg.norm(apart))
    return None if length <= TIE * max(1.0, float(np.abs(values).max())) else apart / length
