"""Numbers at the axes of a figure in the report's language: matplotlib writes a decimal point whatever the language."""

from __future__ import annotations

from typing import final

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from affinage.report.language import current
from affinage.report.words import spelled

__all__ = ["speak_ticks"]


@final
class _Spoken(ScalarFormatter):
    """matplotlib's own choice of digits, written as the report writes numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return spelled(super().__call__(x, pos))

    def get_offset(self) -> str:
        return spelled(super().get_offset())


def speak_ticks(figure: Figure) -> None:
    """Has every axis with plain numbers write them in the report's language; axes with names or other forms stay as they are.

    Args:
        figure: not laid out yet; in English it stays as it is.
    """
    if current() == "en":
        return
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _speak(axis)


def _speak(axis: Axis) -> None:
    """One axis, where matplotlib chose its numbers' form."""
    if type(axis.get_major_formatter()) is ScalarFormatter:
        axis.set_major_formatter(_Spoken())
