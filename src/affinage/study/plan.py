"""A study as a list of runs: a function of the configuration, the data and the backbone's identity, computed without weights."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from affinage import data, seeds
from affinage.config import MethodConfig, StudyConfig
from affinage.data import Dataset
from affinage.records import Split, UserError
from affinage.store import (
    QUESTION_SCHEMA,
    UNTOUCHED,
    UNTRAINED,
    Checkout,
    PlanRecord,
    StudyFolder,
    canonical_digest,
    claim_owner,
    read_state,
    run_path,
)
from affinage.study.engine import Engine
from affinage.study.engine import engine as real_engine
from affinage.study.sides import tested_frame, trained_frame

if TYPE_CHECKING:
    from affinage.backbone import Identity
    from affinage.encode import Tokens
    from affinage.methods import ResolvedMethod

__all__ = ["Plan", "PlannedRun", "Progress", "plan", "progress", "question_table"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One adapter (or the untouched model), and what it is tested on."""

    path: str
    """Below the study's folder; its last part carries the digest of `determinants`."""
    label: str
    """The method's name in the study; `none` for the untouched model."""
    trained_culture: str
    """`UNTOUCHED`, `UNTRAINED`, or the culture that it is trained on."""
    split: Split
    start: int
    """Index of the start; 0 for the untouched model."""
    method: ResolvedMethod | None
    """None for the untouched model."""
    determinants: Mapping[str, Any]
    """Everything that determines the result, as JSON holds it."""

    @property
    def name(self) -> str:
        """The method's registered name."""
        return "none" if self.method is None else self.method.name

    @property
    def trains(self) -> bool:
        """Whether there is a training: the untouched model and untrained starts have none."""
        return self.trained_culture not in {UNTOUCHED, UNTRAINED}

    def key(self, seed: int) -> tuple[str | int, ...]:
        """What the start depends on beside the method's shape: never on the culture, so run k of every culture starts from one tensor."""
        return (self.name, self.split.name, self.start, seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a study consists of."""

    config: StudyConfig
    dataset: Dataset
    runs: tuple[PlannedRun, ...]
    """In the order in which they are run."""
    provisional: tuple[str, ...]
    """Why runs that are begun now stay out of the main tables; empty where they do not."""
    record: PlanRecord

    @property
    def cultures(self) -> tuple[str, ...]:
        """Studied cultures, in the study's order."""
        return self.record.cultures


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a planned run is."""

    run: PlannedRun
    status: Literal["planned", "running", "trained", "finished", "failed"]
    reason: str
    """Why it failed."""
    claimed_by: str | None
    """Host and process that work on it now."""
    provisional: tuple[str, ...]
    """Why it stays, or would stay, out of the main tables."""
    questions: tuple[int, int]
    """Questions trained on (per pass) and tested on, over all cultures."""


def plan(config: StudyConfig, out: Path | None = None, *, engine: Engine | None = None, standing: Checkout | None = None) -> Plan:
    """The runs of a study: per split the untouched model, and per method and start the untrained adapter and one adapter per culture.

    Writes nothing.

    Args:
        config: the study.
        out: its folder, new or begun; None where only the list of runs is wanted.
        engine: where methods are resolved and the backbone is described; this package's own by default.
        standing: the checkout that the package runs from, found out by default; a changed one makes runs provisional.

    Raises:
        UserError: the folder holds another study; or what is wrong with methods (all faults together), data, model or splits.
    """
    engine = engine or real_engine()
    standing = standing or checkout()
    resolved = _resolve(config, engine)
    config = _filled(config, resolved)
    if out is not None:
        config = open_study(StudyFolder(out), config, write=False)
    dataset = data.load(config.data)
    cultures = tuple(dict.fromkeys(config.data.cultures or dataset.cultures))
    splits = data.make_splits(dataset, config.splits)
    model = identify(engine.describe(config.model)[1], engine.tokens(config.model), config)
    common = {
        "prompt": config.prompt.model_dump(mode="json"),
        "model": model,
        "data": dataset.digest,
        "seed": config.seed,
        "limit": config.limit,
        "tested": {"side": config.splits.side, "rows_per_template": config.evaluation.rows_per_template},
    }
    runs = tuple(_runs(config, cultures, splits, resolved, common))
    record = PlanRecord(
        splits=splits,
        cultures=cultures,
        runs=tuple(_row(run) for run in runs),
        sizes=tuple(_sizes(dataset, splits, cultures)),
        ranges={split.name: _range(dataset, split.test_templates) for split in splits},
        data={
            "name": dataset.name,
            "revision": dataset.revision,
            "digest": dataset.digest,
            **{name: getattr(dataset.terms, name) for name in ("licence", "citation", "url", "restrictions")},
        },
        model=model,
    )
    made = Plan(config, dataset, runs, _provisional(config, standing), record)
    _check_cultures(made)
    return made


def identify(identity: Identity, tokens: Tokens, config: StudyConfig) -> dict[str, str]:
    """Everything of a model that determines what it answers: weights, type, chat template with its arguments, tokenizer."""
    return {
        **identity.as_dict(),
        "dtype": config.model.dtype,
        "template": tokens.template_digest,
        "arguments": json.dumps(dict(tokens.arguments), sort_keys=True),
        "tokenizer": tokens.tokenizer_digest,
    }


def _filled(config: StudyConfig, resolved: tuple[ResolvedMethod, ...]) -> StudyConfig:
    """The study with every value of its methods written down: what a preset or a default says may change with the package's version."""
    by_label = {method.label: method for method in resolved}

    def fill(method: MethodConfig) -> MethodConfig:
        found = by_label.get(method.label or method.name)
        if found is None:
            return method
        values = {"settings": found.settings.model_dump(mode="json"), "training": found.training.model_dump(mode="json")}
        return method.model_copy(update={"label": found.label, **values})

    return config.model_copy(update={"methods": tuple(map(fill, config.methods))})


def _resolve(config: StudyConfig, engine: Engine) -> tuple[ResolvedMethod, ...]:
    """The study's methods beside the untouched model; all faults together."""
    resolved, faults = [], []
    for number, method in enumerate(config.methods):
        label = method.label or method.name
        if not _LABEL.fullmatch(label):
            faults.append(
                UserError(f"methods.{number}.label", repr(label), "letters, digits and . _ - (it names a folder)", "Give it another label.")
            )
        elif label == "none" and method.name != "none":
            faults.append(UserError(f"methods.{number}.label", "'none'", "another label: it names the untouched model", "Give it another label."))
        if method.name == "none":
            continue  # the untouched model is a part of every study
        try:
            resolved.append(engine.resolve(method, config.training))
        except UserError as error:
            faults.append(error)
    if faults:
        raise UserError.join(faults)
    return tuple(resolved)


def _runs(
    config: StudyConfig, cultures: tuple[str, ...], splits: tuple[Split, ...], resolved: tuple[ResolvedMethod, ...], common: Mapping[str, Any]
) -> Iterator[PlannedRun]:
    """In the order in which they are run: the first rows of every table come first."""
    for split in splits:
        sides = canonical_digest([split.train_templates, split.test_templates, split.development_templates])
        yield _run("none", UNTOUCHED, split, 0, method=None, determinants={**common, "method": {"name": "none"}, "split": sides})
        for start in range(config.starts):
            for method in resolved:
                chosen = {"name": method.name, "settings": method.settings.model_dump(mode="json")}
                training = method.training.model_dump(mode="json", exclude={"checkpoint_seconds"})
                for culture in (UNTRAINED, *cultures):
                    trained = {} if culture == UNTRAINED else {"training": training}
                    determinants = {**common, "method": chosen, "split": sides, "culture": culture, "start": start, **trained}
                    yield _run(method.label, culture, split, start, method=method, determinants=determinants)


def _run(label: str, culture: str, split: Split, start: int, *, method: ResolvedMethod | None, determinants: Mapping[str, Any]) -> PlannedRun:
    """A run under its path."""
    plain = json.loads(json.dumps(determinants))
    folder, init = ("untouched", "base") if method is None else (culture, f"start{start}")
    return PlannedRun(run_path(label, folder, split.name, init, plain), label, culture, split, start, method, plain)


def _row(run: PlannedRun) -> dict[str, Any]:
    """The run as the plan's file lists it."""
    return {
        "run": run.path,
        "label": run.label,
        "method": run.name,
        "trained_culture": run.trained_culture,
        "split": run.split.name,
        "start": run.start,
    }


def _sizes(dataset: Dataset, splits: tuple[Split, ...], cultures: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Per split and culture the source's questions on each side, before any cap."""
    for split in splits:
        for culture in cultures:
            rows = dataset.row_counts.filter(pl.col("culture") == culture)
            sides = {"train": split.train_templates, "test": split.test_templates, "development": split.development_templates}
            counts = {name: int(rows.filter(pl.col("template_id").is_in(list(side)))["rows"].sum()) for name, side in sides.items()}
            yield {"split": split.name, "culture": culture, **counts}


def _range(dataset: Dataset, templates: frozenset[str]) -> float:
    """The largest minus the smallest share of a culture's question rows that is tested, over all cultures of the source."""
    tested = pl.col("rows").filter(pl.col("template_id").is_in(list(templates))).sum()
    shares = dataset.row_counts.group_by("culture").agg((tested / pl.col("rows").sum()).alias("share"))["share"].to_list()
    return float(max(shares) - min(shares))


def _provisional(config: StudyConfig, standing: Checkout) -> tuple[str, ...]:
    """Why results would have to stay out of the main tables."""
    reasons = []
    if config.limit is not None:
        reasons.append(f"a trial with at most {config.limit} questions per culture and side")
    if config.splits.side == "development":
        reasons.append("tested on the development side, where settings are chosen")
    if standing.dirty:
        reasons.append(f"the package differs from commit {standing.commit}")
    return tuple(reasons)


def _check_cultures(made: Plan) -> None:
    """Refuses a culture with an empty side: its cells would be empty, or its adapters untrained under its name."""
    faults = []
    if UNTRAINED in made.cultures:
        faults.append(UserError("data.cultures", repr(UNTRAINED), "another name: it stands for starts after zero steps", "Rename the culture."))
    for split in made.record.splits:
        for culture in made.cultures:
            for side, frame in {"training": trained_frame, "tested": tested_frame}.items():
                if frame(made.dataset, split, culture, made.config).is_empty():
                    todo = "Leave the culture out (`data.cultures`), or change `splits` (share, folds)."
                    faults.append(UserError(f"split {split.name}", f"no question of {culture} on the {side} side", "at least one", todo))
    if faults:
        raise UserError.join(faults)


def progress(made: Plan, folder: StudyFolder) -> tuple[Progress, ...]:
    """How far each run of a plan is; reads the study's folder, writes nothing that stays.

    Raises:
        UserError: a damaged `run.json`.
    """
    train = {(s.name, c): trained_frame(made.dataset, s, c, made.config).height for s in made.record.splits for c in made.cultures}
    test = Counter[str]()
    for split in made.record.splits:
        test[split.name] = sum(tested_frame(made.dataset, split, culture, made.config).height for culture in made.cultures)
    lines = []
    for run in made.runs:
        there = folder.run(run.path)
        state = read_state(there)
        questions = (train.get((run.split.name, run.trained_culture), 0), test[run.split.name])
        owner = claim_owner(there.path)
        if state is None:
            lines.append(Progress(run, "planned", "", owner, made.provisional, questions))
        else:
            lines.append(Progress(run, state.status, state.reason, owner, state.provisional, questions))
    return tuple(lines)


def question_table(made: Plan) -> pl.DataFrame:
    """The tested questions by id, with what the report needs beside their scores; columns of `store.QUESTION_SCHEMA`."""
    group = pl.DataFrame(data.template_groups(made.dataset).items(), schema={"template_id": pl.String, "group": pl.String}, orient="row")
    tables = []
    for split in made.record.splits:
        train = made.dataset.select(templates=split.train_templates).frame
        tested = pl.concat([tested_frame(made.dataset, split, culture, made.config) for culture in made.cultures])
        table = tested.join(group, on="template_id", how="left", maintain_order="left").with_columns(
            pl.lit(split.name).alias("split"),
            pl.Series("association", data.association(train, tested)),
            pl.Series("answer_seen", data.answer_seen(train, tested)),
        )
        tables.append(table.select(*QUESTION_SCHEMA))
    return pl.concat(tables)


def training_seed(seed: int, split: Split, start: int) -> int:
    """The seed of a run's batches: start k of every culture shuffles from the same stream."""
    return seeds.seed_of("training", seed, split.name, start)
