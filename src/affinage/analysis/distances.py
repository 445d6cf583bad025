"""Distances between cultures that the user brings: geographic, linguistic, any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.records import UserError
from affinage.registry import suggest

__all__ = ["read_distances"]

Floats = npt.NDArray[np.float64]

_NAMES = ("culture_a", "culture_b")
_SHAPE = "the columns culture_a, culture_b and one or more of numbers, one line per pair"


def read_distances(path: Path, cultures: Sequence[str]) -> Mapping[str, Floats]:
    """Column -> symmetric table [n, n] over the cultures with a zero diagonal, NaN where the file has no number for a pair.

    A pair may stand in either order; pairs of a culture with itself, and of cultures that are not studied, are passed over.

    Args:
        path: a CSV file with the columns `culture_a`, `culture_b` and one or more of numbers.
        cultures: studied ones, in the table's order.

    Raises:
        UserError: the file cannot be read or has another shape, a pair stands there twice with two values, or none of its cultures is studied.
    """
    try:
        frame = pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(str(path), " ".join(str(error).split())[:200], f"a CSV file with {_SHAPE}", "Mend the file.") from None
    columns = [name for name in frame.columns if name not in _NAMES]
    faults = [name for name in _NAMES if name not in frame.columns] + [name for name in columns if not frame.schema[name].is_numeric()]
    if faults or not columns:
        found = f"columns {', '.join(frame.columns)}" + (f" ({', '.join(faults)} missing or not of numbers)" if faults else "")
        raise UserError(str(path), found, _SHAPE, "Mend the file.")
    place = {culture: number for number, culture in enumerate(cultures)}
    rows = frame.with_columns(pl.col(name).cast(pl.String) for name in _NAMES)
    known = rows.filter(pl.all_horizontal(pl.col(name).is_in(cultures) for name in _NAMES) & (pl.col("culture_a") != pl.col("culture_b")))
    if known.is_empty():
        there = sorted({*rows["culture_a"].drop_nulls(), *rows["culture_b"].drop_nulls()})
        todo = suggest(there[0], cultures) if there else "Fill it."
        raise UserError(str(path), f"no pair of studied cultures among {', '.join(there[:5]) or 'nothing'}", "names as the study spells them", todo)
    tables = {}
    for column in columns:
        table = np.full((len(cultures), len(cultures)), np.nan)
        np.fill_diagonal(table, 0.0)
        for one, other, value in known.select(*_NAMES, column).drop_nulls(column).iter_rows():
            a, b = place[one], place[other]
            if not np.isnan(table[a, b]) and table[a, b] != value:
                raise UserError(str(path), f"two values of {column} for {one} and {other}: {table[a, b]} and {value}", "one", "Remove one of them.")
            table[a, b] = table[b, a] = value
        tables[column] = table
    return tables
