"""Forest plots of the paired differences behind each claim: one line per method and culture, and the pooled one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.report.figures import INK, STYLE
from affinage.report.language import say
from affinage.report.pooled import pooled
from affinage.report.programs import program_name
from affinage.report.verdict import Verdict
from affinage.report.words import base, bounds, few, named, points, shown
from affinage.stats import Estimate

__all__ = ["Forest", "Group", "Mark", "forest_figure", "forests"]

Shows = Literal["above", "below", "neither", "no interval"]
"""On which side of zero the whole interval lies."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of a forest plot; places are percent of the drawing's width."""

    name: str
    """The culture, or what is pooled."""
    pooled: bool
    estimate: Estimate
    text: str
    """The difference in points."""
    interval: str
    detail: str
    """What it rests on, in words."""
    shows: Shows
    at: float | None
    """None where there is nothing to draw."""
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """A method's lines."""

    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """One comparison of every method."""

    key: str
    """Of the claim: `better`, `own`, `new` or `program`."""
    title: str
    groups: tuple[Group, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place in percent of the width, and its points in words; the same for every comparison, so that they can be compared by eye."""
    zero: float
    """Place of no difference."""


def forests(found: Sequence[Verdict]) -> tuple[Forest, ...]:
    """Every comparison that has something to show, in the order of the claims.

    An interval belongs to its own line: it is not widened for there being many lines.

    Args:
        found: the methods' verdicts, with the paired rows behind them.
    """
    titles = {
        "better": say("Own culture minus untouched model"),
        "own": say("Own culture minus adapters of other cultures"),
        "new": say("Own minus untouched, where the right answer is new"),
        "program": say("Own culture minus the best program without a language model"),
    }
    lines = {(key, verdict.label): _lines(verdict, key) for key in titles for verdict in found if key in verdict.paired}
    estimates = [line.estimate for each in lines.values() for line in each if not math.isnan(line.estimate.value)]
    if not estimates:
        return ()
    axis = _axis(estimates)
    drawn = []
    for key, title in titles.items():
        marks = [(verdict, [_mark(line, axis) for line in lines[key, verdict.label]]) for verdict in found if (key, verdict.label) in lines]
        groups = tuple(Group(_head(verdict, key), tuple(each)) for verdict, each in marks)
        if any(mark.at is not None for group in groups for mark in group.marks):
            drawn.append(Forest(key, title, groups, tuple((axis.place(tick / 100), _tick(tick)) for tick in axis.ticks), axis.place(0.0)))
    return tuple(drawn)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where a difference is drawn."""

    ticks: tuple[int, ...]
    """Points, in equal steps."""

    def place(self, value: float) -> float:
        """Percent of the drawing's width at which a difference (a fraction) stands; a margin on both sides is left free."""
        share = (100 * value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(_MARGIN + (100 - 2 * _MARGIN) * share, 2)


_MARGIN = 4.0
"""Percent of the width, so that no mark is cut."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line before its places are known."""

    name: str
    pooled: bool
    estimate: Estimate


def _axis(estimates: Iterable[Estimate]) -> _Axis:
    """Round ticks around every number and bound, zero among them, seven at most."""
    ends = [100 * end for each in estimates for end in (each.value, each.low, each.high) if end is not None]
    low, high = min(0.0, *ends), max(1.0, *ends)
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100) if (high - low) / step <= 5 or step == 100)
    return _Axis(tuple(range(step * math.floor(low / step), step * math.ceil(high / step) + 1, step)))


def _tick(tick: int) -> str:
    """A tick's points."""
    return f"{tick:+d}".replace("-", "−") if tick else "0"


def _head(verdict: Verdict, key: str) -> str:
    """The method, and the program that it is compared with."""
    if key != "program" or verdict.best is None:
        return named(verdict.label)
    return say("{label} (against: {program})", label=named(verdict.label), program=program_name(verdict.best))


def _lines(verdict: Verdict, key: str) -> list[_Line]:
    """Each line of a method."""
    by_culture = {str(culture): frame for (culture,), frame in verdict.paired[key].group_by("culture")}
    lines = [_Line(shown(culture), False, pooled(by_culture[culture])) for culture in verdict.cultures if culture in by_culture]
    claim = next(claim for claim in (*verdict.claims, verdict.program) if claim is not None and claim.key == key)
    return [*lines, _Line(say("pooled"), True, claim.estimate)]


def _mark(line: _Line, axis: _Axis) -> Mark:
    """One line, its places worked out."""
    estimate = line.estimate
    if math.isnan(estimate.value):
        return Mark(line.name, line.pooled, estimate, "", "", say("nothing to compare"), "no interval", None, None, None)
    interval = None if estimate.low is None or estimate.high is None else (axis.place(estimate.low), axis.place(estimate.high))
    return Mark(
        name=line.name,
        pooled=line.pooled,
        estimate=estimate,
        text=points(estimate.value),
        interval=bounds(estimate, points),
        detail=base(estimate) if interval else say("{base}; {few}", base=base(estimate), few=few(estimate)),
        shows="no interval" if interval is None else "above" if estimate.above else "below" if estimate.below else "neither",
        at=axis.place(estimate.value),
        low=interval and interval[0],
        high=interval and interval[1],
    )


def forest_figure(drawn: Forest) -> Figure:
    """One comparison as a figure for papers: a filled mark where the whole interval lies on one side of zero, a diamond for what is pooled.

    Args:
        drawn: the comparison.
    """
    lines = [(group.label, mark) for group in drawn.groups for mark in (None, *group.marks)]
    height = 1.0 + 0.24 * len(lines)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.2, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for place, (_, mark) in enumerate(lines):
            if mark is None or math.isnan(mark.estimate.value):
                continue
            estimate = mark.estimate
            if estimate.low is not None and estimate.high is not None:
                axes.hlines(place, 100 * estimate.low, 100 * estimate.high, color=INK, linewidth=1.4)
            face = INK if mark.shows in {"above", "below"} else "white"
            axes.plot(100 * estimate.value, place, marker="D" if mark.pooled else "o", markersize=6, color=INK, markerfacecolor=face)
        axes.axvline(0.0, color="#666666", linewidth=1.0, linestyle="--", zorder=0)
        axes.set_yticks(range(len(lines)), [label if mark is None else f"{mark.name}  {mark.text}" for label, mark in lines], fontsize=9)
        for text, (_, mark) in zip(axes.get_yticklabels(), lines, strict=True):
            text.set_fontweight("bold" if mark is None or mark.pooled else "normal")
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_xlabel(say("points, 95 % interval over template groups"), fontsize=10, color=INK)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.suptitle(drawn.title, fontsize=11, color=INK)
    return figure
