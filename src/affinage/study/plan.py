"""A study as a list of runs: a function of the configuration, the data and the backbone's identity, computed without weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affinage import data, seeds
from affinage.config import PromptConfig, StudyConfig
from affinage.controls import ControlSettings, TrainingSet
from affinage.data import Dataset
from affinage.records import BackboneShape, Split, UserError
from affinage.store import (
    PROMPTED,
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
from affinage.study.contexts import check_context, stands_after_context, with_context
from affinage.study.controlled import Controlled, digests, make_controls, set_row, stated
from affinage.study.costs import Machine
from affinage.study.engine import Engine
from affinage.study.engine import engine as real_engine
from affinage.study.presets import expanded, on_split, seen_by
from affinage.study.prompted import Prompted, make_prompted, settled
from affinage.study.settle import check_views, filled, identify, in_lockstep, on_device, pinned, resolve_methods, this_machine
from affinage.study.sides import check_cultures, row_range, sizes, trained_frame
from affinage.study.starts import begun, begun_labels
from affinage.study.wordings import check_instructions, wording_tests

if TYPE_CHECKING:
    from affinage.encode import Tokens
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
    prompt: PromptConfig
    """How its questions are put: the study's way, or a control's."""
    made: TrainingSet | None = None
    """What a control's adapter is trained on; None where the culture's own questions are, or nothing is."""
    calibration: ControlSettings | None = None
    """Settings of a control that fits a few numbers to the untouched model's scores; None for every other run."""
    chosen_on: frozenset[str] = frozenset()
    """Templates that a search of its method's values has seen."""
    prompted: Prompted | None = None
    """A baseline without training; None for every other run."""
    reworded: tuple[str, ...] = ()
    """Names of the test sets under other instructions."""
    begins: str = "fresh"
    """`MethodConfig.start`."""
    sources: tuple[tuple[str, str], ...] = ()
    """(Name, path) of the runs whose adapters it begins from or chooses from; empty for a fresh start."""

    @property
    def name(self) -> str:
        """The method's registered name."""
        if self.prompted is not None:
            return self.prompted.baseline.name
        if self.calibration is not None:
            return self.label
        return "none" if self.method is None else self.method.name

    @property
    def trains(self) -> bool:
        """Whether there is a training: the untouched model and untrained starts have none."""
        return self.method is not None and self.trained_culture != UNTRAINED

    @property
    def taught(self) -> tuple[str, ...]:
        """Cultures that its method trains together in one run; empty where it learns from its own culture, or from a control's set."""
        return self.method.taught if self.method is not None and self.trains else ()

    @property
    def own_test(self) -> str | None:
        """Name of the control's own test set, where it has one."""
        return None if self.made is None or self.made.own_test is None else self.made.name

    @property
    def further_tests(self) -> tuple[str, ...]:
        """Names of its test sets beside the studied cultures."""
        return (*([] if self.own_test is None else [self.own_test]), *self.reworded)

    def order_seed(self, seed: int) -> int:
        """The seed of the training's batches: start k of every culture shuffles from the same stream."""
        return seeds.seed_of("training", seed, self.split.name, self.start)

    def key(self, seed: int) -> tuple[str | int, ...]:
        """What the start depends on beside the method's shape: never on the culture, so run k of every culture starts from one tensor.

        (A start that is chosen by similarity is chosen for each culture.)
        """
        fresh = (self.name, self.split.name, self.start, seed)
        if self.begins == "fresh":
            return fresh
        return (*fresh, self.begins, *([self.trained_culture] if self.begins == "similar" else []))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a study consists of."""

    config: StudyConfig
    dataset: Dataset
    sets: tuple[tuple[str, TrainingSet], ...]
    """Split's name and training set of every control."""
    runs: tuple[PlannedRun, ...]
    """In the order in which they are run."""
    provisional: tuple[str, ...]
    """Why runs that are begun now stay out of the main tables; empty where they do not."""
    record: PlanRecord
    shape: BackboneShape
    """The backbone's."""
    tokens: Tokens
    """The backbone's tokenizer."""
    machine: Machine | None = None
    """What it was settled for; None where nothing had to be settled."""

    @property
    def cultures(self) -> tuple[str, ...]:
        """Studied cultures, in the study's order."""
        return self.record.cultures


def plan(
    config: StudyConfig,
    out: Path | None = None,
    *,
    engine: Engine | None = None,
    standing: Checkout | None = None,
    machine: Machine | None = None,
) -> Plan:
    """The runs of a study: per split the untouched model, and per method and start the untrained adapter and one adapter per culture.

    Writes nothing.

    Args:
        config: the study.
        out: its folder, new or begun; None where only the list of runs is wanted.
        engine: where methods are resolved and the backbone is described; this package's own by default.
        standing: the checkout that the package runs from, found out by default; a changed one makes runs provisional.
        machine: what cohorts and packs are settled for. Default: this machine, measured where the study leaves something open.

    Raises:
        UserError: the folder holds another study; or what is wrong with methods (all faults together), data, model or splits.
    """
    engine = engine or real_engine()
    standing = standing or checkout()
    config = expanded(config, engine)
    resolved = resolve_methods(config, engine)
    check_views(config, resolved)
    check_instructions(config)
    config = settled(filled(config, resolved))
    there_before = out is not None and StudyFolder(out).config.exists()
    if out is not None:
        config = open_study(StudyFolder(out), config, write=False)
    if not there_before:
        config = on_device(config, engine, machine)
    if config.data.source in data.choice_sources and not data.choice_sources.get(config.data.source).for_training:
        todo = "Test adapters on it with `affinage evaluate`."
        raise UserError("data.source", f"{config.data.source!r}, which is for evaluation only", "a source that may be trained on", todo)
    whole = data.load(config.data.model_copy(update={"cultures": None}))
    dataset = whole if config.data.cultures is None else whole.select(cultures=config.data.cultures)
    config = pinned(config, dataset)
    cultures = tuple(dict.fromkeys(config.data.cultures or dataset.cultures))
    splits = data.make_splits(dataset, config.splits)
    check_cultures(dataset, splits, cultures, config)
    begin_later = begun_labels(config)
    labels = tuple(method.label for method in resolved if not method.settled(cultures, None).taught and method.label not in begin_later)
    controlled = tuple(make_controls(config, whole=whole, dataset=dataset, splits=splits, cultures=cultures, labels=labels))
    prompted = tuple(make_prompted(config, dataset=dataset, splits=splits, cultures=cultures))
    shape, identity = engine.describe(config.model)
    tokens = engine.tokens(config.model)
    model = identify(identity, tokens, config)
    common = {
        "prompt": config.prompt.model_dump(mode="json"),
        "model": model,
        "data": dataset.digest,
        "seed": config.seed,
        "limit": config.limit,
        "tested": {"side": config.splits.side, **config.evaluation.model_dump(mode="json", exclude={"nodes_per_pack", "instructions"})},
    }
    there = {split.name: on_split(config, resolved, split, engine) for split in splits}
    seen = {(split.name, label): templates for split in splits for label, templates in seen_by(config, split).items()}
    planned = _runs(config, cultures, splits, resolved=there, controlled=controlled, prompted=prompted, common=common)
    runs = begun(config, [replace(run, chosen_on=seen.get((run.split.name, run.label), frozenset())) for run in planned])
    if config.model.cohort is None or config.model.nodes_per_pack is None:
        machine = machine or this_machine(config, engine, shape)
        first = dataset.questions(trained_frame(dataset, splits[0], cultures[0], config))
        config = in_lockstep(config, first, engine, shape=shape, tokens=tokens, runs=runs, machine=machine)
    check_context(config, runs)
    if config.model.context is None and any(map(stands_after_context, runs)):
        machine = machine or this_machine(config, engine, shape)
        first = dataset.questions(trained_frame(dataset, splits[0], cultures[0], config))
        config = with_context(config, first, engine, shape=shape, tokens=tokens, runs=runs, machine=machine)
    sets = tuple((made.split.name, each) for made in controlled for each in made.sets)
    record = PlanRecord(
        splits=splits,
        cultures=cultures,
        runs=tuple(_row(run) for run in runs),
        sizes=tuple(sizes(dataset, splits, cultures)),
        ranges={split.name: row_range(dataset, split.test_templates) for split in splits},
        tests={run.path: run.further_tests for run in runs if run.further_tests},
        sets=tuple(set_row(made, each) for made in controlled for each in made.sets),
        data={
            "name": dataset.name,
            "revision": dataset.revision,
            "digest": dataset.digest,
            **stated(dataset.terms),
        },
        model=model,
    )
    return Plan(config, dataset, sets, runs, _provisional(config, standing), record, shape, tokens, machine)


def _runs(
    config: StudyConfig,
    cultures: tuple[str, ...],
    splits: tuple[Split, ...],
    *,
    resolved: Mapping[str, tuple[ResolvedMethod, ...]],
    controlled: tuple[Controlled, ...],
    prompted: tuple[Prompted, ...],
    common: Mapping[str, Any],
) -> Iterator[PlannedRun]:
    """In the order in which they are run: the first rows of every table come first, controls last."""
    for split in splits:
        sides = canonical_digest([split.train_templates, split.test_templates, split.development_templates])
        here = {**common, "split": sides}
        untouched = {**here, "method": {"name": "none"}}
        yield _run("none", UNTOUCHED, split, 0, prompt=config.prompt, reworded=wording_tests(config, cultures), determinants=untouched)
        for each in prompted:
            if each.ground.split is split:
                yield _run(each.label, PROMPTED, split, 0, prompt=config.prompt, prompted=each, determinants={**here, "prompting": each.determinants})
        for start in range(config.starts):
            for chosen in resolved[split.name]:
                for culture in (UNTRAINED, *cultures):
                    method = chosen.settled(cultures, None if culture == UNTRAINED else culture)
                    values = {**here, **_method(method, trained=culture != UNTRAINED), "culture": culture, "start": start}
                    further = wording_tests(config, cultures, culture)
                    yield _run(method.label, culture, split, start, method=method, prompt=config.prompt, reworded=further, determinants=values)
        for control in controlled:
            if control.split is split:
                yield from _control_runs(control, config, cultures, resolved[split.name], here)


def _control_runs(
    control: Controlled, config: StudyConfig, cultures: tuple[str, ...], resolved: tuple[ResolvedMethod, ...], here: Mapping[str, Any]
) -> Iterator[PlannedRun]:
    """The runs of one control on one split."""
    stated = {"control": {"name": control.name, "settings": control.settings.model_dump(mode="json")}}
    if control.calibrates:
        for culture in cultures:
            values = {**here, **stated, "culture": culture}
            yield _run(control.name, culture, control.split, 0, prompt=config.prompt, calibration=control.settings, determinants=values)
        return
    put = {each.prompt for each in control.sets if each.prompt is not None}
    for prompt in sorted(put, key=lambda prompt: prompt.model_dump_json()):
        values = {**here, **stated, "prompt": prompt.model_dump(mode="json"), "method": {"name": "none"}}
        yield _run("none", control.name, control.split, 0, prompt=prompt, determinants=values)
    for start in range(config.starts):
        for method in resolved:
            if method.label not in control.methods:
                continue
            for made in control.sets:
                prompt = made.prompt or config.prompt
                values = {
                    **here,
                    **stated,
                    **_method(method, trained=True),
                    "prompt": prompt.model_dump(mode="json"),
                    "culture": made.name,
                    "start": start,
                    "sets": digests(made),
                }
                yield _run(method.label, made.name, control.split, start, method=method, prompt=prompt, made=made, determinants=values)


def _method(method: ResolvedMethod, *, trained: bool) -> dict[str, Any]:
    """What of a method determines a run's result."""
    training = method.training.model_dump(mode="json", exclude={"checkpoint_seconds"})
    chosen = {"name": method.name, "settings": method.settings.model_dump(mode="json")}
    return {"method": chosen, "training": training} if trained else {"method": chosen}


def _run(
    label: str,
    culture: str,
    split: Split,
    start: int,
    *,
    prompt: PromptConfig,
    determinants: Mapping[str, Any],
    method: ResolvedMethod | None = None,
    made: TrainingSet | None = None,
    calibration: ControlSettings | None = None,
    prompted: Prompted | None = None,
    reworded: Mapping[str, str] | None = None,
) -> PlannedRun:
    """A run under its path; `reworded` is test set -> instruction, and determines its result where it is not empty."""
    reworded = reworded or {}
    plain = json.loads(json.dumps({**determinants, **({"instructions": reworded} if reworded else {})}))
    init = "base" if method is None else f"start{start}"
    path = run_path(label, culture or "untouched", split.name, init, plain)
    return PlannedRun(path, label, culture, split, start, method, plain, prompt, made, calibration, prompted=prompted, reworded=tuple(reworded))


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
