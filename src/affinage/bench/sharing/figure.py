"""Held-out loss over steps and over seconds of training, every variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.bench.learning.figure import STYLE, lines, save
from affinage.bench.sharing.result import Sharing

__all__ = ["draw", "write_figure"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind tell apart."""
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
"""Lines differ too, for grey print."""


def draw(result: Sharing) -> Figure:
    """Both panels, the trained measure in each."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels: tuple[Literal["steps", "seconds"], ...] = ("steps", "seconds")
        for axes, over in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
            for place, variant in enumerate(result.variants):
                look = {"linestyle": _LINES[(place + place // len(_COLOURS)) % len(_LINES)], "color": _COLOURS[place % len(_COLOURS)]}
                lines(axes, result.trainings.of(variant), over, result.trained, f"{variant} per template", **look)
            axes.axhline(getattr(result.trainings.untouched, result.trained), color="#777777", linewidth=0.8, label="untouched model")
            axes.set_xlim(left=0)
            axes.set(xlabel="steps" if over == "steps" else "seconds of training")
            axes.grid(visible=True, alpha=0.25)
        figure.axes[0].set_ylabel(f"held-out {result.trained}")
        figure.axes[0].legend(frameon=False, fontsize=8.5)
    return figure


def write_figure(result: Sharing, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.svg` and `NAME.png`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return save(draw(result), folder, name)
