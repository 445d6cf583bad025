"""Controls beside an ordinary adapter, in the form of the reference study's Table 6: what a gain is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from affinage.report import reference
from affinage.report.beside import study_number
from affinage.report.cells import Cell, Cells
from affinage.report.curve import LEARNING_CURVE
from affinage.report.evidence import LETTER_BIAS, Evidence, Kind
from affinage.report.language import retell, say
from affinage.report.pooled import Line, line
from affinage.report.says import FORMAT_CONTROL, OTHER_CULTURES, Said, says
from affinage.report.table import (
    LINE,
    Section,
    Table,
    averaged,
    cell_text,
    counted,
    line_text,
    missing_of,
    missing_runs,
    quantity,
    row_text,
    runs_text,
    spread_text,
)
from affinage.report.words import named, number, parted, points, shown, slug, span
from affinage.stats import AVERAGES, Average, paired, spread

__all__ = ["section"]


@dataclass(frozen=True)
class _Arm:
    """One control of one method."""

    evidence: Evidence
    name: str
    """The control's."""
    kinds: Mapping[str, Kind]
    """Studied culture -> what answers there: the control of that culture where it has one per culture."""

    @property
    def base(self) -> Kind:
        """The untouched model, its questions put as the control puts them."""
        put = (self.evidence.untouched[0], self.name)
        return put if self.evidence.expected(put) else self.evidence.untouched

    @property
    def expected(self) -> int:
        """Runs that the plan has for it."""
        return sum(self.evidence.expected(kind) for kind in set(self.kinds.values()))

    @property
    def tested(self) -> int:
        """Runs that the plan has for its own test set; 0 where it has none."""
        study, kinds = self.evidence.study, set(self.kinds.values())
        return sum((run.label, run.trained_culture) in kinds and run.trained_culture in study.plan.tests.get(run.run, ()) for run in study.runs)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Its rows on the studied cultures."""
        wanted = {(*kind, culture) for culture, kind in self.kinds.items()}
        return self.evidence.part(lambda *names: names in wanted)

    @cached_property
    def own_test(self) -> pl.DataFrame:
        """Its rows on its own test set; empty where it has none."""
        kinds, studied = set(self.kinds.values()), self.evidence.cultures
        return self.evidence.part(lambda label, trained, tested: (label, trained) in kinds and trained == tested and tested not in studied)


def section(cells: Cells) -> Section | None:
    """The tables of controls; None where the study has none."""
    evidence = cells.evidence
    tables: list[Table] = []
    lines: list[Line] = []
    for label in evidence.labels:
        arms = list(_arms(evidence, label))
        if arms:
            tables += [_by_culture(cells, label, arms, average) for average in AVERAGES]
            pooled, found = _pooled(evidence, label, arms)
            tables.append(pooled)
            lines += found
    tables += _sets(evidence)
    return Section("controls", tuple(lines), tuple(tables)) if tables else None


def _arms(evidence: Evidence, label: str) -> Iterator[_Arm]:
    """A method's controls, in the plan's order; the letters' calibration beside every method."""
    if label == LETTER_BIAS:
        return
    trained = evidence.trained(label)
    found: dict[str, dict[str, Kind]] = {}
    for name in evidence.training_sets(label):
        control, culture = parted(name)
        if not control.startswith(LEARNING_CURVE):
            found.setdefault(control, {}).update((tested, (label, name)) for tested in ([culture] if culture else trained) if tested in trained)
    if LETTER_BIAS in evidence.labels:
        found[LETTER_BIAS] = {culture: (LETTER_BIAS, culture) for culture in evidence.trained(LETTER_BIAS) if culture in trained}
    for control, kinds in found.items():
        yield _Arm(evidence, control, kinds)


def _by_culture(cells: Cells, label: str, arms: list[_Arm], average: Average) -> Table:
    """Untouched model, own culture and every control on the studied cultures."""
    evidence = cells.evidence
    cultures = evidence.cultures
    untouched = cells.row(evidence.untouched, "choice", average)
    own = {culture: cells.cell((label, culture), culture, "choice", average) for culture in evidence.trained(label)}
    behind = [*untouched, *own.values()]
    rows = [_with_own_test(row_text(say("Untouched model"), untouched), ""), *_two_rows(cells, say("own culture"), own, evidence.untouched)]
    rules = [1]
    for arm in arms:
        rules.append(len(rows))
        if arm.base != evidence.untouched:
            put = cells.row(arm.base, "choice", average)
            behind += put
            rows.append(_with_own_test(row_text(say("Untouched model, {control}", control=retell("names", arm.name)), put), ""))
        there = {culture: cells.cell(kind, culture, "choice", average) for culture, kind in arm.kinds.items()}
        behind += there.values()
        rows += _two_rows(cells, retell("names", arm.name), there, arm.base, _own_test(cells, arm, average))
        if arm.name == FORMAT_CONTROL and average == "row":
            rows += _of_the_study(evidence, label)
    text = say(
        "{quantity} Tested on the culture of the column: the untouched model, the culture's own adapter, and in its place the control's. "
        "Differences are paired by question, mean (deviation) over runs. {counted}",
        quantity=quantity("choice", average),
        counted=counted(behind),
    )
    key = f"controls-{slug(label)}" + ("" if average == "template" else "-by-row")
    header = ("", *map(shown, cultures), say("own test set"), say("runs"))
    title = say("Controls: {label}, {average}", label=named(label), average=averaged(average))
    return Table(key, title, text, header, tuple(rows), tuple(rules), tuple(_left_out(arms)))


def _left_out(arms: list[_Arm]) -> Iterator[str]:
    """Which row is of adapters that saw no question of the culture that they are tested on."""
    for arm in arms:
        if arm.name == OTHER_CULTURES:
            yield say("{control}: trained without this culture: zero-shot.", control=named(retell("names", arm.name)))


def _two_rows(cells: Cells, name: str, row: Mapping[str, Cell], base: Kind, own_test: str = "") -> Iterator[tuple[str, ...]]:
    """What was reached on each culture, and how far that is from the untouched model."""
    cultures = cells.evidence.cultures
    runs = runs_text(list(row.values()))
    yield (name, *(cell_text(row[culture]) if culture in row else "" for culture in cultures), own_test, runs)
    changes = {culture: cells.difference(cell.kind, base, culture, cell.average) for culture, cell in row.items()}
    numbers = map(changes.get, cultures)
    put = say("untouched") if base == cells.evidence.untouched else say("untouched, put likewise")
    head = say("  {name} − {other}", name=name, other=put)
    yield (head, *("" if found is None else spread_text(found, points) for found in numbers), "", runs)


def _with_own_test(row: tuple[str, ...], own_test: str) -> tuple[str, ...]:
    """A row with the column of the control's own test set before the number of runs."""
    return (*row[:-1], own_test, row[-1])


def _own_test(cells: Cells, arm: _Arm, average: Average) -> str:
    """A control on its own test set, over all its runs."""
    if not arm.tested:
        return ""
    runs = arm.own_test["run"].unique().to_list()
    wanted = pl.col("run").is_in(runs) & (pl.col("trained_culture") == pl.col("culture"))
    chosen = cells.runs.filter(wanted & (pl.col("reading") == "choice") & (pl.col("average") == average))
    if not chosen.height:
        return missing_runs(arm.tested)
    missing = arm.tested - chosen.height
    return spread_text(spread(chosen["accuracy"].to_list())) + (missing_of(missing, arm.tested) if missing else "")


def _of_the_study(evidence: Evidence, label: str) -> Iterator[tuple[str, ...]]:
    """The reference study's format control, which it made with prompt-tuning; own test set without deviation, as published."""
    names = [reference.known(culture) for culture in evidence.cultures]
    if evidence.method(label) != "prompt-tuning" or not any(names):
        return
    rows = {say("study: untouched"): reference.UNTOUCHED, say("study: format control"): reference.FORMAT_CONTROL}
    for head, row in rows.items():
        own = number(reference.OWN_TEST_OF_CONTROL, ".2f") if row is reference.FORMAT_CONTROL else ""
        yield (head, *("" if name is None else study_number(row[name]) for name in names), own, "")


def _pooled(evidence: Evidence, label: str, arms: list[_Arm]) -> tuple[Table, list[Line]]:
    """The differences with their intervals, and what they say."""
    own = evidence.own(label)
    planned = sum(evidence.expected((label, culture)) for culture in evidence.trained(label))
    gain = line(label, "own culture − untouched", evidence.gain(label), planned, quantity="difference")
    accuracy = line(label, "own culture", own, planned)
    lines, notes, rules = [accuracy, gain], [], []
    heads = [say("own culture"), say("own culture − untouched")]
    for arm in arms:
        rules.append(len(lines))
        said = _said(arm, label, accuracy, gain)
        lines += said.lines
        heads += _heads(said)
        notes.append(says(said))
    text = say(
        "Accuracy in percent, differences in points, by template, pooled over cultures, splits and starts; paired by question, with 95 % "
        "intervals over template groups. Own culture minus a control is paired by start, too."
    )
    text = " ".join((text, *_left_out(arms)))
    rows = tuple((head, *line_text(each)) for head, each in zip(heads, lines, strict=True))
    header = ("", say("accuracy or difference"), *LINE)
    title = say("Controls: {label}, pooled", label=named(label))
    return Table(f"controls-{slug(label)}-pooled", title, text, header, rows, tuple(rules), notes=tuple(notes)), lines


def _heads(said: Said) -> Iterator[str]:
    """What the table calls each of a control's lines."""
    control = retell("names", said.control)
    if said.base is not None:
        yield say("untouched, {control}", control=control)
    yield control
    if said.own_test is not None:
        yield say("{control}, own test set", control=control)
    yield say("{control} − untouched", control=control) if said.base is None else say("{control} − untouched, put likewise", control=control)
    if said.beyond is not None:
        yield say("own culture − {control}", control=control)


def _said(arm: _Arm, label: str, own: Line, gain: Line) -> Said:
    """A control's pooled numbers."""
    evidence, name, expected = arm.evidence, arm.name, arm.expected
    here = pl.col("culture").is_in(list(arm.kinds))
    base = evidence.of(arm.base).filter(here)
    put = arm.base != evidence.untouched
    what = "untouched, put likewise" if put else "untouched"
    start = () if name == LETTER_BIAS else ("start",)
    beyond = paired(evidence.own(label).filter(here), arm.rows, beside=start)
    return Said(
        control=name,
        label=label,
        own=own,
        gain=gain,
        base=line(label, f"untouched, {name}", base, evidence.expected(arm.base)) if put else None,
        reached=line(label, name, arm.rows, expected),
        own_test=line(label, f"{name}, own test set", arm.own_test, arm.tested) if arm.tested else None,
        change=line(label, f"{name} − {what}", paired(arm.rows, base), expected, quantity="difference"),
        # The study's control is no reference for a gain: noise lies below the untouched model.
        beyond=None if name == FORMAT_CONTROL else line(label, f"own culture − {name}", beyond, own.expected, quantity="difference"),
    )


def _sets(evidence: Evidence) -> Iterator[Table]:
    """How large the controls' training sets are."""
    found: dict[str, list[Mapping[str, object]]] = {}
    for row in evidence.study.plan.sets:
        found.setdefault(str(row["set"]), []).append(row)
    if not found:
        return
    reasons: dict[str, int] = {}
    lines = []
    for name, rows in found.items():
        dropped = [row["dropped"] for row in rows if isinstance(row["dropped"], Mapping)]
        for each in dropped:
            for reason, count in each.items():
                reasons[reason] = reasons.get(reason, 0) + count
        numbers = [span(int(str(row[key])) for row in rows) for key in ("questions", "templates", "own_test")]
        lines.append((_set_name(name), *numbers, span(sum(each.values()) for each in dropped)))
    left = say("; ").join(f"{retell('reasons', reason)} ({number(count)})" for reason, count in reasons.items())
    text = say("Per split; two numbers are the smallest and the largest over the splits.")
    text += say(" Left out, over all splits: {left}.", left=left) if left else ""
    header = (say("training set"), say("questions"), say("templates"), say("own test questions"), say("left out"))
    yield Table("control-sets", say("Training sets of the controls"), text, header, tuple(lines))


def _set_name(name: str) -> str:
    """A training set in the report's language: its control, and the culture that it stands for."""
    control, culture = parted(name)
    return say("{control}.{culture}", control=retell("names", control), culture=shown(culture)) if culture else retell("names", control)
