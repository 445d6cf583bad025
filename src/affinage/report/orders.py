"""What holds in every order of the options: a right answer that another order would have made wrong was not known."""

from __future__ import annotations

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text, runs_of
from affinage.report.words import many, named, span

__all__ = ["section"]

_COLUMNS = {
    "choice": "over all orders",
    "one_order": "in one order",
    "survives": "survives every order",
    "same": "same in every order",
}
"""Columns of `stats.with_credit` -> what the CSV calls them."""


def section(cells: Cells) -> Section | None:
    """The table of option orders; None where each question was asked in one."""
    evidence = cells.evidence
    asked = evidence.rows.select("orders", "state", "culture").filter(pl.col("orders") > 1)
    if not asked.height:
        return None
    scored = evidence.rows.select(asked.columns).filter(
        pl.col("orders").is_not_null() & (pl.col("state") == "scored") & pl.col("culture").is_in(evidence.cultures)
    )
    orders = scored["orders"].unique().to_list()
    if max(orders, default=1) < 2:
        return None
    lines = _lines(evidence)
    width = len(_COLUMNS)
    rows = []
    for place in range(0, len(lines), width):
        found = dict(zip(_COLUMNS, lines[place : place + width], strict=True))
        numbers = {name: line_text(each) for name, each in found.items()}
        first = found["choice"]
        head = say("{label}, own culture", label=named(first.label)) if first.label else say("Untouched model")
        shares = (*numbers["survives"][:2], *numbers["same"][:2])
        rows.append((head, numbers["choice"][0], numbers["one_order"][0], *shares, runs_of(first), *numbers["choice"][3:]))
    text = say(
        "Each question was asked in {orders} of its options. Over all orders: an option's log-probability is its mean over the "
        "orders, then the best option wins; this is the accuracy of every other table. In one order: mean of what each order alone would have given. "
        "Survives: the same option is best in every order and it is right. Same: the same option is best in every order, right or wrong; who looks "
        "at letters alone never gives the same option in every rotation. Percent by template, pooled over cultures, splits and starts, with 95 % "
        "intervals over template groups. {unscored}",
        orders=span(orders, "order"),
        unscored=_unscored(evidence),
    )
    interval, *behind = LINE
    heads = (say("over all orders"), say("in one order"), say("survives every order"), interval, say("same in every order"), interval)
    header = ("", *heads, *behind)
    return Section("orders", lines, (Table("orders", say("Option orders"), text, header, tuple(rows), (1,)),))


def _lines(evidence: Evidence) -> tuple[Line, ...]:
    """Per table row the numbers of `_COLUMNS`."""
    studied = pl.col("culture").is_in(evidence.cultures)
    parts = [("", "untouched", evidence.of(evidence.untouched).filter(studied), evidence.expected(evidence.untouched))]
    for label in evidence.labels:
        planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
        parts.append((label, f"{label}, own culture", evidence.own(label), planned))
    return tuple(
        line(label, f"{name}: {what}", rows, planned, credit=credit) for label, name, rows, planned in parts for credit, what in _COLUMNS.items()
    )


def _unscored(evidence: Evidence) -> str:
    """Questions of which an order is missing."""
    count = int((evidence.rows["state"] != "scored").sum())
    if not count:
        return say("Every order could be scored.")
    return say("A question counts only if every order could be scored; {rows} could not.", rows=many(count, "row"))
