"""Where variants stood at equal steps and at equal seconds, and their differences seed by seed. No time is measured here, nothing interpolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

from affinage.bench.learning.curves import Curve, Point

__all__ = ["MEASURES", "Compared", "Cut", "Measure", "Spread", "compared", "cuts"]

Measure = Literal["loss", "choice", "accuracy"]
MEASURES: tuple[Measure, ...] = ("loss", "choice", "accuracy")
"""Fields of a `Standing`."""

Compared = Mapping[str, tuple[Curve, ...]]
"""Variant -> its curves, those of the same seeds in the same order for each."""

_PARTS = (0.25, 0.5, 0.75, 1.0)
"""Of the way to the last common step, or to the time at which the quickest variant was through."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One number per seed."""

    values: tuple[float, ...]

    @property
    def agree(self) -> bool:
        """Whether several seeds have the same sign; no test, a plain count."""
        return len(self.values) > 1 and (all(value > 0 for value in self.values) or all(value < 0 for value in self.values))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"seeds": list(self.values), "mean": mean(self.values), "least": min(self.values), "most": max(self.values)}


@dataclass(frozen=True, slots=True)
class Cut:
    """All variants at one number of steps, or at one time."""

    by: Literal["steps", "seconds"]
    value: float
    points: Mapping[str, tuple[Point, ...]]
    """Variant -> per seed the point measured at these steps, or the last one measured at or before this time."""
    through: Mapping[str, bool]
    """Variant -> whether all its trainings had ended by then, so that more time changes nothing."""

    def of(self, variant: str, measure: Measure) -> Spread:
        """A measure, seed by seed."""
        return Spread(tuple(float(getattr(at.standing, measure)) for at in self.points[variant]))

    def difference(self, variant: str, base: str, measure: Measure) -> Spread:
        """A measure less that of another variant with the same seed."""
        pairs = zip(self.of(variant, measure).values, self.of(base, measure).values, strict=True)
        return Spread(tuple(own - other for own, other in pairs))


def compared(curves: Sequence[Curve], variants: Sequence[str]) -> Compared:
    """What can be compared: variants no training of which broke, with the seeds from which all of them came to their end, after a step at least.

    Args:
        curves: all.
        variants: names, in the order of a table.
    """
    sound = [variant for variant in variants if not any(curve.side == variant and curve.failed for curve in curves)]
    ended = {(curve.side, curve.seed): curve for curve in curves if curve.ended and curve.points[-1].steps}
    seeds = sorted({seed for _, seed in ended})
    common = [seed for seed in seeds if all((variant, seed) in ended for variant in sound)]
    return {variant: tuple(ended[variant, seed] for seed in common) for variant in sound} if common else {}


def cuts(found: Compared) -> tuple[Cut, ...]:
    """At the start and a few steps that all were measured at, then at a few times.

    The times are parts of the one at which the quickest variant was through with all its seeds; then that at which the slowest was.
    """
    curves = [curve for own in found.values() for curve in own]
    if not curves:
        return ()
    common = sorted(set.intersection(*({at.steps for at in curve.points} for curve in curves)))
    steps = dict.fromkeys(min(common, key=lambda at: abs(at - part * common[-1])) for part in (0.0, *_PARTS))
    ends = [max(curve.points[-1].seconds for curve in own) for own in found.values()]
    times = dict.fromkeys([*(part * min(ends) for part in _PARTS), max(ends)])
    return (*(_cut("steps", at, found) for at in steps), *(_cut("seconds", at, found) for at in times))


def _cut(by: Literal["steps", "seconds"], value: float, found: Compared) -> Cut:
    points = {variant: tuple([at for at in curve.points if getattr(at, by) <= value][-1] for curve in own) for variant, own in found.items()}
    through = {variant: all(curve.points[-1] is at for curve, at in zip(own, points[variant], strict=True)) for variant, own in found.items()}
    return Cut(by, value, points, through)
