"""The bench: every variant trains from every seed, one training after another, and is measured on the same held-out questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from affinage.bench.comparison import Start
from affinage.bench.learning.course import PROCESS, Course
from affinage.bench.learning.runner import Limits, Runner, described, own, prepared
from affinage.bench.learning.trainings import Trainings
from affinage.bench.sharing.result import Sharing
from affinage.config import MethodConfig, StudyConfig

__all__ = ["METHODS", "sharing"]

METHODS = ("prompt-tuning", "lora")
"""Whose adapters the judge reads from PEFT's format, one of each kind: vectors in the text, and updates of linear layers."""


def sharing(
    config: StudyConfig,
    *,
    method: str,
    per_template: Sequence[int],
    starts: int,
    limits: Limits,
    command: str,
    cells: Path | None = None,
    start: Start = PROCESS,
    on_event: Callable[[str], None] = lambda event: None,
    on_result: Callable[[Sharing], object] = lambda result: None,
) -> Sharing:
    """Trains each variant from each seed; which one begins changes with the seed, so that a machine that grows slower favours none.

    Args:
        config: model, data, prompt and training; `splits.side` must be `development`. Its methods, and of its training the number of steps and
            the questions per template, are not read.
        method: one of METHODS, with its default settings.
        per_template: the variants: values of `training.questions_per_template`.
        starts: seeds; each names a start and an order, the same start for every variant.
        limits: how far each training goes; the schedule of each is over `limits.steps`.
        command: as it was typed, for the record.
        cells: folder in which each finished training is kept, and from which those of an earlier run are taken; None keeps none.
        start: starts a worker.
        on_event: told what happens.
        on_result: given what is known so far, after each measurement.

    Returns:
        All curves; where the user interrupted, those so far.

    Raises:
        UserError: model or data cannot be read, a score that token ids alone do not give, the untouched model cannot be measured, or `cells`
            holds trainings of another setting.
    """
    made, held_out, trained = prepared(config)
    runners = tuple(
        own(made, limits, trained, MethodConfig(name=method, training={"steps": limits.steps, "questions_per_template": count}), str(count))
        for count in sorted(set(per_template))
    )
    training = runners[0].resolved.training
    course = Course(
        config,
        {**described(made, held_out, trained), **_settings(runners[0], config)},
        runners[0].resolved,
        held_out,
        tuple((seed, runners[(seed + place) % len(runners)]) for seed in range(starts) for place in range(len(runners))),
    )

    def result(found: Trainings) -> Sharing:
        variants = tuple(runner.label for runner in runners)
        return Sharing(training.schedule, "choice" if training.loss == "choice" else "loss", variants, found)

    return result(course.follow(command=command, start=start, cells=cells, on_event=on_event, on_result=lambda so_far: on_result(result(so_far))))


def _settings(runner: Runner, config: StudyConfig) -> dict[str, Any]:
    """What all variants train by."""
    training = runner.resolved.training
    settings = runner.resolved.settings.model_dump(mode="json")
    counts = Counter(question.template for question in runner.questions).values()
    return {
        "training questions per template": f"median {median(counts):g} ({min(counts)} to {max(counts)})",
        "method": ", ".join([runner.resolved.name, *(f"{name} {value}" for name, value in settings.items())]),
        "rate": f"{training.rate:g}, {training.schedule}, warm-up {training.warmup:g}",
        "batch": f"{training.batch_size} questions, orders {training.orders}, weights {training.weights}",
        "trained loss": training.loss,
        "clipping": training.clip,
        "type": config.model.dtype,
        "limits": str(runner.limits),
    }
