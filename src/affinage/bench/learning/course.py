"""One training after another, each measured after every few steps by the same judge on the same held-out questions.

The held-out questions are of the development side's templates, which no training side and no test side has. A training's clock runs while its
optimiser steps are made, with all that belongs to them; loading, tokenising and measuring count for nobody. The process that waits does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from affinage.bench.comparison import Start, opened
from affinage.bench.learning.cells import Cells
from affinage.bench.learning.curves import Curve, Point, Standing
from affinage.bench.learning.runner import Runner
from affinage.bench.learning.side import JUDGE
from affinage.bench.learning.trainings import Trainings
from affinage.bench.learning.worker import COMMAND
from affinage.bench.machine import describe
from affinage.bench.wire import Process, SideError, Talk
from affinage.bench.work import Question, Work, write_work
from affinage.config import StudyConfig
from affinage.methods import ResolvedMethod
from affinage.records import UserError
from affinage.store import canonical_digest

__all__ = ["PROCESS", "Course"]

PROCESS: Start = partial(Process, COMMAND)
"""Starts a worker in a process of its own."""

_READ = {"model", "data", "prompt", "splits", "seed", "training", "evaluation", "limit"}
"""Parts of the study tree that such a bench reads."""


@dataclass(frozen=True, slots=True)
class Course:
    """All trainings of a bench."""

    config: StudyConfig
    """Model and prompt."""
    work: dict[str, Any]
    """What is the same for all, in words."""
    judged: ResolvedMethod
    """The method whose adapters the judge reads."""
    held_out: tuple[Question, ...]
    turns: tuple[tuple[int, Runner], ...]
    """Seed and runner of each training, in the order in which they run."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else a bench holds fixed, where neither `work` nor the configuration says it."""

    def follow(
        self,
        *,
        command: str,
        start: Start,
        cells: Path | None,
        on_event: Callable[[str], None],
        on_result: Callable[[Trainings], object],
    ) -> Trainings:
        """Runs what is not done yet.

        Args:
            command: as it was typed, for the record.
            start: starts a worker.
            cells: folder in which each finished training is kept, and from which those of an earlier run are taken; None keeps none.
            on_event: told what happens.
            on_result: given what is known so far, after each measurement.

        Returns:
            All curves; where the user interrupted, those so far.

        Raises:
            UserError: the folder holds trainings of another setting, or the untouched model cannot be measured.
        """
        machine = describe(self.config.model)
        kept = None if cells is None else Cells.of(cells, self._setting(machine))
        with TemporaryDirectory() as scratch:
            place = Path(scratch)
            # The judge computes in float32, whatever the trainings do.
            precise = self.config.model.model_copy(update={"dtype": "float32"})
            work = _work(self.config, self.judged, self.held_out, place / JUDGE).model_copy(update={"model": precise})
            with opened(start, JUDGE, write_work(place / "judge.json", work)) as judge:
                try:
                    untouched = Standing(**judge.ask("judge", folder=None))
                except SideError as error:
                    raise UserError("the untouched model on held-out questions", str(error), "a loss", "Use another model or prompt.") from None
                found = Trainings(command, machine, self.work, untouched, planned=len(self.turns))
                try:
                    for so_far in self._followed(found, _Room(self.config, place, start, judge), kept, on_event):
                        found = so_far
                        on_result(found)
                except KeyboardInterrupt:
                    return found.stopped()
        return found

    def _setting(self, machine: dict[str, Any]) -> dict[str, Any]:
        """All that a training which is kept must have in common with one that runs now."""
        asked = [[question.model_dump(mode="json") for question in questions] for questions in (self.held_out, self.turns[0][1].questions)]
        study = self.config.model_dump(mode="json", include=_READ)
        return {"machine": machine, "work": self.work, **self.settings, "study": study, "questions": canonical_digest(asked)}

    def _followed(self, found: Trainings, room: _Room, kept: Cells | None, on_event: Callable[[str], None]) -> Iterator[Trainings]:
        """What is known after each measurement."""
        for seed, runner in self.turns:
            done = None if kept is None else kept.curve(runner.label, seed)
            if done is not None:
                on_event(f"seed {seed}, {runner.label}: finished by an earlier run, kept")
                found = replace(found, curves=(*found.curves, done), kept=found.kept + 1)
                yield found
                continue
            on_event(f"seed {seed}, {runner.label}")
            before = found.curves
            for curve in room.followed(runner, seed, on_event):
                if kept is not None and curve.ended:
                    kept.keep(curve)
                found = replace(found, curves=(*before, curve))
                yield found


@dataclass(frozen=True, slots=True)
class _Room:
    """Where trainings run, one after another, under the eyes of one judge."""

    config: StudyConfig
    place: Path
    """A folder for the files of all."""
    start: Start
    judge: Talk
    """Open, in a process of its own."""

    def followed(self, runner: Runner, seed: int, on_event: Callable[[str], None]) -> Iterator[Curve]:
        """A training's curve, each time that it has grown."""
        limits, total, place = runner.limits, runner.steps, self.place / f"{runner.label}-{seed}"
        curve = Curve(runner.label, seed, "running", ())
        epochs = [str(self._written(runner, questions, place, f"epoch-{epoch}")) for epoch, questions in enumerate(runner.epochs)]
        options = {"seed": seed, **({"epochs": epochs} if epochs else {})}
        try:
            with opened(self.start, runner.side, self._written(runner, runner.questions, place, "work"), options) as talk:
                steps, seconds, tokens = 0, 0.0, 0
                while True:
                    talk.ask("export", folder=place / "adapter")
                    standing = Standing(**self.judge.ask("judge", folder=place / "adapter"))
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

    def _written(self, runner: Runner, questions: Sequence[Question], place: Path, name: str) -> Path:
        return write_work(place / f"{name}.json", _work(self.config, runner.resolved, questions, place))


def _work(config: StudyConfig, resolved: ResolvedMethod, questions: Sequence[Question], place: Path) -> Work:
    return Work(
        model=config.model,
        method=resolved.name,
        settings=resolved.settings.model_dump(mode="json"),
        training=resolved.training,
        prompt=config.prompt,
        questions=tuple(questions),
        nodes_per_pack=config.evaluation.nodes_per_pack,
        start=place,
    )
