"""Three questions about each method, each answered by one sentence with an interval; only the second is about culture.

1. Is an adapter better on its own culture than the untouched model?
2. Is it better there than adapters of other cultures are?
3. Is it better than the untouched model where the right answer was never right in training ("answer new")?

Numbers are pooled over cultures, splits and starts, each (run, culture) alike, by template, paired by question, with the interval of
`stats.clustered`. A difference whose interval contains zero is never worded as a gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from affinage.report.evidence import ASSOCIATION, Evidence, named
from affinage.report.tables import Table, percent, points
from affinage.stats import MINIMUM_EFFECTIVE, Estimate, clustered, paired
from affinage.store import UNTOUCHED, UNTRAINED

__all__ = ["Claim", "DemoRow", "Verdict", "demo_table", "verdicts"]


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One line of the pooled table."""

    name: str
    estimate: Estimate
    runs: int
    expected: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One question with its answer."""

    key: str
    """`better`, `own` or `new`."""
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
    rows: tuple[DemoRow, ...]
    """Untouched, untrained, own culture, other cultures, word-country association."""
    claims: tuple[Claim, Claim, Claim]
    conclusion: str


def verdicts(evidence: Evidence) -> tuple[Verdict, ...]:
    """The pooled numbers and the sentences of each method that was trained, in the plan's order."""
    return tuple(_verdict(evidence, label) for label in evidence.labels if evidence.trained(label))


def demo_table(found: Iterable[Verdict]) -> Table:
    """The pooled table; what is the same for every method stands once.

    Args:
        found: at least one method's verdict.
    """
    lines: dict[str, DemoRow] = {row.name: row for verdict in found for row in verdict.rows}
    shared = [name for name in (_UNTOUCHED, ASSOCIATION) if name in lines]
    order = [*shared[:1], *(name for name in lines if name not in shared), *shared[1:]]
    rows = tuple(_demo_line(lines[name]) for name in order)
    text = (
        "Accuracy in percent by template (headline), pooled over cultures, splits and starts; 95 % interval over template groups (delete-one-group "
        "jackknife): these adapters, new templates. `other cultures` is each adapter on the cultures that it was not trained on."
    )
    if any(row.runs < row.expected for row in lines.values()):
        text += " Runs are missing: lines that lack some are means over other cultures or splits than the rest."
    header = ("", "accuracy", "95 % interval", "runs", "questions", "templates")
    return Table("pooled", "Pooled over cultures and splits", text, header, rows, (1, len(rows) - 1))


def _demo_line(row: DemoRow) -> tuple[str, ...]:
    """One line of the pooled table as text."""
    estimate = row.estimate
    runs = str(row.runs) if row.runs == row.expected else f"{row.runs} of {row.expected}"
    if math.isnan(estimate.value):
        return (row.name, "missing", "", runs, "", "")
    return (row.name, percent(estimate.value), _bounds(estimate, percent), runs, f"{estimate.questions:,}", f"{estimate.templates:,}")


_UNTOUCHED = "untouched"


def _verdict(evidence: Evidence, label: str) -> Verdict:
    """Numbers and sentences of one method."""
    trained = evidence.trained(label)
    rows = evidence.rows.filter(pl.col("culture").is_in(trained))
    untouched = rows.filter((pl.col("trained_culture") == UNTOUCHED) & (pl.col("label") != ASSOCIATION))
    adapters = rows.filter((pl.col("label") == label) & pl.col("trained_culture").is_in(trained))
    own, others = (adapters.filter(condition) for condition in (_OWN, ~_OWN))
    starts = evidence.expected((label, UNTRAINED))
    planned = sum(evidence.expected((label, culture)) for culture in trained)
    parts = (
        (_UNTOUCHED, untouched, evidence.expected(evidence.untouched)),
        (f"{label}, untrained", rows.filter((pl.col("label") == label) & (pl.col("trained_culture") == UNTRAINED)), starts),
        (f"{label}, own culture", own, planned),
        (f"{label}, other cultures", others, planned if len(trained) > 1 else 0),
        (ASSOCIATION, rows.filter(pl.col("label") == ASSOCIATION), len(evidence.splits)),
    )
    table = tuple(DemoRow(name, _pooled(part), part["run"].n_unique(), expected) for name, part, expected in parts if expected)
    gain = paired(own, untouched)
    missing = planned - own["run"].n_unique()
    claims = (
        _claim("better", named(label), _pooled(gain), missing),
        _claim("own", named(label), _pooled(paired(own, others, beside=("start",))), missing),
        _claim("new", named(label), _pooled(gain.filter(~pl.col("answer_seen"))), missing),
    )
    conclusion = _conclusion(named(label), *(claim.estimate for claim in claims))
    return Verdict(label, table, claims, f"{missing} of {planned} runs are missing: no conclusion yet." if missing else conclusion)


_OWN = pl.col("trained_culture") == pl.col("culture")


def _pooled(rows: pl.DataFrame) -> Estimate:
    """Mean over (run, tested culture) of the accuracy by template."""
    scored = rows.filter(pl.col("choice").is_not_null())
    cell = pl.struct("run", "culture").rank("dense").alias("cell")
    numbered = scored.with_columns(cell)
    return clustered(numbered.with_columns(pl.lit(1.0 / max(1, numbered["cell"].n_unique())).alias("weight")))


_CLAIM = {
    "better": ("on its own culture", "the untouched model"),
    "own": ("on its own culture", "adapters of other cultures"),
    "new": ("where the right answer was never right in training", "the untouched model"),
}


def _claim(key: str, name: str, estimate: Estimate, missing: int) -> Claim:
    """A question's answer in words; what the interval does not show is not said."""
    place, other = _CLAIM[key]
    incomplete = f" {missing} runs are missing: this will change." if missing else ""
    if math.isnan(estimate.value):
        return Claim(key, f"{name}, {place}, against {other}: there is nothing to compare.{incomplete}", estimate)
    number = f"{points(estimate.value)} points"
    base = f"{estimate.questions:,} questions of {estimate.templates:,} templates"
    if estimate.low is None:
        few = f"{estimate.effective:.1f} effective template groups, {MINIMUM_EFFECTIVE:.0f} are needed for an interval or a verdict"
        return Claim(key, f"{name}, {place}, against {other}: {number} ({base}; {few}).{incomplete}", estimate)
    detail = f"{number} (95 % interval {_bounds(estimate, points)}; {base})"
    if estimate.above:
        sentence = f"{name} is better than {other} {place}: {detail}."
    elif estimate.below:
        sentence = f"{name} is worse than {other} {place}: {detail}."
    else:
        sentence = f"{name} is not shown to differ from {other} {place}: {detail}, the interval contains zero."
    return Claim(key, sentence + incomplete, estimate)


def _conclusion(name: str, better: Estimate, own: Estimate, new: Estimate) -> str:
    """The one place where learning a culture may be said, and only with the second and the third difference above zero."""
    if better.above and own.above and new.above:
        return f"As far as these templates can tell, {name} learned the culture: its own more than others, and beyond the answers that it had seen."
    if better.above and own.above:
        return f"{name} gained on its own culture in particular, but this is not shown where the right answer is new: it may be remembered answers."
    if better.above:
        return f"{name} gained over the untouched model; a lead over adapters of other cultures, which alone would be about culture, is not shown."
    if own.above:
        return f"{name} is better on its own culture than adapters of other cultures are, but not shown to be better than the untouched model."
    return f"Nothing is shown for {name}: the interval of its difference from the untouched model does not lie above zero."


def _bounds(estimate: Estimate, form: Callable[[float], str]) -> str:
    """An interval as text; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return "too few templates"
    return f"{form(estimate.low)} to {form(estimate.high)}"
