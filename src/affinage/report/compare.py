"""Two studies beside each other: how their configurations differ, and how their numbers do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from affinage.records import UserError
from affinage.report import markdown
from affinage.report.evidence import Evidence
from affinage.report.language import retell, say
from affinage.report.pooled import pooled
from affinage.report.table import Table
from affinage.report.words import bounds, named, number, percent, points, shown
from affinage.stats import Estimate, credited, paired, unpaired
from affinage.store import StudyRecord, differences, write_atomically

__all__ = ["Comparison", "Difference", "compare", "write_comparison"]

_MODEL = ("id", "revision", "dtype", "digest")


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of both studies."""

    label: str
    """The method; empty for the untouched model."""
    quantity: str
    """`untouched`, `own culture`, `own culture − untouched` or `own culture − other cultures`."""
    culture: str
    """The tested culture; empty for the mean over all common ones."""
    first: Estimate
    second: Estimate
    change: Estimate
    """Second minus first."""

    @property
    def is_accuracy(self) -> bool:
        """Whether its two numbers are accuracies and not differences themselves."""
        return "−" not in self.quantity


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two studies have in common, and what not."""

    names: tuple[str, str]
    """What the studies are called on the page."""
    keys: tuple[tuple[str, object, object], ...]
    """Dotted path and both values of each key of the configurations, and each fact of model and data, that differs."""
    cultures: tuple[str, ...]
    """Cultures of both, in the first one's order."""
    labels: tuple[str, ...]
    """Methods of both."""
    only: tuple[tuple[str, ...], tuple[str, ...]]
    """Methods and cultures that only one of them has, per study."""
    splits: Mapping[str, str]
    """Split of the second study -> the first one's split with the very same sides; empty where they are compared unpaired."""
    why: str
    """Why nothing is paired; empty where it is."""
    trial: tuple[str, ...]
    """Why the numbers of one of them are no result."""
    differences: tuple[Difference, ...]


def compare(first: Evidence, second: Evidence, names: tuple[str, str]) -> Comparison:
    """Two studies' common cultures and methods beside each other.

    Paired where a question stood on the same side of the same split in both: then every number is of the questions that both tested, and a
    question's own difficulty cancels in the difference. Otherwise each study's number is its own, and the difference has the interval of two
    numbers that share nothing (`stats.unpaired`).

    Args:
        first: a study.
        second: another one; differences are this one minus the first.
        names: what they are called.

    Raises:
        UserError: they tested other data, or no culture in common.
    """
    one, other = first.study, second.study
    where = f"{names[0]} and {names[1]}"
    sources = [study.plan.data.get("name", study.config.data.source) for study in (one, other)]
    if sources[0] != sources[1]:
        todo = "Accuracies on other questions are other quantities: compare studies of the same data set."
        raise UserError(where, f"a study of {sources[0]} and one of {sources[1]}", "two studies of one data set", todo)
    cultures = tuple(culture for culture in first.cultures if culture in second.cultures)
    if not cultures:
        found = f"{', '.join(first.cultures)} here and {', '.join(second.cultures)} there"
        raise UserError(where, found, "a culture that both tested", "Compare studies that share a culture.")
    labels = tuple(label for label in first.labels if label in second.labels)
    splits, why = _splits(one, other)
    numbers = tuple(_differences(_Side(first, cultures), _Side(second, cultures), labels, splits))
    if all(math.isnan(each.change.value) for each in numbers):
        raise UserError(where, "no question that both have scored", "finished runs on common cultures", "Finish both studies.")
    return Comparison(
        names=names,
        keys=(*differences(one.config, other.config), *_facts(one, other)),
        cultures=cultures,
        labels=labels,
        only=(_only(first, second), _only(second, first)),
        splits=splits,
        why=why,
        trial=tuple(
            say("{name}: {reason}", name=name, reason=retell("reasons", reason))
            for name, each in zip(names, (first, second), strict=True)
            for reason in each.trial
        ),
        differences=numbers,
    )


def _splits(one: StudyRecord, other: StudyRecord) -> tuple[Mapping[str, str], str]:
    """Splits of both studies with the same sides, or why there are none."""
    if not one.plan.data.get("digest") or one.plan.data.get("digest") != other.plan.data.get("digest"):
        return {}, say("their data differ (another digest), so nobody knows which questions are the same")
    sides = {(split.train_templates, split.test_templates): split.name for split in one.plan.splits}
    alike = {split.name: sides.get((split.train_templates, split.test_templates)) for split in other.plan.splits}
    found = {there: here for there, here in alike.items() if here is not None}
    return found, "" if found else say("no split of the one has the same sides as a split of the other")


def _facts(one: StudyRecord, other: StudyRecord) -> Iterator[tuple[str, object, object]]:
    """What differs of what was found about model and data, where the configurations may say the same."""
    for name, here, there in (("model", one.plan.model, other.plan.model), ("data", one.plan.data, other.plan.data)):
        for key in _MODEL if name == "model" else ("revision", "digest"):
            if here.get(key) != there.get(key):
                yield f"{name} found: {key}", here.get(key), there.get(key)


def _only(here: Evidence, there: Evidence) -> tuple[str, ...]:
    """Methods and cultures of the one study alone."""
    return (*(label for label in here.labels if label not in there.labels), *(name for name in here.cultures if name not in there.cultures))


@dataclass(frozen=True)
class _Side:
    """One study's rows on the common cultures."""

    evidence: Evidence
    cultures: tuple[str, ...]

    def untouched(self) -> pl.DataFrame:
        """The untouched model's."""
        kind = self.evidence.untouched
        return self._part(lambda label, trained, tested: (label, trained) == kind and tested in self.cultures)

    def own(self, label: str) -> pl.DataFrame:
        """A method's adapters on their own cultures."""
        return self._part(lambda name, trained, tested: name == label and trained == tested and tested in self.cultures)

    def others(self, label: str) -> pl.DataFrame:
        """A method's adapters on the other common cultures."""
        there = set(self.cultures)
        return self._part(lambda name, trained, tested: name == label and trained != tested and {trained, tested} <= there)

    def _part(self, keep: Callable[[str, str, str], bool]) -> pl.DataFrame:
        """A part of the rows, its names as strings: each study has enumerations of its own."""
        rows = self.evidence.part(keep)
        return rows.with_columns(pl.col(name).cast(pl.String) for name, dtype in rows.schema.items() if dtype == pl.Enum)


def _quantities(side: _Side, labels: Sequence[str]) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Label, quantity and rows of every number that is compared."""
    untouched = side.untouched()
    yield "", "untouched", untouched
    for label in labels:
        own = side.own(label)
        yield label, "own culture", own
        yield label, "own culture − untouched", paired(own, untouched)
        if len(side.cultures) > 1:
            yield label, "own culture − other cultures", paired(own, side.others(label), beside=("start",))


def _differences(first: _Side, second: _Side, labels: Sequence[str], splits: Mapping[str, str]) -> Iterator[Difference]:
    """Every number of both: over all common cultures, and for each of them."""
    estimate = _paired if splits else _unpaired
    for one, other in zip(_quantities(first, labels), _quantities(second, labels), strict=True):
        label, quantity, rows = one
        ours, theirs = _common(rows, other[2], splits) if splits else (rows, other[2])
        yield Difference(label, quantity, "", *estimate(ours, theirs))
        for culture in first.cultures if len(first.cultures) > 1 else ():
            here = pl.col("culture") == culture
            yield Difference(label, quantity, culture, *estimate(ours.filter(here), theirs.filter(here)))


def _common(ours: pl.DataFrame, theirs: pl.DataFrame, splits: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of questions that both have scored, on splits of the same sides and under the first study's names of them."""
    keys = ["split", "culture", "mcq_id"]
    renamed = theirs.filter(pl.col("split").is_in(list(splits))).with_columns(pl.col("split").replace(dict(splits)))
    known = [credited(rows, "choice") for rows in (ours, renamed)]
    return known[0].join(known[1], on=keys, how="semi", maintain_order="left"), known[1].join(known[0], on=keys, how="semi", maintain_order="left")


def _paired(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[Estimate, Estimate, Estimate]:
    return pooled(ours), pooled(theirs), pooled(paired(theirs, ours))


def _unpaired(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[Estimate, Estimate, Estimate]:
    first, second = pooled(ours), pooled(theirs)
    return first, second, unpaired(second, first)


def write_comparison(found: Comparison, folder: Path) -> tuple[Path, ...]:
    """Writes `compare.md`, `compare.csv` and `configuration.csv`; files of these names are replaced.

    Args:
        found: the comparison.
        folder: made where it is not there.

    Returns:
        The files, the page first.
    """
    page, numbers, keys = (folder / name for name in ("compare.md", "compare.csv", "configuration.csv"))
    write_atomically(page, text(found).encode())
    write_atomically(numbers, pl.DataFrame([_row(each, found) for each in found.differences], infer_schema_length=None).write_csv().encode())
    rows = [(key, *map(_value, values)) for key, *values in found.keys]
    write_atomically(keys, pl.DataFrame(rows, schema=["key", *found.names], orient="row").write_csv().encode())
    return page, numbers, keys


def text(found: Comparison) -> str:
    """The page, Markdown."""
    first, second = found.names
    parts = [f"# {say('{first} and {second}', first=first, second=second)}", ""]
    if found.trial:
        parts += [f"**{say('No result: {reasons}.', reasons=say('; ').join(found.trial))}**", ""]
    parts += [markdown.table(each) for each in tables(found)]
    parts += ["## " + say("What differs in their configuration"), ""]
    parts += [markdown.table(_keys(found)) if found.keys else say("Nothing."), ""]
    for name, alone in zip(found.names, found.only, strict=True):
        if alone:
            parts += [say("Only in {study}: {names}.", study=name, names=", ".join(map(shown, alone))), ""]
    return "\n".join(parts)


def tables(found: Comparison) -> tuple[Table, ...]:
    """The pooled table, and the table by culture where there are several."""
    cultures = [each for each in found.differences if each.culture]
    pool = [each for each in found.differences if not each.culture]
    main = _table(found, "compare", say("Second minus first study, over the common cultures"), pool, sentences=True)
    return (main, _table(found, "compare-cultures", say("Second minus first study, by culture"), cultures)) if cultures else (main,)


def _table(found: Comparison, key: str, title: str, rows: Sequence[Difference], *, sentences: bool = False) -> Table:
    """Differences as a table."""
    how = (
        say("Paired by question: both studies tested the same questions on the same side of {count} splits.", count=len(found.splits))
        if found.splits
        else say("Not paired: {why}. The interval is that of two numbers that share nothing.", why=found.why)
    )
    note = say(
        "Accuracy in percent by template, pooled over splits and starts and over {cultures}; differences in points, {second} minus {first}, with "
        "95 % intervals over template groups, not corrected for their number.",
        cultures=", ".join(map(shown, found.cultures)),
        first=found.names[0],
        second=found.names[1],
    )
    header = ("", *found.names, say("difference"), say("95 % interval"), say("questions"), say("templates"))
    notes = tuple(_sentence(each, found) for each in rows) if sentences else ()
    rules = tuple(place for place, each in enumerate(rows) if place and each.label != rows[place - 1].label)
    return Table(key, title, f"{note} {how}", header, tuple(_line(each) for each in rows), rules, notes)


def _line(each: Difference) -> tuple[str, ...]:
    """A row of the table."""
    form: Callable[[float], str] = percent if each.is_accuracy else points
    values = [say("nothing scored") if math.isnan(value.value) else form(value.value) for value in (each.first, each.second)]
    if math.isnan(each.change.value):
        return (_head(each), *values, "", "", "", "")
    change = (points(each.change.value), bounds(each.change, points))
    return (_head(each), *values, *change, number(each.change.questions), number(each.change.templates))


def _head(each: Difference) -> str:
    """What a row is about."""
    what = _quantity(each.quantity)
    what = say("{method}, {quantity}", method=named(each.label), quantity=what) if each.label else what
    return say("{quantity}, {culture}", quantity=what, culture=shown(each.culture)) if each.culture else what


def _quantity(name: str) -> str:
    """A quantity in words."""
    match name:
        case "untouched":
            return say("untouched model")
        case "own culture":
            return say("own culture")
        case "own culture − untouched":
            return say("own culture − untouched")
        case _:
            return say("own culture − other cultures")


def _sentence(each: Difference, found: Comparison) -> str:
    """What a difference shows; one whose interval contains zero is no difference."""
    first, second = found.names
    head = _head(each)
    if math.isnan(each.change.value):
        return say("{quantity}: nothing to compare.", quantity=head)
    change = points(each.change.value)
    if each.change.low is None:
        return say("{quantity}: {points} points; too few template groups for an interval or a verdict.", quantity=head, points=change)
    values = {"quantity": head, "first": first, "second": second, "points": change, "interval": bounds(each.change, points)}
    if each.change.above:
        return say("{quantity}: higher in {second} than in {first}, {points} points (95 % interval {interval}).", **values)
    if each.change.below:
        return say("{quantity}: lower in {second} than in {first}, {points} points (95 % interval {interval}).", **values)
    return say("{quantity}: {first} and {second} are not shown to differ, {points} points (95 % interval {interval}, which contains zero).", **values)


def _keys(found: Comparison) -> Table:
    """The keys that differ."""
    rows = tuple((key, *map(_value, values)) for key, *values in found.keys)
    return Table("configuration", say("Configuration"), say("Keys that are the same in both are left out."), (say("key"), *found.names), rows)


def _value(value: object) -> str:
    """A value of a configuration; what a study does not have is empty."""
    return "" if value is None else str(value)


def _row(each: Difference, found: Comparison) -> dict[str, object]:
    """A difference as a line of the CSV; fractions."""
    estimates = {f"{name}_": value for name, value in (("first", each.first), ("second", each.second))}
    values = {
        f"{before}{name}": getattr(value, name) for before, value in estimates.items() for name in ("value", "low", "high", "questions", "templates")
    }
    change = {
        name: getattr(each.change, name) for name in ("value", "error", "low", "high", "level", "questions", "templates", "groups", "effective")
    }
    about = {"label": each.label, "quantity": each.quantity, "culture": each.culture, "paired": bool(found.splits)}
    return {**about, **values, **{f"difference_{name}": value for name, value in change.items()}}
