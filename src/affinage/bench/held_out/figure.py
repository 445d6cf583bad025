"""Held-out loss and accuracy over seconds of training: a thin line per seed, a thick one for their mean."""

from __future__ import annotations

from io import BytesIO
from math import floor, log10
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.bench.held_out.curves import mean_curve
from affinage.bench.held_out.page import Race
from affinage.bench.held_out.side import OURS, TRL
from affinage.store import write_atomically

__all__ = ["STYLE", "draw", "save", "write_figure"]

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "affinage"}
"""Texts stay texts; the same figure is the same file."""
_LOOK = {TRL: ("TRL", "#b04a2f", "--"), OURS: ("affinage", "#1f5a8a", "-")}
"""Name, colour and line of each side; lines differ too, for grey print."""


def draw(race: Race) -> Figure:
    """Both panels; seconds grow by factors, the start stands at the left."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        loss, accuracy = figure.subplots(1, 2)
        first = min((at.seconds for curve in race.curves for at in curve.points if at.seconds > 0), default=1.0)
        for axes, measure in ((loss, "loss"), (accuracy, "accuracy")):
            _panel(axes, race, measure)
            axes.set_xscale("symlog", linthresh=10 ** floor(log10(first)), linscale=0.4)
            axes.set_xlim(left=0)
            axes.set(xlabel="seconds of training", ylabel=f"held-out {measure}")
            axes.grid(visible=True, alpha=0.25)
        loss.legend(frameon=False, fontsize=8.5)
    return figure


def _panel(axes: Axes, race: Race, measure: str) -> None:
    for side, (name, colour, line) in _LOOK.items():
        curves = race.of(side)
        for points, width in [*((curve.points, 0.8) for curve in curves), (mean_curve(curves), 2.2)]:
            if points:
                values = [getattr(at.standing, measure) for at in points]
                label = f"{name}, mean of {len(curves)}" if width > 1 else None
                axes.plot([at.seconds for at in points], values, line, color=colour, linewidth=width, alpha=1 if width > 1 else 0.5, label=label)
    axes.axhline(getattr(race.untouched, measure), color="#777777", linewidth=1, linestyle=":", label="untouched model")
    for target in race.targets[:1]:
        if target.measure == measure:
            axes.axhline(target.value, color="#1a1a1a", linewidth=0.8, label=target.name)


def write_figure(race: Race, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.svg` and `NAME.png`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return save(draw(race), folder, name)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """A figure as `NAME.svg` and `NAME.png`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    paths = []
    with mpl.rc_context(STYLE):
        for kind in ("svg", "png"):
            held = BytesIO()
            figure.savefig(held, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
            paths.append(folder / f"{name}.{kind}")
            write_atomically(paths[-1], held.getvalue())
    return paths[0], paths[1]
