"""Which losses both sides are held against, and how many times sooner one was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from affinage.bench.learning.curves import Point, Standing

__all__ = ["Ratio", "Target", "ratio", "reached", "summary", "targets"]

_WAY = 0.9
"""Part of the way from the untouched model to the peer's best that the nearer target asks for."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached; by rules that were fixed before anything was measured."""

    name: str
    measure: Literal["loss", "accuracy"]
    value: float

    def met(self, standing: Standing) -> bool:
        """Whether it is reached."""
        return standing.loss <= self.value if self.measure == "loss" else standing.accuracy >= self.value


def targets(theirs: Sequence[Point], untouched: Standing) -> tuple[Target, ...]:
    """The targets: functions of the peer's mean curve and of the untouched model, never of ours.

    Args:
        theirs: the peer's mean over its seeds.
        untouched: the model without an adapter.
    """
    if not theirs:
        return ()
    best = min(at.standing.loss for at in theirs)
    found = [Target("the peer's best mean loss", "loss", best)]
    if best < untouched.loss:
        found.append(Target(f"{_WAY:.0%} of the way from the untouched model to it", "loss", untouched.loss + _WAY * (best - untouched.loss)))
    found.append(Target("the untouched model's loss", "loss", untouched.loss))
    found.append(Target("the peer's best mean accuracy", "accuracy", max(at.standing.accuracy for at in theirs)))
    return tuple(found)


def reached(points: Sequence[Point], target: Target) -> Point | None:
    """The first measured point that meets a target; nothing is interpolated."""
    return next((at for at in points if target.met(at.standing)), None)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times sooner we met a target; a bound where one of the two never did."""

    sign: Literal["=", ">=", "<=", ""]
    """`>=`: the peer did not get there in its time, or we were there before our first step; `<=`: we did not get there in ours; empty: no ratio."""
    value: float
    reason: str = ""
    """Why there is none, or why it is a bound though both got there."""

    def __str__(self) -> str:
        """For a table's cell."""
        bound = "" if self.sign == "=" else f"{self.sign} "
        said = f" ({self.reason})" if self.reason else ""
        return f"{bound}{self.value:.1f}{said}" if self.sign else self.reason


def ratio(theirs: Sequence[Point], ours: Sequence[Point], target: Target) -> Ratio:
    """The peer's seconds over ours.

    Args:
        theirs: the peer's points.
        ours: our own.
        target: what both are held against.
    """
    there, here = reached(theirs, target), reached(ours, target)
    if not theirs or not ours or (there is None and here is None):
        return Ratio("", 0.0, "neither")
    at_once = here is not None and here.seconds == 0
    if there is not None and there.seconds == 0:
        return Ratio("", 0.0, "both at their starts" if at_once else "the peer at its start")
    # Who is there before the first step was faster than one step.
    ran = ours[1] if at_once and len(ours) > 1 else here or ours[-1]
    if not ran.seconds:
        return Ratio("", 0.0, "no step of ours")
    value = (there or theirs[-1]).seconds / ran.seconds
    if at_once:
        return Ratio(">=", value, "affinage at its start, one step counted")
    return Ratio("=" if there and here else ">=" if here else "<=", value)


def summary(ratios: Sequence[Ratio]) -> str:
    """Median and range over the seeds; with lower bounds among them, what the smallest of all is at least."""
    with_value = [each for each in ratios if each.sign]
    if not with_value:
        return ""
    values = [each.value for each in with_value]
    if all(each.sign == "=" for each in with_value):
        return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
    if all(each.sign in {"=", ">="} for each in with_value):
        return f"at least {min(values):.1f}"
    if all(each.sign in {"=", "<="} for each in with_value):
        return f"at most {max(values):.1f}"
    return "no bound: each side missed it with some seed"
