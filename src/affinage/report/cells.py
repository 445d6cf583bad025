"""Cells: what each kind of adapter (or none) reached on each culture, knowing its runs, questions and templates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from affinage.report.evidence import Evidence, Kind
from affinage.stats import AVERAGES, READINGS, RUN, Average, Reading, Spread, numbered, paired, per_run, spread
from affinage.store import UNTOUCHED

__all__ = ["Cell", "Cells"]

_CELL = ["label", "trained_culture", "culture"]
_GAINS = {reading: f"{reading} gain" for reading in READINGS}
"""Reading -> what the same over the untouched model is called while both are computed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one kind of adapter (or none) reached on one culture, over its runs."""

    kind: Kind
    method: str
    tested: str
    reading: Reading
    average: Average
    accuracy: Spread | None
    """Over the runs that are there; None when none is."""
    gain: Spread | None
    """Over runs: tuned minus untouched on the same test side; None for the untouched model or when there is nothing to pair."""
    runs: tuple[str, ...]
    expected: int
    """Runs that the plan has for this cell."""
    questions: int
    """Distinct scored questions, over all runs."""
    templates: int
    unscored: int
    """Rows that could not be scored, over all runs; in no mean."""
    chance: float | None
    """Mean of 1/options, averaged likewise."""

    @property
    def missing(self) -> int:
        """Planned runs that are not there."""
        return self.expected - len(self.runs)


class Cells:
    """Every cell of a study, by (kind, tested culture, reading, average).

    Args:
        evidence: the study.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        rows = evidence.rows
        slim = rows.select(*RUN, "culture", "mcq_id", "template_id", "chance", "state", *READINGS)
        over = paired(slim, evidence.of(evidence.untouched)).select(
            pl.when(pl.col("trained_culture") != UNTOUCHED).then(reading).alias(gain) for reading, gain in _GAINS.items()
        )
        both = per_run(slim.with_columns(over), (*READINGS, *_GAINS.values()))
        self.runs = both.filter(pl.col("reading").is_in(READINGS))
        """`stats.per_run` of every run: the long form behind the cells."""
        self._numbers: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}
        """(Label, trained culture, tested culture, column, average) -> run -> accuracy (or gain) and chance."""
        for *name, run, accuracy, chance in both.select(*_CELL, "reading", "average", "run", "accuracy", "chance").iter_rows():
            self._numbers.setdefault(tuple(name), {})[run] = (accuracy, chance)
        self._differences: dict[tuple[Kind, Kind, str], dict[object, list[float]]] = {}
        self._counts = dict(_counts(rows))
        unscored = rows.filter(pl.col("state") != "scored").group_by(_CELL).len()
        self._unscored = {row[:3]: row[3] for row in unscored.iter_rows()}

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Readings in which something was scored."""
        return tuple(reading for reading in READINGS if (self.runs["reading"] == reading).any())

    def all(self) -> tuple[Cell, ...]:
        """Every cell, also those whose runs are all missing; controls last, each also on a test set of its own."""
        evidence = self.evidence
        own_tests = set(self.runs["culture"].unique()) - set(evidence.cultures)
        # A control that stands for one culture is compared on that culture; on the others its cells are kept all the same.
        tested = {kind: [*evidence.cultures, *sorted(own_tests & {kind[1]})] for kind in evidence.control_kinds()}
        return tuple(
            self.cell(kind, culture, reading, average)
            for reading in self.readings
            for average in AVERAGES
            for kind in (*evidence.kinds(), *evidence.control_kinds())
            if not (kind[0] in evidence.programs and reading == "free")
            for culture in tested.get(kind, evidence.cultures)
        )

    def row(self, kind: Kind, reading: Reading, average: Average) -> list[Cell]:
        """One kind on every studied culture."""
        return [self.cell(kind, culture, reading, average) for culture in self.evidence.cultures]

    def best_program(self, label: str, average: Average) -> str | None:
        """The program without a language model that is most often right on the cultures that a method was trained on; None without any."""
        trained = self.evidence.trained(label)

        def accuracy(program: str) -> float:
            found = [self.cell((program, UNTOUCHED), culture, "choice", average).accuracy for culture in trained]
            return statistics.fmean(number.mean if number else 0.0 for number in found)

        return max(self.evidence.programs, key=accuracy, default=None) if trained else None

    def difference(self, kind: Kind, other: Kind, tested: str, average: Average) -> Spread | None:
        """One kind minus another on a culture, over the runs of the first, paired by question; None where there is nothing to pair."""
        if (kind, other, tested) not in self._differences:
            ours, theirs = (self.evidence.part(lambda *names, want=(*each, tested): names == want) for each in (kind, other))
            found = per_run(paired(ours, theirs)).filter(pl.col("reading") == "choice")
            self._differences[kind, other, tested] = {name: frame["accuracy"].to_list() for (name,), frame in found.group_by("average")}
        values = self._differences[kind, other, tested].get(average)
        return None if values is None else spread(values)

    def cell(self, kind: Kind, tested: str, reading: Reading, average: Average) -> Cell:
        """One cell."""
        numbers = self._numbers.get((*kind, tested, reading, average), {})
        gains = self._numbers.get((*kind, tested, _GAINS[reading], average), {})
        questions, templates = self._counts.get((*kind, tested, reading), (0, 0))
        return Cell(
            kind,
            self.evidence.method(kind[0]),
            tested,
            reading,
            average,
            _spread(numbers),
            _spread(gains),
            tuple(sorted(numbers)),
            self.evidence.expected(kind),
            questions,
            templates,
            self._unscored.get((*kind, tested), 0),
            statistics.fmean(chance for _, chance in numbers.values()) if numbers else None,
        )


def _spread(numbers: Mapping[str, tuple[float, float]]) -> Spread | None:
    """Mean and deviation over runs; None without any."""
    return spread([value for value, _ in numbers.values()]) if numbers else None


def _counts(rows: pl.DataFrame) -> Iterator[tuple[tuple[str, str, str, str], tuple[int, int]]]:
    """(Label, trained culture, tested culture, reading) -> distinct scored questions and their templates, over all runs."""
    cell, head = numbered(rows, _CELL)
    names = rows[head].select(_CELL).rows()
    slim = rows.select("mcq_id", "template_id").with_columns(pl.Series("cell", cell))
    units = [numbered(slim, ("cell", name)) for name in ("mcq_id", "template_id")]
    for reading in READINGS:
        scored = rows[reading].is_not_null().to_numpy()
        found = []
        for number, first in units:
            there = np.bincount(number[scored], minlength=len(first)) > 0
            found.append(np.bincount(cell[first][there], minlength=len(names)).tolist())
        yield from (((*name, reading), counts) for name, *counts in zip(names, *found, strict=True))
