"""Learning curve: accuracy on the own culture against the number of training templates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import retell, say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import bounds, named, parted, percent, shown, span
from affinage.stats import paired

__all__ = ["LEARNING_CURVE", "Point", "points_of", "section"]

LEARNING_CURVE = "learning-curve"
"""How the names of the controls' training sets that are parts of a culture's own begin; `learning-curve-25.Spain`."""


@dataclass(frozen=True, slots=True)
class Point:
    """One size of the training set."""

    name: str
    """`untouched`, the control's name, or `all`."""
    cultures: tuple[str, ...]
    """Cultures that it was planned for."""
    templates: tuple[int, ...]
    """Training templates of each run that is there; 0 for the untouched model."""
    accuracy: Line
    """On the own culture."""
    gain: Line | None
    """Over the untouched model; None for itself."""

    @property
    def mean(self) -> float | None:
        """Mean number of training templates; None where no run is there."""
        return statistics.fmean(self.templates) if self.templates else None


def points_of(evidence: Evidence, label: str) -> tuple[Point, ...]:
    """A method's curve from the untouched model to all templates; empty where the study has none for it."""
    parts: dict[str, dict[str, str]] = {}
    for name in evidence.training_sets(label):
        control, culture = parted(name)
        if control.startswith(LEARNING_CURVE):
            parts.setdefault(control, {})[name] = culture
    if not parts:
        return ()
    trained = evidence.trained(label)
    untouched = evidence.of(evidence.untouched).filter(pl.col("culture").is_in(trained))
    parts["all"] = {culture: culture for culture in trained}
    reached = [_point(evidence, label, name, sets, untouched) for name, sets in parts.items()]
    start = Point("untouched", trained, (0,), line(label, "untouched", untouched, evidence.expected(evidence.untouched)), None)
    return (start, *sorted(reached, key=lambda point: (point.mean is None, point.mean or 0.0)))


def _point(evidence: Evidence, label: str, name: str, sets: dict[str, str], untouched: pl.DataFrame) -> Point:
    """One size: its training sets (name -> culture), each tested on its culture."""
    rows = evidence.part(lambda own, trained, tested: own == label and trained in sets and sets[trained] == tested)
    expected = sum(evidence.expected((label, each)) for each in sets)
    templates = tuple(run.counts["templates"] for run in evidence.runs if run.label == label and run.trained_culture in sets and run.counts)
    gain = line(label, f"{name} − untouched", paired(rows, untouched), expected, quantity="difference")
    return Point(name, tuple(sets.values()), templates, line(label, name, rows, expected), gain)


def section(cells: Cells) -> Section | None:
    """The table of each method's curve; None where the study has none."""
    evidence = cells.evidence
    curves = {label: found for label in evidence.labels if (found := points_of(evidence, label))}
    if not curves:
        return None
    rows: list[tuple[str, ...]] = []
    rules, lines = [], []
    for label, curve in curves.items():
        rules.append(len(rows))
        rows += _rows(label, curve)
        lines += [each for point in curve for each in (point.accuracy, point.gain) if each is not None]
    text = say(
        "Accuracy in percent on the own culture by template, and gain in points over the untouched model paired by question, pooled over cultures, "
        "splits and starts, with 95 % intervals over template groups. Trained on a part of the culture's training templates (the number in a "
        "control's name is of template groups); `all` are the ordinary runs.{partial}",
        partial=_partial(curves),
    )
    header = (say("trained on"), say("training templates"), say("accuracy"), say("95 % interval"), say("gain"), *LINE)
    return Section("learning-curve", tuple(lines), (Table("learning-curve", say("Learning curve"), text, header, tuple(rows), tuple(rules[1:])),))


def _partial(curves: Mapping[str, Sequence[Point]]) -> str:
    """Which sizes stand for fewer cultures than the ordinary runs, so that their points are not comparable."""
    found = {}
    for curve in curves.values():
        most = max(len(point.cultures) for point in curve)
        found.update({point.name: point.cultures for point in curve if 0 < len(point.cultures) < most})
    said = say("; ").join(f"{retell('names', name)} {', '.join(map(shown, cultures))}" for name, cultures in found.items())
    if not said:
        return ""
    return say(" Cultures without that many groups are not in a line; it is a mean over fewer cultures than `all`: {said}.", said=said)


def _rows(label: str, curve: Sequence[Point]) -> Iterator[tuple[str, ...]]:
    """A method's lines."""
    for point in curve:
        accuracy = line_text(point.accuracy)
        templates = span(point.templates) if point.templates else say("missing")
        gain = ("", "", *accuracy[2:]) if point.gain is None else line_text(point.gain)
        name = say("untouched model") if point.gain is None else retell("names", point.name)
        yield (f"{named(label)}, {name}", templates, accuracy[0], bounds(point.accuracy.estimate, percent), *gain)
