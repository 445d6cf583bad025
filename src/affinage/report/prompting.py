"""Baselines without training: what each reaches beside the untouched model and the adapters, and how much of it is the choice of a wording."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import polars as pl

from affinage.prompting import Found, Tried, chosen
from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import retell, say
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import base, bounds, named, nothing_trained, number, percent, points
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
    heads = [say("untouched")]
    rules = [1]
    notes: list[str] = []
    for label in evidence.prompted:
        put, planned = _earned(evidence, label), evidence.expected((label, PROMPTED))
        lines.append(line(label, f"{label}, nothing trained", put, planned))
        lines.append(line(label, f"{label} − untouched", paired(put, untouched), planned, quantity="difference"))
        heads += [nothing_trained(label), say("{label} − untouched", label=retell("names", label))]
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
        heads += [say("{method}, own culture − {label}", method=method, label=retell("names", label)) for label in over]
        notes += _note(evidence, method, over)
    text = say(
        "The untouched model with its questions put better: nothing is trained, a wording is chosen. Accuracy in percent, differences in points, by "
        "template, pooled over cultures, splits and starts; paired by question, with 95 % intervals over template groups."
    )
    rows = tuple((head, *line_text(each)) for head, each in zip(heads, lines, strict=True))
    header = ("", say("accuracy or difference"), *LINE)
    return Table("without-training", say("Without training"), text, header, rows, tuple(rules), tuple(notes)), tuple(lines)


def _note(evidence: Evidence, method: str, over: dict[str, Line]) -> Iterator[str]:
    """A method against the strongest baseline, the one that it leads by least; nothing where there is nothing to compare."""
    known = {label: each for label, each in over.items() if each.estimate.questions}
    if not known:
        return
    label = min(known, key=lambda label: known[label].estimate.value)
    estimate = known[label].estimate
    about = {
        "against": say(
            "{method} on its own culture against {label}, of the baselines without training the strongest here",
            method=named(method),
            label=retell("names", label),
        ),
        "points": points(estimate.value),
        "base": base(estimate),
    }
    if estimate.low is None:
        yield say("{against}: {points} points ({base}; too few template groups for an interval).", **about)
        return
    about["bounds"] = bounds(estimate, points)
    if estimate.above:
        yield say("{against}: {points} points (95 % interval {bounds}; {base}): better.", **about)
    elif estimate.below:
        yield say("{against}: {points} points (95 % interval {bounds}; {base}): worse.", **about)
    else:
        yield say("{against}: {points} points (95 % interval {bounds}; {base}): not shown to differ: the interval contains zero.", **about)


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
        head = say("{label}, {split}: chosen", label=retell("names", label), split=split)
        rows.append(
            (
                head,
                say("wording {number}", number=_number(search, best)),
                retell("settings", best.phrasing),
                str(best.count or ""),
                percent(best.accuracy),
                "",
                "",
                "",
                "",
            )
        )
        rows.append((say("  all candidates"), "", "", "", *_spread(search.tried)))
        wordings = enumerate(search.by_wording(), start=1)
        rows += [(say("  wording {number}", number=place), "", "", "", *_spread(tried)) for place, (_, tried) in wordings]
        notes.append(_compared(label, split, search))
    for label in evidence.prompted:
        texts = next((list(search.by_wording()) for own, _, search in found if own == label), [])
        notes += [
            say("{label}, wording {number}: “{wording}”", label=retell("names", label), number=place, wording=wording)
            for place, (wording, _) in enumerate(texts, start=1)
        ]
    text = say(
        "Accuracy in percent by template of each way of putting the questions, mean over cultures, where it was chosen; no question of it is tested. "
        "Deviation, lowest and highest are over candidates: what a choice among them can make of the same model. The chosen one's accuracy there is "
        "the highest of many and promises too much; what it is worth stands in the other tables."
    )
    header = (
        "",
        say("wording"),
        say("culture named by"),
        say("examples or facts"),
        say("accuracy (mean)"),
        say("deviation"),
        say("lowest"),
        say("highest"),
        say("candidates"),
    )
    title = say("The search behind the baselines without training")
    yield Table("without-training-search", title, text, header, tuple(rows), tuple(rules[1:]), tuple(notes))


def _compared(label: str, split: str, search: Found) -> str:
    """What a search compared, where, and in how many seconds."""
    side = say("development side") if search.side == "development" else say("validation side, cut from the training templates")
    unscored = max(tried.unscored for tried in search.tried)
    return say(
        "{label}, {split}: {budget} candidates compared on {questions} questions of the {side}, in {seconds} s{unscored}.",
        label=retell("names", label),
        split=split,
        budget=search.budget,
        questions=number(search.questions),
        side=side,
        seconds=number(sum(tried.seconds for tried in search.tried), ",.0f"),
        unscored=say("; up to {count} could not be put", count=unscored) if unscored else "",
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
