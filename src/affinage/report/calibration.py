"""How far the model's probabilities are right about themselves: confidence beside accuracy, Brier score, calibration error, letter mass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence, Kind
from affinage.report.figures import INK, STYLE, line_of
from affinage.report.language import say
from affinage.report.pooled import Line, Quantity, line, pooled
from affinage.report.table import LINE, Picture, Section, Table, line_text
from affinage.report.words import base, bounds, few, many, named, nothing_trained, number, percent, points, signed
from affinage.stats import Binning, Curve, Estimate, brier, credited, option_matrix, option_shares, paired, reliability, template_weights
from affinage.store import PROMPTED

__all__ = ["section"]

_BINS = 15
"""For the calibration error, as Guo et al. 2017."""
_DOTS, _BEHIND_A_DOT = 10, 25
"""For the picture: at most so many dots, each resting on about so many rows or more."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What gave the probabilities."""

    label: str
    """Of the method; empty for the untouched model."""
    name: str
    """In the CSV."""
    title: str
    """In the table, in the report's language."""
    rows: pl.DataFrame
    """The scored ones with `confidence`, `over` (confidence minus credit) and `brier`."""
    planned: int
    look: tuple[str, str]
    """Colour and marker of its curve; a method has those of the other figures."""

    @property
    def curves(self) -> dict[Binning, Curve]:
        """Questions in `_BINS` bins of confidence, weighted as the headline weights them."""
        return {binning: self.curve(_BINS, binning) for binning in ("width", "mass")}

    def curve(self, bins: int, binning: Binning) -> Curve:
        """Questions in bins of confidence."""
        rows = self.rows
        return reliability(rows["confidence"].to_numpy(), rows["choice"].to_numpy(), template_weights(rows), bins=bins, binning=binning)


def section(cells: Cells) -> Section | None:
    """The untouched model, baselines without training and each method on its own culture; None where nothing is scored."""
    evidence = cells.evidence
    kinds = [kind for kind in _kinds(evidence) if kind.rows.height]
    if not kinds:
        return None
    letters = any(kind.rows["letter_mass"].null_count() < kind.rows.height for kind in kinds)
    lines: list[Line] = []
    rows: list[tuple[str, ...]] = []
    for kind in kinds:
        curves = kind.curves
        found = [_line(kind, credit) for credit in _NUMBERS]
        lines += [each for each in found if not math.isnan(each.estimate.value)]
        accuracy, confidence, over, score, mass = found
        width, even = curves["width"], curves["mass"]
        errors = (percent(width.error), percent(even.error), percent(even.by_chance), percent(even.debiased))
        behind = line_text(accuracy)
        between = (line_text(accuracy)[0], line_text(confidence)[0], *line_text(over)[:2], number(score.estimate.value, ".3f"), *errors)
        rows.append((kind.title, *between, *([line_text(mass)[0]] if letters else []), *behind[2:]))
    changes = [change for kind in kinds[1:] if (change := _change(kind, kinds[0])) is not None]
    lines += changes
    header = (
        *("", say("accuracy"), say("confidence"), say("confidence − accuracy"), LINE[0], say("Brier score")),
        *(say("calibration error, equal widths"), say("equal masses"), say("of a calibrated model"), say("debiased")),
        *([say("letter mass")] if letters else []),
        *LINE[1:],
    )
    notes = (*map(_over_said, kinds), *map(_change_said, changes))
    table = Table("calibration", say("Calibration"), _text(evidence, kinds, letters=letters), header, tuple(rows), (1,), notes)
    return Section("calibration", tuple(lines), (table,), pictures=(_picture(kinds),), frames=(("calibration-curves", _frame(kinds)),))


_NUMBERS = {
    "choice": "accuracy",
    "confidence": "confidence",
    "over": "confidence − accuracy",
    "brier": "Brier score",
    "letter_mass": "letter mass",
}
"""Columns of a kind's rows -> what the CSV calls them."""

_MARKERS = ("P", "X", "*", "h")
"""Of baselines without training."""


def _kinds(evidence: Evidence) -> list[_Kind]:
    """In the order of the table, the untouched model first."""
    untouched = _measured(_studied(evidence, evidence.untouched))
    kinds = [_Kind("", "untouched", say("Untouched model"), untouched, evidence.expected(evidence.untouched), (INK, "x"))]
    for place, label in enumerate(evidence.prompted):
        kind = (label, PROMPTED)
        look = ("#8a8a8a", _MARKERS[place % len(_MARKERS)])
        kinds.append(_Kind(label, label, named(nothing_trained(label)), _measured(_studied(evidence, kind)), evidence.expected(kind), look))
    for place, label in enumerate(evidence.labels):
        planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
        title = say("{label}, own culture", label=named(label))
        kinds.append(_Kind(label, f"{label}, own culture", title, _measured(evidence.own(label)), planned, line_of(place)))
    return kinds


def _studied(evidence: Evidence, kind: Kind) -> pl.DataFrame:
    """The rows of one kind on the studied cultures."""
    return evidence.part(lambda label, trained, tested: (label, trained) == kind and tested in evidence.cultures)


def _measured(rows: pl.DataFrame) -> pl.DataFrame:
    """The scored rows with what their probabilities are worth."""
    scored = credited(rows, "choice")
    if scored.is_empty():
        return scored
    shares = option_shares(option_matrix(scored["values"]))
    confidence = pl.Series("confidence", np.nanmax(shares, axis=1))
    score = pl.Series("brier", brier(shares, scored["answer"].to_numpy()))
    return scored.with_columns(confidence, (confidence - scored["choice"]).alias("over"), score)


def _line(kind: _Kind, credit: str) -> Line:
    """One of `_NUMBERS`."""
    quantity: Quantity = "difference" if credit == "over" else "accuracy"
    return line(kind.label, f"{kind.name}: {_NUMBERS[credit]}", kind.rows, kind.planned, credit=credit, quantity=quantity)


def _change(kind: _Kind, untouched: _Kind) -> Line | None:
    """How a kind's Brier score differs from the untouched model's, paired by question."""
    ours, theirs = (each.rows.with_columns(pl.col("brier").alias("choice")) for each in (kind, untouched))
    found = line(kind.label, f"{kind.name} − untouched: Brier score", paired(ours, theirs), kind.planned, quantity="difference")
    return None if math.isnan(found.estimate.value) else found


def _text(evidence: Evidence, kinds: list[_Kind], *, letters: bool) -> str:
    """What the columns are."""
    prompt = evidence.study.config.prompt
    chances = [1 - value for kind in kinds for value in kind.rows["chance"].unique().to_list()]
    low, high = number(min(chances), ".3f"), number(max(chances), ".3f")
    text = say(
        "A question's probabilities are the softmax of what its options are compared by (score {score}, the mean over the orders asked). Confidence "
        "is the probability of the chosen option. Percent by template, pooled over cultures, splits and starts, with 95 % intervals over template "
        "groups. Brier score: the squared distance of the probabilities from the right answer, 0 is perfect, equal probabilities score {blind}. "
        "Calibration error: the mean distance between confidence and accuracy in {bins} bins of confidence, questions weighted as in the accuracy. "
        "It is never below zero even where every probability is right: the column of a calibrated model is what one would show on as many questions, "
        "in bins of equal mass, if they were independent; questions of one template are not, so its true floor is higher. Debiased: the root mean "
        "square distance with that noise taken off (equal masses; Kumar et al. 2019).",
        score=prompt.score,
        blind=low if low == high else say("{low} to {high}", low=low, high=high),
        bins=_BINS,
    )
    if letters:
        text += say(" Letter mass: how much probability the letters have together at the answer's first token, before it is shared among them.")
    return text


def _over_said(kind: _Kind) -> str:
    """What the confidence says, in one sentence."""
    estimate = pooled(kind.rows, "over")
    if estimate.low is None:
        return say("{name}: confidence minus accuracy {points} points ({why}).", name=kind.title, points=points(estimate.value), why=_why(estimate))
    if estimate.above:
        return say("{name} is more confident than right: {detail}.", name=kind.title, detail=_detail(estimate))
    if estimate.below:
        return say("{name} is less confident than right: {detail}.", name=kind.title, detail=_detail(estimate))
    return say("{name} is not shown to be more or less confident than right: {detail}.", name=kind.title, detail=_detail(estimate))


def _change_said(change: Line) -> str:
    """What the Brier score says, in one sentence; the lower one is the better one."""
    estimate, name = change.estimate, named(change.label)
    value = signed(estimate.value, 3)
    if estimate.low is None or estimate.high is None:
        return say("{name}: Brier score {change} against the untouched model's ({why}).", name=name, change=value, why=_why(estimate))
    interval = say("{low} to {high}", low=signed(estimate.low, 3), high=signed(estimate.high, 3))
    places = {"name": name, "change": value, "interval": interval, "base": base(estimate)}
    if estimate.below:
        return say("{name} has better probabilities than the untouched model: Brier score {change} (95 % interval {interval}; {base}).", **places)
    if estimate.above:
        return say("{name} has worse probabilities than the untouched model: Brier score {change} (95 % interval {interval}; {base}).", **places)
    return say(
        "{name}'s probabilities are not shown to be better or worse than the untouched model's: Brier score {change} (95 % interval {interval}; "
        "{base}).",
        **places,
    )


def _detail(estimate: Estimate) -> str:
    """A difference in points with its interval."""
    return say(
        "{points} points, 95 % interval {interval}; {base}", points=points(estimate.value), interval=bounds(estimate, points), base=base(estimate)
    )


def _why(estimate: Estimate) -> str:
    """Why there is no interval, and what the number rests on."""
    return f"{base(estimate)}; {few(estimate)}"


def _frame(kinds: list[_Kind]) -> pl.DataFrame:
    """Every bin of every curve."""
    parts = []
    for kind in kinds:
        for binning, curve in kind.curves.items():
            columns = {name: getattr(curve, name) for name in ("low", "high", "confidence", "right", "share", "count")}
            about = (pl.lit(kind.label).alias("label"), pl.lit(kind.name).alias("quantity"), pl.lit(binning).alias("bins"))
            parts.append(pl.DataFrame(columns).select(*about, *columns))
    return pl.concat(parts)


def _picture(kinds: list[_Kind]) -> Picture:
    """The reliability curves."""
    curves = {kind.title: (kind.curve(min(_DOTS, max(2, kind.rows.height // _BEHIND_A_DOT)), "mass"), kind.look) for kind in kinds}
    questions = {title: int(curve.count.sum()) for title, (curve, _) in curves.items()}
    text = say(
        "How often the chosen option is right, by the probability that it has; the dots of a line hold about the same weight "
        "each ({rows}). On the dashed line confidence is accuracy, below it the model is more confident than right.",
        rows=say("; ").join(say("{name}: {rows}", name=title, rows=many(count, "row")) for title, count in questions.items()),
    )
    said = say("; ").join(
        say(
            "{name}: confidence {low} to {high} %, right {right_low} to {right_high} %",
            name=title,
            low=percent(curve.confidence.min()),
            high=percent(curve.confidence.max()),
            right_low=percent(curve.right.min()),
            right_high=percent(curve.right.max()),
        )
        for title, (curve, _) in curves.items()
    )
    alternative = say("Reliability curves, accuracy against confidence. {said}. The numbers are those of the file calibration-curves.", said=said)
    return Picture("reliability", say("Reliability: accuracy against confidence"), text, alternative, partial(_draw, curves))


def _draw(curves: dict[str, tuple[Curve, tuple[str, str]]]) -> Figure:
    """One line per kind; lines differ by marker and lightness, too."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot([0, 100], [0, 100], color="#777777", linewidth=1.0, linestyle=(0, (5, 4)), zorder=1)
        for title, (curve, (colour, marker)) in curves.items():
            axes.plot(100 * curve.confidence, 100 * curve.right, marker=marker, color=colour, linewidth=1.5, markersize=5, clip_on=False, label=title)
        lowest = min(min(curve.confidence.min(), curve.right.min()) for curve, _ in curves.values())
        start = 10 * math.floor(10 * lowest)
        axes.set(xlim=(start, 100), ylim=(start, 100))
        axes.set_xlabel(say("confidence: probability of the chosen option (%)"), fontsize=11, color=INK)
        axes.set_ylabel(say("right (%)"), fontsize=11, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return figure
