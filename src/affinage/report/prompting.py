"""Baselines without training: what each reaches beside the untouched model and the adapters, and how much of it is the choice of a wording."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import polars as pl

from affinage.prompting import Found, Tried, chosen
from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import base, bounds, named, nothing_trained, percent, points
from affinage.stats import paired
from affinage.store import PROMPTED

__all__ = ["searches", "section"]


def section(cells: Cells) -> Section | None:
    """The tables of the baselines without training; None where the study has none."""
    evidence = cells.evidence
    if not evidence.prompted:
        return None
    table, lines = _beside(evidence)
    return Section("without-training", lines, (table, *_searched(evidence)))


def _earned(evidence: Evidence, label: str) -> pl.DataFrame:
    """What a baseline earned on the studied cultures."""
    return evidence.of((label, PROMPTED)).filter(pl.col("culture").is_in(evidence.cultures))


def _beside(evidence: Evidence) -> tuple[Table, tuple[Line, ...]]:
    """Accuracy of each baseline, minus the untouched model, and each method's own culture minus each baseline."""
    studied = pl.col("culture").is_in(evidence.cultures)
    untouched = evidence.of(evidence.untouched).filter(studied)
    lines = [line("", "untouched", untouched, evidence.expected(evidence.untouched))]
    rules = [1]
    notes: list[str] = []
    for label in evidence.prompted:
        put, planned = _earned(evidence, label), evidence.expected((label, PROMPTED))
        lines.append(line(label, nothing_trained(label), put, planned))
        lines.append(line(label, f"{label} − untouched", paired(put, untouched), planned, quantity="difference"))
    for method in evidence.labels:
        trained = evidence.trained(method)
        if not trained:
            continue
        rules.append(len(lines))
        planned = sum(evidence.expected((method, culture)) for culture in trained)
        over = {
            label: line(
                method,
                f"{method}, own culture − {label}",
                paired(evidence.own(method), _earned(evidence, label)),
                planned,
                quantity="difference",
            )
            for label in evidence.prompted
        }
        lines += over.values()
        notes += _note(evidence, method, over)
    text = (
        "The untouched model with its questions put better: nothing is trained, a wording is chosen. Accuracy in percent, differences in points, by "
        "template, pooled over cultures, splits and starts; paired by question, with 95 % intervals over template groups."
    )
    rows = tuple((each.name, *line_text(each)) for each in lines)
    header = ("", "accuracy or difference", *LINE)
    return Table("without-training", "Without training", text, header, rows, tuple(rules), tuple(notes)), tuple(lines)


def _note(evidence: Evidence, method: str, over: dict[str, Line]) -> Iterator[str]:
    """A method against the strongest baseline, the one that it leads by least; nothing where there is nothing to compare."""
    known = {label: each for label, each in over.items() if each.estimate.questions}
    if not known:
        return
    label = min(known, key=lambda label: known[label].estimate.value)
    estimate = known[label].estimate
    against = f"{named(method)} on its own culture against {label}, of the baselines without training the strongest here"
    number = f"{points(estimate.value)} points"
    if estimate.low is None:
        yield f"{against}: {number} ({base(estimate)}; too few template groups for an interval)."
        return
    shown = "better" if estimate.above else "worse" if estimate.below else "not shown to differ: the interval contains zero"
    yield f"{against}: {number} (95 % interval {bounds(estimate, points)}; {base(estimate)}): {shown}."


def _searched(evidence: Evidence) -> Iterator[Table]:
    """Per baseline and split the search: what was chosen, and the spread over wordings."""
    found = list(searches(evidence))
    if not found:
        return
    rows: list[tuple[str, ...]] = []
    rules, notes = [], []
    for label, split, search in found:
        rules.append(len(rows))
        best = search.tried[chosen(search.tried)]
        head = f"{label}, {split}: chosen"
        rows.append((head, f"wording {_number(search, best)}", best.phrasing, str(best.count or ""), percent(best.accuracy), "", "", "", ""))
        rows.append(("  all candidates", "", "", "", *_spread(search.tried)))
        rows += [(f"  wording {number}", "", "", "", *_spread(tried)) for number, (_, tried) in enumerate(search.by_wording(), start=1)]
        compared = "development side" if search.side == "development" else "validation side, cut from the training templates"
        note = f"{label}, {split}: {search.budget} candidates compared on {search.questions:,} questions of the {compared}"
        unscored = max(tried.unscored for tried in search.tried)
        notes.append(f"{note}, in {sum(tried.seconds for tried in search.tried):,.0f} s{f'; up to {unscored} could not be put' if unscored else ''}.")
    for label in evidence.prompted:
        texts = next((list(search.by_wording()) for own, _, search in found if own == label), [])
        notes += [f"{label}, wording {number}: “{wording}”" for number, (wording, _) in enumerate(texts, start=1)]
    text = (
        "Accuracy in percent by template of each way of putting the questions, mean over cultures, where it was chosen; no question of it is tested. "
        "Deviation, lowest and highest are over candidates: what a choice among them can make of the same model. The chosen one's accuracy there is "
        "the highest of many and promises too much; what it is worth stands in the other tables."
    )
    header = ("", "wording", "culture named by", "examples or facts", "accuracy (mean)", "deviation", "lowest", "highest", "candidates")
    yield Table(
        "without-training-search", "The search behind the baselines without training", text, header, tuple(rows), tuple(rules[1:]), tuple(notes)
    )


def searches(evidence: Evidence) -> Iterator[tuple[str, str, Found]]:
    """Label, split and search of each baseline's finished run, in the plan's order."""
    for run in evidence.runs:
        if run.run in evidence.searches:
            yield run.label, run.split, evidence.searches[run.run]


def _number(search: Found, tried: Tried) -> int:
    """The number of a candidate's wording, from 1."""
    return [wording for wording, _ in search.by_wording()].index(tried.wording) + 1


def _spread(tried: Sequence[Tried]) -> tuple[str, ...]:
    """Mean, deviation, lowest, highest and number of some candidates."""
    values = [each.accuracy for each in tried]
    deviation = percent(statistics.stdev(values)) if len(values) > 1 else ""
    return (percent(statistics.fmean(values)), deviation, percent(min(values)), percent(max(values)), str(len(values)))
