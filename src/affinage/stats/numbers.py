"""Numbers in place of names: what millions of rows are grouped by, without hashing a name per row and column again and again.

A table that is asked many things has its names `enumerated` once; `numbered` then reads numbers alone. It takes strings all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["different", "enumerated", "numbered"]

Numbers = npt.NDArray[np.int64]

Column = npt.NDArray[np.integer[Any]] | pl.Series
"""A column of numbers as an array, or one of other values as it is."""

_LARGEST = 1 << 62

_ROOMY = 16
"""So many places per row a table of all combinations may have; a larger one is sorted instead."""


def enumerated(rows: pl.DataFrame, names: Mapping[str, Iterable[str]], alike: Sequence[str] = ()) -> pl.DataFrame:
    """The same table with columns of strings as enumerations of their values, sorted: a number per row in place of a name.

    They compare, sort and print as the strings do. Two such columns can be joined, compared or put one below the other where they list the same
    values, as parts of one table do. A name that an enumeration does not list can be looked for by `is_in` alone.

    Args:
        rows: any table.
        names: column -> names that it lists beside those that it has.
        alike: some of these columns, which are compared with one another: they share one enumeration.
    """
    values = {name: {*rows[name].unique().drop_nulls(), *more} for name, more in names.items()}
    values.update(dict.fromkeys(alike, set[str]().union(*(values[name] for name in alike))))
    return rows.with_columns(pl.col(name).cast(pl.Enum(sorted(found))) for name, found in values.items())


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
    coded = {name: _coded(rows[name]) for name in keys}
    changes = {name: _changes(column) for name, column in coded.items()}
    slow = [name for name, change in changes.items() if 4 * np.count_nonzero(change) < rows.height]
    if slow and len(slow) < len(keys):
        place, _ = numbered(rows, slow)
        return _distinct([place, *(_codes(column) for name, column in coded.items() if name not in slow)])
    heads = np.flatnonzero(reduce(np.logical_or, changes.values()))
    few = len(heads) < rows.height
    number, first = _distinct([_codes(column[heads] if few else column) for column in coded.values()])
    return (np.repeat(number, np.diff(heads, append=rows.height)), heads[first]) if few else (number, first)


def different(column: pl.Series) -> int:
    """How many different values a column has, null among them."""
    coded = _coded(column)
    if isinstance(coded, np.ndarray) and len(coded):
        code = _codes(coded)
        if code.max() < _ROOMY * len(code):
            return int(np.count_nonzero(np.bincount(code)))
    return column.n_unique()


def _coded(column: pl.Series) -> Column:
    """A column of integers or of an enumeration as an array, null as one less than the smallest; another one as it is."""
    # The type of an enumeration is not asked for: it is put together from its values, which costs more than all the rest.
    code = column.to_physical()
    if not code.dtype.is_integer():
        return column
    if code.null_count():
        known = code.drop_nulls().to_numpy()
        code = code.cast(pl.Int64).fill_null(int(known.min(initial=0)) - 1)
    return code.to_numpy()


def _changes(column: Column) -> npt.NDArray[np.bool_]:
    """Which values differ from the one before; the first does."""
    before = column[:-1]
    if isinstance(column, np.ndarray):
        differs = column[1:] != before
    else:
        differs = (column[1:].ne_missing(before) if column.null_count() else column[1:] != before).to_numpy()
    return np.concatenate(([True], differs))


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


def _codes(column: Column) -> Numbers:
    """A column's values as numbers from 0, null among them."""
    if isinstance(column, np.ndarray):
        number = column.astype(np.int64)
    else:
        rank = column.cast(pl.Categorical).to_physical() if column.dtype == pl.String else column.rank("dense")
        number = rank.cast(pl.Int64).fill_null(-1).to_numpy()
    return np.asarray(number - number.min())
