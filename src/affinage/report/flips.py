"""Answers that another order of the options flips."""

from __future__ import annotations

import math

import polars as pl

from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Table, line_text, runs_of
from affinage.report.words import bounds, named, points, span
from affinage.stats import paired

__all__ = ["flips"]

_NUMBERS = {"flip": "the answer changes", "sometimes": "right in some orders only", "stuck": "the same wrong answer"}
"""Columns of a row -> what the CSV calls them."""


def flips(evidence: Evidence) -> tuple[list[Table], list[Line]]:
    """The table of flips; nothing where each question was asked in one order.

    Args:
        evidence: the study.
    """
    studied = evidence.cultures
    untouched = _counted(evidence.part(lambda label, trained, tested: (label, trained) == evidence.untouched and tested in studied))
    orders = untouched["orders"].drop_nulls().unique().to_list()
    if max(orders, default=1) < 2:
        return [], []
    kinds = [("", "untouched", say("Untouched model"), untouched, evidence.expected(evidence.untouched))]
    for label in evidence.labels:
        planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
        kinds.append((label, f"{label}, own culture", say("{label}, own culture", label=named(label)), _counted(evidence.own(label)), planned))
    lines: list[Line] = []
    rows: list[tuple[str, ...]] = []
    for label, name, title, found, planned in kinds:
        numbers = [line(label, f"{name}: {what}", found, planned, credit=credit) for credit, what in _NUMBERS.items()]
        lines += numbers
        change = ("", "")
        if label:
            ours, theirs = (each.with_columns(pl.col("flip").alias("choice")) for each in (found, untouched))
            difference = paired(ours, theirs)
            lines.append(line(label, f"{name} − untouched: the answer changes", difference, planned, quantity="difference"))
            estimate = lines[-1].estimate
            change = ("", "") if math.isnan(estimate.value) else (points(estimate.value), bounds(estimate, points))
        first, *rest = map(line_text, numbers)
        rows.append((title, *first[:2], *(text[0] for text in rest), *change, runs_of(numbers[0]), *first[3:]))
    text = say(
        "Each question was asked in {orders} of its options. Percent of questions by template, pooled over cultures, splits and starts, with 95 % "
        "intervals over template groups. The answer changes: no one option is best in every order. Right in some orders only: a part of these, in "
        "which luck of the order decides. The same wrong answer: the same wrong option is best in every order. Own − untouched: change of the first "
        "column in points, paired by question; fewer flips are not more right answers.",
        orders=span(orders, "order"),
    )
    header = (
        *("", say("the answer changes"), LINE[0], say("right in some orders only"), say("the same wrong answer")),
        *(say("own − untouched"), *LINE),
    )
    return [Table("flips", say("Answers that flip with the order of the options"), text, header, tuple(rows), (1,))], lines


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the numbers of `_NUMBERS`, null where a question is unscored."""
    some = (pl.col("one_order") > 0) & (pl.col("survives") == 0)
    return rows.with_columns(
        (1 - pl.col("same")).alias("flip"), some.cast(pl.Float64).alias("sometimes"), (pl.col("same") - pl.col("survives")).alias("stuck")
    )
