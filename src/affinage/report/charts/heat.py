"""Heat maps of every adapter on every culture, each cell with what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from affinage.report.cells import Cell, Cells
from affinage.report.evidence import Kind
from affinage.report.figures import chance_of, colour_of, heat_rows, heat_scale
from affinage.report.language import say
from affinage.report.pooled import pooled_by
from affinage.report.words import base, bounds, few, many, named, number, percent, shown
from affinage.stats import Estimate

__all__ = ["HeatCell", "HeatMap", "HeatRow", "heat_maps"]


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell."""

    text: str
    """Accuracy in percent, or that it is missing."""
    below: str
    """The sample deviation over runs, and how many runs are there where some are missing."""
    colour: str
    """`#rrggbb`; empty where the cell is missing."""
    own: bool
    """Whether the adapter is at home."""
    detail: str
    """What was answered by what, with interval, questions, templates and runs."""


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One kind of adapter, or none."""

    name: str
    adapter: bool
    """Whether it is an adapter, below the line."""
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One method's map."""

    label: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    low: str
    high: str
    """Ends of the colours' scale, percent; the same for every method."""
    chance: str
    ramp: tuple[str, ...]
    """Colours of the scale, from low to high."""


def heat_maps(cells: Cells) -> tuple[HeatMap, ...]:
    """The map of each method by template, every cell with its interval over template groups."""
    evidence, scale = cells.evidence, heat_scale(cells)
    chance = chance_of(cells, "template")
    low, high = scale
    maps = []
    for label in evidence.labels:
        above, trained = heat_rows(cells, label)
        out = evidence.held_out(label)
        rows = [HeatRow(name, False, tuple(_cells(cells, name, kind, scale))) for name, kind in above]
        for name, kind in trained:
            adapter = say("made for {culture}", culture=name) if kind[1] in out else say("trained on {culture}", culture=name)
            rows.append(HeatRow(name, True, tuple(_cells(cells, adapter, kind, scale))))
        maps.append(
            HeatMap(
                label=label,
                title=say("{label}: trained on the row, tested on the column", label=named(label)),
                columns=tuple(map(shown, evidence.cultures)),
                rows=tuple(rows),
                low=number(low, ".1f"),
                high=number(high, ".1f"),
                chance="" if chance is None else number(chance, ".1f"),
                ramp=tuple(colour_of((low + (high - low) * k / 8) / 100, scale) for k in range(9)),
            )
        )
    return tuple(maps)


def _cells(cells: Cells, name: str, kind: Kind, scale: tuple[float, float]) -> Iterator[HeatCell]:
    """One row's cells."""
    estimates = pooled_by(cells.evidence.of(kind).filter(pl.col("culture").is_in(cells.evidence.cultures)), "culture")
    for culture in cells.evidence.cultures:
        cell = cells.cell(kind, culture, "choice", "template")
        where = say("{adapter}, tested on {culture}", adapter=name, culture=shown(culture))
        if cell.accuracy is None:
            detail = say("{where}: no run is finished.", where=where)
            yield HeatCell(say("missing") if cell.expected else "", "", "", kind[1] == culture, detail)
            continue
        deviation = "" if cell.accuracy.deviation is None else f"± {percent(cell.accuracy.deviation)}"
        below = f"{deviation} ({len(cell.runs)}/{cell.expected})" if cell.missing else deviation
        detail = _detail(where, cell, estimates[culture])
        yield HeatCell(percent(cell.accuracy.mean), below.strip(), colour_of(cell.accuracy.mean, scale), kind[1] == culture, detail)


def _detail(where: str, cell: Cell, estimate: Estimate) -> str:
    """What stands behind a number."""
    runs = say("{there} of {runs}", there=len(cell.runs), runs=many(cell.expected, "run")) if cell.missing else many(cell.expected, "run")
    interval = few(estimate) if estimate.low is None else say("95 % interval {bounds}", bounds=bounds(estimate, percent))
    return say(
        "{where}: {percent} %; {interval}; {base}; {runs}.",
        where=where,
        percent=percent(estimate.value),
        interval=interval,
        base=base(estimate),
        runs=runs,
    )
