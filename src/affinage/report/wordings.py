"""Tests under instructions that an adapter was not trained on: what is left of a gain when the question is worded otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import named, percent, points, slug
from affinage.stats import paired

__all__ = ["section"]


def section(cells: Cells) -> Section | None:
    """Per method the accuracy under each instruction; None where only one was tested."""
    evidence = cells.evidence
    if not evidence.study.config.evaluation.instructions:
        return None
    tables, lines = [], []
    for label in evidence.labels:
        if evidence.reworded(label):
            table, found = _method(evidence, label)
            tables.append(table)
            lines += found
    return Section("wordings", tuple(lines), tuple(tables)) if tables else None


def _method(evidence: Evidence, label: str) -> tuple[Table, list[Line]]:
    """One method's table, and its numbers: per instruction untouched, own culture, gain."""
    trained = evidence.trained(label)
    planned = sum(evidence.expected((label, culture)) for culture in trained)
    base = evidence.expected(evidence.untouched)
    rows: list[tuple[str, ...]] = []
    found: list[tuple[Line, Line, Line]] = []
    for place, (name, untouched, own) in enumerate(_wordings(evidence, label)):
        three = (
            line(label, f"{name}: untouched", untouched, base),
            line(label, f"{name}: own culture", own, planned),
            line(label, f"{name}: own − untouched", paired(own, untouched), planned, quantity="difference"),
        )
        texts = [line_text(each) for each in three]
        head = say("wording {number}", number=place) if place else say("as trained")
        rows.append((head, texts[0][0], texts[1][0], *texts[2]))
        found.append(three)
    columns = [[three[place].estimate.value for three in found if three[place].estimate.questions] for place in range(3)]
    spreads = [f"{percent(statistics.stdev(values))}" if len(values) > 1 else "" for values in columns]
    ranges = [
        say("{low} to {high}", low=form(min(values)), high=form(max(values))) if values else ""
        for values, form in zip(columns, (percent, percent, points), strict=True)
    ]
    rows += [(say("deviation over wordings"), *spreads, "", "", "", ""), (say("lowest to highest"), *ranges, "", "", "", "")]
    text = say(
        "Accuracy in percent by template on the own culture, pooled over cultures, splits and starts, under the instruction that the adapters were "
        "trained with and under others that they never saw; the gain is paired by question under the same instruction, with its 95 % interval over "
        "template groups."
    )
    notes = tuple(
        say("wording {number}: “{text}”", number=number, text=text)
        for number, text in enumerate(evidence.study.config.evaluation.instructions, start=1)
    )
    header = (say("instruction"), say("untouched"), say("own culture"), say("gain"), *LINE)
    rules = (1, len(rows) - 2)
    title = say("Other wordings: {label}, own culture", label=named(label))
    table = Table(f"wordings-{slug(label)}", title, text, header, tuple(rows), rules, notes)
    return table, [each for three in found for each in three]


def _wordings(evidence: Evidence, label: str) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Each instruction's name, the untouched model's rows and the adapters' on their own cultures."""
    trained = pl.col("culture").is_in(evidence.trained(label))
    yield "as trained", evidence.of(evidence.untouched).filter(trained), evidence.own(label)
    for number in range(1, len(evidence.study.config.evaluation.instructions) + 1):
        sets = evidence.reworded(label, number)
        adapters = evidence.on(label, sets)
        yield f"wording {number}", evidence.of(evidence.untouched).filter(pl.col("culture").is_in(sets)), adapters
