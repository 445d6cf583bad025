"""Held-out loss and accuracy over seconds of training, both sides."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.bench.learning.figure import STYLE, lines, save
from affinage.bench.learning.side import OURS, TRL
from affinage.bench.loss.result import Race

__all__ = ["draw", "write_figure"]

_LOOK = {TRL: ("TRL", {"color": "#b04a2f", "linestyle": "--"}), OURS: ("affinage", {"color": "#1f5a8a", "linestyle": "-"})}
"""Name and look of each side."""


def draw(race: Race) -> Figure:
    """Both panels; seconds grow by factors, the start stands at the left."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        loss, accuracy = figure.subplots(1, 2)
        trainings = race.trainings
        first = min((at.seconds for curve in trainings.curves for at in curve.points if at.seconds > 0), default=1.0)
        for axes, measure in ((loss, "loss"), (accuracy, "accuracy")):
            for side, (name, look) in _LOOK.items():
                lines(axes, trainings.of(side), "seconds", measure, name, **look)
            axes.axhline(getattr(trainings.untouched, measure), color="#777777", linewidth=1, linestyle=":", label="untouched model")
            for target in race.targets[:1]:
                if target.measure == measure:
                    axes.axhline(target.value, color="#1a1a1a", linewidth=0.8, label=target.name)
            axes.set_xscale("symlog", linthresh=10 ** floor(log10(first)), linscale=0.4)
            axes.set_xlim(left=0)
            axes.set(xlabel="seconds of training", ylabel=f"held-out {measure}")
            axes.grid(visible=True, alpha=0.25)
        loss.legend(frameon=False, fontsize=8.5)
    return figure


def write_figure(race: Race, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.svg` and `NAME.png`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return save(draw(race), folder, name)
