"""The similarity of adapters drawn: a table in colours, a tree, a map; numbers in every cell, so that colour alone says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import dendrogram

from affinage.report.figures import INK, STYLE, colour_of
from affinage.report.language import say
from affinage.report.words import decimal, named, number, shown

__all__ = ["Drawn", "similarity_figure"]

_LINE = "#1b4f8a"
_NUMBERED = 12
"""Cultures up to which a cell has room for its number."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One measure of one method."""

    label: str
    cultures: tuple[str, ...]
    values: Mapping[frozenset[str], float]
    """Pair of cultures -> mean over splits and starts."""
    floor: float | None
    """Mean between two starts of one culture; None where the study has one start."""
    tree: pl.DataFrame | None
    """Rows of the analysis's `tree`; None for fewer than three cultures."""
    places: pl.DataFrame | None
    """Rows of the analysis's `map`; likewise."""


def similarity_figure(drawn: Drawn) -> Figure:
    """The table, and beside it tree and map where there are at least three cultures.

    Args:
        drawn: what to draw.
    """
    whole = drawn.tree is not None and drawn.places is not None
    size = max(3.2, 1.6 + 0.55 * len(drawn.cultures))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size + (7.4 if whole else 0.6), max(3.4, size - 0.4)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 3 if whole else 1, width_ratios=[size, 3.4, 3.8] if whole else None, squeeze=False)[0]
        _table(axes[0], drawn)
        if drawn.tree is not None and drawn.places is not None:
            _tree(axes[1], drawn.tree)
            _map(axes[2], drawn.places)
        figure.suptitle(say("{method}: correlation of option scores", method=named(drawn.label)), fontsize=12, color=INK)
    return figure


def _table(axes: Axes, drawn: Drawn) -> None:
    """Every pair once, below the diagonal; with the floor in the corner."""
    values = [value for value in drawn.values.values() if np.isfinite(value)]
    marked = [*values, *([] if drawn.floor is None else [drawn.floor])]
    low, high = min(marked), max(marked)
    scale = (100 * low, 100 * high) if high - low > 1e-6 else (100 * low - 1, 100 * high + 1)
    count = len(drawn.cultures)
    for row in range(1, count):
        for column in range(row):
            value = drawn.values.get(frozenset((drawn.cultures[row], drawn.cultures[column])))
            if value is None:
                continue
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour_of(value, scale), edgecolor="white"))
            if count <= _NUMBERED:
                axes.text(column + 0.5, row + 0.5, decimal(value, 2), ha="center", va="center", fontsize=9, color=INK)
    if drawn.floor is not None:
        told = say("two starts of one culture: {value}", value=decimal(drawn.floor, 2))
        axes.add_patch(Rectangle((count - 1.9, 0.15), 0.5, 0.5, facecolor=colour_of(drawn.floor, scale), edgecolor=INK, clip_on=False))
        axes.text(count - 2.0, 0.4, told, ha="right", va="center", fontsize=8.5, color=INK)
    axes.set(xlim=(0, count - 1), ylim=(count, 0))
    names = [shown(culture) for culture in drawn.cultures]
    axes.set_xticks([place + 0.5 for place in range(count - 1)], names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks([place + 0.5 for place in range(1, count)], names[1:])
    _plain(axes)


def _tree(axes: Axes, steps: pl.DataFrame) -> None:
    """Average linkage; the farther right two branches meet, the less alike they are."""
    ordered = steps.sort("step")
    linkage = ordered.select("left", "right", "height", "size").to_numpy().astype(np.float64)
    names = [shown(culture) for culture in ordered["cultures"][0]]
    found = dendrogram(linkage, labels=names, no_plot=True)
    for across, up in zip(found["dcoord"], found["icoord"], strict=True):
        axes.plot(across, up, color=_LINE, linewidth=1.6)
    axes.set_yticks([5 + 10 * place for place in range(len(names))], found["ivl"])
    axes.set_xlim(left=0)
    axes.set_xlabel(say("distance of the groups that are joined"), fontsize=9, color=INK)
    kept = ordered["cophenetic"][0]
    if kept is not None and np.isfinite(kept):
        axes.set_title(say("tree; correlation with the table {value}", value=decimal(kept, 2)), fontsize=9, color=INK)
    _plain(axes, ticks=True)


def _map(axes: Axes, places: pl.DataFrame) -> None:
    """Classical scaling; equal units on both axes."""
    x, y = places["x"].to_numpy(), places["y"].to_numpy()
    axes.scatter(x, y, s=36, color=_LINE, zorder=2)
    for culture, across, up in zip(places["culture"], x, y, strict=True):
        side, away = ("right", -5) if across > 0 else ("left", 5)  # names point inwards
        axes.annotate(shown(culture), (across, up), xytext=(away, 4), textcoords="offset points", ha=side, fontsize=9, color=INK)
    half = 0.7 * max(np.ptp(x), np.ptp(y), 1e-9)  # a square, with room for the names
    axes.set_xlim((x.min() + x.max()) / 2 - half, (x.min() + x.max()) / 2 + half)
    axes.set_ylim((y.min() + y.max()) / 2 - half, (y.min() + y.max()) / 2 + half)
    axes.set_aspect("equal", adjustable="box")
    share = places["share"][0]
    if share is not None and np.isfinite(share):
        axes.set_title(say("map; it tells {share} % of the table", share=number(100 * share, ".0f")), fontsize=9, color=INK)
    _plain(axes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#999999")


def _plain(axes: Axes, *, ticks: bool = False) -> None:
    """Without a frame."""
    axes.tick_params(length=3 if ticks else 0, labelsize=9, labelcolor=INK, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
