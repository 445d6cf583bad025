"""Who trains, on what, how far: one training of a bench before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from affinage import seeds
from affinage.bench.learning.side import OURS
from affinage.bench.material import Material, material
from affinage.bench.work import Question
from affinage.config import MethodConfig, StudyConfig
from affinage.methods import ResolvedMethod, resolve
from affinage.records import MCQ, UserError
from affinage.train import total_steps

__all__ = ["Limits", "Runner", "described", "own", "prepared"]

_BY_TOKENS = ("total", "per-token")
"""Scores that need nothing but token ids."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one training goes."""

    steps: int
    seconds: float
    """Of training; looked at when it is measured."""
    every: int
    """Steps from one measurement to the next; the first so many steps are measured one by one, since much happens in them."""

    def __str__(self) -> str:
        """For a page."""
        often = f"measured after each of the first {self.every} steps, then after every {self.every}"
        return f"at most {self.steps} steps or {self.seconds:.0f} s; {often}"


@dataclass(frozen=True, slots=True)
class Runner:
    """Who trains, and by what."""

    label: str
    """Its name on curves and pages."""
    side: str
    """Whose loop it is: `OURS` or `TRL`."""
    resolved: ResolvedMethod
    limits: Limits
    questions: tuple[Question, ...]
    """To train on."""
    epochs: tuple[tuple[Question, ...], ...] = ()
    """The same questions as each epoch puts them, where it puts them anew."""

    @property
    def steps(self) -> int:
        """That it makes where time does not run out."""
        return min(self.limits.steps, total_steps(self.resolved.training, len(self.questions)))


def prepared(config: StudyConfig) -> tuple[Material, tuple[Question, ...], tuple[Question, ...]]:
    """What a bench of learning works on: the material, its held-out questions and its training questions.

    Raises:
        UserError: model or data cannot be read, or a score that token ids alone do not give.
    """
    if config.prompt.score not in _BY_TOKENS:
        raise UserError("prompt.score", repr(config.prompt.score), " or ".join(_BY_TOKENS), "Set one of these.")
    made = material(config)
    return made, _asked(made, made.tested), _asked(made, made.trained)


def _asked(made: Material, questions: Sequence[MCQ]) -> tuple[Question, ...]:
    """Questions as token ids."""
    encoded, _ = made.tokens.encode_all(questions, made.config.prompt, seed=made.config.seed)
    return tuple(Question.of(each) for each in encoded)


def own(made: Material, limits: Limits, questions: tuple[Question, ...], method: MethodConfig, label: str = OURS) -> Runner:
    """A training of ours.

    Args:
        made: what the questions come from.
        limits: how far it goes.
        questions: the training questions, encoded once.
        method: its name and what is set for it; the rest are the method's defaults, and what of the training the user wrote down.
        label: its name on curves and pages.

    Raises:
        UserError: unknown method or setting.
    """
    resolved = resolve(method, made.config.training)
    epochs: list[tuple[Question, ...]] = []
    if resolved.training.orders == "fresh":
        shuffled = made.config.prompt.model_copy(update={"options": "shuffled"})
        for epoch in range(ceil(limits.steps * resolved.training.batch_size / len(questions))):
            anew, _ = made.tokens.encode_all(made.trained, shuffled, seed=seeds.seed_of("fresh orders", made.config.seed, epoch))
            known = {each.rendered.mcq.mcq_id: Question.of(each) for each in anew}
            epochs.append(tuple(known.get(question.id, question) for question in questions))
    return Runner(label, OURS, resolved, limits, questions, tuple(epochs))


def described(made: Material, held_out: Sequence[Question], trained: Sequence[Question]) -> dict[str, Any]:
    """What all trainings of a bench work on, for its record."""
    config = made.config
    return {
        "model": config.model.id,
        "data": f"{config.data.source}, {made.culture}, {len(trained):,} questions to train on",
        "held out": f"{len(held_out)} questions of {len({question.template for question in held_out})} templates of the development side, in float32",
        "prompt": f"{config.prompt.style}, options {config.prompt.options}",
    }
