"""`affinage bench sharing`: what batches that share much do to learning, per step and per second."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.bench_flags import EveryFlag, Given, HeldOutFlag, SecondsFlag, known, typed, with_given
from affinage.cli.say import examples, say

if TYPE_CHECKING:
    from affinage.bench.sharing.result import Sharing

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Puts the command into its group."""
    group.command(
        "sharing",
        epilog=examples(
            "affinage bench sharing --source blend --path BLEnD --culture Spain --set prompt.style=text --set training.loss=choice",
            "affinage bench sharing --source blend --path BLEnD --culture Spain --method lora --per-template 1 --per-template 4",
            "affinage bench sharing --source blend --path BLEnD --culture Spain --set training.schedule=constant --every 2 --name sharing-constant",
        ),
    )(with_given(sharing))


def sharing(
    given: Given,
    *,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="prompt-tuning or lora, with its defaults.")] = "prompt-tuning",
    per_template: Annotated[
        list[int] | None,
        typer.Option("--per-template", min=1, help="Questions of one template side by side in a batch. May be repeated. Default: 1, 2, 4, 8."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each variant; a seed names a start and an order.")] = 3,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of each training; its schedule is over these.")] = 40,
    every: EveryFlag = 5,
    seconds: SecondsFlag = 1200,
    held_out: HeldOutFlag = 1,
) -> None:
    """Measure what sharing within a batch does to learning.

    No peer: our own training with 1, 2, 4 and 8 questions of one template side by side in a batch, read per step and per second. Every variant has
    the same starts, the same number of steps and the same schedule; all are measured on the same questions of the development side, outside their
    time.

    Every variant trains from every seed, one after another, which is long on a CPU; --seeds 1 and two variants are a trial. Each finished training is
    kept in NAME.cells beside the results, and the same command goes on from there; it refuses a folder that was made with other settings, on another
    machine or by another commit.
    """
    from affinage.bench.learning.runner import Limits
    from affinage.bench.sharing.bench import METHODS
    from affinage.bench.sharing.bench import sharing as measured

    (chosen,) = known("--method", (method,), METHODS)
    config = given.developing(held_out)
    cells = given.cells("sharing", config)
    result = measured(
        config,
        method=chosen,
        per_template=per_template or (1, 2, 4, 8),
        starts=seeds,
        limits=Limits(steps, seconds, every),
        command=typed(),
        cells=cells,
        on_event=say,
        on_result=lambda so_far: given.keep("sharing", so_far, _written),
    )
    todo = "the same with --set training.schedule=constant --name NAME, which tells what the seconds do from what the schedule does."
    given.finish_trainings("sharing", result, result.trainings, _written, cells=cells, todo=todo)


def _written(result: Sharing, out: Path, name: str) -> tuple[Path, ...]:
    """What the bench's other results have, and the curves."""
    from affinage.bench.sharing.figure import write_figure
    from affinage.bench.sharing.result import write

    return *write(result, out, name), *write_figure(result, out, name)
