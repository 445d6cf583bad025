"""Three questions about each method, each answered by one sentence with an interval; only the second is about culture.

1. Is an adapter better on its own culture than the untouched model?
2. Is it better there than adapters of other cultures are?
3. Is it better than the untouched model where the right answer was never right in training ("answer new")?

Beside them stands the best of the programs without a language model.

Numbers are pooled over cultures, splits and starts, each (run, culture) alike, by template, paired by question, with the interval of
`stats.clustered`. A difference whose interval contains zero is never worded as a gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from affinage.data.baselines import BASELINE_NAMES
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import retell, say
from affinage.report.pooled import Line, line, pooled
from affinage.report.programs import program_does, program_name
from affinage.report.says import lacking
from affinage.report.table import LINE, Table, line_text
from affinage.report.words import base, bounds, few, left_out, many, named, nothing_trained, points, shown
from affinage.stats import Estimate, paired
from affinage.store import PROMPTED, UNTOUCHED, UNTRAINED

__all__ = ["Claim", "Verdict", "demo_table", "verdicts", "without_own"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One question with its answer."""

    key: str
    """`better`, `own`, `new` or `program`."""
    sentence: str
    estimate: Estimate
    """Of the difference, a fraction."""

    @property
    def holds(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.estimate.above


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said about one method."""

    label: str
    cultures: tuple[str, ...]
    """On which it was trained."""
    rows: tuple[Line, ...]
    """Untouched, untrained, own culture, other cultures, programs without a language model."""
    heads: tuple[str, ...]
    """What a table calls each of `rows`."""
    claims: tuple[Claim, Claim, Claim]
    best: str | None
    """The program without a language model that is right most often here."""
    program: Claim | None
    """The own culture's adapter against the best of the programs; None where the question table knows none."""
    conclusion: str
    paired: Mapping[str, pl.DataFrame]
    """The rows of `stats.paired` behind each claim, by its key: on the method's own cultures, by question."""


def verdicts(evidence: Evidence) -> tuple[Verdict, ...]:
    """The pooled numbers and the sentences of each method that was trained, in the plan's order."""
    return tuple(_verdict(evidence, label) for label in evidence.labels if evidence.trained(label))


def demo_table(found: Iterable[Verdict]) -> Table:
    """The pooled table; what is the same for every method stands once.

    Args:
        found: at least one method's verdict.
    """
    lines: dict[str, Line] = {row.name: row for verdict in found for row in verdict.rows}
    heads = {row.name: head for verdict in found for row, head in zip(verdict.rows, verdict.heads, strict=True)}
    first = [name for name in lines if name == _UNTOUCHED or name == _nothing_trained(lines[name].label)]
    last = [name for name, row in lines.items() if not row.label and name != _UNTOUCHED]
    order = [*first, *(name for name in lines if name not in {*first, *last}), *last]
    rows = tuple((heads[name], *line_text(lines[name])) for name in order)
    text = say(
        "Accuracy in percent by template (headline), pooled over cultures, splits and starts; 95 % interval over template groups (delete-one-group "
        "jackknife): these adapters, new templates. `other cultures` is each adapter on the cultures that it was not trained on."
    )
    if last:
        text += say(" The last lines are programs without a language model.")
    if any(row.missing for row in lines.values()):
        text += say(" Runs are missing: lines that lack some are means over other cultures or splits than the rest.")
    notes = tuple(say("{name}: {does}", name=program_name(label), does=program_does(label)) for label in BASELINE_NAMES.values() if label in last)
    rules = (len(first), len(rows) - len(last))
    return Table("pooled", say("Pooled over cultures and splits"), text, ("", say("accuracy"), *LINE), rows, rules, notes)


_UNTOUCHED = "untouched"


def _nothing_trained(label: str) -> str:
    """A baseline's name among the numbers, whatever the report's language."""
    return f"{label}, nothing trained"


def _verdict(evidence: Evidence, label: str) -> Verdict:
    """Numbers and sentences of one method."""
    trained = evidence.trained(label)
    here = pl.col("culture").is_in(trained)
    untouched = evidence.of(evidence.untouched).filter(here)
    own, others = evidence.own(label), evidence.others(label)
    planned = sum(evidence.expected((label, culture)) for culture in trained)
    programs = [line("", name, evidence.of((name, UNTOUCHED)).filter(here), len(evidence.splits)) for name in evidence.programs]
    prompted = [line(each, _nothing_trained(each), evidence.of((each, PROMPTED)).filter(here), len(evidence.splits)) for each in evidence.prompted]
    held = evidence.held_out(label)
    rows = (
        (say("untouched"), line("", _UNTOUCHED, untouched, evidence.expected(evidence.untouched))),
        *((nothing_trained(each.label), each) for each in prompted),
        (
            say("{label}, untrained", label=retell("names", label)),
            line(label, f"{label}, untrained", evidence.of((label, UNTRAINED)).filter(here), evidence.expected((label, UNTRAINED))),
        ),
        (_own_head(label, held, every=held == trained), line(label, f"{label}, own culture", own, planned)),
        (
            say("{label}, other cultures", label=retell("names", label)),
            line(label, f"{label}, other cultures", others, planned if len(trained) > 1 else 0),
        ),
        *((program_name(each.name), each) for each in programs),
    )
    gain = evidence.gain(label)
    differences = {"better": gain, "own": evidence.lead(label), "new": gain.filter(~pl.col("answer_seen"))}
    missing = planned - own["run"].n_unique()
    name = named(label)
    claims = (
        _claim("better", name, pooled(differences["better"]), missing),
        _claim("own", name, pooled(differences["own"]), missing),
        _claim("new", name, pooled(differences["new"]), missing),
    )
    best = max((row for row in programs if not math.isnan(row.estimate.value)), key=lambda row: row.estimate.value, default=None)
    program = None
    if best is not None:
        differences["program"] = paired(own, evidence.of((best.name, UNTOUCHED)))
        against = say("{program} (of the programs without a language model the one that is right most often here)", program=program_name(best.name))
        program = _claim("program", name, pooled(differences["program"]), missing, against)
    conclusion = _conclusion(label, *(claim.estimate for claim in claims))
    if best is not None and program is not None and not program.estimate.above and all(claim.estimate.above for claim in claims):
        # What a program reaches without any language model may be the test's doing and not a culture that was learned.
        conclusion += say(" It is not shown to be better than {program}, which has no language model.", program=program_name(best.name))
    if missing:
        conclusion = say("{missing} of {runs} are missing: no conclusion yet.", missing=missing, runs=many(planned, "run"))
    conclusion += without_own(map(shown, held))
    there = [(head, row) for head, row in rows if row.expected]
    return Verdict(
        label=label,
        cultures=trained,
        rows=tuple(row for _, row in there),
        heads=tuple(head for head, _ in there),
        claims=claims,
        best=None if best is None else best.name,
        program=program,
        conclusion=conclusion,
        paired=differences,
    )


def _own_head(label: str, held: tuple[str, ...], *, every: bool) -> str:
    """The head of a method's line on its own cultures, with those of them that it was not trained on."""
    head = say("{label}, own culture", label=retell("names", label))
    if not held:
        return head
    return left_out(head) if every else say("{label} (trained without it, zero-shot: {cultures})", label=head, cultures=", ".join(map(shown, held)))


def without_own(names: Iterable[str]) -> str:
    """What is said behind a number of adapters that were trained without the culture that they are for; empty where there are none.

    Args:
        names: of their cultures, or of their methods.
    """
    listed = ", ".join(names)
    return say(" Trained without the culture that it is for (zero-shot): {names}.", names=listed) if listed else ""


def _claim(key: str, name: str, estimate: Estimate, missing: int, against: str = "") -> Claim:
    """A question's answer in words; what the interval does not show is not said."""
    there = say("where the right answer was never right in training") if key == "new" else say("on its own culture")
    other = against or (say("adapters of other cultures") if key == "own" else say("the untouched model"))
    incomplete = lacking(missing) if missing else ""
    about = {"name": name, "place": there, "other": other}
    if math.isnan(estimate.value):
        return Claim(key, say("{name}, {place}, against {other}: there is nothing to compare.", **about) + incomplete, estimate)
    number, rests = points(estimate.value), base(estimate)
    if estimate.low is None:
        sentence = say("{name}, {place}, against {other}: {number} points ({base}; {few}).", **about, number=number, base=rests, few=few(estimate))
        return Claim(key, sentence + incomplete, estimate)
    detail = say("{number} points (95 % interval {bounds}; {base})", number=number, bounds=bounds(estimate, points), base=rests)
    if estimate.above:
        sentence = say("{name} is better than {other} {place}: {detail}.", **about, detail=detail)
    elif estimate.below:
        sentence = say("{name} is worse than {other} {place}: {detail}.", **about, detail=detail)
    else:
        sentence = say("{name} is not shown to differ from {other} {place}: {detail}, the interval contains zero.", **about, detail=detail)
    return Claim(key, sentence + incomplete, estimate)


def _conclusion(label: str, better: Estimate, own: Estimate, new: Estimate) -> str:
    """The one place where learning a culture may be said, and only with the second and the third difference above zero."""
    name = named(label)
    if label == LETTER_BIAS:
        return say(
            "It trains nothing and fits a few numbers to the untouched model's scores: whatever it changes is a matter of format, not of culture."
        )
    if better.above and own.above and new.above:
        return say(
            "As far as these templates can tell, {name} learned the culture: its own more than others, and beyond the answers that it had seen.",
            name=name,
        )
    if better.above and own.above:
        return say(
            "{name} gained on its own culture in particular, but this is not shown where the right answer is new: it may be remembered answers.",
            name=name,
        )
    if better.above:
        return say(
            "{name} gained over the untouched model; a lead over adapters of other cultures, which alone would be about culture, is not shown.",
            name=name,
        )
    if own.above:
        return say(
            "{name} is better on its own culture than adapters of other cultures are, but not shown to be better than the untouched model.", name=name
        )
    return _nothing_shown(name, better)


def _nothing_shown(name: str, better: Estimate) -> str:
    """That no question is answered by a yes, and why."""
    if better.low is None:
        return say(
            "Nothing is shown for {name}: its difference from the untouched model has no interval, and without one there is no verdict.", name=name
        )
    return say("Nothing is shown for {name}: the interval of its difference from the untouched model does not lie above zero.", name=name)
