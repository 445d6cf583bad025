"""Swap pairs: the same question with the same options, asked about two cultures with different right answers.

Who ignores the culture gives the same answer twice and is right at most once, whatever the answer; so both right is what knowing a culture
looks like, and neither the options' words nor their letters help.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.table import Section, Table, line_text
from affinage.report.words import many, named, number, percent, shown
from affinage.stats import credited, numbered

__all__ = ["section"]


def section(cells: Cells) -> Section | None:
    """The table of swap pairs; None where no options are asked about two studied cultures."""
    evidence = cells.evidence
    pairs = _pairs(evidence)
    if not pairs.height:
        return None
    lines, heads = [], []
    for head, found in _ways(evidence, pairs):
        heads.append(head)
        lines.append(found)
    rows = [(head, *line_text(each)) for head, each in zip(heads, lines, strict=True)]
    chance = _chance(evidence, pairs)
    rows.append((say("chance"), "" if chance is None else percent(chance), *[""] * 4))
    asked = pairs.group_by("first", "second").len().sort("first", "second")
    by_cultures = say("; ").join(
        say("{first} and {second} {count}", first=shown(first), second=shown(second), count=number(count))
        for first, second, count in asked.iter_rows()
    )
    text = say(
        "A pair is one template with the same options, asked about two studied cultures whose right answers differ. Percent of pairs with both "
        "questions right (a tie counts as a coin would), by template, pooled over splits and starts, 95 % intervals over template groups. Own "
        "adapters: each question is answered by the adapter of its own culture, same split and start. One adapter: both are answered by the adapter "
        "of one of the two, mean over the two. Differences are paired by pair. Pairs over all splits: "
        "{pairs}.",
        pairs=by_cultures,
    )
    rules = tuple(place for place, each in enumerate(lines) if place and each.name.endswith("own adapters"))
    header = ("", say("both right"), say("95 % interval"), say("runs"), say("pairs"), say("templates"))
    table = Table("swap-pairs", say("Swap pairs: {pairs}", pairs=many(pairs.height, "pair")), text, header, tuple(rows), (*rules, len(rows) - 1))
    return Section("swap-pairs", tuple(lines), (table,))


def _pairs(evidence: Evidence) -> pl.DataFrame:
    """Columns `pair, split, template_id, group, first, second` (cultures) and `first_id, second_id` (questions); one row per pair.

    Equal `swap` means equal lists of options, so different `answer`s are different right options.
    """
    order = {culture: place for place, culture in enumerate(evidence.cultures)}
    needed = evidence.rows.select("split", "swap", "template_id", "group", "culture", "mcq_id", "right")
    asked = needed.filter(pl.col("swap").is_not_null() & pl.col("culture").is_in(evidence.cultures))
    asked = asked[numbered(asked, ("split", "culture", "mcq_id"))[1]].with_columns(
        pl.col("culture").replace_strict(order, return_dtype=pl.Int64).alias("place")
    )
    kept = asked.select("split", "swap", "template_id", "group", "culture", "place", "mcq_id", "right")
    both = kept.join(kept.select("split", "swap", "culture", "place", "mcq_id", "right"), on=["split", "swap"], suffix="_other")
    different = both.filter((pl.col("place") < pl.col("place_other")) & (pl.col("right") != pl.col("right_other")))
    names = {"culture": "first", "culture_other": "second", "mcq_id": "first_id", "mcq_id_other": "second_id"}
    columns = ["split", "template_id", "group", *names.values()]
    return different.rename(names).select(columns).sort(columns).with_row_index("pair")


def _ways(evidence: Evidence, pairs: pl.DataFrame) -> Iterator[tuple[str, Line]]:
    """Each table row's head and number."""
    untouched = _both(pairs, evidence.of(evidence.untouched), evidence.of(evidence.untouched))
    yield say("Untouched model"), _line("", "untouched", untouched, evidence.expected(evidence.untouched))
    for label in evidence.labels:
        trained = evidence.trained(label)
        rows = evidence.adapters(label).filter(pl.col("swap").is_not_null())
        planned = max((evidence.expected((label, culture)) for culture in trained), default=0)
        if len(trained) < 2:
            continue
        firsts, seconds = (_at_home(pairs, rows, side) for side in ("first", "second"))
        own = _joined(firsts, seconds)
        one = pl.concat([_both(pairs, rows, rows, by) for by in ("first", "second")])
        one = one.group_by("pair", "split", "start", "template_id", "group", maintain_order=True).agg(
            pl.col("choice").mean(), pl.len().alias("adapters")
        )
        one = one.filter(pl.col("adapters") == 2).drop("adapters")
        yield say("{label}, own adapters", label=named(label)), _line(label, f"{label}, own adapters", own, planned)
        yield say("{label}, one adapter", label=named(label)), _line(label, f"{label}, one adapter", one, planned)
        beside = own.join(one, on=["pair", "start"], suffix="_one")
        over_one = beside.with_columns(pl.col("choice") - pl.col("choice_one"))
        yield say("  own adapters − one adapter"), _line(label, f"{label}, own adapters − one adapter", over_one, planned, difference=True)
        over = own.join(untouched.select("pair", pl.col("choice").alias("untouched")), on="pair").with_columns(pl.col("choice") - pl.col("untouched"))
        yield say("  own adapters − untouched"), _line(label, f"{label}, own adapters − untouched", over, planned, difference=True)


def _side(pairs: pl.DataFrame, rows: pl.DataFrame, side: str) -> pl.DataFrame:
    """What each run earned on one question of each pair."""
    scored = credited(rows, "choice").select(
        "split", "start", "trained_culture", pl.col("culture").alias(side), pl.col("mcq_id").alias(f"{side}_id"), "choice", "chance"
    )
    return pairs.join(scored, on=["split", side, f"{side}_id"])


def _at_home(pairs: pl.DataFrame, rows: pl.DataFrame, side: str) -> pl.DataFrame:
    """What the adapter of a question's own culture earned on it."""
    return _side(pairs, rows, side).filter(pl.col("trained_culture") == pl.col(side))


def _both(pairs: pl.DataFrame, first: pl.DataFrame, second: pl.DataFrame, by: str | None = None) -> pl.DataFrame:
    """Both right by one run: the untouched model, or the adapter of the pair's `by` culture."""
    sides = []
    for name, rows in (("first", first), ("second", second)):
        earned = _side(pairs, rows, name)
        sides.append(earned if by is None else earned.filter(pl.col("trained_culture") == pl.col(by)))
    return _joined(*sides)


def _joined(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """Per pair and start the product of what its two questions earned."""
    other = second.select("pair", "start", pl.col("choice").alias("choice_second"))
    both = first.join(other, on=["pair", "start"]).with_columns(pl.col("choice") * pl.col("choice_second"))
    return both.select("pair", "split", "start", "template_id", "group", "choice")


def _line(label: str, name: str, rows: pl.DataFrame, planned: int, *, difference: bool = False) -> Line:
    """The pooled number: a cell is one split and start, over all pairs of cultures."""
    cells = rows.with_columns(pl.format("{} {}", "split", "start").alias("run"), pl.lit("").alias("culture"), pl.col("pair").alias("mcq_id"))
    return line(label, name, cells, planned, quantity="difference" if difference else "accuracy")


def _chance(evidence: Evidence, pairs: pl.DataFrame) -> float | None:
    """Mean over pairs, by template, of the product of the two questions' chances."""
    scored = evidence.rows.select("split", "culture", "mcq_id", "chance").filter(pl.col("chance").is_not_null())
    known = scored[numbered(scored, ("split", "culture", "mcq_id"))[1]]
    found = pairs
    for side in ("first", "second"):
        chances = known.select("split", pl.col("culture").alias(side), pl.col("mcq_id").alias(f"{side}_id"), pl.col("chance").alias(f"{side}_chance"))
        found = found.join(chances, on=["split", side, f"{side}_id"])
    both = (pl.col("first_chance") * pl.col("second_chance")).alias("both")
    by_template = found.select("split", "template_id", both).group_by("split", "template_id").agg(pl.col("both").mean())
    value = by_template.group_by("split").agg(pl.col("both").mean())["both"].mean()
    return None if value is None else float(str(value))
