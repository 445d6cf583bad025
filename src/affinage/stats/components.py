"""How much of a difference's variation belongs to templates, splits, starts, and the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from affinage.stats.bootstrap import Floats

__all__ = ["Components", "components"]

_NO_OVERLAP = 1e-12


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations of the parts of a difference, fractions; a variance that comes out below zero is shown as 0."""

    template: float
    split: float
    """Of the split, together with that of its start where no split has two starts."""
    start: float | None
    """None where no split has two starts."""
    rest: float
    """Template by split, template by start, and the questions within a template."""


def components(total: Floats, count: Floats, weight: Floats, split: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> Components | None:
    """The parts of a difference, templates crossed with splits as far as test sides overlap, starts nested in splits.

    Quadratic forms are equated to their expectations (Henderson 1953, method 1; with the same templates in every split these are the estimates of the
    analysis of variance): a template's deviations in two splits multiplied tell the template's variance, deviations of starts from their split the
    start's, and so on. A template group counts by its share h of its split's mean, so that sums over groups have weights that sum to 1.

    Args:
        total: of `CellSums`; shape [cells, groups].
        count: likewise.
        weight: shape [cells].
        split: number of each cell's split, from 0; shape [cells].
        start: number of each cell's start, from 0; shape [cells].

    Returns:
        None where there is a single split or no template lies in two.
    """
    tables = [_table(total, count, weight, split == number, start) for number in range(int(split.max()) + 1)]
    share = np.stack([fraction for fraction, _ in tables])
    starts = np.array([len(values) for _, values in tables])
    squares, together = (share**2).sum(1), share @ share.T
    of_starts = [values @ fraction for fraction, values in tables]
    means = np.array([each.mean() for each in of_starts])
    differences = np.where(share > 0, np.stack([values.mean(0) for _, values in tables]) - means[:, None], 0.0)

    # Starts within their split.
    spare = (starts - 1).sum()
    by_start = [values - values.mean(0) - (each - each.mean())[:, None] for (_, values), each in zip(tables, of_starts, strict=True)]
    within = sum(float((table**2 @ fraction).sum()) for table, (fraction, _) in zip(by_start, tables, strict=True))
    of_rest = within / float(((starts - 1) * (1 - squares)).sum()) if spare else 0.0
    between = sum(float(((each - each.mean()) ** 2).sum()) for each in of_starts)
    of_start = (between - of_rest * float(((starts - 1) * squares).sum())) / float(spare) if spare else 0.0

    # Templates across splits: E[r_s r_s'] summed over groups with weights h_s h_s'.
    off = ~np.eye(len(share), dtype=bool)
    weighted = share * differences
    cubes = (share**2) @ share.T
    expected = float((together - cubes - cubes.T + together**2)[off].sum())
    if len(share) < 2 or expected < _NO_OVERLAP:
        return None
    of_template = float((weighted @ weighted.T)[off].sum()) / expected

    # What is left of a template within a split, and of a split's mean.
    free = 1 - squares
    of_both = float((weighted * differences).sum() / free.sum()) - of_template - of_rest * float((free / starts).sum() / free.sum())
    noise = of_template * float(squares.mean() - together[off].mean()) + float((squares * (of_both + of_rest / starts)).mean())
    of_split = float(means.var(ddof=1)) - of_start * float((1 / starts).mean()) - noise
    template, single, alone, rest = (math.sqrt(max(0.0, part)) for part in (of_template, of_split, of_start, of_both + of_rest))
    return Components(template, single, alone if spare else None, rest)


def _table(total: Floats, count: Floats, weight: Floats, here: npt.NDArray[np.bool_], start: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """One split: the groups' shares of its mean, shape [groups], and their differences by start, shape [starts, groups]."""
    fractions, values = [], []
    for one in np.unique(start[here]):
        cells = here & (start == one)
        share = (weight[cells] / count[cells].sum(1))[:, None] / weight[cells].sum()
        fractions.append((share * count[cells]).sum(0))
        values.append(np.divide((share * total[cells]).sum(0), fractions[-1], out=np.zeros_like(fractions[-1]), where=fractions[-1] > 0))
    return np.mean(fractions, axis=0), np.stack(values)
