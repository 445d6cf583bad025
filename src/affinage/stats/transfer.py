"""From a table of pairs (trained on, tested on) to what is specific to a culture.

M[a, c] is the accuracy of culture a's adapter on culture c. A cell is high because the adapter is good everywhere (its row), because the culture's
questions are easy (its column), or because the two belong together; only the last is about culture. Each number below takes one or both of the
first two away, and each but C-Dist is linear in M, so that its interval over template groups is that of a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.stats.bootstrap import cell_sums
from affinage.stats.contrasts import contrasts, distinct, template_means, weights_of
from affinage.stats.intervals import Estimate
from affinage.stats.numbers import numbered
from affinage.stats.runs import credited

__all__ = [
    "SPECIFICITIES",
    "Specificities",
    "Specificity",
    "c_dist",
    "column_specificity",
    "interaction",
    "row_specificity",
    "specificities",
    "specificity_weights",
]

Floats = npt.NDArray[np.float64]
Specificity = Literal["column", "row", "interaction"]


def column_specificity(matrix: Floats) -> Floats:
    """Own minus the mean of the other adapters on the same culture: M[c, c] - mean over a != c of M[a, c].

    Args:
        matrix: M[a, c], adapter of culture a tested on culture c; shape [cultures, cultures], at least two.

    Returns:
        One number per tested culture; NaN where a cell is missing.

    Raises:
        ValueError: not square, or fewer than two cultures.
    """
    cultures = _cultures(matrix)
    own = np.diagonal(matrix)
    return np.asarray(own - (matrix.sum(0) - own) / (cultures - 1), dtype=np.float64)


def row_specificity(matrix: Floats) -> Floats:
    """Own culture minus the mean of the adapter on the other cultures: M[a, a] - mean over c != a of M[a, c].

    It is high where a culture's questions are easy, for whatever adapter. Its mean over the cultures is that of `column_specificity`.

    Args:
        matrix: as `column_specificity`.

    Returns:
        One number per adapter; NaN where a cell is missing.

    Raises:
        ValueError: as `column_specificity`.
    """
    return column_specificity(np.swapaxes(matrix, 0, 1) if matrix.ndim == 2 else matrix)


def interaction(matrix: Floats) -> Floats:
    """The diagonal of the double-centred table: M[c, c] - mean of row c - mean of column c + mean of all.

    The own cell's residual of the additive model adapter + culture: the interaction of a two-way layout (Scheffé 1959, "The Analysis of Variance",
    chapter 4). For n cultures its mean is (n - 1)/n times that of `column_specificity`.

    Args:
        matrix: as `column_specificity`.

    Returns:
        One number per culture; NaN where a cell is missing.

    Raises:
        ValueError: as `column_specificity`.
    """
    _cultures(matrix)
    return np.asarray(np.diagonal(matrix) - matrix.mean(1) - matrix.mean(0) + matrix.mean(), dtype=np.float64)


def c_dist(matrix: Floats) -> float:
    """C-Dist: mean over c of M[c, c] / max over a of M[a, c], the own adapter's accuracy as a share of the best adapter's.

    It says only whether the own adapter is the best: identical adapters score 1, and so does any table whose diagonal holds every column's
    highest number, as both tables of the reference study do. (The maximum is no smooth function of the data, so it comes without interval.)

    Args:
        matrix: as `column_specificity`.

    Returns:
        A number in [0, 1]; NaN where a cell is missing.

    Raises:
        ValueError: as `column_specificity`; or a culture on which no adapter is ever right.
    """
    _cultures(matrix)
    best = matrix.max(0)
    if bool((best <= 0).any()):
        raise ValueError("C-Dist has no value where no adapter is ever right")
    return float((np.diagonal(matrix) / best).mean())


SPECIFICITIES: dict[Specificity, Callable[[Floats], Floats]] = {"column": column_specificity, "row": row_specificity, "interaction": interaction}
"""Every linear number of a table, one per culture."""


def specificity_weights(kind: Specificity, cultures: int) -> Floats:
    """The weights that a linear number gives to the cells: what it makes of each table that is 1 in one cell and 0 elsewhere.

    Args:
        kind: which number.
        cultures: how many, at least two.

    Returns:
        w[k, a, c] with number k = sum over a, c of w[k, a, c] * M[a, c]; shape [cultures, cultures, cultures].

    Raises:
        ValueError: as `column_specificity`.
    """
    units = np.eye(cultures * cultures).reshape(-1, cultures, cultures)
    return np.stack([SPECIFICITIES[kind](unit) for unit in units], axis=-1).reshape(cultures, cultures, cultures)


@dataclass(frozen=True, slots=True)
class Specificities:
    """A table of pairs, and what of it is specific."""

    matrix: Floats
    """M[a, c], mean over the runs of culture a's adapter of their accuracy by template on culture c; shape [cultures, cultures]."""
    numbers: Mapping[Specificity, tuple[Estimate, ...]]
    """Each kind of specificity with its interval over template groups: one per culture, and last their mean."""


def specificities(rows: pl.DataFrame, cultures: Sequence[str]) -> Specificities:
    """The table of pairs of one method's adapters by template, and each linear number of it with the interval of `clustered`.

    Args:
        rows: columns `run`, `trained_culture`, `culture`, `group`, `template_id`, `mcq_id` and `choice`; every adapter is tested on every culture.
        cultures: trained on and tested on, at least two, in the order of the table.

    Raises:
        ValueError: a pair of cultures without a scored question, a row of another culture, or a template without group.
    """
    size, place = len(cultures), {culture: number for number, culture in enumerate(cultures)}
    scored = credited(rows, "choice")
    units, cells = template_means(scored, ("run", "trained_culture", "culture"))
    pairs = cells.select("trained_culture", "culture").rows()
    wanted = {(trained, tested) for trained in cultures for tested in cultures}
    if set(pairs) != wanted:
        raise ValueError(f"a table of pairs needs each of {len(wanted)} pairs and no other, {sorted(wanted ^ set(pairs))[0]} is not so")
    pair = np.array([size * place[trained] + place[tested] for trained, tested in pairs], np.int64)
    share = 1.0 / np.bincount(pair, minlength=size * size)[pair]
    sums = cell_sums(units)
    matrix = np.bincount(pair, share * sums.means, size * size).reshape(size, size)
    tested, asked = numbered(scored, ("culture",))
    names = scored["culture"][asked].to_list()
    by_culture = [distinct(tested, scored[name], size) for name in ("mcq_id", "template_id")]
    counts = {culture: (questions, templates) for culture, questions, templates in zip(names, *by_culture, strict=True)}
    nowhere = np.zeros(scored.height, np.int64)
    whole = (distinct(nowhere, scored["mcq_id"], 1)[0], distinct(nowhere, scored["template_id"], 1)[0])
    found: dict[Specificity, tuple[Estimate, ...]] = {}
    for kind in SPECIFICITIES:
        each = specificity_weights(kind, size).reshape(size, -1)
        weights = np.vstack([each, each.mean(0)])[:, pair] * share
        number, cell = np.nonzero(weights)
        behind = [counts[culture] if kind == "column" else whole for culture in cultures] + [whole]
        sparse = weights_of(number, cell, weights[number, cell], weights.shape)
        found[kind] = contrasts(sums, sparse).estimates([questions for questions, _ in behind], [templates for _, templates in behind])
    return Specificities(np.asarray(matrix, np.float64), found)


def _cultures(matrix: Floats) -> int:
    """How many cultures a table is of."""
    cultures = matrix.shape[0]
    if matrix.ndim != 2 or matrix.shape != (cultures, cultures) or cultures < 2:
        raise ValueError(f"a square matrix of two or more cultures is needed, got shape {matrix.shape}")
    return int(cultures)
