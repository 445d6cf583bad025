"""What a training had reached when. No time is measured here, nothing interpolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

__all__ = ["Curve", "Point", "Standing", "mean_curve"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One measurement on the held-out questions."""

    loss: float
    """Minus log-probability of the right answers, mean over their tokens."""
    accuracy: float
    """Part of the questions whose right option scores best."""
    choice: float
    """Minus log-softmax of the right option's score over the question's options, mean over the questions."""

    def __str__(self) -> str:
        """For a line of progress."""
        return f"loss {self.loss:.4f}, choice {self.choice:.4f}, accuracy {self.accuracy:.1%}"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a training stood after so many steps."""

    steps: float
    """Whole, but in a mean over seeds."""
    seconds: float
    """Of training alone."""
    tokens: float
    """That the decoder computed, padding left out."""
    standing: Standing


@dataclass(frozen=True, slots=True)
class Curve:
    """One training of one side."""

    side: str
    """Or, where one side trains in several ways, which of them."""
    seed: int
    state: str
    """`running`, `through` (its steps), `out of time`, `interrupted`, or `failed: REASON`."""
    points: tuple[Point, ...]
    """The first before any step."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        points = [{"steps": at.steps, "seconds": at.seconds, "tokens": at.tokens, **asdict(at.standing)} for at in self.points]
        return {"side": self.side, "seed": self.seed, "state": self.state, "points": points}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Curve:
        """From what `as_dict` gave."""
        points = [
            Point(at["steps"], at["seconds"], at["tokens"], Standing(**{name: at[name] for name in ("loss", "accuracy", "choice")}))
            for at in values["points"]
        ]
        return cls(values["side"], values["seed"], values["state"], tuple(points))

    @property
    def ended(self) -> bool:
        """Whether the training came to its end, by its steps or by its time."""
        return self.state in {"through", "out of time"}

    @property
    def failed(self) -> bool:
        """Whether it broke."""
        return self.state.startswith("failed")


def mean_curve(curves: Sequence[Curve]) -> tuple[Point, ...]:
    """The mean over the seeds, at the steps at which all of them were measured."""
    if not curves:
        return ()
    common = [at.steps for at in curves[0].points if all(any(other.steps == at.steps for other in curve.points) for curve in curves)]
    rows = [[next(at for at in curve.points if at.steps == steps) for curve in curves] for steps in common]
    return tuple(
        Point(
            row[0].steps,
            mean(at.seconds for at in row),
            mean(at.tokens for at in row),
            Standing(
                mean(at.standing.loss for at in row),
                mean(at.standing.accuracy for at in row),
                mean(at.standing.choice for at in row),
            ),
        )
        for row in rows
    )
