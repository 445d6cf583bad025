"""A study as a list of runs: a function of the configuration, the data and the backbone's identity, computed without weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affinage import data, seeds
from affinage.config import StudyConfig
from affinage.data import Dataset
from affinage.records import Split
from affinage.store import (
    UNTOUCHED,
    UNTRAINED,
    Checkout,
    PlanRecord,
    StudyFolder,
    canonical_digest,
    checkout,
    open_study,
    run_path,
)
from affinage.study.engine import Engine
from affinage.study.engine import engine as real_engine
from affinage.study.settle import filled, identify, resolve_methods
from affinage.study.sides import check_cultures, row_range, sizes

if TYPE_CHECKING:
    from affinage.methods import ResolvedMethod

__all__ = ["Plan", "PlannedRun", "plan"]


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

    def order_seed(self, seed: int) -> int:
        """The seed of the training's batches: start k of every culture shuffles from the same stream."""
        return seeds.seed_of("training", seed, self.split.name, self.start)

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
    resolved = resolve_methods(config, engine)
    config = filled(config, resolved)
    if out is not None:
        config = open_study(StudyFolder(out), config, write=False)
    dataset = data.load(config.data)
    cultures = tuple(dict.fromkeys(config.data.cultures or dataset.cultures))
    splits = data.make_splits(dataset, config.splits)
    check_cultures(dataset, splits, cultures, config)
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
        sizes=tuple(sizes(dataset, splits, cultures)),
        ranges={split.name: row_range(dataset, split.test_templates) for split in splits},
        data={
            "name": dataset.name,
            "revision": dataset.revision,
            "digest": dataset.digest,
            **{name: getattr(dataset.terms, name) for name in ("licence", "citation", "url", "restrictions")},
        },
        model=model,
    )
    return Plan(config, dataset, runs, _provisional(config, standing), record)


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
