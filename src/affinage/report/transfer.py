"""Transfer: what of each table of pairs is about the culture, which other culture's adapter comes nearest, and what a gain is a gain over."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.report import reference
from affinage.report.cells import Cells
from affinage.report.credits import credits_alone
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.gains import gains
from affinage.report.language import say
from affinage.report.pooled import Line, line
from affinage.report.ranks import RANK_DRAWS, leading, rank_draws
from affinage.report.table import LINE, Section, Table, line_text
from affinage.report.words import bounds, many, named, number, percent, points, shown, slug, zero_shot
from affinage.stats import SPECIFICITIES, Draws, Estimate, Ranked, Specificity, c_dist, paired, specificities

__all__ = ["section"]

_SURE = 0.95
"""Probability from which a first place is named in a sentence."""


@dataclass(frozen=True)
class _Pairs:
    """A method's adapters on every culture, over the splits and starts from which each of them has its run."""

    evidence: Evidence
    label: str

    @property
    def trained(self) -> tuple[str, ...]:
        """Cultures with an adapter."""
        return self.evidence.trained(self.label)

    @cached_property
    def repeats(self) -> frozenset[tuple[str, int]]:
        """(Split, start) of which every adapter has its run: one that an adapter lacks would be a difference between test sides in every number."""
        runs = [(run.trained_culture, (run.split, run.start)) for run in self.evidence.runs if run.label == self.label]
        return frozenset.intersection(*(frozenset(repeat for trained, repeat in runs if trained == culture) for culture in self.trained))

    @cached_property
    def rows(self) -> Mapping[str, pl.DataFrame]:
        """Tested culture -> scored rows of those runs."""
        runs = [run.run for run in self.evidence.runs if (run.split, run.start) in self.repeats]
        trained, there = set(self.trained), (pl.col("choice").is_not_null() & pl.col("run").is_in(runs))
        return {
            culture: self.evidence.part(lambda *names, c=culture: names[0] == self.label and names[1] in trained and names[2] == c).filter(there)
            for culture in self.evidence.cultures
        }

    @property
    def whole(self) -> bool:
        """Whether every adapter has a scored question of every culture that there is an adapter of."""
        return all(set(self.trained) == set(self.rows[tested]["trained_culture"].unique()) for tested in self.trained)

    @property
    def planned(self) -> int:
        """Runs of one adapter that the plan has."""
        return max(self.evidence.expected((self.label, culture)) for culture in self.trained)


def section(cells: Cells) -> Section | None:
    """The tables of transfer of every method; None where nothing was trained."""
    evidence = credits_alone(cells.evidence)
    drawn = rank_draws(evidence)
    tables: list[Table] = []
    lines: list[Line] = []
    frames = []
    for label in evidence.labels:
        if label == LETTER_BIAS or not evidence.trained(label):
            continue
        pairs = _Pairs(evidence, label)
        if len(pairs.trained) > 1 and pairs.whole:
            table, found = _specific(pairs)
            tables.append(table)
            lines += found
            ranks = {tested: _nearest(pairs, tested, drawn) for tested in evidence.cultures}
            if any(ranks.values()):
                tables.append(_closest(pairs, ranks))
                frames.append(_ranks(label, ranks))
        table, found = gains(cells.evidence, label, drawn)
        tables.append(table)
        lines += found
    if not tables:
        return None
    further = (("closest-cultures", pl.concat(frames)),) if frames else ()
    return Section("transfer", tuple(lines), tuple(tables), say("Transfer"), frames=further)


# What is specific ----------------------------------------------------------------------------------------------------------------------


def _specific(pairs: _Pairs) -> tuple[Table, list[Line]]:
    """Specificity by column, by row and of the two together, per culture."""
    cultures, label = pairs.trained, pairs.label
    rows = pl.concat([pairs.rows[culture] for culture in cultures])
    table = specificities(rows, cultures)
    matrix, numbers = table.matrix, table.numbers
    size, runs, planned = len(cultures), rows["run"].n_unique(), len(cultures) * pairs.planned
    names: dict[Specificity, str] = {"column": "specificity by column", "row": "specificity by row", "interaction": "interaction"}
    lines = [
        Line(label, f"{names[kind]}, {culture}", "difference", estimate, runs, planned)
        for kind, estimates in numbers.items()
        for culture, estimate in zip((*cultures, "mean"), estimates, strict=True)
    ]
    others = (matrix.sum(0) - np.diagonal(matrix)) / (size - 1)
    columns = [(*np.diagonal(matrix).tolist(), matrix.trace() / size), (*others.tolist(), float(others.mean()))]
    theirs = _study(pairs)
    body = []
    out = pairs.evidence.held_out(label)
    heads = [zero_shot(shown(culture)) if culture in out else shown(culture) for culture in cultures]
    for place, name in enumerate((*heads, say("mean"))):
        three = [text for kind in SPECIFICITIES for text in (points(numbers[kind][place].value), bounds(numbers[kind][place], points))]
        body.append((name, *(percent(values[place]) for values in columns), *three, *theirs[place : place + 1]))
    interval = LINE[0]
    header = ["", say("own adapter"), say("other adapters"), say("by column"), interval, say("by row"), interval, say("interaction"), interval]
    text = say(
        "Accuracy in percent by template on the culture of the line, from {runs}: those splits and starts that every adapter has ({repeats} of "
        "{planned}). Differences in points with 95 % intervals over template groups, not corrected for their number. By column: own adapter minus "
        "the mean of the other adapters on the same culture (the headline: the questions are the same). By row: the same adapter on its own culture "
        "minus its mean on the others, which is also high where a culture's questions are easy. Interaction: what is left of the cell when good "
        "adapters and easy cultures are taken out. The means of the first two are equal.",
        runs=many(runs, "run"),
        repeats=len(pairs.repeats),
        planned=pairs.planned,
    )
    if theirs:
        header.append(say("study, by column"))
        text += say(" The study's numbers are by row of questions, on another model and data: compare directions, not levels.")
    title = say("Specificity: {label}", label=named(label))
    notes = (_sentence(label, numbers["column"][-1]), _distance(matrix))
    return Table(f"specificity-{slug(label)}", title, text, tuple(header), tuple(body), (size,), notes), lines


def _study(pairs: _Pairs) -> tuple[str, ...]:
    """The reference study's specificity by column of each culture that it has, and their mean; empty where it has none, or not the method."""
    method = pairs.evidence.method(pairs.label)
    known = [reference.known(culture) for culture in pairs.trained]
    if method not in reference.METHODS or not any(known):
        return ()
    table = np.array([[reference.PAIRS[method][a][c][0] for c in reference.CULTURES] for a in reference.CULTURES]) / 100
    values = dict(zip(reference.CULTURES, SPECIFICITIES["column"](table).tolist(), strict=True))
    return (
        *("" if name is None else points(values[name]) for name in known),
        points(statistics.fmean(values[name] for name in known if name is not None)),
    )


def _sentence(label: str, mean: Estimate) -> str:
    """What the mean specificity shows."""
    about = {"name": named(label), "number": points(mean.value), "bounds": bounds(mean, points)}
    if mean.low is None:
        return say(
            "{name}, own adapter minus the other adapters on the same culture: {number} points, too few template groups for an interval.", **about
        )
    if mean.above:
        about["number"] = percent(mean.value)
        return say("{name} is specific: on the same culture the own adapter leads the others by {number} points ({bounds}) on average.", **about)
    if mean.below:
        return say("{name}: on the same culture the own adapter lies below the others, {number} points ({bounds}) on average.", **about)
    return say(
        "{name} is not shown to be specific: own adapter minus the others {number} points ({bounds}) on average, the interval contains zero.", **about
    )


def _distance(matrix: npt.NDArray[np.float64]) -> str:
    """C-Dist with what it does not say."""
    if not (matrix.max(0) > 0).all():
        return say("C-Dist has no value: on some culture no adapter is ever right.")
    return say(
        "C-Dist (mean over cultures of the own adapter's accuracy over the best adapter's): {value}. Adapters that are all the same score 1, and so "
        "do both methods of the reference study; it is printed because it is published, and nothing rests on it.",
        value=number(c_dist(matrix), ".3f"),
    )


# Which culture is nearest --------------------------------------------------------------------------------------------------------------


def _nearest(pairs: _Pairs, tested: str, drawn: Draws) -> tuple[Ranked, ...]:
    """The other cultures' adapters on a culture, from the best on."""
    others = [culture for culture in pairs.trained if culture != tested]
    rows = pairs.rows[tested].filter(pl.col("trained_culture") != tested)
    return leading(drawn, rows.with_columns(pl.col("trained_culture").alias("candidate")), others)


def _closest(pairs: _Pairs, ranks: dict[str, tuple[Ranked, ...]]) -> Table:
    """Per tested culture the best of the other cultures' adapters, with the probability of its place."""
    evidence, label = pairs.evidence, pairs.label
    body = []
    for tested, order in ranks.items():
        if not order:
            body.append((shown(tested), say("too few templates"), *[""] * 6))
            continue
        first, second = order[:2]
        rows = pairs.rows[tested].filter(pl.col("trained_culture") == first.name)
        untouched = evidence.part(lambda *names, c=tested: names == (*evidence.untouched, c))
        change = line(label, first.name, paired(rows, untouched), rows["run"].n_unique(), quantity="difference")
        ours = (shown(first.name), percent(first.value), *line_text(change)[:2], _chance(first))
        body.append((shown(tested), *ours, shown(second.name), _chance(second)))
    sure = [f"{shown(order[0].name)} → {shown(tested)}" for tested, order in ranks.items() if order and order[0].probability >= _SURE]
    header = ("", say("closest culture"), say("accuracy"), say("minus untouched"), LINE[0], say("first in, %"), say("second"), say("first in, %"))
    text = say(
        "Tested on the culture of the line: the best of the other cultures' adapters, by template. First in: in how many of {draws} draws of "
        "template groups, the same for all, it is the best; a tie is shared. The interval is that of this adapter minus the untouched model; the "
        "adapter was chosen for being first, so its number promises somewhat too much.",
        draws=number(RANK_DRAWS),
    )
    note = (
        say("First in 95 % of the draws or more: {pairs}.", pairs=say("; ").join(sure))
        if sure
        else say("No culture's closest one is first in 95 % of the draws: which one is the closest is not settled by these templates.")
    )
    title = say("Closest culture: {label}", label=named(label))
    return Table(f"closest-{slug(label)}", title, text, header, tuple(body), notes=(note,))


def _chance(found: Ranked) -> str:
    """The probability of a first place, percent."""
    return number(100 * found.probability, ".0f")


def _ranks(label: str, ranks: dict[str, tuple[Ranked, ...]]) -> pl.DataFrame:
    """Every candidate for every tested culture, for the CSV file."""
    found: Iterator[tuple[str, str, str, float, float]] = (
        (label, tested, each.name, each.value, each.probability) for tested, order in ranks.items() for each in order
    )
    return pl.DataFrame(list(found), schema=["label", "tested_culture", "trained_culture", "accuracy", "probability_of_first"], orient="row")
