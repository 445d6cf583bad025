"""`affinage bench study`: many adapters in cohorts over one model, against a process of PEFT's for each."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from typing import Annotated

import typer

from affinage.bench.study.worker import PEERS
from affinage.cli.bench_flags import METHODS, Given, RepetitionsFlag, known, typed, with_given
from affinage.cli.say import examples, say

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Puts the command into its group."""
    group.command(
        "study",
        epilog=examples(
            "affinage bench study --source blend --path BLEnD",
            "affinage bench study --source blend --path BLEnD --method lora --steps 40 --set training.questions_per_template=4",
            "affinage bench study --source blend --path BLEnD --set model.device=cuda --steps 200 --repetitions 3",
        ),
    )(study)


@with_given
def study(
    given: Given,
    *,
    peer: Annotated[str, typer.Option("--peer", help=f"Whom to compare with: {' or '.join(PEERS)}.")] = PEERS[0],
    method: Annotated[str, typer.Option("--method", help=f"The adapters' method: {', '.join(METHODS)}.")] = "prompt-tuning",
    adapters: Annotated[int, typer.Option("--adapters", min=1, help="How many: of the first cultures, then of the same from further starts.")] = 12,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of each adapter.")] = 20,
    repetitions: RepetitionsFlag = 1,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Also measure what another adapter in a cohort takes, with cohorts of 1, 2, 4 and 8.")
    ] = True,
) -> None:
    """Time a study of many adapters, here and with PEFT.

    Here they train in cohorts in one process over one model, with PEFT each in a process of its own, in turns. Both sides start their processes, load
    the model, train the same adapters on the same batches and save them. The peer is PEFT in a torch loop, at its best or as it comes. How many
    adapters are in a cohort, and how large a pack is, is settled as for a study (--set model.cohort=4 --set model.nodes_per_pack=2048).

    All adapters are trained twice, once a side, in every repetition; --adapters and --steps say how long that is. Each repetition is written when it
    is done; a stopped command begins anew. The memory of small cohorts is measured last (--no-memory leaves it out).
    """
    from affinage.bench.sides import require

    known("--peer", [peer], PEERS)
    known("--method", [method], METHODS)
    require((peer,), "train")
    config = given.config()
    from affinage.bench.study.bench import study as compared
    from affinage.bench.study.result import write

    with given.stoppable():
        result = compared(
            config,
            peer=peer,
            method=method,
            adapters=adapters,
            steps=steps,
            repetitions=repetitions,
            memory=memory,
            command=typed(),
            on_event=say,
            on_result=lambda so_far: given.keep("study", so_far, write),
        )
    given.finish("study", result, write, todo="affinage study plan, which settles cohorts and packs of your own study by the same rules.")
