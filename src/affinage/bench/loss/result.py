"""The record of a race, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affinage.bench.learning.curves import Curve, Point, mean_curve
from affinage.bench.learning.side import OURS, TRL
from affinage.bench.learning.trainings import CLOCK, Trainings
from affinage.bench.loss.targets import Target, ratio, reached, summary, targets
from affinage.bench.page import grid, write_files

__all__ = ["Race", "as_dict", "markdown", "write"]


@dataclass(frozen=True, slots=True)
class Race:
    """What is known of a race."""

    settings: Mapping[str, Mapping[str, str]]
    """Per side what it trains by."""
    trainings: Trainings

    @property
    def machine(self) -> Mapping[str, Any]:
        """What it ran on."""
        return self.trainings.machine

    @property
    def failed(self) -> bool:
        """Whether a training broke."""
        return self.trainings.failed

    @property
    def targets(self) -> tuple[Target, ...]:
        """Of the peer's mean over the seeds so far."""
        return targets(mean_curve(self.trainings.of(TRL)), self.trainings.untouched)

    def pairs(self) -> list[tuple[str, Sequence[Point], Sequence[Point]]]:
        """Name, the peer's points and ours: seed by seed, and the means over the seeds."""
        own = {curve.seed: curve.points for curve in self.trainings.of(OURS)}
        found: list[tuple[str, Sequence[Point], Sequence[Point]]] = [
            (f"seed {curve.seed}", curve.points, own[curve.seed]) for curve in self.trainings.of(TRL) if curve.seed in own
        ]
        return [*found, ("mean curves", mean_curve(self.trainings.of(TRL)), mean_curve(self.trainings.of(OURS)))] if found else []


def as_dict(race: Race) -> dict[str, Any]:
    """Plain values, the ratios beside what they are made of."""
    held: list[dict[str, Any]] = []
    for target in race.targets:
        rows = []
        for name, theirs, ours in race.pairs():
            there, here, times = reached(theirs, target), reached(ours, target), ratio(theirs, ours, target)
            rows.append({"of": name, TRL: _values(there), OURS: _values(here), "sign": times.sign, "ratio": times.value if times.sign else None})
        held.append({**asdict(target), "rows": rows})
    settings = {side: dict(values) for side, values in race.settings.items()}
    return race.trainings.as_dict("loss", {"settings": settings, "targets": held})


def write(race: Race, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.json` and `NAME.md`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return write_files(folder, name, as_dict(race), markdown(race, name))


def markdown(race: Race, name: str) -> str:
    """The page: what ran where, the tables, the curves, what differs between the sides on purpose."""
    keys, trainings = list(next(iter(race.settings.values()))), race.trainings
    parts = [
        *trainings.head(f"Seconds to the same held-out loss: {name}"),
        f"The untouched model: loss {trainings.untouched.loss:.4f}, accuracy {trainings.untouched.accuracy:.1%}.",
        *(_section(race, target) for target in race.targets),
        f"![Held-out loss and accuracy over seconds of training]({name}.svg)",
        *trainings.ends("side", _ENDS),
        "## What the two sides train by",
        grid(("", *race.settings), [(key, *(values[key] for values in race.settings.values())) for key in keys], words=1 + len(race.settings)),
        "Model, questions and wording are the same; the rest differs on purpose, most of all the rate, the start and the type: this is what one gets "
        "here and there without choosing, the reference study's settings in TRL against the defaults here. What a step alone takes on equal terms "
        "`affinage bench train` measures.",
        f"{CLOCK} A target is reached at the first measurement "
        "that meets it. *>=*: the peer did not reach it in the time that it had; *<=*: we did not. The targets "
        "follow from the peer's mean curve and the untouched model by rules that were fixed beforehand. Accuracy on so few questions is coarse.",
    ]
    return "\n\n".join(parts) + "\n"


def _section(race: Race, target: Target) -> str:
    value = f"{target.value:.4f}" if target.measure == "loss" else f"{target.value:.1%}"
    pairs = race.pairs()
    ratios = [ratio(theirs, ours, target) for _, theirs, ours in pairs]
    rows = [(of, _cell(theirs, target), _cell(ours, target), f"{times}") for (of, theirs, ours), times in zip(pairs, ratios, strict=True)]
    over = summary(ratios[:-1])
    head = f"## To {target.name}: {target.measure} {value}"
    return "\n\n".join([head, grid(("", "TRL", "affinage", "ratio"), rows, words=1), *([f"Ratio over the seeds: **{over}**."] if over else [])])


def _cell(points: Sequence[Point], target: Target) -> str:
    at = reached(points, target)
    if at is None:
        return f"not reached in {points[-1].seconds:.0f} s, {points[-1].steps:g} steps" if points else ""
    return f"{at.seconds:.1f} s, {at.steps:g} steps, {at.tokens:,.0f} tokens"


_ENDS: Mapping[str, Callable[[Curve], str]] = {
    "steps": lambda curve: f"{curve.points[-1].steps:g}",
    "seconds": lambda curve: f"{curve.points[-1].seconds:.0f}",
    "tokens": lambda curve: f"{curve.points[-1].tokens:,.0f}",
    "last loss": lambda curve: f"{curve.points[-1].standing.loss:.4f}",
    "best loss": lambda curve: f"{min(at.standing.loss for at in curve.points):.4f}",
    "best accuracy": lambda curve: f"{max(at.standing.accuracy for at in curve.points):.1%}",
}
"""Columns of the table of ends."""


def _values(at: Point | None) -> dict[str, float] | None:
    return None if at is None else {"seconds": at.seconds, "steps": at.steps, "tokens": at.tokens}
