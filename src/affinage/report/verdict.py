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
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from affinage.data.baselines import BASELINE_NAMES, BASELINE_TEXTS
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.pooled import Line, line, pooled
from affinage.report.table import LINE, Table, line_text
from affinage.report.words import base, bounds, few, many, named, nothing_trained, points, shown, zero_shot
from affinage.stats import Estimate, paired
from affinage.store import PROMPTED, UNTOUCHED, UNTRAINED

__all__ = ["Claim", "Verdict", "demo_table", "verdicts"]


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
    rows: tuple[Line, ...]
    """Untouched, untrained, own culture, other cultures, programs without a language model."""
    claims: tuple[Claim, Claim, Claim]
    program: Claim | None
    """The own culture's adapter against the best of the programs; None where the question table knows none."""
    conclusion: str


def verdicts(evidence: Evidence) -> tuple[Verdict, ...]:
    """The pooled numbers and the sentences of each method that was trained, in the plan's order."""
    return tuple(_verdict(evidence, label) for label in evidence.labels if evidence.trained(label))


def demo_table(found: Iterable[Verdict]) -> Table:
    """The pooled table; what is the same for every method stands once.

    Args:
        found: at least one method's verdict.
    """
    lines: dict[str, Line] = {row.name: row for verdict in found for row in verdict.rows}
    first = [name for name in lines if name == _UNTOUCHED or name == nothing_trained(lines[name].label)]
    last = [name for name, row in lines.items() if not row.label and name != _UNTOUCHED]
    order = [*first, *(name for name in lines if name not in {*first, *last}), *last]
    rows = tuple((name, *line_text(lines[name])) for name in order)
    text = (
        "Accuracy in percent by template (headline), pooled over cultures, splits and starts; 95 % interval over template groups (delete-one-group "
        "jackknife): these adapters, new templates. `other cultures` is each adapter on the cultures that it was not trained on."
    )
    if last:
        text += " The last lines are programs without a language model."
    if any(row.missing for row in lines.values()):
        text += " Runs are missing: lines that lack some are means over other cultures or splits than the rest."
    notes = tuple(f"{label}: {BASELINE_TEXTS[name]}" for name, label in BASELINE_NAMES.items() if label in last)
    rules = (len(first), len(rows) - len(last))
    return Table("pooled", "Pooled over cultures and splits", text, ("", "accuracy", *LINE), rows, rules, notes)


_UNTOUCHED = "untouched"


def _verdict(evidence: Evidence, label: str) -> Verdict:
    """Numbers and sentences of one method."""
    trained = evidence.trained(label)
    here = pl.col("culture").is_in(trained)
    untouched = evidence.of(evidence.untouched).filter(here)
    adapters = evidence.rows.filter((pl.col("label") == label) & pl.col("trained_culture").is_in(trained) & here)
    own, others = (adapters.filter(condition) for condition in (_OWN, ~_OWN))
    planned = sum(evidence.expected((label, culture)) for culture in trained)
    programs = [line("", name, evidence.of((name, UNTOUCHED)).filter(here), len(evidence.splits)) for name in evidence.programs]
    prompted = [line(each, nothing_trained(each), evidence.of((each, PROMPTED)).filter(here), len(evidence.splits)) for each in evidence.prompted]
    rows = (
        line("", _UNTOUCHED, untouched, evidence.expected(evidence.untouched)),
        *prompted,
        line(label, f"{label}, untrained", evidence.of((label, UNTRAINED)).filter(here), evidence.expected((label, UNTRAINED))),
        line(label, _own_name(evidence, label), own, planned),
        line(label, f"{label}, other cultures", others, planned if len(trained) > 1 else 0),
        *programs,
    )
    gain = paired(own, untouched)
    missing = planned - own["run"].n_unique()
    name = named(label)
    claims = (
        _claim("better", name, pooled(gain), missing),
        _claim("own", name, pooled(paired(own, others, beside=("start",))), missing),
        _claim("new", name, pooled(gain.filter(~pl.col("answer_seen"))), missing),
    )
    best = max((row for row in programs if not math.isnan(row.estimate.value)), key=lambda row: row.estimate.value, default=None)
    program = None
    if best is not None:
        over = pooled(paired(own, evidence.of((best.name, UNTOUCHED))))
        against = f"{best.name} (of the programs without a language model the one that is right most often here)"
        program = _claim("program", name, over, missing, against)
    conclusion = _conclusion(label, *(claim.estimate for claim in claims))
    if missing:
        conclusion = f"{missing} of {many(planned, 'run')} are missing: no conclusion yet."
    return Verdict(label, tuple(row for row in rows if row.expected), claims, program, conclusion)


def _own_name(evidence: Evidence, label: str) -> str:
    """The name of a method's line on its own cultures, and which of them it was not trained on."""
    name, out = f"{label}, own culture", evidence.held_out(label)
    if not out:
        return name
    return zero_shot(name) if out == evidence.trained(label) else f"{name} (zero-shot: {', '.join(map(shown, out))})"


_OWN = pl.col("trained_culture") == pl.col("culture")

_CLAIM = {
    "better": ("on its own culture", "the untouched model"),
    "own": ("on its own culture", "adapters of other cultures"),
    "new": ("where the right answer was never right in training", "the untouched model"),
    "program": ("on its own culture", ""),
}


def _claim(key: str, name: str, estimate: Estimate, missing: int, against: str = "") -> Claim:
    """A question's answer in words; what the interval does not show is not said."""
    place, other = _CLAIM[key]
    other = against or other
    incomplete = f" {many(missing, 'run')} {'is' if missing == 1 else 'are'} missing: this will change." if missing else ""
    if math.isnan(estimate.value):
        return Claim(key, f"{name}, {place}, against {other}: there is nothing to compare.{incomplete}", estimate)
    number = f"{points(estimate.value)} points"
    if estimate.low is None:
        return Claim(key, f"{name}, {place}, against {other}: {number} ({base(estimate)}; {few(estimate)}).{incomplete}", estimate)
    detail = f"{number} (95 % interval {bounds(estimate, points)}; {base(estimate)})"
    if estimate.above:
        sentence = f"{name} is better than {other} {place}: {detail}."
    elif estimate.below:
        sentence = f"{name} is worse than {other} {place}: {detail}."
    else:
        sentence = f"{name} is not shown to differ from {other} {place}: {detail}, the interval contains zero."
    return Claim(key, sentence + incomplete, estimate)


def _conclusion(label: str, better: Estimate, own: Estimate, new: Estimate) -> str:
    """The one place where learning a culture may be said, and only with the second and the third difference above zero."""
    name = named(label)
    if label == LETTER_BIAS:
        return "It trains nothing and fits a few numbers to the untouched model's scores: what it gains is a matter of format, not of culture."
    if better.above and own.above and new.above:
        return f"As far as these templates can tell, {name} learned the culture: its own more than others, and beyond the answers that it had seen."
    if better.above and own.above:
        return f"{name} gained on its own culture in particular, but this is not shown where the right answer is new: it may be remembered answers."
    if better.above:
        return f"{name} gained over the untouched model; a lead over adapters of other cultures, which alone would be about culture, is not shown."
    if own.above:
        return f"{name} is better on its own culture than adapters of other cultures are, but not shown to be better than the untouched model."
    return f"Nothing is shown for {name}: the interval of its difference from the untouched model does not lie above zero."
