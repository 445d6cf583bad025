"""The heat map of every pair (the reference study's Figure 2), readable in grey print and without red-green vision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from affinage.report.cells import Cell, Cells
from affinage.report.curve import Point
from affinage.report.evidence import Kind
from affinage.report.language import say
from affinage.report.programs import program_name
from affinage.report.ticks import speak_ticks
from affinage.report.words import named, number, percent, shown, zero_shot
from affinage.stats import Average
from affinage.store import UNTOUCHED, UNTRAINED

__all__ = ["INK", "STYLE", "chance_of", "colour_of", "heat_map", "heat_rows", "heat_scale", "learning_curve", "line_of", "save"]

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "affinage"}
_CELL_WIDTH, _CELL_HEIGHT, _GAP, _NOTE, _NARROWEST = 0.86, 0.52, 0.22, 0.25, 6.2
"""Inches: a cell, the white line between the baselines and the adapters, the note at the bottom, the width that the note needs."""
INK = "#1a1a1a"


def heat_scale(cells: Cells, average: Average = "template") -> tuple[float, float]:
    """Lowest and highest accuracy in percent over every method's map: one scale, so that maps can be compared by eye."""
    kinds = {kind for label in cells.evidence.labels for part in heat_rows(cells, label) for _, kind in part}
    found = [cell.accuracy for kind in kinds for cell in cells.row(kind, "choice", average)]
    values = [accuracy.mean for accuracy in found if accuracy is not None]
    if not values:
        return 0.0, 100.0
    low, high = 100 * min(values), 100 * max(values)
    return (low, high) if high - low >= 1 else (low - 0.5, high + 0.5)


def heat_map(cells: Cells, label: str, scale: tuple[float, float], average: Average = "template") -> Figure:
    """Trained on the row, tested on the column; the untouched model on top, baselines and untrained start with it.

    A cell shows the mean over runs and below it the sample deviation, percent. Own cultures are framed. Lightness falls with accuracy in
    equal steps, so the order of the cells survives grey print; the numbers stand in every cell.

    Args:
        cells: the study's.
        label: the method.
        scale: of the colours, percent (`heat_scale`).
        average: over templates or rows.
    """
    columns = cells.evidence.cultures
    above, trained = heat_rows(cells, label)
    gap = _GAP / _CELL_HEIGHT
    tops = [float(i) for i in range(len(above))] + [len(above) + gap + i for i in range(len(trained))]
    width, height = max(_NARROWEST, 3.4 + _CELL_WIDTH * len(columns)), 1.95 + _CELL_HEIGHT * (tops[-1] + 1)
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(rect=(0, _NOTE / height, 1, 1 - _NOTE / height))
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        drawn = []
        for top, (_, kind) in zip(tops, above + trained, strict=True):
            for place, tested in enumerate(columns):
                drawn.append(cells.cell(kind, tested, "choice", average))
                _draw(axes, place, top, drawn[-1], scale)
        axes.set(xlim=(0, len(columns)), ylim=(tops[-1] + 1, 0))
        _label(
            axes,
            [shown(culture) for culture in columns],
            tops,
            [name if len(name) < 20 else "\n".join(name.rsplit(" ", 1)) for name, _ in above + trained],
        )
        _colour_bar(figure, axes, scale, chance_of(cells, average))
        over = say("mean over templates") if average == "template" else say("mean over question rows")
        figure.suptitle(say("{label}: accuracy in percent, {over}", label=named(label), over=over), fontsize=12, color=INK)
        missing = say(" (2/4): two of four runs are there.") if any(cell.missing for cell in drawn) else ""
        note = say("Cell: mean over runs, ± sample deviation.{missing} Framed: own culture.", missing=missing)
        figure.text(0.1 / width, 0.08 / height, note, fontsize=8.5, color=INK)
    return figure


def heat_rows(cells: Cells, label: str) -> tuple[list[tuple[str, Kind]], list[tuple[str, Kind]]]:
    """Names and kinds of the map's rows: what stands above the white line (of the programs only the first), and the adapters."""
    evidence = cells.evidence
    above = [(say("untouched model"), evidence.untouched)]
    if evidence.expected((label, UNTRAINED)):
        above.append((say("untrained adapter"), (label, UNTRAINED)))
    above += [(program_name(program), (program, UNTOUCHED)) for program in evidence.programs[:1]]
    out = evidence.held_out(label)
    return above, [(zero_shot(shown(culture)) if culture in out else shown(culture), (label, culture)) for culture in evidence.trained(label)]


def _label(axes: Axes, columns: Sequence[str], tops: Sequence[float], rows: Sequence[str]) -> None:
    """Names of rows and columns."""
    axes.set_xticks([place + 0.5 for place in range(len(columns))], columns, rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks([top + 0.5 for top in tops], rows)
    axes.tick_params(length=0, labelsize=10, labelcolor=INK)
    axes.set_ylabel(say("trained on"), fontsize=11, color=INK)
    axes.set_xlabel(say("tested on"), fontsize=11, color=INK)
    axes.xaxis.set_label_position("top")
    axes.spines[:].set_visible(False)


def _draw(axes: Axes, place: int, top: float, cell: Cell, scale: tuple[float, float]) -> None:
    """One cell: its colour, its mean, its deviation, how many runs are missing, and a frame where the adapter is at home."""
    if cell.kind[1] == cell.tested:
        axes.add_patch(Rectangle((place, top), 1, 1, fill=False, edgecolor=INK, linewidth=2.2, zorder=3, clip_on=False))
    # What lies inside the axes moves nothing: left out of the layout, it is not measured.
    text = partial(axes.text, place + 0.5, ha="center", va="center", color=INK, in_layout=False)
    if cell.accuracy is None:
        axes.add_patch(Rectangle((place, top), 1, 1, facecolor="white", edgecolor="#999999", hatch="///", linewidth=0.5))
        text(top + 0.5, say("missing"), fontsize=8, bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"})
        return
    colour = colour_of(cell.accuracy.mean, scale)
    axes.add_patch(Rectangle((place, top), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.0))
    deviation = "" if cell.accuracy.deviation is None else f"± {percent(cell.accuracy.deviation)}"
    below = deviation + (f" ({len(cell.runs)}/{cell.expected})" if cell.missing else "")
    text(top + (0.38 if below else 0.5), percent(cell.accuracy.mean), fontsize=11)
    text(top + 0.75, below.strip(), fontsize=8)


def _colour_bar(figure: Figure, axes: Axes, scale: tuple[float, float], chance: float | None) -> None:
    """The scale, with chance marked on it."""
    bar = figure.colorbar(mpl.cm.ScalarMappable(Normalize(*scale), _COLOURS), ax=axes, fraction=0.035, pad=0.02, aspect=28)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, labelcolor=INK, color=INK)
    words = say("accuracy (%)") if chance is None else say("accuracy (%); chance is {chance}", chance=number(chance, ".1f"))
    bar.set_label(words, fontsize=10, color=INK)
    if chance is not None and scale[0] < chance < scale[1]:
        bar.ax.axhline(chance, color=INK, linewidth=1.5)


def chance_of(cells: Cells, average: Average) -> float | None:
    """Mean chance over the cultures, percent."""
    found = [cells.cell(cells.evidence.untouched, culture, "choice", average).chance for culture in cells.evidence.cultures]
    known = [chance for chance in found if chance is not None]
    return 100 * sum(known) / len(known) if known else None


def learning_curve(curves: Mapping[str, Sequence[Point]]) -> Figure:
    """Accuracy on the own culture against the number of training templates, with 95 % intervals where there are any.

    The untouched model stands at zero templates; methods differ by marker as well as by colour and lie a little apart, so that their bars can be
    told from each other in grey print.

    Args:
        curves: label -> points in the order of their size.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        widest = max((point.mean or 0.0 for curve in curves.values() for point in curve), default=1.0)
        for place, (label, curve) in enumerate(curves.items()):
            drawn = [(point.mean + place * widest / 100, point.accuracy.estimate) for point in curve if point.mean is not None]
            drawn = [(across, estimate) for across, estimate in drawn if np.isfinite(estimate.value)]
            across, height = [x for x, _ in drawn], [100 * estimate.value for _, estimate in drawn]
            colour, marker = line_of(place)
            axes.plot(across, height, marker=marker, color=colour, linewidth=1.5, label=named(label))
            bars = [(x, 100 * e.low, 100 * e.high) for x, e in drawn if e.low is not None and e.high is not None]
            axes.vlines([x for x, _, _ in bars], [low for _, low, _ in bars], [high for _, _, high in bars], color=colour, linewidth=1.0)
        axes.set_xlabel(say("training templates (0: untouched model)"), fontsize=11, color=INK)
        axes.set_ylabel(say("accuracy on the own culture (%)"), fontsize=11, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
        figure.suptitle(say("Learning curve by template, bars: 95 % intervals over template groups"), fontsize=12, color=INK)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the same numbers give the same bytes.

    Args:
        figure: to be written.
        path: ends in `.svg` or `.png`.
    """
    speak_ticks(figure)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with mpl.rc_context(STYLE):
        figure.savefig(path, dpi=200, metadata=metadata)


def _colours() -> Colormap:
    """ColorBrewer's YlGnBu without its dark third: lightness falls all the way, no red against green, black text legible everywhere."""
    ramp: npt.NDArray[np.float64] = mpl.colormaps["YlGnBu"](np.linspace(0.0, 0.62, 256))
    return ListedColormap(ramp)


_COLOURS = _colours()

_LINES = (("#1b4f8a", "o"), ("#c06000", "s"), ("#3a7d44", "^"), ("#7a3e9d", "D"), ("#555555", "v"))
"""Colour and marker of each method's curve; another lightness each."""


def line_of(place: int) -> tuple[str, str]:
    """Colour and marker of the method at this place of the study's list."""
    return _LINES[place % len(_LINES)]


def colour_of(accuracy: float, scale: tuple[float, float]) -> str:
    """The colour of an accuracy (a fraction) on a map of that scale (percent), as `#rrggbb`."""
    return to_hex(_COLOURS(Normalize(*scale)(100 * accuracy)))
