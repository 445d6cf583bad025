"""Places between and around adapters as the report reads them: every place on every culture a cell, any combination of cells an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from affinage.stats import CellSums, Estimate, cell_sums, contrasts, credited, weights_of

__all__ = ["POINT", "Places", "Weights", "read_places"]

POINT = ["label", "split", "start", "path", "one", "other", "at", "draw", "culture"]
"""What names a place of the analysis `interpolation` on a culture."""

Weights = Mapping[int, float]
"""Cell -> its weight in a linear combination of accuracies."""


@dataclass(frozen=True, slots=True)
class Places:
    """Every place of an analysis on every culture that it was tested on; a *cell* is one of them on one culture."""

    points: pl.DataFrame
    """One row per cell: what names it, and `cell`."""
    sums: CellSums
    asked: Mapping[tuple[str, str], tuple[frozenset[str], frozenset[str]]]
    """(label, culture) -> ids of the questions, and of their templates."""

    def estimates(self, combinations: Sequence[Weights], level: float = 0.95) -> tuple[Estimate, ...]:
        """Linear combinations of cells' accuracies by template, each with its interval over template groups (`stats.clustered`)."""
        if not combinations:
            return ()
        place = {cell: column for column, cell in enumerate(self.sums.cells)}
        rows = np.repeat(np.arange(len(combinations)), [len(each) for each in combinations])
        columns = np.array([place[cell] for each in combinations for cell in each], np.int64)
        weight = np.array([value for each in combinations for value in each.values()])
        found = contrasts(self.sums, weights_of(rows, columns, weight, (len(combinations), len(place))))
        named_cells = {cell: (label, culture) for cell, label, culture in self.points.select("cell", "label", "culture").iter_rows()}
        behind = [[self.asked[key] for key in dict.fromkeys(named_cells[cell] for cell in each)] for each in combinations]
        questions, templates = ([len(frozenset[str]().union(*(sets[part] for sets in each))) for each in behind] for part in (0, 1))
        return found.estimates(questions, templates, level)


def read_places(answers: pl.DataFrame, key: Sequence[str] = POINT, credit: str = "choice") -> Places:
    """The places of an analysis.

    Args:
        answers: a row per place and question.
        key: columns that name a place on a culture, `label` and `culture` among them.
        credit: the column that is averaged; rows where it is null are left out.
    """
    scored = credited(answers, credit)
    points = scored.select(key).unique(maintain_order=True).with_row_index("cell").with_columns(pl.col("cell").cast(pl.Int64))
    rows = scored.join(points, on=key, how="left", maintain_order="left")
    ids = rows.group_by("label", "culture").agg(pl.col("mcq_id").unique(), pl.col("template_id").unique())
    asked = {(label, culture): (frozenset(questions), frozenset(templates)) for label, culture, questions, templates in ids.iter_rows()}
    return Places(points, cell_sums(rows, credit), asked)
