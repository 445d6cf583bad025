"""What the table of pairs says about cultures: how it goes with transfer and with the user's distances, as a tree, as a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from affinage.analysis.distances import read_distances
from affinage.analysis.layout import classical_map, tree
from affinage.analysis.mantel import FEWEST, centred, mantel, symmetric
from affinage.analysis.measures import Floats
from affinage.stats.families import holm

__all__ = ["apart", "correlation_table", "map_table", "matrices", "tree_table"]

DISTANCES = frozenset({"jensen-shannon"})
"""Measures of which a larger value means less alike."""
_PLAIN = frozenset({"agreement", "kappa"})

_MEASURE = {"label": pl.String(), "of": pl.String(), "measure": pl.String()}
_CORRELATION = {
    **_MEASURE,
    "against": pl.String(),
    "cultures": pl.Int64(),
    "correlation": pl.Float64(),
    "p": pl.Float64(),
    "p_holm": pl.Float64(),
    "relabellings": pl.Int64(),
    "exact": pl.Boolean(),
}
_TREE = {**_MEASURE, "step": pl.Int64(), "left": pl.Int64(), "right": pl.Int64(), "height": pl.Float64(), "size": pl.Int64()}
_TREE |= {"cultures": pl.List(pl.String()), "cophenetic": pl.Float64()}
_MAP = {**_MEASURE, "culture": pl.String(), "x": pl.Float64(), "y": pl.Float64(), "share": pl.Float64()}

Key = tuple[str, str, str]
"""Label, of what, measure."""


def matrices(pairs: pl.DataFrame, cultures: Sequence[str]) -> Iterator[tuple[Key, list[str], Floats]]:
    """Per measure the cultures that it was measured for, and their table: mean over splits and starts, the measure's own value on the diagonal zero.

    A measure that lacks a pair is left out.

    Args:
        pairs: columns of `similarity.PAIR_SCHEMA`.
        cultures: studied ones, in the study's order.
    """
    keys = ["label", "of", "measure"]
    between = pairs.filter(pl.col("pair") == "cultures").group_by(*keys, "culture_a", "culture_b", maintain_order=True).agg(pl.col("value").mean())
    for key, rows in between.group_by(keys, maintain_order=True):
        named = {*rows["culture_a"], *rows["culture_b"]}
        there = [culture for culture in cultures if culture in named]
        place = {culture: number for number, culture in enumerate(there)}
        table = np.full((len(there), len(there)), np.nan)
        np.fill_diagonal(table, 0.0)
        for one, other, value in rows.select("culture_a", "culture_b", "value").iter_rows():
            table[place[one], place[other]] = table[place[other], place[one]] = value
        if np.isfinite(table).all():
            yield (str(key[0]), str(key[1]), str(key[2])), there, table


def apart(measure: str, table: Floats) -> Floats:
    """A table of a measure as distances: 1 - s for agreement and kappa, sqrt(2 (1 - s)) for cosines and correlations, which is the Euclidean distance
    of vectors of length 1 (Gower and Legendre 1986), and a distance as it is.
    """  # noqa: D205
    if measure in DISTANCES:
        return table
    found = 1 - table if measure in _PLAIN else np.sqrt((2 * (1 - table)).clip(0))
    return np.where(np.eye(len(table), dtype=bool), 0.0, found)


def correlation_table(pairs: pl.DataFrame, transfer: pl.DataFrame, cultures: Sequence[str], distances: Path | None) -> pl.DataFrame:
    """Per measure its correlation with transfer and with each of the user's distances; positive: who is alike transfers well, or is far apart.

    Transfer is the accuracy of adapter a on culture c, mean over splits and starts, without the effects of rows and columns and symmetrised; the
    measure is centred likewise, which changes no p. The p-values of one method against one table are a family of Holm's.

    Args:
        pairs: columns of `similarity.PAIR_SCHEMA`.
        transfer: columns `label, culture, tested, accuracy`.
        cultures: studied ones.
        distances: the user's file.

    Raises:
        UserError: the file of distances cannot be used.
    """
    own = {} if distances is None else read_distances(distances, cultures)
    rows = []
    for (label, of, measure), there, table in matrices(pairs, cultures):
        alike = -table if measure in DISTANCES else table
        helped = _transfer(transfer.filter(pl.col("label") == label), there)
        rows += [(label, of, measure, *found) for found in _related(alike, helped, "transfer", (label, of, measure), centred)]
        at = [cultures.index(culture) for culture in there]
        for name, whole in own.items():
            given = whole[np.ix_(at, at)]
            kept = _complete(given)
            square = np.ix_(kept, kept)
            rows += [(label, of, measure, *found) for found in _related(alike[square], given[square], name, (label, of, measure), _as_it_is)]
    frame = pl.DataFrame(rows, {name: dtype for name, dtype in _CORRELATION.items() if name != "p_holm"}, orient="row")
    corrected = [part.with_columns(pl.Series("p_holm", holm(part["p"]))) for _, part in frame.group_by("label", "against", maintain_order=True)]
    return pl.concat(corrected).select(*_CORRELATION) if corrected else pl.DataFrame(schema=_CORRELATION)


def _related(
    alike: Floats, other: Floats, against: str, key: Sequence[str], prepared: Callable[[Floats], Floats]
) -> Iterator[tuple[str, int, float, float, int, bool]]:
    """One correlation; nothing where it is not defined."""
    if len(alike) < FEWEST or not np.isfinite(other).all():
        return
    found = mantel(prepared(alike), symmetric(prepared(other)), against, *key)
    if found is not None:
        yield against, len(alike), found.correlation, found.p, found.relabellings, found.exact


def _as_it_is(table: Floats) -> Floats:
    return table


def _transfer(rows: pl.DataFrame, cultures: Sequence[str]) -> Floats:
    """[n, n] mean accuracy of the adapter in the row on the culture in the column."""
    mean = rows.group_by("culture", "tested").agg(pl.col("accuracy").mean())
    known: Mapping[tuple[str, str], float] = {(row[0], row[1]): row[2] for row in mean.iter_rows()}
    return np.array([[known.get((trained, tested), float("nan")) for tested in cultures] for trained in cultures])


def _complete(table: Floats) -> list[int]:
    """Cultures of which every pair has a number; who lacks most goes first."""
    kept = list(range(len(table)))
    while kept and (missing := np.isnan(table[np.ix_(kept, kept)]).sum(axis=0)).any():
        kept.pop(int(missing.argmax()))
    return kept


def tree_table(pairs: pl.DataFrame, cultures: Sequence[str]) -> pl.DataFrame:
    """Per measure the steps of average linkage; `cultures` are its leaves, in the order of their numbers."""
    rows: list[tuple[object, ...]] = []
    for key, there, table in matrices(pairs, cultures):
        if len(there) >= 3:
            found = tree(apart(key[2], table))
            numbers = ((int(left), int(right), float(height), int(size)) for left, right, height, size in found.steps)
            rows += [(*key, step, *row, there, found.cophenetic) for step, row in enumerate(numbers)]
    return pl.DataFrame(rows, _TREE, orient="row")


def map_table(pairs: pl.DataFrame, cultures: Sequence[str]) -> pl.DataFrame:
    """Per measure every culture's place on the map of classical scaling, and the share of the table that the map tells."""
    rows: list[tuple[object, ...]] = []
    for key, there, table in matrices(pairs, cultures):
        if len(there) >= 3:
            found = classical_map(apart(key[2], table))
            rows += [(*key, culture, float(x), float(y), found.share) for culture, (x, y) in zip(there, found.places, strict=True)]
    return pl.DataFrame(rows, _MAP, orient="row")
