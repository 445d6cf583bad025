"""`affinage bench sharing`: what batches that share much do to learning, per step and per second."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.bench_flags import Given, known, typed, with_given
from affinage.cli.say import complain, examples, say

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
    every: Annotated[int, typer.Option("--every", min=1, help="Steps between measurements; the first ones are measured one by one.")] = 5,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Seconds of training at most, per training; then it stops there.")] = 1200,
    held_out: Annotated[int, typer.Option("--held-out", min=1, help="Held-out questions per template of the development side, at most.")] = 1,
) -> None:
    """Train with 1, 2, 4 and 8 questions of one template side by side in a batch: what does sharing do to learning, per step and per second?

    Every variant has the same starts, the same number of steps and the same schedule; all are measured on the same questions of the development
    side, outside their time. An interrupted run keeps what it has measured.
    """
    from affinage.bench.held_out.course import Limits
    from affinage.bench.sharing.bench import METHODS
    from affinage.bench.sharing.bench import sharing as measured

    (chosen,) = known("--method", (method,), METHODS)
    fixed = ["splits.side=development", f"evaluation.rows_per_template={held_out}"]
    config = replace(given, setting=[*(given.setting or ()), *fixed]).config()
    result = measured(
        config,
        method=chosen,
        per_template=per_template or (1, 2, 4, 8),
        starts=seeds,
        limits=Limits(steps, seconds, every),
        command=typed(),
        on_event=say,
        on_result=lambda so_far: given.keep("sharing", so_far, _written),
    )
    given.finish("sharing", result, _written)
    if result.interrupted:
        complain("Stopped; what was measured is kept.")
        raise typer.Exit(130)


def _written(result: Sharing, out: Path, name: str) -> tuple[Path, Path]:
    """The curves, and what the bench's other results have."""
    from affinage.bench.sharing.figure import write_figure
    from affinage.bench.sharing.result import write

    write_figure(result, out, name)
    return write(result, out, name)
