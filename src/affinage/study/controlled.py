"""The controls of a study, made ready for its splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from affinage.config import ControlConfig, StudyConfig, validated
from affinage.controls import Control, ControlSettings, Sides, TrainingSet, registered
from affinage.data import Dataset, Terms
from affinage.records import Split, UserError
from affinage.registry import suggest
from affinage.store import canonical_digest
from affinage.study.sides import tested_frame, trained_frame

__all__ = ["Controlled", "digests", "make_controls", "set_row", "stated"]


@dataclass(frozen=True, slots=True)
class Controlled:
    """One control on one split."""

    name: str
    split: Split
    settings: ControlSettings
    methods: frozenset[str]
    """Labels of the methods that it is trained with."""
    calibrates: bool
    sets: tuple[TrainingSet, ...]


def make_controls(
    config: StudyConfig, *, whole: Dataset, dataset: Dataset, splits: tuple[Split, ...], cultures: tuple[str, ...], labels: tuple[str, ...]
) -> Iterator[Controlled]:
    """Every control of a study on each of its splits.

    Args:
        config: the study.
        whole: its source with every culture.
        dataset: its source with the studied cultures.
        splits: its splits.
        cultures: its cultures, in its order.
        labels: its methods that learn from one set of questions: what several cultures train together has no place in a control.

    Raises:
        UserError: unknown controls, settings or methods, all together; or what a control says of the study.
    """
    chosen = _chosen(config, labels)
    for split in splits:
        sides = Sides(
            whole=whole,
            split=split,
            cultures=cultures,
            train=partial(_trained, dataset, split, config),
            test=partial(_tested, dataset, split, config),
            prompt=config.prompt,
            seed=config.seed,
        )
        for control, settings, methods in chosen:
            sets = () if control.calibrates else tuple(control.sets(sides, settings))
            for made in sets:
                _check(control, made, split)
            yield Controlled(control.name, split, settings, methods, control.calibrates, sets)


def _trained(dataset: Dataset, split: Split, config: StudyConfig, culture: str) -> Any:
    return trained_frame(dataset, split, culture, config)


def _tested(dataset: Dataset, split: Split, config: StudyConfig, culture: str) -> Any:
    return tested_frame(dataset, split, culture, config)


def _chosen(config: StudyConfig, labels: tuple[str, ...]) -> list[tuple[Control, ControlSettings, frozenset[str]]]:
    """The study's controls with their settings and methods."""
    chosen, faults = [], []
    for number, wanted in enumerate(config.controls):
        try:
            control = registered.get(wanted.name)
            settings = validated(control.settings, dict(wanted.settings), f"controls.{number}.settings")
        except UserError as error:
            faults.append(error)
            continue
        faults += _unknown_methods(wanted, number, labels, tuple(method.label or method.name for method in config.methods if method.name != "none"))
        chosen.append((control, settings, frozenset(labels if wanted.methods is None else wanted.methods)))
    names = [control.name for control, _, _ in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        faults.append(UserError("controls", f"{', '.join(twice)} twice", "each control once", "Remove one of them."))
    if faults:
        raise UserError.join(faults)
    return chosen


def _unknown_methods(wanted: ControlConfig, number: int, labels: tuple[str, ...], known: tuple[str, ...]) -> list[UserError]:
    """Methods that the study has not, or that a control cannot train; `known` are all of the study."""
    where, expected = f"controls.{number}.methods", "the label of a method of the study"
    faults = [UserError(where, repr(label), expected, suggest(label, labels)) for label in wanted.methods or () if label not in known]
    together = [label for label in wanted.methods or () if label in known and label not in labels]
    todo = "Leave it out of the control."
    faults += [UserError(where, f"{label!r}, which trains several cultures together", f"{expected} that learns one set", todo) for label in together]
    return faults


def _check(control: Control, made: TrainingSet, split: Split) -> None:
    """A control must leave something to train on, and never a test template."""
    if made.frame.is_empty():
        left = "; ".join(f"{count} left out: {reason}" for reason, count in made.dropped.items()) or "none to begin with"
        where = f"control {control.name}, split {split.name}"
        raise UserError(where, f"no training question for {made.name} ({left})", "at least one", "Leave the control out.")
    leaked = split.test_templates & set(made.frame["template_id"])
    if leaked:
        raise ValueError(f"control {control.name} trains on the test templates {sorted(leaked)[:3]}")


def digests(made: TrainingSet) -> dict[str, str]:
    """What of a training set determines a run's result."""
    parts = {"train": made.frame} | ({} if made.own_test is None else {"own_test": made.own_test})
    return {name: canonical_digest(frame.select("mcq_id", "question", "options", "answer").rows()) for name, frame in parts.items()}


def stated(terms: Terms) -> dict[str, str]:
    """Terms as a report repeats them."""
    named = {name: getattr(terms, name) for name in ("licence", "citation", "url", "restrictions")}
    return {**named, "passing_on": "" if terms.may_pass_on else "files derived from it may not be uploaded or passed on"}


def set_row(control: Controlled, made: TrainingSet) -> Mapping[str, Any]:
    """A training set as the plan's file lists it."""
    return {
        "split": control.split.name,
        "control": control.name,
        "set": made.name,
        "questions": made.frame.height,
        "templates": made.frame["template_id"].n_unique(),
        "own_test": 0 if made.own_test is None else made.own_test.height,
        "dropped": dict(made.dropped),
        "source": {} if made.terms is None else {"name": made.source, **stated(made.terms)},
    }
