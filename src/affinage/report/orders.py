"""What another order of the options changes: a right answer that another order would have made wrong was not known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text, runs_of
from affinage.report.words import bounds, many, named, points, span
from affinage.stats import paired

__all__ = ["section"]

_RIGHT = {"choice": "over all orders", "one_order": "in one order", "survives": "survives every order"}
_FLIPS = {"flip": "the answer changes", "sometimes": "right in some orders only", "stuck": "the same wrong answer"}
"""Columns of `_Kind.rows` -> what the CSV calls them: of the table of right answers, and of that of answers that flip. No number stands in both."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What answered."""

    label: str
    """Of the method; empty for the untouched model."""
    name: str
    """In the CSV."""
    title: str
    """In the tables, in the report's language."""
    rows: pl.DataFrame
    """The columns of `_RIGHT` and `_FLIPS`, null where a question is unscored; `survives`, `flip` and `stuck` of a question sum to 1."""
    planned: int

    def lines(self, columns: Iterable[str]) -> list[Line]:
        """The pooled number of each column."""
        return [line(self.label, f"{self.name}: {(_RIGHT | _FLIPS)[column]}", self.rows, self.planned, credit=column) for column in columns]


def section(cells: Cells) -> Section | None:
    """The tables of option orders and of answers that flip; None where each question was asked in one order."""
    evidence = cells.evidence
    if not (evidence.rows["orders"] > 1).any():
        return None
    asked = evidence.rows.select("orders", "state", "culture").filter(pl.col("orders").is_not_null() & pl.col("culture").is_in(evidence.cultures))
    orders = asked.filter(pl.col("state") == "scored")["orders"].unique().to_list()
    if max(orders, default=1) < 2:
        return None
    kinds = _kinds(evidence)
    right, lines = _right(evidence, kinds, orders)
    flips, found = _flips(kinds)
    return Section("orders", (*lines, *found), (right, flips))


def _kinds(evidence: Evidence) -> list[_Kind]:
    """The untouched model, and each method on its own culture."""
    untouched = evidence.of(evidence.untouched).filter(pl.col("culture").is_in(evidence.cultures))
    kinds = [_Kind("", "untouched", say("Untouched model"), _counted(untouched), evidence.expected(evidence.untouched))]
    for label in evidence.labels:
        planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
        title = say("{label}, own culture", label=named(label))
        kinds.append(_Kind(label, f"{label}, own culture", title, _counted(evidence.own(label)), planned))
    return kinds


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns of `_FLIPS`."""
    some = (pl.col("one_order") > 0) & (pl.col("survives") == 0)
    return rows.with_columns(
        (1 - pl.col("same")).alias("flip"), some.cast(pl.Float64).alias("sometimes"), (pl.col("same") - pl.col("survives")).alias("stuck")
    )


def _right(evidence: Evidence, kinds: Sequence[_Kind], orders: Sequence[int]) -> tuple[Table, list[Line]]:
    """How much of the accuracy holds in every order, and its numbers."""
    lines: list[Line] = []
    rows = []
    for kind in kinds:
        found = kind.lines(_RIGHT)
        lines += found
        choice, one_order, survives = map(line_text, found)
        rows.append((kind.title, choice[0], one_order[0], *survives[:2], runs_of(found[0]), *choice[3:]))
    text = say(
        "Each question was asked in {orders} of its options. Over all orders: an option's log-probability is its mean over the "
        "orders, then the best option wins; this is the accuracy of every other table. In one order: mean of what each order alone would have given. "
        "Survives: the same option is best in every order and it is right. Percent by template, pooled over cultures, splits and starts, with 95 % "
        "intervals over template groups. {unscored}",
        orders=span(orders, "order"),
        unscored=_unscored(evidence),
    )
    header = ("", say("over all orders"), say("in one order"), say("survives every order"), *LINE)
    return Table("orders", say("Option orders"), text, header, tuple(rows), (1,)), lines


def _flips(kinds: Sequence[_Kind]) -> tuple[Table, list[Line]]:
    """How often the answer itself depends on the order, and its numbers."""
    lines: list[Line] = []
    rows = []
    for kind in kinds:
        found = kind.lines(_FLIPS)
        lines += found
        change = ("", "")
        if kind.label:
            ours, theirs = (each.rows.with_columns(pl.col("flip").alias("choice")) for each in (kind, kinds[0]))
            name = f"{kind.name} − untouched: {_FLIPS['flip']}"
            lines.append(line(kind.label, name, paired(ours, theirs), kind.planned, quantity="difference"))
            estimate = lines[-1].estimate
            change = ("", "") if math.isnan(estimate.value) else (points(estimate.value), bounds(estimate, points))
        flip, sometimes, stuck = map(line_text, found)
        rows.append((kind.title, *flip[:2], sometimes[0], stuck[0], *change, runs_of(found[0]), *flip[3:]))
    text = say(
        "Percent of the same questions. The answer changes: no one option is best in every order; who looks at letters alone never gives the same "
        "option in every rotation. Right in some orders only: a part of these, in which luck of the order decides. The same wrong answer: the same "
        "wrong option is best in every order. With those that survive (the table of option orders), the first and the third make 100. Own − "
        "untouched: change of the first column in points, paired by question; fewer flips are not more right answers."
    )
    header = (
        *("", say("the answer changes"), LINE[0], say("right in some orders only"), say("the same wrong answer")),
        *(say("own − untouched"), *LINE),
    )
    return Table("flips", say("Answers that flip with the order of the options"), text, header, tuple(rows), (1,)), lines


def _unscored(evidence: Evidence) -> str:
    """Questions of which an order is missing."""
    count = int((evidence.rows["state"] != "scored").sum())
    if not count:
        return say("Every order could be scored.")
    return say("A question counts only if every order could be scored; {rows} could not.", rows=many(count, "row"))
