"""`affinage bench loss`: seconds to the same held-out loss, with TRL as it comes and here."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.bench_flags import Given, typed, with_given
from affinage.cli.say import complain, examples, say
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.bench.held_out.page import Race

__all__ = ["add_to"]

_NEEDED = ("trl", "peft", "accelerate", "datasets")


def add_to(group: typer.Typer) -> None:
    """Puts the command into its group."""
    group.command(
        "loss",
        epilog=examples(
            "affinage bench loss --source blend --path BLEnD --culture Spain",
            "affinage bench loss --source blend --path BLEnD --culture Spain --set prompt.style=text --seeds 1 --peer-steps 20 --steps 60",
            "affinage bench loss --source blend --path BLEnD --culture Spain --set model.device=cuda --peer-steps 2000 --steps 2000 --every 20",
        ),
    )(with_given(loss))


def loss(
    given: Given,
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each side; a seed names a start and an order.")] = 3,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of ours at most, per seed.")] = 80,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps of ours between measurements; the first ones are measured one by one.")] = 5,
    peer_steps: Annotated[int, typer.Option("--peer-steps", min=1, help="Optimiser steps of TRL at most, per seed.")] = 48,
    peer_every: Annotated[int, typer.Option("--peer-every", min=1, help="The same for TRL.")] = 6,
    peer_rate: Annotated[float | None, typer.Option("--peer-rate", help="Learning rate of TRL. Default: the reference study's.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Seconds of training at most, per side and seed; then it stops there.")] = 1200,
    held_out: Annotated[int, typer.Option("--held-out", min=1, help="Held-out questions per template of the development side, at most.")] = 1,
) -> None:
    """Train a soft prompt with TRL, by the reference study's settings, and here, by the defaults: when had each the same held-out loss?

    The loss is that of right answers to questions of the development side, measured in the same way for both, outside their time. The target is
    the best mean loss that TRL reaches in its steps. An interrupted run keeps what it has measured.
    """
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UserError("peer trl", f"no {', '.join(missing)}", "it installed", "Install the bench's peers (pip install 'affinage[bench]').")
    fixed = ["splits.side=development", f"evaluation.rows_per_template={held_out}"]
    config = replace(given, setting=[*(given.setting or ()), *fixed]).config()
    from affinage.bench.held_out.course import Limits
    from affinage.bench.held_out.race import race

    result = race(
        config,
        starts=seeds,
        ours=Limits(steps, seconds, every),
        theirs=Limits(peer_steps, seconds, peer_every),
        peer_rate=peer_rate,
        command=typed(),
        on_event=say,
        on_result=lambda so_far: given.keep("loss", so_far, _written),
    )
    given.finish("loss", result, _written)
    if result.interrupted:
        complain("Stopped; what was measured is kept.")
        raise typer.Exit(130)


def _written(result: Race, out: Path, name: str) -> tuple[Path, Path]:
    """The curves, and what the bench's other results have."""
    from affinage.bench.held_out.figure import write_figure
    from affinage.bench.held_out.page import write

    write_figure(result, out, name)
    return write(result, out, name)
