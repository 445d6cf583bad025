"""What a report rests on: every tested question of a study's finished runs, with its template group and its strata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from affinage.data.baselines import BASELINE_NAMES
from affinage.prompting import Found
from affinage.prompting.search import read_found
from affinage.records import BASELINES, UserError
from affinage.report.words import parted
from affinage.stats import with_credit
from affinage.store import PROMPTED, UNTOUCHED, UNTRAINED, RunRecord, StudyRecord, read_all_scores, read_study

__all__ = ["LETTER_BIAS", "Evidence", "Kind", "read_evidence"]

LETTER_BIAS = "letter-bias"
"""Label of the control that fits letters instead of training a method; it stands among the methods."""

Kind = tuple[str, str]
"""(label, trained culture, or the name of a control's training set): what answered."""

_PROGRAMS = tuple(BASELINE_NAMES[name] for name in BASELINES)
_STRATA = ("group", "topic", "answer_seen", "agreement", "swap", "right")


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and sentences are made of; nothing else is read."""

    study: StudyRecord
    runs: tuple[RunRecord, ...]
    """Finished runs that are reported on."""
    rows: pl.DataFrame
    """One row per run and question, each program without a language model being a run of each split: the columns of `stats.RUN`, `culture`
    (the test set), `mcq_id`, `template_id`, `answer`, `state`, what `stats.with_credit` adds, and of `store.QUESTION_SCHEMA` `group`, `topic`,
    `answer_seen`, `agreement`, `swap`, `right` and `association`."""
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
        there = set(self.rows["label"].unique())
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

    def of(self, kind: Kind) -> pl.DataFrame:
        """The rows of one kind."""
        return self.rows.filter((pl.col("label") == kind[0]) & (pl.col("trained_culture") == kind[1]))

    def own(self, label: str) -> pl.DataFrame:
        """The rows of a method's adapters on the culture that each was trained on."""
        trained = pl.col("trained_culture")
        return self.rows.filter((pl.col("label") == label) & (trained == pl.col("culture")) & trained.is_in(self.cultures))

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
    scores = read_all_scores(folder).filter(pl.col("run").is_in([run.run for run in chosen]))
    credited = with_credit(scores, study.config.prompt.score)
    keys = ["split", "culture", "mcq_id"]
    beside = study.questions.select(*keys, *_STRATA, *BASELINES)
    rows = credited.join(beside, on=keys, how="left", maintain_order="left")
    searches = {run.run: read_found(study.folder.run(run.run).search) for run in chosen if run.trained_culture == PROMPTED}
    return Evidence(study, tuple(chosen), _with_programs(rows), tuple(dict.fromkeys(reasons)), len(finished) - len(chosen), searches)


def _with_programs(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, and what each program earns on the questions among them, as a run of each split."""
    asked = rows.filter(pl.col("state") == "scored").unique(["split", "culture", "mcq_id"], maintain_order=True)
    nothing = [pl.lit(None, rows.schema[name]).alias(name) for name in ("free", "orders", "one_order", "same", "survives")]
    tables = [rows]
    for name in BASELINES:
        label = BASELINE_NAMES[name]
        earned = asked.filter(pl.col(name).is_not_null()).with_columns(
            pl.format("{} on {}", pl.lit(label), "split").alias("run"),
            pl.lit(label).alias("label"),
            pl.lit(label).alias("method"),
            pl.lit(UNTOUCHED).alias("trained_culture"),
            pl.lit(0, pl.Int64).alias("start"),
            pl.col(name).alias("choice"),
            *nothing,
        )
        tables.append(earned)
    columns = [name for name in rows.columns if name not in BASELINES or name == "association"]
    return pl.concat(table.select(columns) for table in tables)
