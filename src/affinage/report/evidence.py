"""What a report rests on: every scored question of a study's finished runs, with its template group and its stratum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from affinage.records import UserError
from affinage.stats import RUN, with_credit
from affinage.store import UNTOUCHED, UNTRAINED, RunRecord, StudyRecord, read_all_scores, read_study

__all__ = ["ASSOCIATION", "Evidence", "Kind", "named", "provenance", "read_evidence", "shown", "slug"]

ASSOCIATION = "word-country association"
"""Label and method of the baseline that knows which words go with which country, and does not read the question."""

Kind = tuple[str, str]
"""(label, trained culture): what answered."""


@dataclass(frozen=True)
class Evidence:
    """Everything that tables, figures and sentences are made of; nothing else is read."""

    study: StudyRecord
    runs: tuple[RunRecord, ...]
    """Finished runs that are reported on."""
    rows: pl.DataFrame
    """One row per run and question, the association being a run of each split: the columns of `stats.RUN`, `culture`, `mcq_id`, `template_id`,
    `state`, the credits of `stats.with_credit`, and `group` and `answer_seen` of `store.QUESTION_SCHEMA`."""
    trial: tuple[str, ...]
    """Why these numbers are no result, where they are none: no other than provisional runs are finished, or the development side is tested."""
    set_aside: int
    """Finished provisional runs that were left out."""

    @property
    def cultures(self) -> tuple[str, ...]:
        """Tested cultures in the study's order."""
        return self.study.plan.cultures

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the plan's order."""
        return tuple(split.name for split in self.study.plan.splits)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of what was trained, in the plan's order."""
        return tuple(dict.fromkeys(run.label for run in self.study.runs if run.trained_culture != UNTOUCHED))

    @property
    def untouched(self) -> Kind:
        """The table row of the model without adapter."""
        return next(((run.label, UNTOUCHED) for run in self.study.runs if run.trained_culture == UNTOUCHED), ("none", UNTOUCHED))

    def method(self, label: str) -> str:
        """The method behind a label."""
        return next((run.method for run in self.study.runs if run.label == label), label)

    def trained(self, label: str) -> tuple[str, ...]:
        """Cultures that adapters of `label` are trained on, in the study's order."""
        trained = {run.trained_culture for run in self.study.runs if run.label == label}
        return tuple(culture for culture in self.cultures if culture in trained)

    def expected(self, kind: Kind) -> int:
        """How many runs the plan has for a table row."""
        if kind[0] == ASSOCIATION:
            return len(self.splits)
        return sum((run.label, run.trained_culture) == kind for run in self.study.runs)

    def kinds(self) -> tuple[Kind, ...]:
        """Every row of every table: untouched, untrained starts, association, adapters."""
        untrained = [(label, UNTRAINED) for label in self.labels if self.expected((label, UNTRAINED))]
        adapters = [(label, culture) for label in self.labels for culture in self.trained(label)]
        return (self.untouched, *untrained, (ASSOCIATION, UNTOUCHED), *adapters)


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
    beside = study.questions.select(*keys, "group", "association", "answer_seen")
    rows = credited.select(*RUN, *keys[1:], "template_id", "state", "choice", "free", "chance").join(
        beside, on=keys, how="left", maintain_order="left"
    )
    return Evidence(study, tuple(chosen), _with_association(rows), tuple(dict.fromkeys(reasons)), len(finished) - len(chosen))


def _with_association(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, and the association's credit on the questions among them, as a run of each split."""
    asked = rows.filter(pl.col("state") == "scored").unique(["split", "culture", "mcq_id"], maintain_order=True)
    baseline = asked.with_columns(
        pl.format("{} on {}", pl.lit(ASSOCIATION), "split").alias("run"),
        pl.lit(ASSOCIATION).alias("label"),
        pl.lit(ASSOCIATION).alias("method"),
        pl.lit(UNTOUCHED).alias("trained_culture"),
        pl.lit(0, pl.Int64).alias("start"),
        pl.col("association").alias("choice"),
        pl.lit(None, pl.Float64).alias("free"),
    )
    return pl.concat([rows, baseline.filter(pl.col("choice").is_not_null())]).drop("association")


def provenance(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What made the numbers, as (name, value) lines; the resolved study in full stands in `study.yaml` beside the report."""
    study = evidence.study
    config, plan = study.config, study.plan
    yield "study", f"{config.name} (every setting: `study.yaml`; runs, splits and template groups: `plan/`)"
    yield "model", _pairs(plan.model)
    yield "data", _pairs({name: plan.data[name] for name in ("name", "revision", "digest") if plan.data.get(name)})
    prompt = config.prompt
    yield "prompt", f"style {prompt.style}, score {prompt.score}, options {prompt.options}, chat template {'yes' if prompt.chat else 'no'}"
    yield "splits", f"{config.splits.kind}, {', '.join(evidence.splits)}; side {config.splits.side}"
    refused = sum(run.counts.get("refused", 0) for run in evidence.runs if run.counts)
    yield "training questions refused by the encoder", f"{refused:,} over all runs"
    workers = {_pairs(worker) for run in evidence.runs for worker in run.provenance}
    for worker in sorted(workers):
        yield "worker", worker


def _pairs(values: object) -> str:
    """A tree of values as one line: `name value, name value`."""
    if isinstance(values, dict):
        return ", ".join(f"{name} {_pairs(value)}" for name, value in values.items())
    return str(values)


def slug(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", label)


def shown(culture: str) -> str:
    """A culture's name as people write it: `South_Korea` is South Korea."""
    return culture.replace("_", " ")


def named(label: str) -> str:
    """A method's label at the beginning of a sentence or of a row."""
    return {"lora": "LoRA"}.get(label, label[:1].upper() + label[1:])
