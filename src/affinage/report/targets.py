"""What each interval is about: these adapters on new templates, or the whole procedure with a new split and a new start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.pooled import cellwise
from affinage.report.table import LINE, Section, Table
from affinage.report.words import bounds, named, number, points
from affinage.stats import FEW_EFFECTIVE, MINIMUM_SPLITS, Draws, Estimate, Procedure, Sides, clustered, draw, procedure, studentised

__all__ = ["drawn", "section", "sides_of"]

_DRAWN = ("search", "seeds")
"""Kinds of splits of which each is a draw of its own; folds are parts of one division, topics are chosen."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """One pooled difference of one method under every target."""

    label: str
    key: str
    """`untouched` or `others`: what is subtracted from the own culture's adapter."""
    by_template: Estimate
    by_row: Estimate
    of_procedure: Procedure

    @property
    def head(self) -> str:
        """How a row of a table begins."""
        if self.key == "untouched":
            return say("{method}, own − untouched", method=named(self.label))
        return say("{method}, own − other cultures", method=named(self.label))


def section(cells: Cells) -> Section | None:
    """Every method's pooled differences under both targets; None where nothing was trained."""
    evidence = cells.evidence
    found = tuple(_differences(evidence))
    if not found:
        return None
    tables = [_intervals(found)]
    if any(each.of_procedure.components for each in found):
        tables.append(_parts(found))
    return Section("targets", (), tuple(tables), frames=(("targets", pl.DataFrame(list(_long(found)), infer_schema_length=None)),))


def drawn(evidence: Evidence, draws: int | None = None) -> Draws:
    """Bootstrap samples of the study's template groups; fewer of them are the first of more.

    Args:
        evidence: the study.
        draws: how many; default: `stats.DRAWS`.
    """
    groups = evidence.rows["group"].drop_nulls().unique().to_list()
    key = ("template groups of a study", evidence.study.config.seed)
    return draw(groups, key) if draws is None else draw(groups, key, draws)


def sides_of(evidence: Evidence) -> Sides:
    """How the study's splits were made, and whether they share templates."""
    splits = evidence.study.plan.splits
    shared = any(one.test_templates & other.test_templates or one.train_templates & other.train_templates for one, other in combinations(splits, 2))
    test, train = (
        fmean(len(side) for side in sides) for sides in zip(*((each.test_templates, each.train_templates) for each in splits), strict=True)
    )
    return Sides(evidence.study.config.splits.kind in _DRAWN, test, train, shared)


def _differences(evidence: Evidence) -> Iterator[_Difference]:
    """Own culture minus the untouched model, and minus adapters of other cultures from the same start, as the verdict pairs them."""
    sides, draws = sides_of(evidence), drawn(evidence)
    for label in evidence.labels:
        trained = evidence.trained(label)
        if not trained or label == LETTER_BIAS:
            continue
        for key, difference in (("untouched", evidence.gain(label)), ("others", evidence.lead(label))):
            rows = cellwise(difference, beside=("split", "start"))
            if rows.height:
                yield _Difference(label, key, clustered(rows), studentised(rows, draws), procedure(rows, sides))


def _intervals(found: Sequence[_Difference]) -> Table:
    """The table of intervals."""
    rows: list[tuple[str, ...]] = []
    for each in found:
        whole = each.of_procedure
        rows += [
            (say("{difference}: (a) by template", difference=each.head), *_cells(each.by_template)),
            (say("{difference}: (a) by row", difference=each.head), *_cells(each.by_row)),
            (say("{difference}: (b)", difference=each.head), *_cells(whole.estimate, whole)),
            (say("{difference}: (b), corrected", difference=each.head), *_cells(whole.corrected, whole)),
        ]
    text = say(
        "Differences in points, paired by question, pooled over cultures, splits and starts. (a) asks what other templates would have changed for "
        "these very adapters: by template it is the interval of every other table that does not say otherwise, by row it is the reference study's "
        "average with a studentised bootstrap over template groups (each bound the farther of its own and the jackknife's). (b) asks what new "
        "templates, a new split and new starts would have changed together, by template. (b), corrected, takes the spread over splits alone and "
        "enlarges it for training sides that overlap, by the test side's size over the training side's (Nadeau and Bengio 2003)."
    )
    header = ("", say("points"), LINE[0], say("effective template groups"), say("splits"))
    return Table(
        "targets", say("Targets: what each interval is about"), text, header, tuple(rows), tuple(range(4, len(rows), 4)), tuple(_notes(found))
    )


def _cells(estimate: Estimate, whole: Procedure | None = None) -> tuple[str, ...]:
    """A number, its interval or why there is none, what it rests on."""
    text = bounds(estimate, points)
    if whole is not None and whole.refusal == "folds":
        text = say("not for folds or topics")
    elif whole is not None and whole.refusal == "splits":
        text = say("too few splits")
    # Cut, not rounded: 9.96 groups are fewer than ten.
    effective = number(math.floor(10 * estimate.effective) / 10, ",.1f")
    return (points(estimate.value), text, effective, "" if whole is None else number(whole.splits))


def _notes(found: Sequence[_Difference]) -> Iterator[str]:
    """What must be known of the intervals."""
    wholes = [each.of_procedure for each in found]
    refusals = {whole.refusal for whole in wholes}
    if "folds" in refusals:
        yield say("Folds are parts of one division, and topics are chosen: neither is a draw of the procedure, so there is no interval under (b).")
    if "splits" in refusals:
        yield say("(b) needs {needed} splits or more: with fewer, its number stands without interval.", needed=MINIMUM_SPLITS)
    if None in refusals and any(whole.lower for whole in wholes):
        yield say(
            "Splits share templates on their test or training sides, so their runs are more alike than runs on new data: the interval under (b) is "
            "a lower bound of the uncertainty."
        )
    rests = [each.by_row.effective for each in found if each.by_row.low is not None and each.by_row.effective < FEW_EFFECTIVE]
    if rests:
        yield say(
            "By row some intervals rest on fewer than {needed} effective template groups (the fewest: {fewest}), since a few templates hold most "
            "rows: read them with care.",
            needed=f"{FEW_EFFECTIVE:.0f}",
            fewest=number(math.floor(10 * min(rests)) / 10, ".1f"),
        )


def _parts(found: Sequence[_Difference]) -> Table:
    """The table of variance components."""
    rows = []
    for each in found:
        parts = each.of_procedure.components
        if parts is None:
            continue
        cells = [None if part is None else 100 * part for part in (parts.template, parts.split, parts.start, parts.rest)]
        rows.append((each.head, *("" if cell is None else number(cell, ".1f") for cell in cells)))
    text = say(
        "Standard deviations in points of the parts of a difference, averaged over cultures: from template to template, from split to split, from "
        "start to start within a split (with one start per split it is in the split's), and the rest (templates that do better in one run than in "
        "another, and the questions within a template). A part whose variance comes out below zero is 0.0."
    )
    header = ("", say("template"), say("split"), say("start"), say("rest"))
    return Table("targets-components", say("Targets: where a difference varies"), text, header, tuple(rows))


def _long(found: Sequence[_Difference]) -> Iterator[dict[str, object]]:
    """Every number as a line of the CSV."""
    for each in found:
        whole = each.of_procedure
        estimates = (
            ("these adapters", "template", "jackknife", each.by_template),
            ("these adapters", "row", "studentised bootstrap", each.by_row),
            ("procedure", "template", "templates crossed with splits", whole.estimate),
            ("procedure", "template", "corrected resampled variance", whole.corrected),
        )
        for target, average, interval, estimate in estimates:
            of_procedure, whole_spread = target == "procedure", interval == "templates crossed with splits"
            parts = whole.components if whole_spread else None
            yield {
                "label": each.label,
                "difference": f"own - {each.key}",
                "target": target,
                "average": average,
                "interval": interval,
                "value": estimate.value,
                "error": estimate.error,
                "low": estimate.low,
                "high": estimate.high,
                "level": estimate.level,
                "degrees": whole.degrees if whole_spread else None,
                "questions": estimate.questions,
                "templates": estimate.templates,
                "groups": estimate.groups,
                "effective_groups": estimate.effective,
                "splits": whole.splits if of_procedure else None,
                "refused": whole.refusal if of_procedure else None,
                "lower_bound": whole.lower if of_procedure and whole.refusal is None else None,
                "template_deviation": None if parts is None else parts.template,
                "split_deviation": None if parts is None else parts.split,
                "start_deviation": None if parts is None else parts.start,
                "rest_deviation": None if parts is None else parts.rest,
            }
