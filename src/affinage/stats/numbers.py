"""Numbers in place of names: what millions of rows are grouped by, without hashing a name per row and column again and again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["numbered"]

Numbers = npt.NDArray[np.int64]

_LARGEST = 1 << 62

_ROOMY = 16
"""So many places per row a table of all combinations may have; a larger one is sorted instead."""


def numbered(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Each row's combination of values as a number, in the order in which the combinations first appear.

    Neighbours with the same values are taken together first, so rows that come file by file cost one comparison each.

    Args:
        rows: any table.
        keys: columns of values that can be sorted; null is a value like others. Strings and integers are quick.

    Returns:
        The number of each row, shape [rows], and for each number the first row that has it, shape [combinations].
    """
    if not rows.height:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    changes = {name: _changes(rows[name]) for name in keys}
    slow = [name for name, change in changes.items() if 4 * np.count_nonzero(change) < rows.height]
    if slow and len(slow) < len(keys):
        place, _ = numbered(rows, slow)
        return _distinct([place, *_codes(rows, [name for name in keys if name not in slow])])
    heads = np.flatnonzero(reduce(np.logical_or, changes.values()))
    number, first = _distinct(_codes(rows[heads] if len(heads) < rows.height else rows, keys))
    return np.repeat(number, np.diff(heads, append=rows.height)), heads[first]


def _changes(column: pl.Series) -> npt.NDArray[np.bool_]:
    """Which values differ from the one before; the first does."""
    before = column[:-1]
    differs = column[1:].ne_missing(before) if column.null_count() else column[1:] != before
    return np.concatenate(([True], differs.to_numpy()))


def _distinct(codes: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    """`numbered` of rows whose values are numbers from 0."""
    rows = len(codes[0])
    code, width = np.zeros(rows, np.int64), 1
    for found in codes:
        among = int(found.max()) + 1
        if width > _LARGEST // among:
            code = np.unique(code, return_inverse=True)[1]
            width = int(code.max()) + 1
        code, width = code * among + found, width * among
    every = np.arange(rows)
    if width > _ROOMY * rows:
        if pl.Series(code).n_unique() == rows:
            return every, every
        _, code = np.unique(code, return_inverse=True)
        width = int(code.max()) + 1
    first = np.full(width, -1)
    first[code[::-1]] = every[::-1]  # of several rows with one code the first one is written last
    there = np.flatnonzero(first >= 0)
    order = there[np.argsort(first[there])]
    number = np.empty(width, np.int64)
    number[order] = np.arange(len(order))
    return number[code], first[order]


def _codes(rows: pl.DataFrame, keys: Sequence[str]) -> list[Numbers]:
    """The values of each column as numbers from 0, null among them. One query for all columns: of few rows it costs more than its work."""
    asked = []
    for name in keys:
        column, dtype = pl.col(name), rows.schema[name]
        code = column.cast(pl.Categorical).to_physical() if dtype == pl.String else column if dtype.is_integer() else column.rank("dense")
        code = code.cast(pl.Int64)
        asked.append((code - code.min() + 1).fill_null(0))
    return [found.to_numpy() for found in rows.select(asked)]
