"""What a gain on the own culture is a gain over: the untouched model and every baseline and control that the study has, each paired."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.pooled import Line, line, pooled
from affinage.report.programs import program_name
from affinage.report.ranks import leading
from affinage.report.says import FORMAT_CONTROL, OTHER_CULTURES
from affinage.report.table import LINE, Table, line_text
from affinage.report.words import bounds, named, number, parted, points, slug
from affinage.stats import Draws, paired
from affinage.store import UNTOUCHED, UNTRAINED

__all__ = ["gains"]


def gains(evidence: Evidence, label: str, drawn: Draws) -> tuple[Table, list[Line]]:
    """A method's adapters on their own culture minus each baseline, and the study's format control beside the untouched model.

    Args:
        evidence: the study.
        label: a method that was trained.
        drawn: of `rank_draws`.
    """
    found = list(_over(evidence, label))
    best, program = _best_program(evidence, label, drawn)
    if best:
        rows = evidence.of((best, UNTOUCHED))
        found.insert(1, (say("own culture − {program}", program=program_name(best)), _line(evidence, label, f"own culture − {best}", rows)))
    rules = [len(found)]
    control = list(_format_control(evidence, label))
    found += control
    text = say(
        "Adapters on the culture that they were trained on minus what stands in their place, in points by template, pooled over cultures, splits and "
        "starts, paired by question, with 95 % intervals over template groups; untrained and other adapters are paired by start, too."
    )
    if control:
        text += say(
            " The study's format control stands by itself with its own change: its labels cannot be predicted, so it is no reference for any gain."
        )
    notes = (*program, *(_said(head, each) for head, each in found if each.quantity == "difference" and not math.isnan(each.estimate.value)))
    header = ("", say("accuracy or difference"), *LINE)
    rows_ = tuple((head, *line_text(each)) for head, each in found)
    title = say("What the gain is over: {label}", label=named(label))
    return Table(f"gains-{slug(label)}", title, text, header, rows_, tuple(rules if control else ()), notes), [each for _, each in found]


def _over(evidence: Evidence, label: str) -> Iterator[tuple[str, Line]]:
    """Own culture minus the untouched model, untrained adapters, letters, adapters of other cultures and the control of that name."""
    yield say("own culture − untouched"), _difference(evidence, label, "own culture − untouched", evidence.gain(label))
    if evidence.expected((label, UNTRAINED)):
        rows = evidence.of((label, UNTRAINED))
        yield say("own culture − untrained"), _line(evidence, label, "own culture − untrained", rows, by_start=True)
    if LETTER_BIAS in evidence.labels:
        rows = evidence.own(LETTER_BIAS)
        yield say("own culture − letter bias"), _line(evidence, label, "own culture − letter bias", rows)
    if len(evidence.trained(label)) > 1:
        name = "own culture − adapters of other cultures"
        yield say("own culture − adapters of other cultures"), _difference(evidence, label, name, evidence.lead(label))
    if _sets(evidence, label, OTHER_CULTURES):
        rows = _control(evidence, label, OTHER_CULTURES)
        name = "own culture − one adapter of all other cultures"
        yield say("own culture − one adapter of all other cultures"), _line(evidence, label, name, rows, by_start=True)


def _line(evidence: Evidence, label: str, name: str, against: pl.DataFrame, *, by_start: bool = False) -> Line:
    """Own culture minus something."""
    return _difference(evidence, label, name, paired(evidence.own(label), against, beside=("start",) if by_start else ()))


def _difference(evidence: Evidence, label: str, name: str, rows: pl.DataFrame) -> Line:
    """The pooled number of paired rows of a method's own culture."""
    planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
    return line(label, name, rows, planned, quantity="difference")


def _best_program(evidence: Evidence, label: str, drawn: Draws) -> tuple[str | None, tuple[str, ...]]:
    """The program without a language model that is right most often on the method's cultures, and how sure that place is."""
    programs, here = evidence.programs, set(evidence.trained(label))
    rows = {name: evidence.part(lambda *names, name=name: names[:2] == (name, UNTOUCHED) and names[2] in here) for name in programs}
    order = leading(drawn, pl.concat(rows.values()).with_columns(pl.col("label").alias("candidate")), programs) if programs else ()
    if not order:
        # One program alone, or too few template groups to rank them.
        reached = {name: pooled(each).value for name, each in rows.items()}
        return max((name for name, value in reached.items() if not math.isnan(value)), key=reached.__getitem__, default=None), ()
    sentence = say(
        "Of the programs without a language model {program} is right most often here: first in {probability} % of the draws of template groups.",
        program=program_name(order[0].name),
        probability=number(100 * order[0].probability, ".0f"),
    )
    return order[0].name, (sentence,)


def _sets(evidence: Evidence, label: str, control: str) -> tuple[str, ...]:
    """Training sets of one control that are planned for a method."""
    return tuple(name for name in evidence.training_sets(label) if parted(name)[0] == control)


def _control(evidence: Evidence, label: str, control: str) -> pl.DataFrame:
    """A control's rows on the method's cultures, the control of a culture where it has one per culture."""
    trained = evidence.trained(label)
    parts = [
        evidence.of((label, name)).filter(pl.col("culture").is_in([culture] if culture else trained))
        for name in _sets(evidence, label, control)
        for culture in [parted(name)[1]]
    ]
    return pl.concat(parts)


def _format_control(evidence: Evidence, label: str) -> Iterator[tuple[str, Line]]:
    """The study's format control beside the untouched model, and its change."""
    sets = _sets(evidence, label, FORMAT_CONTROL)
    if not sets:
        return
    here = pl.col("culture").is_in(evidence.trained(label))
    put = (evidence.untouched[0], FORMAT_CONTROL)
    base = put if evidence.expected(put) else evidence.untouched
    rows, untouched = _control(evidence, label, FORMAT_CONTROL), evidence.of(base).filter(here)
    planned = sum(evidence.expected((label, name)) for name in sets)
    yield say("untouched"), line(label, "untouched", untouched, evidence.expected(base))
    yield say("format control"), line(label, "format control", rows, planned)
    change = line(label, "format control − untouched", paired(rows, untouched), planned, quantity="difference")
    yield say("format control − untouched"), change


def _said(head: str, found: Line) -> str:
    """A difference in words; what the interval does not show is not said."""
    estimate = found.estimate
    about = {"head": head, "number": points(estimate.value), "bounds": bounds(estimate, points)}
    if estimate.low is None:
        return say("{head}: {number} points, without interval and verdict.", **about)
    if estimate.above:
        return say("{head}: {number} points ({bounds}), above zero.", **about)
    if estimate.below:
        return say("{head}: {number} points ({bounds}), below zero.", **about)
    return say("{head}: {number} points ({bounds}), not shown to differ from zero.", **about)
