"""Figures of the places between and around adapters; lines differ by shape as well as by colour, so that grey print tells them apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from affinage.report.around import Around
from affinage.report.figures import INK, STYLE
from affinage.report.language import say
from affinage.report.places import Places
from affinage.report.words import named, shown
from affinage.stats import Estimate

__all__ = ["around_figure", "ways_figure"]

_COLOURS = ("#1b4f8a", "#c06000", "#3a7d44", "#7a3e9d", "#555555")
_MARKERS = ("o", "s", "^", "D", "v")
_ACROSS = 3
"""Panels in a row."""


def ways_figure(found: Places, label: str) -> Figure:
    """A panel per pair of cultures: accuracy on each of the two along the straight way (solid) and the spherical one (dashed).

    Args:
        found: the tested places.
        label: the method.
    """
    own = found.points.filter((pl.col("label") == label) & pl.col("path").is_in(["straight", "spherical"]))
    pairs = list(own.select("one", "other").unique(maintain_order=True).iter_rows())
    across = min(_ACROSS, len(pairs))
    down = math.ceil(len(pairs) / across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.3 * across, 1.1 + 2.6 * down), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes, (one, other) in zip(grid.flat, pairs, strict=False):
            places = own.filter((pl.col("one") == one) & (pl.col("other") == other)).sort("at")
            for number, culture in enumerate((one, other)):
                tested = places.filter(pl.col("culture") == culture)
                plain = tested.filter(pl.col("path") == "straight")
                round_ = tested.filter((pl.col("path") == "spherical") | pl.col("at").is_in([0.0, 1.0]))  # both ways have the same ends
                _line(axes, plain["at"].to_list(), _accuracies(found, plain), number, say("tested on {culture}", culture=shown(culture)))
                if round_.height > 2:
                    _line(axes, round_["at"].to_list(), _accuracies(found, round_), number, None)
            axes.axvline(0, color="#999999", linewidth=0.8, zorder=0)
            axes.axvline(1, color="#999999", linewidth=0.8, zorder=0)
            axes.set_xticks([0, 1], [shown(one), shown(other)])
            axes.legend(fontsize=7, frameon=False)
            _plain(axes)
        for axes in list(grid.flat)[len(pairs) :]:
            axes.set_visible(False)
        figure.supylabel(say("accuracy (%)"), fontsize=10, color=INK)
        figure.suptitle(say("{method}: accuracy between and beyond two adapters", method=named(label)), fontsize=12, color=INK)
    return figure


def around_figure(found: Mapping[str, Sequence[Around]]) -> Figure:
    """Three panels: accuracy under noise, with the first virtual tokens alone, and the difference that each single token makes.

    Args:
        found: label -> places around its adapters.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        noise, first, single = figure.subplots(1, 3)
        for number, (label, places) in enumerate(found.items()):
            trained = [place for place in places if place.kind == "trained"]
            for axes, kind in ((noise, "noise"), (first, "first")):
                own = [place for place in places if place.kind == kind]
                if own:
                    whole = 0.0 if kind == "noise" else max(place.at for place in own) + 1
                    line = sorted(
                        [*((place.at, place.accuracy) for place in own), *((whole, place.accuracy) for place in trained)], key=lambda p: p[0]
                    )
                    _line(axes, [at for at, _ in line], [estimate for _, estimate in line], number, named(label))
            tokens = [(place.at, place.difference) for place in places if place.kind == "token" and place.difference is not None]
            _bars(single, tokens, number, named(label))
        single.axhline(0, color="#999999", linewidth=0.8, zorder=0)
        for axes, across, up in (
            (noise, say("length of the noise (1: of the way from the start)"), say("accuracy (%)")),
            (first, say("first virtual tokens that are left"), say("accuracy (%)")),
            (single, say("virtual token that is left out"), say("difference (points)")),
        ):
            axes.set_xlabel(across, fontsize=9, color=INK)
            axes.set_ylabel(up, fontsize=9, color=INK)
            _plain(axes)
            if axes is not noise:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if not axes.get_legend_handles_labels()[0]:
                axes.text(0.5, 0.5, say("no virtual tokens"), transform=axes.transAxes, ha="center", color=INK)
        handles, labels = noise.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _accuracies(found: Places, chosen: pl.DataFrame) -> tuple[Estimate, ...]:
    """The accuracy of each place."""
    return found.estimates([{cell: 1.0} for cell in chosen["cell"]])


def _line(axes: Axes, at: Sequence[float], estimates: Sequence[Estimate], number: int, name: str | None) -> None:
    """A line of accuracies in percent with its band where there are intervals; dashed, without a band, where it has no name."""
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    height = [100 * each.value for each in estimates]
    if name is None:
        axes.plot(at, height, color=colour, linewidth=1.2, linestyle=(0, (3, 2)))
        return
    axes.plot(at, height, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=name)
    known = [
        (x, max(0.0, 100 * e.low), min(100.0, 100 * e.high)) for x, e in zip(at, estimates, strict=True) if e.low is not None and e.high is not None
    ]
    if known:
        across, low, high = zip(*known, strict=True)
        axes.fill_between(across, low, high, color=colour, alpha=0.15, linewidth=0)


def _bars(axes: Axes, tokens: Sequence[tuple[float, Estimate]], number: int, name: str) -> None:
    """A mark per token with its interval; methods lie a little apart."""
    if not tokens:
        return
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    across = [at + 1 + 0.15 * number for at, _ in tokens]
    axes.plot(across, [100 * each.value for _, each in tokens], color=colour, marker=marker, markersize=3.5, linestyle="none", label=name)
    known = [(x, 100 * e.low, 100 * e.high) for x, (_, e) in zip(across, tokens, strict=True) if e.low is not None and e.high is not None]
    axes.vlines([x for x, _, _ in known], [low for _, low, _ in known], [high for _, _, high in known], color=colour, linewidth=1.0)


def _plain(axes: Axes) -> None:
    """Small grey labels, no frame."""
    axes.tick_params(labelsize=8, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
