"""Paired tests: every comparison that the plan has, in three families fixed by it, with p-values corrected within each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import polars as pl

from affinage.report.cells import Cells
from affinage.report.credits import credits_alone
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.ranks import leading, rank_draws
from affinage.report.table import LINE, Section, Table
from affinage.report.words import bounds, named, number, p_value, percent, points, shown, signed, slug, zero_shot
from affinage.stats import DRAWS, FAMILIES, ROUGH_BELOW, Comparison, Family, PairedTest, numbered, paired, paired_tests, planned_families

__all__ = ["families", "section"]

_LEVEL = 0.05
_NAMED = 12
"""So many comparisons are named in a sentence; the table has them all."""


def families(evidence: Evidence) -> dict[Family, tuple[Comparison, ...]]:
    """Every comparison of the study's plan; what was measured has no part in it."""
    trained = {label: evidence.trained(label) for label in evidence.labels if label != LETTER_BIAS and evidence.trained(label)}
    return planned_families(trained, evidence.cultures)


def section(cells: Cells) -> Section | None:
    """The tests of every family; None where nothing was trained."""
    evidence = credits_alone(cells.evidence)
    planned = families(evidence)
    if not planned:
        return None
    tested = {family: _tested(evidence, planned[family]) for family in FAMILIES if family in planned}
    tables: list[Table] = [_listed(evidence, family, tested[family]) for family in ("own", "methods") if family in tested]
    if "transfer" in tested:
        tables += _matrices(evidence, tested["transfer"])
    frame = pl.DataFrame([_row(evidence, each) for found in tested.values() for each in found], infer_schema_length=None)
    title = say("Paired tests")
    text = say(
        "Families of comparisons are fixed by the plan, before any result; a comparison whose runs are missing, or that has too few template groups, "
        "counts in its family all the same. Unit: the template group. p: two-sided sign-flip test of the groups' contributions to the difference, "
        "{draws} draws of signs or all there are where those are fewer, the same draws for a whole family. Holm: corrected for the family whatever "
        "the dependence; only this is used for what is said. max-T: Westfall and Young's correction from the same draws, which knows the dependence.",
        draws=number(DRAWS),
    )
    return Section("paired-tests", (), tuple(tables), title, text, frames=(("paired-tests", frame),))


def _tested(evidence: Evidence, family: tuple[Comparison, ...]) -> tuple[PairedTest, ...]:
    """A family, tested."""
    rows = _methods(evidence, family) if family[0].family == "methods" else _against_untouched(evidence, family)
    return paired_tests(family, rows, ("paired tests", family[0].family, evidence.study.config.seed))


_PLACE = ("label", "trained_culture", "culture")
_COLUMNS = ("comparison", "run", "culture", "group", "template_id", "mcq_id", "choice", "reached")


def _against_untouched(evidence: Evidence, family: Sequence[Comparison]) -> pl.DataFrame:
    """Rows of adapters minus the untouched model, numbered by comparison."""
    place = {(each.label, each.trained, each.tested): number for number, each in enumerate(family)}
    ours = evidence.part(lambda *names: names in place).with_columns(pl.col("choice").alias("reached"))
    number, first = numbered(ours, _PLACE)
    places = np.array([place[names] for names in ours[first].select(_PLACE).rows()], np.int64)
    difference = paired(ours, evidence.of(evidence.untouched))
    return difference.with_columns(pl.Series("comparison", places[number])).select(_COLUMNS)


def _methods(evidence: Evidence, family: Sequence[Comparison]) -> pl.DataFrame:
    """Rows of one method minus another's mean over starts, on the own cultures that both are trained on."""
    parts = []
    for place, each in enumerate(family):
        both = pl.col("culture").is_in([culture for culture in evidence.trained(each.label) if culture in evidence.trained(each.against)])
        ours = evidence.own(each.label).filter(both).with_columns(pl.col("choice").alias("reached"))
        parts.append(paired(ours, evidence.own(each.against)).with_columns(pl.lit(place, pl.Int64).alias("comparison")).select(_COLUMNS))
    return pl.concat(parts)


def _expected(evidence: Evidence, each: Comparison) -> int:
    """Runs that the plan has for a comparison."""
    if each.against:
        return sum(evidence.expected((each.label, culture)) for culture in evidence.trained(each.label) if culture in evidence.trained(each.against))
    return evidence.expected((each.label, each.trained))


def _head(evidence: Evidence, each: Comparison) -> str:
    """What a comparison is called."""
    if each.against:
        return f"{named(each.label)} − {named(each.against)}"
    trained = shown(each.trained)
    trained = zero_shot(trained) if each.trained in evidence.held_out(each.label) else trained
    if each.trained == each.tested:
        return f"{named(each.label)}, {trained}"
    return say("{label}, {trained} on {tested}", label=named(each.label), trained=trained, tested=shown(each.tested))


def _listed(evidence: Evidence, family: Family, found: Sequence[PairedTest]) -> Table:
    """A family with everything that is said about each comparison."""
    if family == "own":
        title = say("Paired tests: own culture against the untouched model")
        text = say("Each method's adapter on its own culture minus the untouched model, in points by template, paired by question. ")
    else:
        title = say("Paired tests: method against method")
        text = say(
            "One method minus another on the own cultures that both were trained on, in points by template, each (run, culture) alike, paired by "
            "question; the other method is averaged over its starts. "
        )
    text += say(
        "Effect: the difference in deviations between template groups. Share of what was left: the difference in percent of what the reference got "
        "wrong. Detectable, in points: 2.8 clustered standard errors, the smallest true difference that a single test at 5 % shows four times in "
        "five."
    )
    tests = (say("p"), say("p, Holm"), say("p, max-T"), say("effect"), say("share of what was left"), say("detectable"))
    header = ("", say("difference"), LINE[0], *tests, *LINE[1:])
    rows = tuple(_texts(evidence, each) for each in found)
    notes = [*_notes(evidence, found)]
    if family == "methods":
        notes += _best(evidence)
    return Table(f"paired-tests-{family}", title, text, header, rows, notes=tuple(notes))


def _texts(evidence: Evidence, each: PairedTest) -> tuple[str, ...]:
    """A row of `_listed`."""
    expected = _expected(evidence, each.comparison)
    runs = str(each.runs) if each.runs == expected else say("{there} of {expected}", there=each.runs, expected=expected)
    if not each.estimate.questions:
        return (_head(evidence, each.comparison), say("missing"), *[""] * 7, runs, "", "")
    numbers = (*map(p_value, (each.p, each.holm, each.max_t)), _form(each.effect, lambda d: signed(d, 2)))
    sizes = (_form(each.remaining, points), _form(each.detectable, percent))
    estimate = each.estimate
    rests = (runs, number(estimate.questions), number(estimate.templates))
    return (_head(evidence, each.comparison), points(estimate.value), bounds(estimate, points), *numbers, *sizes, *rests)


def _form(value: float | None, form: Callable[[float], str]) -> str:
    """A number, or nothing."""
    return "" if value is None else form(value)


def _matrices(evidence: Evidence, found: Sequence[PairedTest]) -> Iterator[Table]:
    """The off-diagonal family, one table per method: every adapter on every culture that is not its own."""
    by_pair: dict[str, dict[tuple[str, str], PairedTest]] = {}
    for each in found:
        by_pair.setdefault(each.comparison.label, {})[each.comparison.trained, each.comparison.tested] = each
    for label, pairs in by_pair.items():
        rows = tuple((shown(trained), *(_cell(pairs.get((trained, tested))) for tested in evidence.cultures)) for trained in evidence.trained(label))
        text = say(
            "Adapters on cultures that are not their own minus the untouched model there, in points by template, paired by question; in brackets "
            "Holm's p within the family of all {count} such comparisons, of every method. Intervals, plain p, max-T, effects and what was detectable "
            "stand in paired-tests.csv.",
            count=number(len(found)),
        )
        header = (say("trained on"), *map(shown, evidence.cultures))
        title = say("Paired tests: {label} on other cultures against the untouched model", label=named(label))
        notes = tuple(_notes(evidence, tuple(pairs.values())))
        yield Table(f"paired-tests-transfer-{slug(label)}", title, text, header, rows, notes=notes)


def _cell(each: PairedTest | None) -> str:
    """A difference with its corrected p-value."""
    if each is None:
        return ""
    if not each.estimate.questions:
        return say("missing")
    return points(each.estimate.value) + ("" if each.holm is None else f" [{p_value(each.holm)}]")


def _notes(evidence: Evidence, found: Sequence[PairedTest]) -> Iterator[str]:
    """What the tests show, and what they do not."""
    heads = {each.comparison: _head(evidence, each.comparison) for each in found}
    above, below = ([heads[each.comparison] for each in found if each.shown(_LEVEL) == side] for side in (1, -1))
    if above:
        yield say("Above zero, both by the interval and by Holm's p below 0.05: {names}.", names=_some(above))
    if below:
        yield say("Below zero, both by the interval and by Holm's p below 0.05: {names}.", names=_some(below))
    rest = [each for each in found if each.holm is not None and not each.shown(_LEVEL)]
    enough = [each for each in rest if each.estimate.effective >= ROUGH_BELOW and (each.estimate.above or each.estimate.below)]
    sharper = [heads[each.comparison] for each in enough if each.max_t is not None and each.max_t < _LEVEL]
    if sharper:
        yield say("By max-T, though not by Holm's p, also away from zero: {names}.", names=_some(sharper))
    # Adapters that answer everything alike have no error at all: nothing is learned from that.
    sizes = [each.detectable for each in rest if each.detectable]
    if sizes:
        yield say(
            "Not shown to differ from zero: {count} of {all}. A single test of these shows a true difference of {low} to {high} points four times in "
            "five; smaller ones mostly stay unseen.",
            count=number(len(rest)),
            all=number(len(found)),
            low=percent(min(sizes)),
            high=percent(max(sizes)),
        )
    rough = sum(each.holm is not None and each.estimate.effective < ROUGH_BELOW for each in found)
    if rough:
        yield say(
            "Behind {count} of {all} stand fewer than {groups} effective template groups: where the groups' differences are skewed, their p-values, "
            "max-T's most, are somewhat too small.",
            count=number(rough),
            all=number(len(found)),
            groups=f"{ROUGH_BELOW:.0f}",
        )
    refused = sum(each.holm is None for each in found)
    if refused:
        yield say("Not tested, for want of runs or of template groups: {count} of {all}.", count=number(refused), all=number(len(found)))


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    text = say("; ").join(names[:_NAMED])
    return text if len(names) <= _NAMED else say("{names}; and {count} more", names=text, count=number(len(names) - _NAMED))


def _best(evidence: Evidence) -> Iterator[str]:
    """Which method has the highest accuracy on the own cultures that all were trained on, with the probability of that rank."""
    labels = [label for label in evidence.labels if label != LETTER_BIAS and evidence.trained(label)]
    common = [culture for culture in evidence.cultures if all(culture in evidence.trained(label) for label in labels)]
    whole = all(evidence.own(label)["run"].n_unique() == sum(evidence.expected((label, c)) for c in evidence.trained(label)) for label in labels)
    if not common or not whole:
        return
    rows = pl.concat([evidence.own(label) for label in labels]).filter(pl.col("culture").is_in(common))
    order = leading(rank_draws(evidence), rows.with_columns(pl.col("label").alias("candidate")), labels)
    if order:
        yield say(
            "Highest on the own cultures that all methods share: {name} with {value} %, first in {probability} % of the draws of template groups; "
            "then {second} with {other} % ({share} %).",
            name=named(order[0].name),
            value=percent(order[0].value),
            probability=number(100 * order[0].probability, ".0f"),
            second=named(order[1].name),
            other=percent(order[1].value),
            share=number(100 * order[1].probability, ".0f"),
        )


def _row(evidence: Evidence, each: PairedTest) -> Mapping[str, object]:
    """A comparison as a line of the CSV file."""
    estimate = asdict(each.estimate)
    estimate["effective_groups"] = estimate.pop("effective")
    return {
        "family": each.comparison.family,
        "label": each.comparison.label,
        "trained_culture": each.comparison.trained,
        "tested_culture": each.comparison.tested,
        "against": each.comparison.against or "untouched",
        **estimate,
        "p": each.p,
        "p_holm": each.holm,
        "p_max_t": each.max_t,
        "effect": each.effect,
        "share_of_the_rest": each.remaining,
        "smallest_detectable": each.detectable,
        "runs": each.runs,
        "expected_runs": _expected(evidence, each.comparison),
    }
