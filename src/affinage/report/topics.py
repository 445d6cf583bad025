"""Topics, and templates at both ends, by how far the own culture's adapter stands from the untouched model."""

from __future__ import annotations

import math

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.owners import without_text
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import many, named, number, percent, points, slug
from affinage.stats import TIE, credited

__all__ = ["section"]

_SHOWN = 8
"""Templates at each end."""


def section(cells: Cells) -> Section | None:
    """Per method its topics from the highest difference to the lowest, and the templates at both ends; None where nothing was trained.

    Of a few numbers fitted to letters no topic says anything, so that control is left out.
    """
    evidence = cells.evidence
    tables: list[Table] = []
    lines: list[Line] = []
    frames: list[pl.DataFrame] = []
    for label in evidence.labels:
        if label == LETTER_BIAS:
            continue
        own = evidence.own(label)
        if own["choice"].null_count() == own.height:
            continue
        gain = evidence.gain(label).with_columns(own["choice"].alias("own"))
        table, found = _topics(evidence, label, gain)
        tables += table
        lines += found
        templates = _templates(label, gain)
        if templates.height:
            frames.append(templates)
            tables.append(_ends(label, templates))
    if not tables:
        return None
    further = (("template-gains", pl.concat(frames)),) if frames else ()
    return Section("topics", tuple(lines), tuple(tables), say("Topics and templates"), frames=further)


def _topics(evidence: Evidence, label: str, gain: pl.DataFrame) -> tuple[list[Table], list[Line]]:
    """A method's topics; nothing where the source has one topic or none."""
    topics = [topic for topic in gain["topic"].unique().sort().to_list() if topic]
    if len(topics) < 2:
        return [], []
    planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
    found = [
        (topic, line(label, f"topic {topic}: own − untouched", gain, planned, quantity="difference", where=pl.col("topic") == topic))
        for topic in topics
    ]
    known = [(topic, each) for topic, each in found if not math.isnan(each.estimate.value)]
    known.sort(key=lambda pair: (-pair[1].estimate.value, pair[0]))
    tested = [each.estimate for _, each in known if each.estimate.low is not None]
    note = say(
        "{count} with an interval; of these {above} gained and {below} lost, and for {rest} the interval contains zero. Were there no gain and no "
        "loss anywhere, {chance} of them would still be expected to miss zero.",
        count=many(len(tested), "topic"),
        above=sum(each.above for each in tested),
        below=sum(each.below for each in tested),
        rest=sum(not each.above and not each.below for each in tested),
        chance=number(0.05 * len(tested), ".1f"),
    )
    text = say(
        "Own − untouched in points by template, paired by question, pooled over cultures, splits and starts, from the highest to the lowest, "
        "with 95 % intervals over template groups; a topic with few template groups has a number and no interval. The order of the topics is "
        "that of the numbers, which the intervals may not tell apart."
    )
    header = (say("topic"), say("own − untouched"), *LINE)
    rows = tuple((topic, *line_text(each)) for topic, each in known)
    title = say("Topics: {label}, own culture", label=named(label))
    table = Table(f"topics-{slug(label)}", title, text, header, rows, notes=(note,) if tested else ())
    return [table], [each for _, each in known]


def _templates(label: str, gain: pl.DataFrame) -> pl.DataFrame:
    """Columns `label, template_id, example, topic, cultures, questions, untouched, own, gain`, from the largest gain to the largest loss.

    `example` is the id of a question; `template_id` is null where a source without ids of its own names a template by its text.
    """
    both = credited(gain, "choice")
    cells = both.group_by("run", "culture", "template_id").agg(pl.col("own", "choice").mean())
    means = cells.group_by("template_id").agg(pl.col("own").mean(), pl.col("choice").mean().alias("gain"))
    about = both.group_by("template_id").agg(
        pl.col("mcq_id").cast(pl.String).min().alias("example"),
        pl.col("topic").first(),
        pl.col("culture").n_unique().alias("cultures"),
        pl.struct("culture", "mcq_id").n_unique().alias("questions"),
    )
    joined = about.join(means, on="template_id").with_columns((pl.col("own") - pl.col("gain")).alias("untouched"), pl.lit(label).alias("label"))
    # Rounding must not decide the order of templates that gain alike.
    ordered = joined.sort(-pl.col("gain").round(9), "template_id")
    return ordered.with_columns(without_text("template_id")).select(
        "label", "template_id", "example", "topic", "cultures", "questions", "untouched", "own", "gain"
    )


def _ends(label: str, templates: pl.DataFrame) -> Table:
    """The templates with the highest and the lowest differences."""
    above, below = templates.filter(pl.col("gain") > TIE), templates.filter(pl.col("gain") < -TIE)
    top, bottom = above.head(_SHOWN), below.tail(_SHOWN)
    rows = tuple(
        (
            template or say("that of {question}", question=example),
            topic or "",
            percent(before),
            percent(after),
            points(change),
            number(cultures),
            number(questions),
        )
        for _, template, example, topic, cultures, questions, before, after, change in pl.concat([top, bottom]).iter_rows()
    )
    text = say(
        "Of {templates} {above} have a difference above zero, {below} one below zero and {same} none. At most {shown} at either end, by id: mean "
        "over runs and cultures of the template's accuracy, own culture against untouched. A template is one group, so a single one has neither "
        "interval nor verdict; those at the ends are there partly by luck. `affinage data show` prints a question by its id.",
        templates=many(templates.height, "template"),
        above=number(above.height),
        below=number(below.height),
        same=number(templates.height - above.height - below.height),
        shown=_SHOWN,
    )
    header = (say("template"), say("topic"), say("untouched"), say("own culture"), say("own − untouched"), say("cultures"), LINE[2])
    title = say("Templates at both ends: {label}, own culture", label=named(label))
    return Table(f"templates-{slug(label)}", title, text, header, rows, (top.height,) if top.height and bottom.height else ())
