"""What the pictures of learning share: their style, a line per seed with a thick one for the mean, and how they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affinage.bench.learning.curves import Curve, mean_curve
from affinage.store import write_atomically

__all__ = ["STYLE", "lines", "save"]

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "affinage"}
"""Texts stay texts; the same figure is the same file."""


def lines(axes: Axes, curves: Sequence[Curve], over: Literal["steps", "seconds"], measure: str, label: str, **look: Any) -> None:
    """Draws a thin line per seed and a thick one for their mean.

    Args:
        axes: where.
        curves: of one side or variant.
        over: what is to the right.
        measure: what is up, a field of a `Standing`.
        label: their name in the legend.
        look: colour and line; lines differ too, for grey print.
    """
    for points, thick in [*((curve.points, False) for curve in curves), (mean_curve(curves), True)]:
        if points:
            told = {"linewidth": 2.2, "label": f"{label}, mean of {len(curves)}"} if thick else {"linewidth": 0.8, "alpha": 0.5}
            axes.plot([getattr(at, over) for at in points], [getattr(at.standing, measure) for at in points], **look, **told)


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
