"""A study's own files: its resolved configuration and its plan, and all of it together as the report reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml

from affinage.config import StudyConfig, validated
from affinage.records import BASELINES, Split, UserError
from affinage.store.claims import claim_owner
from affinage.store.files import leaf_differences, read_json, write_atomically, write_json
from affinage.store.folder import StudyFolder
from affinage.store.provenance import cores
from affinage.store.runs import BEFORE, read_state
from affinage.store.scores import SCORE_SCHEMA, read_many_scores, read_table, write_table

__all__ = [
    "QUESTION_SCHEMA",
    "PlanRecord",
    "RunRecord",
    "StudyRecord",
    "differences",
    "lacks_columns",
    "open_study",
    "read_all_scores",
    "read_study",
    "write_plan",
]

UNTOUCHED = ""
"""`trained_culture` of the untouched model."""
UNTRAINED = "untrained"
"""`trained_culture` of a start after zero steps."""
PROMPTED = "prompted"
"""`trained_culture` of a baseline without training: its questions name the culture, or come with something about it."""

QUESTION_SCHEMA: dict[str, pl.DataType] = {
    "split": pl.String(),
    "culture": pl.String(),
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "group": pl.String(),
    "topic": pl.String(),
    "answer_seen": pl.Boolean(),
    "agreement": pl.Float64(),
    "swap": pl.String(),
    "right": pl.String(),
    "option_cultures": pl.List(pl.String()),
    **dict.fromkeys(BASELINES, pl.Float64()),
}
"""Columns of `plan/questions.parquet`, one row per split, test set and question. `culture`: the test set, a studied culture or the name of a
control with a test set of its own. `group`: template group, the unit of clustering. `answer_seen`: the right answer was right for the same
culture in a training template of the split. `agreement`: share of the annotators that gave the right answer, null where the source does not tell.
`swap`: digest of template and options, shared by questions that ask the same options about several cultures; `right`: digest of the
right option. `option_cultures`: per option (source order) the culture whose answer it is, as `MCQ.option_cultures`; null where the table was
written before it had this column. Then one column per program of
`records.BASELINES`: what it earns on the question, trained on the split's training side (0 to 1, ties share); null in a control's own test set."""

_LATER = ("option_cultures",)
"""Columns of the question table that a study begun with an older version lacks; `affinage study run` adds them."""

_ORIGIN = ("run", "label", "method", "trained_culture", "split", "start")

PLAN_FORMAT = 2
"""Version of `plan/plan.json`."""


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """What a plan leaves on disk for who cannot or will not load data and model again."""

    splits: tuple[Split, ...]
    cultures: tuple[str, ...]
    """Studied cultures, in the study's order."""
    runs: tuple[Mapping[str, Any], ...]
    """Per run: `run`, `label`, `method`, `trained_culture`, `split`, `start`; in the order in which they are run."""
    sizes: tuple[Mapping[str, Any], ...]
    """Per split and studied culture: `split`, `culture`, and the source's questions before any cap on each side: `train`, `test`, `development`."""
    ranges: Mapping[str, float]
    """Per split: the largest minus the smallest share of a culture's question rows on the test side, over all cultures of the source."""
    data: Mapping[str, str]
    """Of the data: `name`, `revision`, `digest`, `licence`, `citation`, `url`, `restrictions`, `passing_on`."""
    model: Mapping[str, str]
    """Identity of the backbone, its `dtype`, and digests of chat template and tokenizer."""
    tests: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Run -> test sets beside the studied cultures, for runs of controls that have one of their own."""
    sets: tuple[Mapping[str, Any], ...] = ()
    """Per split and training set of a control: `split`, `control`, `set`, `questions`, `templates`, `own_test` (its questions), `dropped` (reason
    -> questions left out), `source` (name and terms of its data set where it is not the study's)."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the plan, as it stands."""

    run: str
    """Its path below the study's folder."""
    label: str
    method: str
    trained_culture: str
    """Empty for the untouched model, `untrained` for a start after zero steps."""
    split: str
    start: int
    status: Literal["planned", "running", "trained", "finished", "failed"]
    reason: str
    """Why it failed; empty otherwise."""
    claimed_by: str | None
    """Host and process that work on it now."""
    provisional: tuple[str, ...]
    """Why it stays out of the main tables; empty where it does not."""
    counts: Mapping[str, int] | None
    """Training questions: `questions`, `refused`, `templates`; None where nothing was trained (yet)."""
    scored: Mapping[str, Mapping[str, int]] | None
    """Per tested culture: `scored` and `unscored` questions; None until finished."""
    provenance: tuple[Mapping[str, Any], ...]
    """What worked on it, one record per command."""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as it stands on disk."""

    folder: StudyFolder
    config: StudyConfig
    plan: PlanRecord
    runs: tuple[RunRecord, ...]
    """Every run of the plan, in the plan's order."""
    questions: pl.DataFrame
    """Columns of `QUESTION_SCHEMA`."""


def open_study(folder: StudyFolder, config: StudyConfig, *, write: bool) -> StudyConfig:
    """The configuration that holds in a study's folder: the one on disk, or `config` where the folder is new.

    `null` for `model.threads`, `model.cohort`, `model.nodes_per_pack` and `model.context`, `model.device: auto` and `data.path: hub` leave the
    choice to whoever came first: they take what stands on disk; in a new study threads become the number of cores, since sums are rounded in
    their order.

    Args:
        folder: the study's.
        config: what the user asks for.
        write: whether to write `study.yaml` where there is none.

    Raises:
        UserError: the folder holds a study that differs; the message names each differing key.
    """
    if not folder.config.exists():
        settled = _model(config, threads=config.model.threads or cores())
        if write:
            dump = yaml.safe_dump(settled.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            write_atomically(folder.config, dump.encode())
            return open_study(folder, config, write=False)  # another process may have begun another study here meanwhile
        return settled
    standing = read_config(folder)
    settled = config
    if config.model.threads is None:
        settled = _model(settled, threads=standing.model.threads)
    if config.model.device == "auto":
        settled = _model(settled, device=standing.model.device)
    for name in ("cohort", "nodes_per_pack", "context"):
        if getattr(config.model, name) is None:
            settled = _model(settled, **{name: getattr(standing.model, name)})
    if config.data.path == "hub" and (standing.data.path or "").startswith("hub@"):
        settled = settled.model_copy(update={"data": settled.data.model_copy(update={"path": standing.data.path})})
    differing = differences(standing, settled)
    if differing:
        keys = "; ".join(f"{key}: {there!r} there, {here!r} now" for key, there, here in differing)
        todo = "Give another --out for another study, or take the values back to continue this one."
        raise UserError(str(folder.config), keys, "the study that the folder was begun with", todo)
    return standing


def read_config(folder: StudyFolder) -> StudyConfig:
    """The configuration in `study.yaml`; a key that was not there yet when the study was begun says what was done then.

    Raises:
        UserError: it is missing or damaged, or was written by a version that knew other keys.
    """
    todo = "Give the folder of a study; `affinage study run` makes one."
    try:
        values = yaml.safe_load(folder.config.read_bytes())
    except OSError as error:
        raise UserError(str(folder.config), error.strerror or str(error), "a study's configuration", todo) from None
    except yaml.YAMLError as error:
        raise UserError(str(folder.config), " ".join(str(error).split()), "YAML as affinage writes it", todo) from None
    if isinstance(values, dict) and isinstance(values.get("model"), dict):
        values = {**values, "model": {**BEFORE, **values["model"]}}
    return validated(StudyConfig, values, str(folder.config))


def _model(config: StudyConfig, **changes: Any) -> StudyConfig:
    """The study with other values in `model`."""
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def differences(there: StudyConfig, here: StudyConfig) -> tuple[tuple[str, object, object], ...]:
    """(Dotted path, value there, value here) of each key by which two studies differ, but for who is told of their training."""
    before, now = (each.model_dump(mode="json", exclude={"tracking"}) for each in (there, here))
    return tuple(leaf_differences(before, now))


def write_plan(folder: StudyFolder, plan: PlanRecord, questions: pl.DataFrame) -> None:
    """Puts a plan on disk; the same plan makes the same bytes, so several processes may do so at once.

    Args:
        folder: the study's.
        plan: its plan.
        questions: columns of `QUESTION_SCHEMA`.

    Raises:
        UserError: as `write_atomically`.
    """
    write_table(folder.questions, questions.select(*QUESTION_SCHEMA))
    splits = [
        {"name": s.name, "train": sorted(s.train_templates), "test": sorted(s.test_templates), "development": sorted(s.development_templates)}
        for s in plan.splits
    ]
    fields = {name: getattr(plan, name) for name in ("cultures", "runs", "sizes", "ranges", "data", "model", "tests", "sets")}
    write_json(folder.plan, {"format": PLAN_FORMAT, "splits": splits, **fields})


def read_plan(folder: StudyFolder) -> PlanRecord:
    """The plan of a study that was begun.

    Raises:
        UserError: there is none, or it is damaged.
    """
    todo = "Run `affinage study run` on the study: it writes the plan before it trains."
    value = read_json(folder.plan)
    if value.pop("format", None) != PLAN_FORMAT:
        raise UserError(str(folder.plan), "another format", f"format {PLAN_FORMAT}", todo)
    try:
        splits = tuple(Split(s["name"], frozenset(s["train"]), frozenset(s["test"]), frozenset(s["development"])) for s in value.pop("splits"))
        cultures, runs, sizes, sets = (tuple(value.pop(name)) for name in ("cultures", "runs", "sizes", "sets"))
        tests = {run: tuple(names) for run, names in value.pop("tests").items()}
        return PlanRecord(splits, cultures, runs, sizes, **value, tests=tests, sets=sets)
    except (KeyError, TypeError) as error:
        raise UserError(str(folder.plan), f"a damaged plan ({error})", "a plan as affinage writes it", todo) from None


def read_study(out: Path) -> StudyRecord:
    """The study in a folder, as it stands: its plan and how far each run is. Loads neither data nor model.

    Raises:
        UserError: a file of it is missing or damaged.
    """
    folder = StudyFolder(out)
    config, plan = read_config(folder), read_plan(folder)
    questions = read_table(folder.questions, QUESTION_SCHEMA, may_lack=_LATER)
    return StudyRecord(folder, config, plan, tuple(_run_record(folder, run) for run in plan.runs), questions)


def lacks_columns(folder: StudyFolder) -> bool:
    """Whether the question table was written by a version that knew fewer columns.

    Raises:
        UserError: the table is damaged.
    """
    questions = read_table(folder.questions, QUESTION_SCHEMA, may_lack=_LATER)
    return any(questions[name].null_count() for name in _LATER)


def _run_record(folder: StudyFolder, run: Mapping[str, Any]) -> RunRecord:
    """A run of the plan with its state on disk."""
    origin = {name: run[name] for name in _ORIGIN}
    there = folder.run(run["run"])
    state = read_state(there)
    owner = claim_owner(there.path)
    if state is None:
        return RunRecord(**origin, status="planned", reason="", claimed_by=owner, provisional=(), counts=None, scored=None, provenance=())
    return RunRecord(
        **origin,
        status=state.status,
        reason=state.reason,
        claimed_by=owner,
        provisional=state.provisional,
        counts=state.counts,
        scored=state.scored,
        provenance=state.provenance,
    )


def read_all_scores(
    out: Path | StudyRecord, columns: Iterable[str] = tuple(SCORE_SCHEMA), keep: Callable[[RunRecord], bool] = lambda run: True
) -> pl.DataFrame:
    """The scores of every finished run of the study in a folder, each row with what made it: `run, label, method, trained_culture, split, start`.

    `culture` is the test set: a studied culture, or the name of a control's own.

    Args:
        out: the study, or its folder.
        columns: those of `SCORE_SCHEMA` that are needed; others are not read.
        keep: which of the finished runs.

    Raises:
        UserError: a score file is missing or damaged.
    """
    study = out if isinstance(out, StudyRecord) else read_study(out)
    runs = [run for run in study.runs if run.status == "finished" and keep(run)]
    files = [(run, name) for run in runs for name in (*study.plan.cultures, *study.plan.tests.get(run.run, ()))]
    wanted = [name for name in SCORE_SCHEMA if name in {*columns}]
    rows, counts = read_many_scores([study.folder.run(run.run).scores(name) for run, name in files], [name for name in wanted if name != "culture"])
    file = np.repeat(np.arange(len(files), dtype=np.uint32), counts)
    origin = {name: pl.Series(name, [getattr(run, name) for run, _ in files], pl.Int64 if name == "start" else pl.String) for name in _ORIGIN}
    origin["culture"] = pl.Series("culture", [name for _, name in files], pl.String)
    return rows.with_columns(values[file] for values in origin.values()).select(*_ORIGIN, *wanted)
