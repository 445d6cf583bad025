"""The race: both sides train on the same questions of one culture, and are measured after every few steps on the same held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from affinage.bench.comparison import Start
from affinage.bench.learning.course import PROCESS, Course
from affinage.bench.learning.runner import Limits, Runner, described, own, prepared
from affinage.bench.learning.side import OURS, TRL
from affinage.bench.loss.result import Race
from affinage.bench.work import Question
from affinage.config import MethodConfig, StudyConfig, load_study
from affinage.methods import resolve
from affinage.train import total_steps

__all__ = ["METHOD", "STUDY", "race"]

METHOD = "prompt-tuning"
"""The one method of the reference study that TRL trains: it turns gradient checkpointing on, and PEFT refuses a prefix then."""
STUDY = "paper"
"""The preset with the reference study's settings."""


def race(
    config: StudyConfig,
    *,
    starts: int,
    ours: Limits,
    theirs: Limits,
    peer_rate: float | None = None,
    command: str,
    cells: Path | None = None,
    start: Start = PROCESS,
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
    runners = (_peer(theirs, trained, peer_rate), own(made, ours, trained, MethodConfig(name=METHOD)))
    settings = _settings(runners, config)
    course = Course(
        config,
        {**described(made, held_out, trained), **{f"{runner.label}, per seed": str(runner.limits) for runner in runners}},
        runners[1].resolved,
        held_out,
        tuple((seed, runner) for seed in range(starts) for runner in (runners if seed % 2 == 0 else runners[::-1])),
        {"sides": settings},
    )
    found = course.follow(command=command, start=start, cells=cells, on_event=on_event, on_result=lambda so_far: on_result(Race(settings, so_far)))
    return Race(settings, found)


def _peer(limits: Limits, questions: tuple[Question, ...], rate: float | None) -> Runner:
    """TRL with the reference study's settings."""
    study = load_study(STUDY)
    method = next(method for method in study.methods if method.name == METHOD)
    own = {} if rate is None else {"rate": rate}
    method = method.model_copy(update={"training": {**method.training, **own}})
    return Runner(TRL, TRL, resolve(method, study.training), limits, questions)


def _settings(runners: Sequence[Runner], config: StudyConfig) -> dict[str, dict[str, str]]:
    """What the sides do differently, on purpose: defaults against defaults."""
    found = {}
    for runner in runners:
        training, settings = runner.resolved.training, runner.resolved.settings.model_dump()
        own = runner.side == OURS
        found[runner.label] = {
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
