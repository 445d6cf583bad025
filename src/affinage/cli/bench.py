"""`affinage bench`: this project against other tools, on the same work. `train` and `eval` are here, the others in `bench_NAME`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from typing import Annotated, get_args

import typer

from affinage.cli import bench_loss, bench_sharing, bench_study
from affinage.cli.bench_flags import METHODS, Given, RepetitionsFlag, known, typed, with_given
from affinage.cli.say import examples, say
from affinage.records import Style

__all__ = ["add_to"]

group = typer.Typer(
    no_args_is_help=True,
    short_help="Measure this project against other tools.",
    help="Training and testing here and with other tools. `train`, `eval` and `study` time the same work on both sides: same model, questions, "
    "batches, type, start and settings, in processes of their own that take turns; sides that do not compute the same are not timed. `loss` and "
    "`sharing` ask what is learned by when. Results: one JSON file and one page each, in bench/results below the working directory unless --out "
    "says otherwise. The peers come with pip install 'affinage[bench]'. Leave the machine alone while a bench runs.",
    rich_markup_mode=None,
    epilog=examples(
        "affinage bench train --source blend --path BLEnD --culture Spain",
        "affinage bench eval --source blend --path BLEnD --culture Spain",
        "affinage bench study --source blend --path BLEnD",
        "affinage bench loss --source blend --path BLEnD --culture Spain",
        "affinage bench sharing --source blend --path BLEnD --culture Spain",
    ),
)

PeerFlag = Annotated[list[str] | None, typer.Option("--peer", metavar="PEER", help="A tool to compare with. May be repeated. Default: all of them.")]


def add_to(app: typer.Typer) -> None:
    """Puts the commands into the whole."""
    bench_study.add_to(group)
    bench_loss.add_to(group)
    bench_sharing.add_to(group)
    app.add_typer(group, name="bench")


@group.command(
    epilog=examples(
        "affinage bench train --source blend --path BLEnD --culture Spain --repetitions 9",
        "affinage bench train --peer peft-loop-tuned --method lora --questions-per-template 4 --set model.dtype=float32",
        "affinage bench train --source blend --path BLEnD --culture Spain --set model.device=cuda --name train-gpu",
    )
)
@with_given
def train(
    given: Given,
    *,
    method: Annotated[list[str] | None, typer.Option("--method", metavar="METHOD", help="A method. May be repeated. Default: all three.")] = None,
    peer: PeerFlag = None,
    per_template: Annotated[
        list[int] | None,
        typer.Option("--questions-per-template", min=1, help="Questions of one template side by side in a batch. May be repeated. Default: 1 and 4."),
    ] = None,
    repetitions: RepetitionsFlag = 7,
    products: Annotated[
        int,
        typer.Option("--products", min=0, help="How often the matrix products of each timed step of ours are timed alone, afterwards; 0: never."),
    ] = 2,
) -> None:
    """Time optimiser steps, here and with other tools.

    The same batches on both sides. Peers: peft-loop (PEFT in a plain torch loop), peft-loop-tuned (the same at its best), trainer (Hugging Face
    Trainer), trl (SFTTrainer); `--peer none` looks at our own steps alone. Methods: prompt-tuning of 16, prefix-tuning of 4 with projection 256, LoRA
    of rank 16.

    Each method, number of questions per template and peer is a comparison of its own, for which both sides load the model several times: all of them
    take long on a CPU. Begin with one --method and one --peer. A comparison is written when it is done; a stopped command begins anew.
    """
    from affinage.bench.sides import peers, require

    wanted = () if peer == ["none"] else tuple(peer or peers("train"))
    require(wanted, "train")
    methods = known("--method", method or METHODS, METHODS)
    config = given.config()
    from affinage.bench.results import write
    from affinage.bench.training import train as compared

    with given.stoppable():
        result = compared(
            config,
            methods=methods,
            peers=wanted,
            per_template=per_template or (1, 4),
            repetitions=repetitions,
            products=products,
            command=typed(),
            on_event=say,
            on_result=lambda so_far: given.keep("train", so_far, write),
        )
    given.finish("train", result, write, todo="affinage bench eval, the same for testing; affinage bench loss, how soon steps have taught something.")


@group.command(
    "eval",
    epilog=examples(
        "affinage bench eval --source blend --path BLEnD --culture Spain --repetitions 5",
        "affinage bench eval --peer lm-eval --answers letters --method none --limit 200",
    ),
)
@with_given
def evaluate(
    given: Given,
    *,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="METHOD", help="A method, or none for the untouched model. May be repeated. Default: prompt-tuning."),
    ] = None,
    peer: PeerFlag = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            "--answers", metavar="STYLE", help="How answers are put: letters, text or text-listed. May be repeated. Default: letters, text."
        ),
    ] = None,
    repetitions: RepetitionsFlag = 5,
) -> None:
    """Time passes over a culture's test set, here and with other tools.

    Peers: lm-eval (lm-evaluation-harness, hf backend), lm-eval-tuned (the same at its best batch size), peft-eval (one forward a question), generate
    (one new token, letters only), generate-tuned (the same in batches).

    The slowest peer decides how long it takes: with all peers a whole test set takes long on a CPU. Begin with one --peer and a --limit. A comparison
    is written when it is done; a stopped command begins anew.
    """
    from affinage.bench.sides import peers, require

    wanted = tuple(peer or peers("eval"))
    require(wanted, "eval")
    methods = known("--method", method or ("prompt-tuning",), ("none", *METHODS))
    styles = known("--answers", answers or ("letters", "text"), get_args(Style))
    config = given.config()
    from affinage.bench.evaluation import evaluate as compared
    from affinage.bench.results import write

    with given.stoppable():
        result = compared(
            config,
            methods=methods,
            peers=wanted,
            styles=styles,
            repetitions=repetitions,
            command=typed(),
            on_event=say,
            on_result=lambda so_far: given.keep("eval", so_far, write),
        )
    given.finish("eval", result, write, todo="affinage bench train, the same for training.")
