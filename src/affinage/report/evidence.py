"""What a report rests on: every tested question of a study's finished runs, with its template group and its strata."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from affinage.data.baselines import BASELINE_NAMES
from affinage.prompting import Found
from affinage.prompting.search import read_found
from affinage.records import BASELINES, UserError
from affinage.report.words import parted
from affinage.stats import enumerated, numbered, paired, with_credit
from affinage.store import PROMPTED, UNTOUCHED, UNTRAINED, RunRecord, StudyRecord, read_all_scores, read_study

__all__ = ["LETTER_BIAS", "Evidence", "Kind", "read_evidence"]

LETTER_BIAS = "letter-bias"
"""Label of the control that fits letters instead of training a method; it stands among the methods."""

Kind = tuple[str, str]
"""(label, trained culture, or the name of a control's training set): what answered."""

_PROGRAMS = tuple(BASELINE_NAMES[name] for name in BASELINES)
_STRATA = ("group", "topic", "answer_seen", "agreement", "swap", "right", "association")
_QUESTION = ("split", "culture", "mcq_id")
_PLACE = ("label", "trained_culture", "culture")
_OF_THE_MODEL = ("free", "orders", "one_order", "same", "survives", "values", "letter_mass")
"""What `stats.with_credit` tells of a model's answers and a program has none of."""
_READ = ("mcq_id", "template_id", "culture", "answer", "logprob", "letter_mass", "free", "state")
_BESIDE = {"total": (), "per-token": ("tokens",), "per-character": ("characters",), "pmi": ("empty_logprob",)}
"""Columns of the score files that a report reads, and those that a score is made with."""


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and sentences are made of; nothing else is read."""

    study: StudyRecord
    runs: tuple[RunRecord, ...]
    """Finished runs that are reported on."""
    rows: pl.DataFrame
    """One row per run and question, each program without a language model being a run of each split: the columns of `stats.RUN`, `culture`
    (the test set), `mcq_id`, `template_id`, `answer`, `state`, what `stats.with_credit` adds, and of `store.QUESTION_SCHEMA` `group`, `topic`,
    `answer_seen`, `agreement`, `swap`, `right` and `association`; names are `stats.enumerated`. A study has millions of rows: take a `part`."""
    trial: tuple[str, ...]
    """Why these numbers are no result, where they are none: no other than provisional runs are finished, or the development side is tested."""
    set_aside: int
    """Finished provisional runs that were left out."""
    searches: Mapping[str, Found] = field(default_factory=dict)
    """Run of a baseline without training -> the search of its wording."""

    @property
    def cultures(self) -> tuple[str, ...]:
        """Tested cultures in the study's order."""
        return self.study.plan.cultures

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the plan's order."""
        return tuple(split.name for split in self.study.plan.splits)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels of what was trained on the studied cultures, in the plan's order."""
        ordinary = {UNTRAINED, *self.cultures}
        return tuple(dict.fromkeys(run.label for run in self.study.runs if run.trained_culture in ordinary))

    @cached_property
    def prompted(self) -> tuple[str, ...]:
        """Labels of the baselines without training, in the plan's order."""
        return tuple(dict.fromkeys(run.label for run in self.study.runs if run.trained_culture == PROMPTED))

    def reworded(self, label: str, number: int | None = None) -> tuple[str, ...]:
        """Names of the test sets under other instructions that a method's adapters were planned for; of one instruction, counted from 1."""
        own = {run.run for run in self.study.runs if run.label == label and run.trained_culture in self.cultures}
        names = dict.fromkeys(name for run, tests in self.study.plan.tests.items() if run in own for name in tests)
        return tuple(name for name in names if number is None or parted(name)[0] == f"wording-{number}")

    @property
    def untouched(self) -> Kind:
        """The table row of the model without adapter."""
        return next(((run.label, UNTOUCHED) for run in self.study.runs if run.trained_culture == UNTOUCHED), ("none", UNTOUCHED))

    @cached_property
    def programs(self) -> tuple[str, ...]:
        """Labels of the programs without a language model that the question table knows, the association first."""
        there = {label for label, _, _ in self._parts}
        return tuple(label for label in _PROGRAMS if label in there)

    def method(self, label: str) -> str:
        """The method behind a label."""
        return next((run.method for run in self.study.runs if run.label == label), label)

    def trained(self, label: str) -> tuple[str, ...]:
        """Cultures that adapters of `label` are trained on, in the study's order."""
        trained = {run.trained_culture for run in self.study.runs if run.label == label}
        return tuple(culture for culture in self.cultures if culture in trained)

    def held_out(self, label: str) -> tuple[str, ...]:
        """Those of `trained` whose adapters come from a training without their questions: zero-shot."""
        config = next((method for method in self.study.config.methods if (method.label or method.name) == label), None)
        out = () if config is None else config.settings.get("held_out") or ()
        return self.trained(label) if out == "each" else tuple(culture for culture in self.trained(label) if culture in out)

    def training_sets(self, label: str) -> tuple[str, ...]:
        """Names of the controls' training sets that were planned for `label`, in the plan's order."""
        ordinary = {UNTOUCHED, UNTRAINED, *self.cultures}
        return tuple(dict.fromkeys(run.trained_culture for run in self.study.runs if run.label == label and run.trained_culture not in ordinary))

    def expected(self, kind: Kind) -> int:
        """How many runs the plan has for a table row."""
        if kind[0] in self.programs:
            return len(self.splits)
        return sum((run.label, run.trained_culture) == kind for run in self.study.runs)

    @cached_property
    def _parts(self) -> Mapping[tuple[str, str, str], list[tuple[int, int]]]:
        """(Label, trained culture, tested culture) -> first row and number of rows of each block of them."""
        number, first = numbered(self.rows, _PLACE)
        begins = np.flatnonzero(np.diff(number, prepend=-1))
        names = self.rows[first].select(_PLACE).rows()
        found: dict[tuple[str, str, str], list[tuple[int, int]]] = {name: [] for name in names}
        for begin, length in zip(begins.tolist(), np.diff(begins, append=len(number)).tolist(), strict=True):
            found[names[number[begin]]].append((begin, length))
        return found

    def part(self, keep: Callable[[str, str, str], bool]) -> pl.DataFrame:
        """The rows of some adapters on some cultures, in the order of `rows`; far quicker than a filter over millions of them.

        Args:
            keep: label, trained culture and tested culture (or the name of a control's own test set) -> whether its rows are wanted.
        """
        blocks = sorted(block for name, found in self._parts.items() if keep(*name) for block in found)
        return pl.concat([self.rows.slice(*block) for block in blocks], rechunk=True) if blocks else self.rows.clear()

    def of(self, kind: Kind) -> pl.DataFrame:
        """The rows of one kind."""
        return self.part(lambda label, trained, tested: (label, trained) == kind)

    def own(self, label: str) -> pl.DataFrame:
        """The rows of a method's adapters on the culture that each was trained on."""
        return self.part(lambda name, trained, tested: name == label and trained == tested and trained in self.cultures)

    def others(self, label: str) -> pl.DataFrame:
        """The rows of a method's adapters on the studied cultures that they were not trained on, where the method has adapters of both."""
        there = self.trained(label)
        return self.part(lambda name, trained, tested: name == label and trained != tested and trained in there and tested in there)

    def gain(self, label: str) -> pl.DataFrame:
        """The rows of `own` minus the untouched model on the same questions (`stats.paired`); made once, whoever asks."""
        return self._once(f"{label}, own − untouched", lambda: paired(self.own(label), self.of(self.untouched)))

    def lead(self, label: str) -> pl.DataFrame:
        """The rows of `own` minus those of `others` on the same questions and from the same start, likewise."""
        return self._once(f"{label}, own − others", lambda: paired(self.own(label), self.others(label), beside=("start",)))

    def _once(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """A table that is made when it is first asked for."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @cached_property
    def _made(self) -> dict[str, pl.DataFrame]:
        """What `_once` keeps."""
        return {}

    def on(self, label: str, sets: Container[str]) -> pl.DataFrame:
        """The rows of whatever has a label on some test sets."""
        return self.part(lambda name, trained, tested: name == label and tested in sets)

    def adapters(self, label: str) -> pl.DataFrame:
        """The rows of a method's adapters of studied cultures, wherever they were tested."""
        return self.part(lambda name, trained, tested: name == label and trained in self.cultures)

    def kinds(self) -> tuple[Kind, ...]:
        """Every row of every table of pairs: untouched, untrained starts, programs, adapters."""
        untrained = [(label, UNTRAINED) for label in self.labels if self.expected((label, UNTRAINED))]
        adapters = [(label, culture) for label in self.labels for culture in self.trained(label)]
        prompted = [(label, PROMPTED) for label in self.prompted]
        return (self.untouched, *prompted, *untrained, *((program, UNTOUCHED) for program in self.programs), *adapters)

    def control_kinds(self) -> tuple[Kind, ...]:
        """Everything that a control answered with: the untouched model put another way, and adapters trained on something else."""
        return tuple((label, name) for label in (self.untouched[0], *self.labels) for name in self.training_sets(label))


def read_evidence(folder: Path) -> Evidence:
    """Reads a study's folder; provisional runs are left out unless there is nothing else.

    Raises:
        UserError: no study stands there, no run is finished, or a file is missing or damaged.
    """
    study = read_study(folder)
    finished = [run for run in study.runs if run.status == "finished"]
    if not finished:
        todo = "Run `affinage study run` on it; `affinage study plan` shows how far it is."
        raise UserError(str(folder), f"{len(study.runs)} planned runs, none finished", "a finished run", todo)
    firm = [run for run in finished if not run.provisional]
    chosen = firm or finished
    reasons = [] if firm else [reason for run in finished for reason in run.provisional]
    if study.config.splits.side == "development":
        reasons.append("tested on the development side, which is for choosing settings")
    names = {run.run for run in chosen}
    score = study.config.prompt.score
    credited = with_credit(read_all_scores(study, (*_READ, *_BESIDE[score]), lambda run: run.run in names), score)
    searches = {run.run: read_found(study.folder.run(run.run).search) for run in chosen if run.trained_culture == PROMPTED}
    rows = _enumerated(_with_programs(credited, study.questions), study)
    return Evidence(study, tuple(chosen), rows, tuple(dict.fromkeys(reasons)), len(finished) - len(chosen), searches)


def _with_programs(credited: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """What was scored with what the question table says of each question, and what each program earns on it, as a run of each split."""
    number, first = numbered(credited, _QUESTION)
    asked = (
        credited[first]
        .select(_QUESTION)
        .join(questions.select(*_QUESTION, *dict.fromkeys((*_STRATA, *BASELINES))), on=_QUESTION, how="left", maintain_order="left")
    )
    rows = credited.with_columns(asked[name][number] for name in _STRATA)
    scored = np.flatnonzero((credited["state"] == "scored").to_numpy())
    one = np.full(len(first), -1)
    one[number[scored[::-1]]] = scored[::-1]  # of several rows of a question the first one is written last
    one = np.sort(one[one >= 0])
    nothing = [pl.lit(None, rows.schema[name]).alias(name) for name in _OF_THE_MODEL if name in rows.columns]
    tables = [rows]
    for name in BASELINES:
        label = BASELINE_NAMES[name]
        earned = rows[one].with_columns(asked[name][number[one]].alias("choice"), *nothing).filter(pl.col("choice").is_not_null())
        named = {"run": pl.format("{} on {}", pl.lit(label), "split"), **{column: pl.lit(label) for column in ("label", "method")}}
        tables.append(earned.with_columns(**named, trained_culture=pl.lit(UNTOUCHED), start=pl.lit(0, pl.Int64)))
    return pl.concat(tables)


def _enumerated(rows: pl.DataFrame, study: StudyRecord) -> pl.DataFrame:
    """Names as numbers; those of the plan are listed also where no run of theirs is finished, since rows are asked for by them."""
    columns: dict[str, Iterable[str]] = dict.fromkeys(("run", "mcq_id", "template_id", "group", "topic", "swap", "right"), ())
    planned = {name: {getattr(run, name) for run in study.runs} for name in ("label", "method", "split", "trained_culture")}
    tested = {*study.plan.cultures, *(name for names in study.plan.tests.values() for name in names), UNTOUCHED, UNTRAINED, PROMPTED}
    return enumerated(rows, {**columns, **planned, "culture": tested}, alike=("trained_culture", "culture"))
