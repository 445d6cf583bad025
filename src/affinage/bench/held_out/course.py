"""One training after another, each measured after every few steps by the same judge on the same held-out questions.

The held-out questions are of the development side's templates, which no training side and no test side has. A training's clock runs while its
optimiser steps are made, with all that belongs to them; loading, tokenising and measuring count for nobody. The process that waits does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from affinage import seeds
from affinage.bench.comparison import Start
from affinage.bench.held_out.curves import Curve, Point, Standing
from affinage.bench.held_out.side import JUDGE, OURS
from affinage.bench.held_out.worker import COMMAND
from affinage.bench.material import Material
from affinage.bench.wire import Process, SideError, Talk
from affinage.bench.work import Question, Work, write_work
from affinage.config import MethodConfig, StudyConfig
from affinage.methods import ResolvedMethod, resolve
from affinage.records import MCQ, UserError
from affinage.train import total_steps

__all__ = ["PROCESS", "Limits", "Runner", "Track", "asked", "check_score", "described", "judging", "own", "stopped"]

PROCESS: Start = partial(Process, COMMAND)
"""Starts a worker in a process of its own."""

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


def check_score(config: StudyConfig) -> None:
    """Refuses a score that token ids alone do not give.

    Raises:
        UserError: it needs texts.
    """
    if config.prompt.score not in _BY_TOKENS:
        raise UserError("prompt.score", repr(config.prompt.score), " or ".join(_BY_TOKENS), "Set one of these.")


def asked(made: Material, questions: Sequence[MCQ]) -> tuple[Question, ...]:
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
    """What all of them work on, for a record."""
    config = made.config
    return {
        "model": config.model.id,
        "data": f"{config.data.source}, {made.culture}, {len(trained):,} questions to train on",
        "held out": f"{len(held_out)} questions of {len({question.template for question in held_out})} templates of the development side, in float32",
        "prompt": f"{config.prompt.style}, options {config.prompt.options}",
    }


@dataclass(frozen=True, slots=True)
class Track:
    """Where trainings run one after another, under the eyes of one judge."""

    config: StudyConfig
    """Model and prompt."""
    place: Path
    """A folder for the files of all."""
    start: Start
    """Starts a worker."""
    judge: Talk
    """Open, in a process of its own."""
    untouched: Standing
    """Of the model without an adapter."""

    def followed(self, turns: Iterable[tuple[int, Runner]], on_event: Callable[[str], None]) -> Iterator[tuple[Curve, ...]]:
        """All curves so far, after each measurement.

        Args:
            turns: seed and runner of each training, in the order in which they run.
            on_event: told what happens.
        """
        done: tuple[Curve, ...] = ()
        for seed, runner in turns:
            on_event(f"seed {seed}, {runner.label}")
            course = _Course(self, runner, seed, self.place / f"{runner.label}-{seed}")
            curves = done
            for curve in course.followed(on_event):
                curves = (*done, curve)
                yield curves
            done = curves


@contextmanager
def judging(config: StudyConfig, resolved: ResolvedMethod, held_out: tuple[Question, ...], start: Start) -> Iterator[Track]:
    """A judge in a process of its own, which has measured the untouched model.

    Args:
        config: model and prompt; the judge computes in float32, whatever the trainings do.
        resolved: the method whose adapters it reads.
        held_out: the questions.
        start: starts a worker.

    Raises:
        UserError: the untouched model cannot be measured.
    """
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        precise = config.model.model_copy(update={"dtype": "float32"})
        work = _work(config, resolved, held_out, place / JUDGE).model_copy(update={"model": precise})
        with _opened(start, JUDGE, write_work(place / "judge.json", work)) as judge:
            try:
                untouched = Standing(**judge.ask("judge", folder=None))
            except SideError as error:
                raise UserError("the untouched model on held-out questions", str(error), "a loss", "Use another model or prompt.") from None
            yield Track(config, place, start, judge, untouched)


def stopped(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """The curves of a bench that the user interrupted."""
    return tuple(replace(curve, state="interrupted") if curve.state == "running" else curve for curve in curves)


@dataclass(frozen=True, slots=True)
class _Course:
    """One training."""

    track: Track
    runner: Runner
    seed: int
    place: Path
    """Its folder."""

    def followed(self, on_event: Callable[[str], None]) -> Iterator[Curve]:
        """The training's curve, each time that it has grown."""
        limits, total = self.runner.limits, self.runner.steps
        curve = Curve(self.runner.label, self.seed, "running", ())
        try:
            with _opened(self.track.start, self.runner.side, self._written("work", self.runner.questions), self._options()) as talk:
                steps, seconds, tokens = 0, 0.0, 0
                while True:
                    talk.ask("export", folder=self.place / "adapter")
                    standing = Standing(**self.track.judge.ask("judge", folder=self.place / "adapter"))
                    curve = replace(curve, points=(*curve.points, Point(steps, seconds, tokens, standing)))
                    on_event(f"  {steps} steps, {seconds:.1f} s: {standing}")
                    if steps >= total or seconds >= limits.seconds:
                        yield replace(curve, state="through" if steps >= total else "out of time")
                        return
                    yield curve
                    more = min(1 if steps < limits.every else limits.every, total - steps)
                    done = talk.ask("learn", steps=more)
                    steps, seconds, tokens = steps + more, seconds + float(done["seconds"]), tokens + int(done["tokens"])
        except SideError as error:
            yield replace(curve, state=f"failed: {error}")

    def _options(self) -> dict[str, Any]:
        """Of the side: its seed, and the questions of each epoch where they are put anew."""
        epochs = [str(self._written(f"epoch-{epoch}", questions)) for epoch, questions in enumerate(self.runner.epochs)]
        return {"seed": self.seed, **({"epochs": epochs} if epochs else {})}

    def _written(self, name: str, questions: tuple[Question, ...]) -> Path:
        return write_work(self.place / f"{name}.json", _work(self.track.config, self.runner.resolved, questions, self.place))


@contextmanager
def _opened(start: Start, side: str, work: Path, options: dict[str, Any] | None = None) -> Iterator[Talk]:
    """A side or the judge in a worker of its own, which ends with the block."""
    talk = start()
    try:
        talk.ask("open", side=side, work=work, options=options or {})
        yield talk
    finally:
        talk.close()


def _work(config: StudyConfig, resolved: ResolvedMethod, questions: tuple[Question, ...], place: Path) -> Work:
    return Work(
        model=config.model,
        method=resolved.name,
        settings=resolved.settings.model_dump(mode="json"),
        training=resolved.training,
        prompt=config.prompt,
        questions=questions,
        nodes_per_pack=config.evaluation.nodes_per_pack,
        start=place,
    )
