"""A study's methods and model as they are, every value filled in, so that they can be written down, compared and hashed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from affinage.config import MethodConfig, StudyConfig
from affinage.data import Dataset
from affinage.data.hub import on_hub
from affinage.records import MCQ, BackboneShape, UserError
from affinage.study.cohorts import LARGEST_COHORT, fitting, neighbours
from affinage.study.costs import Adapter, Machine, Step
from affinage.study.engine import Engine

if TYPE_CHECKING:
    from affinage.backbone import Identity
    from affinage.encode import Tokens
    from affinage.methods import ResolvedMethod
    from affinage.study.plan import PlannedRun

__all__ = ["check_views", "filled", "identify", "in_lockstep", "on_device", "pinned", "resolve_methods", "this_machine"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def resolve_methods(config: StudyConfig, engine: Engine) -> tuple[ResolvedMethod, ...]:
    """The study's methods beside the untouched model.

    Raises:
        UserError: unknown methods, presets or settings, labels that cannot name a folder; all faults together.
    """
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


def check_views(config: StudyConfig, resolved: tuple[ResolvedMethod, ...]) -> None:
    """Refuses, before anything is computed, views that the prompt's style has no options to apply to.

    Raises:
        UserError: all of them together.
    """
    style, todo = config.prompt.style, "Use another `prompt.style`, or leave it out."
    unlisted = f"with the style {style!r}, which lists no options"
    faults = []
    if config.evaluation.orders != "one" and style == "text":
        faults.append(UserError("evaluation.orders", f"{config.evaluation.orders!r} {unlisted}", "'one'", todo))
    if style == "text":
        fresh = [method.label for method in resolved if method.training.orders == "fresh"]
        faults += [UserError(f"training.orders of {label}", f"'fresh' {unlisted}", "'fixed'", todo) for label in fresh]
    if config.prompt.hide == "options" and style != "letters":
        faults.append(UserError("prompt.hide", f"'options' with the style {style!r}", "the style letters", todo))
    if faults:
        raise UserError.join(faults)


def filled(config: StudyConfig, resolved: tuple[ResolvedMethod, ...]) -> StudyConfig:
    """The study with every value of its methods written down: what a preset or a default says may change with the package's version."""
    by_label = {method.label: method for method in resolved}

    def fill(method: MethodConfig) -> MethodConfig:
        found = by_label.get(method.label or method.name)
        if found is None or method.tuned is not None:  # searched values are written down per split
            return method
        values = {"settings": found.settings.model_dump(mode="json"), "training": found.training.model_dump(mode="json")}
        return method.model_copy(update={"label": found.label, **values})

    return config.model_copy(update={"methods": tuple(map(fill, config.methods))})


def pinned(config: StudyConfig, dataset: Dataset) -> StudyConfig:
    """The study with the hub's commit written down where its data came from the hub and no version was named: a resume reads the same."""
    asked, revision = on_hub(config.data.path)
    if not asked or revision is not None or not dataset.revision:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"path": f"hub@{dataset.revision}"})})


def on_device(config: StudyConfig, engine: Engine, machine: Machine | None = None) -> StudyConfig:
    """The study with the kind of device written down that `auto` means: whoever continues it elsewhere computes on the same kind or is told.

    Args:
        config: a new study's.
        engine: knows the machine.
        machine: what is planned for. Default: this machine.

    Raises:
        UserError: the device that the study names is not there.
    """
    if config.model.device != "auto":
        return config
    kind = engine.free_memory(config.model)[0] if machine is None else machine.kind
    return config.model_copy(update={"model": config.model.model_copy(update={"device": kind})})


def identify(identity: Identity, tokens: Tokens, config: StudyConfig) -> dict[str, str]:
    """Everything of a model that determines what it answers: weights, type, chat template with its arguments, tokenizer."""
    return {
        **identity.as_dict(),
        "dtype": config.model.dtype if config.model.quantisation == "none" else f"{config.model.dtype} over {config.model.quantisation} weights",
        "template": tokens.template_digest,
        "arguments": json.dumps(dict(tokens.arguments), sort_keys=True),
        "tokenizer": tokens.tokenizer_digest,
    }


def in_lockstep(
    config: StudyConfig,
    questions: Sequence[MCQ],
    engine: Engine,
    *,
    shape: BackboneShape,
    tokens: Tokens,
    runs: tuple[PlannedRun, ...] = (),
    machine: Machine | None = None,
) -> StudyConfig:
    """The study with the size of its cohorts and of their packs written down, as they fit the machine, where it does not say them.

    Args:
        config: the study.
        questions: a training side; its batches stand for every culture's.
        engine: lays batches out, measures the machine.
        shape: the model's.
        tokens: the model's tokenizer.
        runs: of the plan; the method whose adapters need most memory stands for all. Default: adapters that weigh nothing, trained as the study says.
        machine: what the study runs on. Default: this machine as it is now.
    """
    machine = machine or this_machine(config, engine, shape)
    taught = {run.label: run.method for run in runs if run.trains and run.method is not None}
    adapters = [(engine.adapter_of(method, shape), method.training) for method in taught.values()]
    adapter, training = max(adapters, key=lambda each: (each[0].updates, each[0].trained), default=(Adapter(), config.training))

    most = min(neighbours(runs), LARGEST_COHORT) if runs else LARGEST_COHORT
    sides = engine.first_batches(questions, tokens, training, config.prompt, members=max(most, config.model.cohort or 1), seed=config.seed)

    def step(members: int, nodes_per_pack: int | None) -> Step:
        return engine.training_step(sides[:members], training.loss, config.prompt.score, adapter, nodes_per_pack=nodes_per_pack)

    chosen = fitting(shape, config.model, step, machine, adapter=adapter, most=most)
    return config.model_copy(update={"model": config.model.model_copy(update={"cohort": chosen.members, "nodes_per_pack": chosen.nodes_per_pack})})


def this_machine(config: StudyConfig, engine: Engine, shape: BackboneShape) -> Machine:
    """What a study runs on here and now: the CPU, or on CUDA the device that is named or those that layers are spread over; rates are measured."""
    return Machine(*engine.free_memory(config.model), engine.measure(shape, config.model))
