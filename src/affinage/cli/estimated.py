"""How an estimate is said: time, memory, the smallest gain, and afterwards what it took beside it."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.say import duration
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.study import Estimate
    from affinage.study.costs import Machine

__all__ = ["MemoryFlag", "RateFlag", "compared", "machine_of", "said", "said_gain"]

RateFlag = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="TFLOPS",
        help="Estimate for another machine: 10^12 operations a second that it reaches with this model (about half of what its maker names).",
    ),
]
MemoryFlag = Annotated[float | None, typer.Option("--memory", metavar="GB", help="With --rate: the other machine's free memory, in 10^9 bytes.")]


def machine_of(rate: float | None, memory: float | None) -> Machine | None:
    """The machine that flags describe; None where they describe none.

    Raises:
        UserError: half a description, or one that is not positive.
    """
    if rate is None and memory is None:
        return None
    if rate is None or memory is None or rate <= 0 or memory <= 0:
        told = f"--rate {rate} and --memory {memory}"
        raise UserError("--rate, --memory", told, "both, above zero", "For instance --rate 395 --memory 139: an H200 at half of its peak.")
    from affinage.study.costs import Machine, given_rates

    return Machine("cuda", int(memory * 1e9), given_rates(rate))


_CONTEXTS = {
    "gradient": "computed with what follows them, gradients included",
    "no-gradient": "computed without gradient",
    "kept": "computed once per training, their keys and values kept",
}


def said(found: Estimate) -> str:
    """`Estimate for what is left, one process: 16 min 05 s (...), at most 2.0 GB ...`."""
    if not found.seconds:
        return "Estimate: nothing is left to compute."
    trainings = ", ".join(f"{label} {duration(seconds)}" for label, seconds in found.training.items())
    parts = [f"training {duration(sum(found.training.values()))} ({trainings})"] if found.training else []
    parts += [f"testing {duration(found.testing)}", f"loading {duration(found.loading)}"]
    given = found.machine.rates.source
    more = ""
    if found.context is not None:
        more = f" Questions whose virtual tokens stand behind them are {_CONTEXTS[found.context]} (`model.context`)."
    if found.memory > found.machine.free:
        more += (
            f" That is more than the {found.machine.free / 1e9:.1f} GB that are free: end what else uses them, set "
            "`model.gradient_checkpointing: true` or a smaller `model.cohort`, or study a smaller model."
        )
    return (
        f"Estimate for what is left, one process: {duration(found.seconds)} ({', '.join(parts)}); "
        f"about {found.memory / 1e9:.1f} GB on the {'GPU' if found.machine.kind == 'cuda' else 'machine'}. Rates {given}"
        f"{', every product at that speed and all else for nothing' if given == 'given by hand' else ''}.{more}"
    )


def said_gain(groups: float) -> str:
    """The smallest gain that a study can show, before any result.

    At most: half the template groups right on either side, all questions of a group right or wrong together, whatever the number of cultures and
    starts, and a correlation between both sides of `audit.precision.CORRELATION`. A gain is then found in four of five studies at the 5 % level.
    """
    from affinage.audit.precision import CORRELATION, ERRORS_NEEDED, paired_gain

    gain = 100 * paired_gain(0.5 / math.sqrt(groups)) if groups else math.inf
    return (
        f"Smallest gain that it can show: {gain:.0f} points or fewer ({ERRORS_NEEDED} standard errors of a paired difference over {groups:.0f} "
        f"tested template groups, at the largest spread and a correlation of {CORRELATION:g}; `affinage data audit` measures the spread)."
    )


def compared(found: Estimate, seconds: float) -> str:
    """`estimated 16 min 05 s, took 17 min 40 s`."""
    return f"estimated {duration(found.seconds)}, took {duration(seconds)}"
