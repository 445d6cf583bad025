"""The race: both sides train on the same questions of one culture, and are measured after every few steps on the same held-out ones.

The held-out questions are of the development side's templates, which no training side and no test side has. A side's clock runs while its
optimiser steps are made, with all that belongs to them; loading, tokenising and measuring count for nobody. The process that waits does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from affinage.bench.held_out.page import Race
from affinage.bench.held_out.side import JUDGE, OURS, TRL
from affinage.bench.held_out.worker import COMMAND
from affinage.bench.machine import describe
from affinage.bench.material import Material, material
from affinage.bench.wire import Process, SideError, Talk
from affinage.bench.work import Question, Work, write_work
from affinage.config import MethodConfig, StudyConfig, load_study
from affinage.methods import ResolvedMethod, resolve
from affinage.records import UserError
from affinage.train import total_steps

__all__ = ["METHOD", "STUDY", "Limits", "race"]

METHOD = "prompt-tuning"
"""The one method of the reference study that TRL trains: it turns gradient checkpointing on, and PEFT refuses a prefix then."""
STUDY = "paper"
"""The preset with the reference study's settings."""

_PROCESS: Start = partial(Process, COMMAND)
_BY_TOKENS = ("total", "per-token")
"""Scores that need nothing but token ids."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one training of a side goes."""

    steps: int
    seconds: float
    """Of training; looked at when the side is measured."""
    every: int
    """Steps from one measurement to the next; the first so many steps are measured one by one, since much happens in them."""


@dataclass(frozen=True, slots=True)
class _Runner:
    """One side with what it trains by."""

    side: str
    resolved: ResolvedMethod
    limits: Limits
    questions: tuple[Question, ...]
    epochs: tuple[tuple[Question, ...], ...] = ()


def race(
    config: StudyConfig,
    *,
    starts: int,
    ours: Limits,
    theirs: Limits,
    peer_rate: float | None = None,
    command: str,
    start: Start = _PROCESS,
    on_event: Callable[[str], None] = lambda event: None,
    on_result: Callable[[Race], object] = lambda result: None,
) -> Race:
    """Trains with both sides from several seeds, in turns.

    Args:
        config: model, data, prompt, and our training; `splits.side` must be `development`. Its methods are not read: ours is METHOD with its
            defaults.
        starts: seeds per side; each names a start and an order.
        ours: how far we go.
        theirs: how far the peer goes.
        peer_rate: a rate for the peer in place of the study's, to tell what the rate does from what the work on a step does.
        command: as it was typed, for the record.
        start: starts a worker.
        on_event: told what happens.
        on_result: given what is known so far, after each measurement.

    Returns:
        All curves; where the user interrupted, those so far.

    Raises:
        UserError: model or data cannot be read, a score that token ids alone do not give, or the untouched model cannot be measured.
    """
    if config.prompt.score not in _BY_TOKENS:
        raise UserError("prompt.score", repr(config.prompt.score), " or ".join(_BY_TOKENS), "Set one of these.")
    made = material(config)
    held_out = _asked(made, made.tested)
    trained = _asked(made, made.trained)
    runners = (_peer(theirs, trained, peer_rate), _own(made, ours, trained))
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        # Both are measured in float32, whatever they were trained in.
        precise = config.model.model_copy(update={"dtype": "float32"})
        work = _work(config, runners[1].resolved, held_out, place / JUDGE).model_copy(update={"model": precise})
        with _opened(start, JUDGE, write_work(place / "judge.json", work)) as judge:
            try:
                untouched = Standing(**judge.ask("judge", folder=None))
            except SideError as error:
                raise UserError("the untouched model on held-out questions", str(error), "a loss", "Use another model or prompt.") from None
            result = Race(command, describe(config.model), _described(made, held_out, runners), _settings(runners, config), untouched, ())
            try:
                for seed in range(starts):
                    for runner in runners if seed % 2 == 0 else runners[::-1]:
                        on_event(f"seed {seed}, {runner.side}")
                        for curve in _Course(config, runner, seed, place / f"{runner.side}-{seed}").followed(start, judge, on_event):
                            others = tuple(other for other in result.curves if (other.side, other.seed) != (curve.side, curve.seed))
                            result = replace(result, curves=(*others, curve))
                            on_result(result)
            except KeyboardInterrupt:
                stopped = (replace(curve, state="interrupted") if curve.state == "running" else curve for curve in result.curves)
                return replace(result, curves=tuple(stopped), interrupted=True)
    return result


@dataclass(frozen=True, slots=True)
class _Course:
    """One training of one side."""

    config: StudyConfig
    runner: _Runner
    seed: int
    place: Path
    """Its folder."""

    def followed(self, start: Start, judge: Talk, on_event: Callable[[str], None]) -> Iterator[Curve]:
        """The training's curve, each time that it has grown."""
        limits = self.runner.limits
        total = min(limits.steps, total_steps(self.runner.resolved.training, len(self.runner.questions)))
        curve = Curve(self.runner.side, self.seed, "running", ())
        try:
            with _opened(start, self.runner.side, self._written("work", self.runner.questions), self._options()) as talk:
                steps, seconds, tokens = 0, 0.0, 0
                while True:
                    talk.ask("export", folder=self.place / "adapter")
                    standing = Standing(**judge.ask("judge", folder=self.place / "adapter"))
                    curve = replace(curve, points=(*curve.points, Point(steps, seconds, tokens, standing)))
                    on_event(f"  {steps} steps, {seconds:.1f} s: loss {standing.loss:.4f}, accuracy {standing.accuracy:.1%}")
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
        return write_work(self.place / f"{name}.json", _work(self.config, self.runner.resolved, questions, self.place))


@contextmanager
def _opened(start: Start, side: str, work: Path, options: dict[str, Any] | None = None) -> Iterator[Talk]:
    """A side or the judge in a worker of its own, which ends with the block."""
    talk = start()
    try:
        talk.ask("open", side=side, work=work, options=options or {})
        yield talk
    finally:
        talk.close()


def _asked(made: Material, questions: Sequence[Any]) -> tuple[Question, ...]:
    """Questions as token ids."""
    encoded, _ = made.tokens.encode_all(questions, made.config.prompt, seed=made.config.seed)
    return tuple(Question.of(each) for each in encoded)


def _own(made: Material, limits: Limits, questions: tuple[Question, ...]) -> _Runner:
    """Our side: the method's defaults, and what of the training the user wrote down."""
    resolved = resolve(MethodConfig(name=METHOD), made.config.training)
    epochs: list[tuple[Question, ...]] = []
    if resolved.training.orders == "fresh":
        shuffled = made.config.prompt.model_copy(update={"options": "shuffled"})
        for epoch in range(ceil(limits.steps * resolved.training.batch_size / len(questions))):
            anew, _ = made.tokens.encode_all(made.trained, shuffled, seed=seeds.seed_of("fresh orders", made.config.seed, epoch))
            known = {each.rendered.mcq.mcq_id: Question.of(each) for each in anew}
            epochs.append(tuple(known.get(question.id, question) for question in questions))
    return _Runner(OURS, resolved, limits, questions, tuple(epochs))


def _peer(limits: Limits, questions: tuple[Question, ...], rate: float | None) -> _Runner:
    """TRL with the reference study's settings."""
    study = load_study(STUDY)
    method = next(method for method in study.methods if method.name == METHOD)
    own = {} if rate is None else {"rate": rate}
    method = method.model_copy(update={"training": {**method.training, **own}})
    return _Runner(TRL, resolve(method, study.training), limits, questions)


def _work(config: StudyConfig, resolved: ResolvedMethod, questions: tuple[Question, ...], place: Path) -> Work:
    return Work(
        model=config.model,
        method=METHOD,
        settings=resolved.settings.model_dump(mode="json"),
        training=resolved.training,
        prompt=config.prompt,
        questions=questions,
        nodes_per_pack=config.evaluation.nodes_per_pack,
        start=place,
    )


def _described(made: Material, held_out: Sequence[Question], runners: Sequence[_Runner]) -> dict[str, Any]:
    """What both sides work on, and how far they go."""
    config = made.config
    limits = {
        f"{runner.side}, per seed": f"at most {most.steps} steps or {most.seconds:.0f} s; measured after each of the first {most.every} steps, "
        f"then after every {most.every}"
        for runner in runners
        for most in (runner.limits,)
    }
    return {
        "model": config.model.id,
        "data": f"{config.data.source}, {made.culture}, {len(runners[0].questions):,} questions to train on",
        "held out": f"{len(held_out)} questions of {len({question.template for question in held_out})} templates of the development side, in float32",
        "prompt": f"{config.prompt.style}, options {config.prompt.options}",
        **limits,
    }


def _settings(runners: Sequence[_Runner], config: StudyConfig) -> dict[str, dict[str, str]]:
    """What the sides do differently, on purpose: defaults against defaults."""
    found = {}
    for runner in runners:
        training, settings = runner.resolved.training, runner.resolved.settings.model_dump()
        own = runner.side == OURS
        found[runner.side] = {
            "method": f"{METHOD}, {settings['length']} vectors",
            "start": str(settings["start"]) if own else "PEFT's: normal",
            "rate": f"{training.rate:g}, {training.schedule}",
            "steps of the schedule": f"{total_steps(training, len(runner.questions)):,}",
            "batch": f"{training.batch_size} questions, {training.questions_per_template if own else 1} per template",
            "loss": training.loss if own else "answer, mean over the batch's tokens",
            "clipping": str(training.clip) if own else "TRL's: 1.0",
            "type": config.model.dtype if own else "TRL's: float32 weights under bfloat16 autocast",
            "gradient checkpointing": str(config.model.gradient_checkpointing) if own else "TRL's: True",
        }
    return found
