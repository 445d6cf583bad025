"""Where a gain comes from: answers that were seen, answers that word counting finds, answers on which annotators agreed, topics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, cellwise, line
from affinage.report.table import LINE, Section, Table, averaged, line_text
from affinage.report.words import bounds, many, named, points, slug
from affinage.stats import AVERAGES, TIE, Average, chance_centred, different, share_of_left

__all__ = ["section", "share_line"]

_COLUMNS = ("run", "culture", "mcq_id", "template_id", "group", "topic", "answer_seen", "agreement", "association", "choice")
"""What a stratum's numbers are made of; rows are taken apart once per stratum, so nothing else is carried along."""


@dataclass(frozen=True, slots=True)
class _Stratum:
    """A part of the test questions."""

    name: str
    """In the CSV."""
    title: str
    """In the table, in the report's language."""
    where: pl.Expr


@dataclass(frozen=True, slots=True)
class _Method:
    """A method's rows, and what stands beside them."""

    label: str
    untouched: pl.DataFrame
    own: pl.DataFrame
    """With `centred`, the chance-centred credit."""
    change: pl.DataFrame
    """Paired by question: `choice` and `gain` are own minus untouched, `left` is 1 minus untouched."""
    planned: int
    base: int
    """Runs that the plan has of the untouched model."""


def section(cells: Cells) -> Section | None:
    """Per method the accuracy in each stratum, and what all questions together are worth; None where nothing was trained."""
    methods = [_method(cells.evidence, label) for label in cells.evidence.labels if cells.evidence.trained(label)]
    if not methods:
        return None
    worth, lines = _worth(methods)
    tables = [worth]
    for method in methods:
        table, found = _strata(method)
        tables.append(table)
        lines += found
    return Section("strata", tuple(lines), tuple(tables))


def share_line(label: str, name: str, change: pl.DataFrame, expected: int, average: Average = "template") -> Line:
    """The gain as a share of what was left to gain.

    Args:
        label: the method.
        name: what it is a number of.
        change: rows with `gain` and `left` (`stats.share_of_left`).
        expected: runs that the plan has for it.
        average: over templates or rows.
    """
    estimate = share_of_left(cellwise(change, "gain", ("left",)), average)
    return Line(label, name, "difference", estimate, different(change["run"]), expected)


def _method(evidence: Evidence, label: str) -> _Method:
    """What a method's tables are made of."""
    trained = evidence.trained(label)
    untouched = evidence.part(lambda name, adapter, tested: (name, adapter) == evidence.untouched and tested in trained)
    own = evidence.own(label)
    own = own.with_columns(pl.Series("centred", chance_centred(own["choice"].to_numpy(), own["chance"].to_numpy())).fill_nan(None))
    gain = evidence.gain(label)
    left = (1 - own["choice"] + gain["choice"]).alias("left")
    change = gain.with_columns(pl.col("choice").alias("gain"), left)
    planned = sum(evidence.expected((label, culture)) for culture in trained)
    return _Method(
        label,
        untouched.select(_COLUMNS),
        own.select(*_COLUMNS, "centred"),
        change.select(*_COLUMNS, "gain", "left"),
        planned,
        evidence.expected(evidence.untouched),
    )


def _worth(methods: list[_Method]) -> tuple[Table, list[Line]]:
    """Every method's accuracy by both averages: as it is, above chance, and its gain as a share of what was left to gain."""
    rows: list[tuple[str, ...]] = []
    lines: list[Line] = []
    for average in AVERAGES:
        for each in methods:
            label = each.label
            found = (
                line(label, f"own culture, by {average}", each.own, each.planned, average=average),
                line(label, f"chance-centred, by {average}", each.own, each.planned, credit="centred", quantity="difference", average=average),
                line(label, f"own − untouched, by {average}", each.change, each.planned, quantity="difference", average=average),
                share_line(label, f"share of what was left, by {average}", each.change, each.planned, average),
            )
            accuracy, centred, gain, share = map(line_text, found)
            head = say("{label}, {average}", label=named(label), average=averaged(average))
            rows.append((head, accuracy[0], centred[0], *gain[:2], share[0], bounds(found[3].estimate, points), *gain[2:]))
            lines += found
    text = say(
        "Own culture, pooled over cultures, splits and starts, with 95 % intervals over template groups. Chance-centred: (accuracy − chance) / (1 − "
        "chance), in percent: 0 is chance, 100 is always right. Share of what was left: the gain divided by what the untouched model got wrong, in "
        "percent: 100 would be always right; who starts high has little left, and the share of little is uncertain."
    )
    interval = LINE[0]
    share_head = (say("share of what was left"), interval)
    header = ("", say("accuracy"), say("chance-centred"), say("gain"), interval, *share_head, *LINE[1:])
    return Table("worth", say("What the accuracy and the gain are worth"), text, header, tuple(rows), (len(methods),)), lines


def _strata(method: _Method) -> tuple[Table, list[Line]]:
    """One method's table, and its numbers: per stratum untouched, own culture, above chance, gain, share of what was left."""
    label, planned = method.label, method.planned
    rows: list[tuple[str, ...]] = []
    lines: list[Line] = []
    rules: list[int] = []
    for block in _blocks(method.own):
        rules.append(len(rows))
        for each in block:
            found = (
                line(label, f"{each.name}: untouched", method.untouched, method.base, where=each.where),
                line(label, f"{each.name}: own culture", method.own, planned, where=each.where),
                line(label, f"{each.name}: chance-centred", method.own, planned, credit="centred", quantity="difference", where=each.where),
                line(label, f"{each.name}: own − untouched", method.change, planned, quantity="difference", where=each.where),
                share_line(label, f"{each.name}: share of what was left", method.change.filter(each.where), planned),
            )
            untouched, own, centred, gain, share = map(line_text, found)
            rows.append((each.title, untouched[0], own[0], centred[0], *gain[:2], share[0], *gain[2:]))
            lines += found
    text = say(
        "Accuracy in percent by template on the own culture, pooled over cultures, splits and starts; the gain is paired by question, with its "
        "95 % interval over template groups. Chance-centred: the own culture's accuracy above chance, in percent of the way from chance to always "
        "right. Share of what was left: the gain in percent of what the untouched model got wrong. Answer seen: the right answer was right for the "
        "same culture in a training template. Association: what the word-country association earns on the question (tie: several options share its "
        "highest score, the right one among them). {agreement}",
        agreement=_agreement(method.own),
    )
    behind = (say("gain"), LINE[0], say("share of what was left"), *LINE[1:])
    header = (say("stratum"), say("untouched"), say("own culture"), say("chance-centred"), *behind)
    title = say("Strata: {label}, own culture", label=named(label))
    return Table(f"strata-{slug(label)}", title, text, header, tuple(rows), tuple(rules[1:])), lines


def _blocks(rows: pl.DataFrame) -> Iterator[list[_Stratum]]:
    """Strata, by what they divide the questions; those without a question are left out, and so is a division that the source does not know."""
    topics = [topic for topic in rows["topic"].unique().sort().to_list() if topic]
    seen, credit, share = pl.col("answer_seen"), pl.col("association"), pl.col("agreement")
    half = "half of the annotators or fewer gave the answer"
    by_topic = [_Stratum(f"topic {topic}", say("topic {topic}", topic=topic), pl.col("topic") == topic) for topic in topics]
    blocks = [
        [_Stratum("all questions", say("all questions"), pl.lit(value=True))],
        [_Stratum("answer seen", say("answer seen"), seen), _Stratum("answer new", say("answer new"), ~seen)],
        [
            _Stratum("association right", say("association right"), credit > 1 - TIE),
            _Stratum("association tie", say("association tie"), (credit > TIE) & (credit < 1 - TIE)),
            _Stratum("association wrong", say("association wrong"), credit < TIE),
        ],
        [
            _Stratum(half, say("half of the annotators or fewer gave the answer"), share < 0.5 + TIE),
            _Stratum("more than half, not all", say("more than half, not all"), (share > 0.5 + TIE) & (share < 1 - TIE)),
            _Stratum("all annotators gave it", say("all annotators gave it"), share > 1 - TIE),
        ],
        by_topic if len(topics) > 1 else [],
    ]
    for block in blocks:
        there = [stratum for stratum in block if rows.filter(stratum.where).height]
        if there:
            yield there


def _agreement(rows: pl.DataFrame) -> str:
    """What is known of the annotators' agreement."""
    questions = rows.unique(["culture", "mcq_id"])
    unknown = questions["agreement"].null_count()
    if unknown == questions.height:
        return say("The source does not tell how far its annotators agreed.")
    if not unknown:
        return ""
    return say("For {questions} the annotators' agreement is unknown; they are in none of its lines.", questions=many(unknown, "question"))
