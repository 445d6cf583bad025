"""One adapter (or the untouched model) on one culture, question by question, as any log form needs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from affinage import data
from affinage.records import Score, UserError
from affinage.stats import with_credit
from affinage.store import RunRecord, StudyRecord, read_all_scores

__all__ = ["FORMS", "Answered", "Asked", "Form", "answered", "texts_of"]

Form = Literal["lm-eval", "inspect"]
FORMS: tuple[Form, ...] = get_args(Form)

Texts = Mapping[tuple[str, str], Mapping[str, Any]]
"""(Culture, question id) -> the columns of `data.COLUMNS`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it was answered, over every order in which its options were listed."""

    mcq_id: str
    template_id: str
    group: str | None
    """Template group, the unit of clustering."""
    topic: str | None
    answer: int
    """0-based index (source order) of the right option."""
    logprobs: tuple[float, ...]
    """Per option (source order) the log-probability of its answer, mean over the orders; empty where it could not be scored."""
    chosen: int | None
    """The option that alone is best by the study's score; None for a tie, and where nothing was scored."""
    credit: Mapping[str, float]
    """Reading -> what it earned, 0 to 1: `choice` by the study's score, `acc` by the total and `acc_norm` by the mean per character, `free` by the
    greedy first token; readings that the study does not have are left out, and all of them where it could not be scored."""
    orders: int
    state: str
    """`scored`, or the reason why it is not."""
    text: str | None
    options: tuple[str, ...] | None
    """Texts; None where they are not passed on."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One adapter (or the untouched model) on one culture."""

    study: StudyRecord
    run: RunRecord
    culture: str
    asked: tuple[Asked, ...]
    """In the order of the score file."""
    finished: datetime
    """When the run's state was last written, to the second."""

    @property
    def model(self) -> str:
        """What answered, in one name: the model, and the run's folder below the study's."""
        return f"{self.study.plan.model.get('id', '')}+{self.run.run}"

    @property
    def task(self) -> str:
        """What was asked: source, split and culture."""
        return f"affinage_{self.study.config.data.source}_{self.run.split}_{self.culture}"

    @property
    def facts(self) -> dict[str, str | int]:
        """What the run is."""
        run = self.run
        trained = run.trained_culture or "untouched"
        return {"run": run.run, "label": run.label, "method": run.method, "trained_culture": trained, "split": run.split, "start": run.start}

    def mean(self, reading: str) -> float:
        """Mean credit over the questions that have it, by row; NaN without any."""
        found = [each.credit[reading] for each in self.asked if reading in each.credit]
        return sum(found) / len(found) if found else math.nan

    def by_template(self, reading: str) -> float:
        """Mean over templates of each template's mean credit: the headline of a report."""
        found: dict[str, list[float]] = {}
        for each in self.asked:
            if reading in each.credit:
                found.setdefault(each.template_id, []).append(each.credit[reading])
        return sum(sum(values) / len(values) for values in found.values()) / len(found) if found else math.nan

    @property
    def readings(self) -> tuple[str, ...]:
        """Readings that some question has."""
        return tuple(dict.fromkeys(name for each in self.asked for name in each.credit))


def answered(study: StudyRecord, pattern: str = "*", texts: Texts | None = None) -> Iterator[Answered]:
    """Every finished run of a study on every studied culture; a control's own test set and other wordings are left out.

    Args:
        study: the study.
        pattern: of the runs' paths below `runs/`, as in a shell: `lora/Spain/*`.
        texts: the questions' texts, where they go into the log.

    Raises:
        UserError: no finished run fits, or a score file is missing or damaged.
    """
    wanted = [run for run in study.runs if run.status == "finished" and fnmatchcase(run.run.removeprefix("runs/"), pattern)]
    if not wanted:
        todo = "Leave the pattern out, or take one that fits: the runs' folders stand below `runs/`."
        raise UserError(f"runs {pattern!r}", "no finished run of that name", f"one of {len(study.runs)} runs", todo)
    about = study.questions.select("split", "culture", "mcq_id", "group", "topic")
    for run in wanted:
        scores = read_all_scores(study, keep=run.__eq__)
        for culture in study.plan.cultures:
            asked = _asked(scores.filter(pl.col("culture") == culture), study, about, texts)
            yield Answered(study, run, culture, tuple(asked), _finished(study.folder.run(run.run).state))


def _asked(scores: pl.DataFrame, study: StudyRecord, about: pl.DataFrame, texts: Texts | None) -> Iterator[Asked]:
    """The questions of one test."""
    keys = ["split", "culture", "mcq_id"]
    own = with_credit(scores, study.config.prompt.score).join(about, on=keys, how="left", maintain_order="left")
    earned: dict[str, dict[str, float | None]] = {"choice": _column(own, "choice"), "free": _column(own, "free")}
    compared: tuple[tuple[str, Score], ...] = (("acc", "total"), ("acc_norm", "per-character"))
    for name, score in compared:
        earned[name] = _column(with_credit(scores, score), "choice")
    logprobs = dict(with_credit(scores, "total").select("mcq_id", "values").iter_rows())
    for row in own.iter_rows(named=True):
        name = row["mcq_id"]
        values = row["values"] or []
        best = [option for option, value in enumerate(values) if value == max(values)]
        text = None if texts is None else texts[row["culture"], name]
        yield Asked(
            mcq_id=name,
            template_id=row["template_id"],
            group=row["group"],
            topic=row["topic"],
            answer=row["answer"],
            logprobs=tuple(logprobs[name] or ()),
            chosen=best[0] if len(best) == 1 else None,
            credit={reading: value for reading, known in earned.items() if (value := known[name]) is not None},
            orders=row["orders"],
            state=row["state"],
            text=None if text is None else str(text["question"]),
            options=None if text is None else tuple(text["options"]),
        )


def _column(rows: pl.DataFrame, name: str) -> dict[str, float | None]:
    """A column by question."""
    return dict(rows.select("mcq_id", name).iter_rows())


def _finished(state: Path) -> datetime:
    """When a file was last written."""
    return datetime.fromtimestamp(int(state.stat().st_mtime), UTC)


def texts_of(study: StudyRecord, load: Callable[..., data.Dataset] = data.load) -> Texts:
    """The questions of a study with their texts, where its source's terms let files that carry them be passed on.

    Args:
        study: the study.
        load: what loads its data.

    Raises:
        UserError: the terms do not allow it, or the data are not those of the study any more.
    """
    told = study.plan.data.get("passing_on")
    source = study.plan.data.get("name", study.config.data.source)
    ids = "Leave the texts out: ids and numbers are enough to join them with the data."
    if told:
        raise UserError(f"texts of {source}", told, "terms that let files with texts be passed on", ids)
    dataset = load(study.config.data)
    if not dataset.terms.may_pass_on:
        raise UserError(f"texts of {source}", f"licence {dataset.terms.licence}", "terms that let files with texts be passed on", ids)
    if dataset.digest != study.plan.data.get("digest"):
        raise UserError(f"texts of {source}", "other data than the study was run on (another digest)", "the study's data", ids)
    return {(row["culture"], row["mcq_id"]): row for row in dataset.frame.iter_rows(named=True)}
