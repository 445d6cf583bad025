"""Numbers of runs: accuracy of each, differences paired by question, the spread over several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.stats.numbers import numbered

__all__ = ["AVERAGES", "READINGS", "RUN", "Average", "Reading", "Spread", "credited", "paired", "per_run", "spread"]

Average = Literal["template", "row"]
Reading = Literal["choice", "free"]
AVERAGES: tuple[Average, ...] = ("template", "row")
READINGS: tuple[Reading, ...] = ("choice", "free")

RUN = ("run", "label", "method", "trained_culture", "split", "start")
"""Columns that name a run; every frame of scores has them beside `culture` (tested), `template_id` and `mcq_id`."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What several runs gave."""

    mean: float
    deviation: float | None
    """Sample deviation (n - 1); None for a single run."""
    count: int
    """n, the number of runs."""


def credited(rows: pl.DataFrame, credit: str) -> pl.DataFrame:
    """The rows that have a credit; the table itself where all have one, for a copy of millions of rows takes its time.

    Args:
        rows: any table.
        credit: a column of it.
    """
    return rows.filter(pl.col(credit).is_not_null()) if rows[credit].null_count() else rows


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
    number, first = numbered(pl.concat([tuned.select(keys), reference.select(keys)]), keys)
    ours, theirs = number[: tuned.height], number[tuned.height :]
    differences = []
    for reading in READINGS:
        credit = reference[reading].cast(pl.Float64)
        known = credit.is_not_null().to_numpy()
        sums = np.bincount(theirs[known], credit.drop_nulls().to_numpy(), minlength=len(first))
        counts = np.bincount(theirs[known], minlength=len(first))
        mean = pl.Series(reading, sums / np.maximum(counts, 1)).set(pl.Series(counts == 0), None)
        differences.append((tuned[reading] - mean[ours]).alias(reading))
    return tuned.with_columns(differences)


def per_run(rows: pl.DataFrame, readings: Sequence[str] = READINGS) -> pl.DataFrame:
    """Each run's number on each culture, by both averages and in both readings.

    Unscored questions are counted and left out of the mean: never wrong, never zero. Chance is the same average of 1/options.

    Args:
        rows: of `with_credit` or `paired`.
        readings: columns that hold a credit.

    Returns:
        Columns of `RUN`, `culture`, `reading`, `average`, `accuracy`, `chance`, `questions` (scored), `templates` (with a scored
        question), `unscored`; no row for a reading in which nothing was scored.
    """
    keys = [*RUN, "culture"]
    cell, head = numbered(rows, keys)
    cells = rows[head].select(keys).with_columns(pl.Series("unscored", np.bincount(cell, (rows["state"] != "scored").to_numpy()), pl.Int64))
    slim = rows.select("template_id", "mcq_id").with_columns(pl.Series("cell", cell))
    template, question = (numbered(slim, ("cell", name)) for name in ("template_id", "mcq_id"))
    parts = []
    for reading in readings:
        credit = rows[reading].cast(pl.Float64)
        scored = credit.is_not_null().to_numpy()
        numbers = np.stack([credit.drop_nulls().to_numpy(), rows["chance"].to_numpy()[scored]])
        by_row = _means(numbers, cell[scored], len(head))
        by_template, of = _of_units(numbers, template, scored, cell)
        counts = [_cells_of(question, scored, cell, len(head)), np.bincount(of, minlength=len(head))]
        for average, (accuracy, chance) in (("template", _means(by_template, of, len(head))), ("row", by_row)):
            found = {"accuracy": accuracy, "chance": chance, "questions": counts[0], "templates": counts[1]}
            named = cells.with_columns(
                pl.lit(reading).alias("reading"), pl.lit(average).alias("average"), **{n: pl.Series(v) for n, v in found.items()}
            )
            parts.append(named.filter(pl.Series(counts[0] > 0)))
    columns = [*keys, "reading", "average", "accuracy", "chance", "questions", "templates", "unscored"]
    return pl.concat(parts).select(columns).sort(*keys, "reading", "average")


Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _means(numbers: Floats, place: Integers, places: int) -> Floats:
    """Mean of each row of numbers over what has one place; 0 where nothing has it. Shape [rows, places]."""
    count = np.maximum(np.bincount(place, minlength=places), 1)
    return np.stack([np.bincount(place, each, minlength=places) for each in numbers]) / count


def _cells_of(unit: tuple[Integers, Integers], scored: npt.NDArray[np.bool_], cell: Integers, cells: int) -> Integers:
    """How many questions of each cell have a scored row; shape [cells]."""
    number, head = unit
    there = np.zeros(len(head), np.bool_)
    there[number[scored]] = True
    return np.bincount(cell[head][there], minlength=cells)


def _of_units(numbers: Floats, unit: tuple[Integers, Integers], scored: npt.NDArray[np.bool_], cell: Integers) -> tuple[Floats, Integers]:
    """Means over the scored rows of each template (or question) of a cell, and the cell of each; those without a scored row are left out."""
    place, head = unit
    there = np.bincount(place[scored], minlength=len(head)) > 0
    return _means(numbers, place[scored], len(head))[:, there], cell[head][there]


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample deviation sqrt(sum (x - mean)^2 / (n - 1)) over runs.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a spread needs finite values, got {list(values)}")
    array = np.asarray(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(values) > 1 else None, len(values))
