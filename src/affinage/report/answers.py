"""The reference study's three questions, each answered for the study as a whole by one sentence with an interval.

1. Do these methods improve cultural common sense?
2. Do prompt- and prefix-tuning differ, in line with their numbers of parameters? (In a study without these two: the methods with most and fewest.)
3. How does an adapter do on another culture? Whether links between the cultures explain it is a question to the sections on transfer and similarity.

Numbers are pooled over methods, cultures, splits and starts, each (run, culture) alike, by template, with intervals over template groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from affinage.report.costs import parameters
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.pooled import pooled
from affinage.report.says import lacking
from affinage.report.verdict import Verdict, without_own
from affinage.report.words import base, bounds, called, few, many, number, points, shown
from affinage.stats import Estimate, paired

__all__ = ["Answer", "answers"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A question of the study, answered."""

    key: str
    """`improve`, `differ` or `elsewhere`."""
    question: str
    sentence: str
    estimate: Estimate | None
    """Of the difference that answers it; None where the study has no runs for it."""


def answers(evidence: Evidence, found: Sequence[Verdict], links: str = "") -> tuple[Answer, ...]:
    """The three answers; none where nothing was trained.

    Args:
        evidence: the study.
        found: its methods' verdicts; the control that fits letters is no method and is left out.
        links: title of the section that compares transfer with links between the cultures; empty where there is none.
    """
    methods = [verdict for verdict in found if verdict.label != LETTER_BIAS]
    if not methods:
        return ()
    missing = sum(evidence.expected((verdict.label, culture)) for verdict in methods for culture in verdict.cultures)
    missing -= sum(verdict.paired["better"]["run"].n_unique() for verdict in methods)
    incomplete = lacking(missing) if missing else ""
    return tuple(
        Answer(each.key, each.question, each.sentence + incomplete, each.estimate)
        for each in (_improve(evidence, methods), _differ(evidence, methods), _elsewhere(evidence, methods, links))
    )


def _without(evidence: Evidence, labels: Iterable[str]) -> str:
    """Which of some methods were trained without the culture that their adapters are for; with the cultures where it is not all of them."""
    held = {label: evidence.held_out(label) for label in labels}
    whole = {label: cultures == evidence.trained(label) for label, cultures in held.items()}
    some = {label: say("{label} ({cultures})", label=called(label), cultures=", ".join(map(shown, cultures))) for label, cultures in held.items()}
    return without_own(called(label) if whole[label] else some[label] for label, cultures in held.items() if cultures)


def _improve(evidence: Evidence, methods: Sequence[Verdict]) -> Answer:
    """Own culture minus untouched model."""
    question = say("Do these methods improve cultural common sense?")
    estimate = pooled(pl.concat([verdict.paired["better"] for verdict in methods]))
    over = many(len(methods), "method")
    if math.isnan(estimate.value):
        return Answer("improve", question, say("There is nothing to compare yet."), estimate)
    about = {"methods": over, "detail": _detail(estimate)}
    if estimate.low is None:
        sentence = say("Not told: on its own culture an adapter stands at {detail} from the untouched model, over {methods}.", **about)
    elif estimate.above:
        sentence = say("Yes: on its own culture an adapter is better than the untouched model by {detail}, over {methods}.", **about)
    elif estimate.below:
        sentence = say("No: on its own culture an adapter is worse than the untouched model by {detail}, over {methods}.", **about)
    else:
        sentence = say("Not shown: on its own culture an adapter stands at {detail} from the untouched model, over {methods}.", **about)
    return Answer("improve", question, sentence + _without(evidence, (verdict.label for verdict in methods)), estimate)


def _differ(evidence: Evidence, methods: Sequence[Verdict]) -> Answer:
    """The method with more parameters minus that with fewer, on the own culture, paired by question and start."""
    counts = {verdict.label: parameters(evidence, verdict.label) for verdict in methods}
    pair = _pair(evidence, methods, counts)
    if pair is None:
        question = say("Do the methods differ, in line with their numbers of parameters?")
        return Answer("differ", question, say("The study has one method: there is nothing to compare it with."), None)
    more, fewer = pair
    question = say("Do {more} and {fewer} differ, in line with their numbers of parameters?", more=called(more), fewer=called(fewer))
    both = pl.col("culture").is_in([c for c in _of(methods, more).cultures if c in _of(methods, fewer).cultures])
    estimate = pooled(paired(evidence.own(more).filter(both), evidence.own(fewer).filter(both), beside=("start",)))
    if math.isnan(estimate.value):
        return Answer("differ", question, say("There is nothing to compare yet."), estimate)
    sizes = [say("{method} ({count} parameters)", method=called(label), count=_count(counts[label])) for label in pair]
    about = {"more": sizes[0], "fewer": sizes[1], "detail": _detail(estimate)}
    if estimate.low is None:
        sentence = say("Not told: on its own culture {more} stands at {detail} from {fewer}.", **about)
    elif estimate.above:
        sentence = say("Yes: on its own culture {more} is better than {fewer} by {detail}.", **about)
    elif estimate.below:
        sentence = say("They differ, but not that way: on its own culture {more} is worse than {fewer} by {detail}.", **about)
    else:
        sentence = say("Not shown: on its own culture {more} stands at {detail} from {fewer}.", **about)
    return Answer("differ", question, sentence + _without(evidence, pair), estimate)


def _pair(evidence: Evidence, methods: Sequence[Verdict], counts: dict[str, int | None]) -> tuple[str, str] | None:
    """The labels to compare, more parameters first: prefix- and prompt-tuning where both are there, else the most and the fewest parameters."""
    by_method = {evidence.method(verdict.label): verdict.label for verdict in reversed(methods)}
    if {"prefix-tuning", "prompt-tuning"} <= set(by_method):
        return by_method["prefix-tuning"], by_method["prompt-tuning"]
    order = sorted((verdict.label for verdict in methods), key=lambda label: counts[label] or 0, reverse=True)
    return (order[0], order[-1]) if len(order) > 1 else None


def _elsewhere(evidence: Evidence, methods: Sequence[Verdict], links: str) -> Answer:
    """Adapters on cultures that they were not trained on, minus the untouched model; and how much more they gain at home."""
    question = say("How does an adapter do on another culture, and do links between the cultures explain it?")
    frames = []
    for verdict in methods:
        frames.append(evidence.others(verdict.label))
    estimate = pooled(paired(pl.concat(frames), evidence.of(evidence.untouched)))
    home = pooled(pl.concat([verdict.paired["own"] for verdict in methods]))
    if math.isnan(estimate.value) or math.isnan(home.value):
        return Answer("elsewhere", question, say("The study tests no adapter on another culture."), None)
    about = {"detail": _detail(estimate)}
    if estimate.low is None:
        sentence = say("Not told: on other cultures an adapter stands at {detail} from the untouched model", **about)
    elif estimate.above:
        sentence = say("It gains there: {detail} over the untouched model", **about)
    elif estimate.below:
        sentence = say("It loses there: {detail} against the untouched model", **about)
    else:
        sentence = say("A gain there is not shown: {detail} from the untouched model", **about)
    own = {"detail": _detail(home)}
    if home.low is None:
        sentence += say("; at home an adapter stands at {detail} from those of other cultures.", **own)
    elif home.above:
        sentence += say("; at home an adapter is better than those of other cultures by {detail}.", **own)
    elif home.below:
        sentence += say("; at home an adapter is worse than those of other cultures by {detail}.", **own)
    else:
        sentence += say("; that an adapter is better at home than those of other cultures is not shown: {detail}.", **own)
    if links:
        sentence += say(" For links between the cultures see “{section}”.", section=links)
    else:
        sentence += say(" Links between the cultures were not looked at.")
    return Answer("elsewhere", question, sentence + _without(evidence, (verdict.label for verdict in methods)), estimate)


def _of(methods: Sequence[Verdict], label: str) -> Verdict:
    """The verdict of a label."""
    return next(verdict for verdict in methods if verdict.label == label)


def _count(count: int | None) -> str:
    """A number of parameters."""
    return say("unknown") if count is None else number(count)


def _detail(estimate: Estimate) -> str:
    """A difference with its interval and what it rests on."""
    value = points(estimate.value)
    if estimate.low is None:
        return say("{points} points ({base}; {few})", points=value, base=base(estimate), few=few(estimate))
    interval = bounds(estimate, points)
    if estimate.above or estimate.below:
        return say("{points} points (95 % interval {bounds}; {base})", points=value, bounds=interval, base=base(estimate))
    return say("{points} points (95 % interval {bounds}, contains zero; {base})", points=value, bounds=interval, base=base(estimate))
