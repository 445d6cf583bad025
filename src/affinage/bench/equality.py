"""Whether two sides compute the same: asserted before anything is timed.

float32: loss and gradients (or option scores) of the two within 1e-5 of the largest. Through thirty layers rounding alone can move a gradient by
more; then both are held against float64. Over all values together each must be within 1e-4 of it. And ours must be within the first bound of it by
its largest deviation, or its distance over all values at most 1.2 times the peer's: below the first bound two right programs differ by more than that
(on a batch of BLEnD's TRL's distance was 0.8 of that of PEFT's own loop), above it which single value deviates most is left to chance.
bfloat16: our distance from the peer's float32 at most 1.2 times the peer's own. That distance is over all values together; a single number such as
the loss may be near by chance, so it is not judged there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

__all__ = [
    "FLOAT32_BOUND",
    "RATIO_BOUND",
    "ROUNDING_BOUND",
    "Answer",
    "Equality",
    "deviation",
    "distance",
    "equality",
    "gradient_answer",
    "score_answer",
]

FLOAT32_BOUND = 1e-5
"""Largest allowed deviation in float32, as a part of the largest value."""
ROUNDING_BOUND = 1e-4
"""Largest allowed distance of float32 from float64, where the two sides' float32 is farther apart than the first bound."""
RATIO_BOUND = 1.2
"""Largest allowed ratio of our error to the peer's."""

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side computed, in one type."""

    values: Mapping[str, Values]
    """Gradients by batch and name, or the options' scores."""
    losses: tuple[float, ...] = ()
    """Of the batches."""


@dataclass(frozen=True, slots=True)
class Equality:
    """How near two sides are, and whether that is near enough."""

    float32: float
    """Largest deviation of ours from the peer's in float32: of a tensor's values, as a part of the tensor's largest, or of the loss."""
    where: str
    """The tensor or loss with that deviation."""
    ours: float | None = None
    """Distance of our narrow values from the peer's float32, as a part of their norm; None where only float32 is compared."""
    theirs: float | None = None
    """The peer's own."""
    exact: tuple[float, float] | None = None
    """Distance of our float32 and of the peer's from float64, as a part of its norm; None where it was not needed."""
    from_exact: float | None = None
    """Largest deviation of our float32 from float64, as `float32` counts it; None where it was not needed."""

    @property
    def rounded(self) -> bool:
        """Whether float32 is farther apart than the first bound, so that float64 has to judge."""
        return not self.float32 <= FLOAT32_BOUND

    @property
    def fault(self) -> str:
        """What is wrong; empty where the two are equal."""
        if self.rounded:
            apart = f"float32 differs by {self.float32:.1e} of the largest ({self.where})"
            if self.exact is None or self.from_exact is None:
                return f"{apart}, at most {FLOAT32_BOUND:.0e} is allowed"
            ours, theirs = self.exact
            near = self.from_exact <= FLOAT32_BOUND or ours <= RATIO_BOUND * theirs
            if not (max(ours, theirs) <= ROUNDING_BOUND and near):
                return f"{apart}; ours is {ours:.1e} from float64, the peer {theirs:.1e}"
        if self.ours is not None and self.theirs is not None and not self.ours <= RATIO_BOUND * self.theirs:
            return f"our error is {self.ours:.2e}, the peer's {self.theirs:.2e}; at most {RATIO_BOUND} times as much is allowed"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {"float32": self.float32, "where": self.where, "ours": self.ours, "theirs": self.theirs}
        return {**values, "exact": None if self.exact is None else list(self.exact), "from_exact": self.from_exact, "fault": self.fault}


def gradient_answer(steps: Iterable[tuple[Path, float]]) -> Answer:
    """A side's gradients from the files that it wrote, one for each batch, and its losses; a file is read before the next step is asked for."""
    values: dict[str, Values] = {}
    losses = []
    for batch, (path, loss) in enumerate(steps):
        values |= {f"{name}, batch {batch}": value for name, value in load_file(path).items()}
        losses.append(loss)
    return Answer(values, tuple(losses))


def score_answer(scores: Sequence[Sequence[float]]) -> Answer:
    """A side's option scores."""
    return Answer({"scores": np.array([value for row in scores for value in row], np.float32)})


def deviation(one: Answer, other: Answer) -> tuple[float, str]:
    """Largest deviation as a part of the tensor's largest value in `other`, and where it is; infinite where a tensor is missing or not finite."""
    found = dict.fromkeys(set(one.values) ^ set(other.values), math.inf)
    for name in set(one.values) & set(other.values):
        here, there = one.values[name], other.values[name]
        found[name] = _part(float(np.abs(here - there).max()), float(np.abs(there).max())) if here.shape == there.shape else math.inf
    for batch, (a, b) in enumerate(zip(one.losses, other.losses, strict=True)):
        found[f"loss, batch {batch}"] = _part(abs(a - b), abs(b))
    where = max(found, key=lambda name: (found[name], name))
    return found[where], where


def _part(difference: float, largest: float) -> float:
    if not math.isfinite(difference) or not math.isfinite(largest):
        return math.inf
    if difference == 0:
        return 0.0
    return float(difference / largest) if largest else math.inf


def distance(one: Answer, reference: Answer) -> float:
    """Norm of the difference of all values, as a part of the reference's norm."""
    off = sum(float(np.square((one.values[name] - value).astype(np.float64)).sum()) for name, value in reference.values.items())
    return math.sqrt(off / sum(float(np.square(value.astype(np.float64)).sum()) for value in reference.values.values()))


def equality(ours: Answer, theirs: Answer, narrow: tuple[Answer, Answer] | None = None, exact: Answer | None = None) -> Equality:
    """How near two sides are.

    Args:
        ours: our float32.
        theirs: the peer's float32, the reference of the narrow type.
        narrow: both in the type that is timed, ours first; None where that is float32.
        exact: in float64.
    """
    largest, where = deviation(ours, theirs)
    return Equality(
        largest,
        where,
        None if narrow is None else distance(narrow[0], theirs),
        None if narrow is None else distance(narrow[1], theirs),
        None if exact is None else (distance(ours, exact), distance(theirs, exact)),
        None if exact is None else deviation(ours, exact)[0],
    )
