"""`affinage bench loss`: seconds to the same held-out loss, with TRL as it comes and here."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.bench_flags import EveryFlag, Given, HeldOutFlag, SecondsFlag, typed, with_given
from affinage.cli.say import examples, say
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.bench.loss.result import Race

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
    every: EveryFlag = 5,
    peer_steps: Annotated[int, typer.Option("--peer-steps", min=1, help="Optimiser steps of TRL at most, per seed.")] = 48,
    peer_every: Annotated[int, typer.Option("--peer-every", min=1, help="The same for TRL.")] = 6,
    peer_rate: Annotated[float | None, typer.Option("--peer-rate", help="Learning rate of TRL. Default: the reference study's.")] = None,
    seconds: SecondsFlag = 1200,
    held_out: HeldOutFlag = 1,
) -> None:
    """Time training to a held-out loss, with TRL and here.

    The peer is TRL's SFTTrainer as it comes, with a soft prompt by the reference study's settings; here the defaults train. The loss is that of right
    answers to questions of the development side, measured in the same way for both, outside their time. The target is the best mean loss that TRL
    reaches in its steps.

    Both sides train from every seed, which is long on a CPU; --seeds 1 and fewer --peer-steps are a trial. Each finished training is kept in
    NAME.cells beside the results, and the same command goes on from there; it refuses a folder that was made with other settings, on another machine
    or by another commit.
    """
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise UserError("peer trl", f"no {', '.join(missing)}", "it installed", "Install the bench's peers (pip install 'affinage[bench]').")
    config = given.developing(held_out)
    from affinage.bench.learning.runner import Limits
    from affinage.bench.loss.bench import race

    cells = given.cells("loss", config)
    result = race(
        config,
        starts=seeds,
        ours=Limits(steps, seconds, every),
        theirs=Limits(peer_steps, seconds, peer_every),
        peer_rate=peer_rate,
        command=typed(),
        cells=cells,
        on_event=say,
        on_result=lambda so_far: given.keep("loss", so_far, _written),
    )
    todo = "the same with --peer-rate RATE --name NAME, to tell what the rate does from what the work on a step does."
    given.finish_trainings("loss", result, result.trainings, _written, cells=cells, todo=todo)


def _written(result: Race, out: Path, name: str) -> tuple[Path, ...]:
    """What the bench's other results have, and the curves."""
    from affinage.bench.loss.figure import write_figure
    from affinage.bench.loss.result import write

    return *write(result, out, name), *write_figure(result, out, name)
