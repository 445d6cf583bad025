"""The record of the bench, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from affinage.bench.learning.curves import Curve
from affinage.bench.learning.trainings import CLOCK, Trainings
from affinage.bench.page import grid, write_files
from affinage.bench.sharing.readings import MEASURES, Compared, Cut, Measure, Spread, compared, cuts

__all__ = ["Sharing", "as_dict", "markdown", "write"]


@dataclass(frozen=True, slots=True)
class Sharing:
    """What is known of the variants."""

    schedule: str
    """How the rate decays."""
    trained: Measure
    """The measure that the training lowers."""
    variants: tuple[str, ...]
    """Questions per template, ascending; the others are held against the first."""
    trainings: Trainings
    """A curve's `side` is its variant."""

    @property
    def machine(self) -> Mapping[str, Any]:
        """What it ran on."""
        return self.trainings.machine

    @property
    def failed(self) -> bool:
        """Whether a training broke."""
        return self.trainings.failed

    @property
    def compared(self) -> Compared:
        """What can be held against each other."""
        return compared(self.trainings.curves, self.variants)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The trained one first."""
        return tuple(sorted(MEASURES, key=lambda measure: measure != self.trained))


def as_dict(result: Sharing) -> dict[str, Any]:
    """Plain values: every point, and what the tables are made of."""
    found = result.compared
    base = next(iter(found), "")
    own = {
        "schedule": result.schedule,
        "trained": result.trained,
        "costs": {variant: {name: spread.as_dict() for name, spread in _costs(curves).items()} for variant, curves in found.items()},
        "cuts": [_values(cut, base, result.measures) for cut in cuts(found)],
    }
    return result.trainings.as_dict("sharing", own)


def _values(cut: Cut, base: str, measures: Sequence[Measure]) -> dict[str, Any]:
    rows = [
        {
            "variant": variant,
            "steps": [at.steps for at in points],
            "through": cut.through[variant],
            **{measure: cut.of(variant, measure).as_dict() for measure in measures},
            "difference": {measure: cut.difference(variant, base, measure).as_dict() for measure in measures},
        }
        for variant, points in cut.points.items()
    ]
    return {"by": cut.by, "value": cut.value, "base": base, "rows": rows}


def write(result: Sharing, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.json` and `NAME.md`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return write_files(folder, name, as_dict(result), markdown(result, name))


def markdown(result: Sharing, name: str) -> str:
    """The page: what ran where, costs, the variants at equal steps and at equal seconds, their differences, the curves."""
    found = result.compared
    read = cuts(found)
    parts = [
        *result.trainings.head(f"Learning with batches that share much: {name}"),
        f"The untouched model: {result.trainings.untouched}.",
        _schedule(result.schedule),
        *(_sections(result, found, read) if read else ["No seed is through with every variant yet, so there is nothing to compare."]),
        f"![Held-out {result.trained} over steps and over seconds of training]({name}.svg)",
        *result.trainings.ends("per template", _ends(result.measures)),
        "*per template*: `training.questions_per_template`, neighbours of one template in a batch. *loss*: minus log-probability of the right "
        "answers with their endings, mean over their tokens; *choice*: minus log-softmax of the right option's score over the question's options, "
        f"mean over the questions; `{result.trained}` is what was trained. All are of questions whose templates no training has seen. " + CLOCK,
    ]
    return "\n\n".join(parts) + "\n"


def _schedule(schedule: str) -> str:
    same = "From each seed all variants have the same start and the same number of steps"
    if schedule == "constant":
        return f"{same}. The rate is constant: at equal seconds a slow variant has had fewer steps, at the same rate."
    return (
        f"{same}; the schedule is {schedule} over these steps, however long they take. Equal seconds are read off the same curves: there a slow "
        "variant has had fewer steps and still has a high rate, while a quick one has had its decay. "
        "`--set training.schedule=constant` unties the two."
    )


def _sections(result: Sharing, found: Compared, read: Sequence[Cut]) -> list[str]:
    base = next(iter(found))
    seeds = [curve.seed for curve in found[base]]
    costs = [
        (variant, *(_spread(own, form) for own, form in zip(_costs(curves).values(), (_whole, _short, _short), strict=True)))
        for variant, curves in found.items()
    ]
    parts = [f"## What a step takes, mean over seeds {', '.join(map(str, seeds))} (smallest to largest)"]
    parts.append(grid(("per template", "nodes a step", "seconds a step", "seconds in all"), costs, words=1))
    for by, note in (
        ("steps", ""),
        (
            "seconds",
            "A variant stands where it was last measured at or before that time, so measuring more often (`--every`) helps the slow ones. "
            "*through*: its trainings had ended by then.",
        ),
    ):
        own = [cut for cut in read if cut.by == by]
        header = ("at", "per template", "steps", *(f"{measure}{part}" for measure in result.measures for part in ("", ", seed by seed")))
        parts += [f"## At equal {by}", grid(header, [row for cut in own for row in _rows(cut, result.measures)], words=2)]
        if len(found) > 1:
            parts.append(f"Difference to {base} per template with the same seed, mean over the seeds (smallest to largest):")
            rows = [row for cut in own if cut.value for row in _differences(cut, base, result.measures)]
            parts.append(grid(("at", "per template", *result.measures), rows, words=2))
        parts += [note] if note else []
    return parts


def _rows(cut: Cut, measures: Sequence[Measure]) -> list[tuple[str, ...]]:
    rows = []
    for variant, points in cut.points.items():
        steps = " to ".join(dict.fromkeys(f"{at:g}" for at in (min(at.steps for at in points), max(at.steps for at in points))))
        cells = [text for measure in measures for text in _cells(cut.of(variant, measure), _form(measure))]
        rows.append((_place(cut), variant, steps + (", through" if cut.by == "seconds" and cut.through[variant] else ""), *cells))
    return rows


def _cells(spread: Spread, form: Callable[[float], str]) -> tuple[str, str]:
    return _spread(spread, form), ", ".join(map(form, spread.values))


def _differences(cut: Cut, base: str, measures: Sequence[Measure]) -> list[tuple[str, ...]]:
    rows = []
    for variant in cut.points:
        if variant != base:
            spreads = [(cut.difference(variant, base, measure), _signed(measure)) for measure in measures]
            cells = [_spread(each, form) + (f", all {len(each.values)} seeds agree" if each.agree else "") for each, form in spreads]
            rows.append((_place(cut), variant, *cells))
    return rows


def _place(cut: Cut) -> str:
    return f"step {cut.value:g}" if cut.by == "steps" else f"{cut.value:.3g} s"


def _costs(curves: Sequence[Curve]) -> dict[str, Spread]:
    """Of trainings that made at least one step, seed by seed."""
    ends = [curve.points[-1] for curve in curves]
    return {
        "nodes_per_step": Spread(tuple(at.tokens / at.steps for at in ends)),
        "seconds_per_step": Spread(tuple(at.seconds / at.steps for at in ends)),
        "seconds": Spread(tuple(at.seconds for at in ends)),
    }


def _ends(measures: Sequence[Measure]) -> dict[str, Callable[[Curve], str]]:
    """Columns of the table of ends."""

    def last(measure: Measure) -> Callable[[Curve], str]:
        return lambda curve: _form(measure)(getattr(curve.points[-1].standing, measure))

    counts: dict[str, Callable[[Curve], str]] = {
        "steps": lambda curve: f"{curve.points[-1].steps:g}",
        "seconds": lambda curve: f"{curve.points[-1].seconds:.1f}",
    }
    return {**counts, **{measure: last(measure) for measure in measures}}


def _spread(spread: Spread, form: Callable[[float], str]) -> str:
    """Mean (smallest to largest); one seed has no range."""
    middle = form(mean(spread.values))
    return middle if len(spread.values) == 1 else f"{middle} ({form(min(spread.values))} to {form(max(spread.values))})"


def _form(measure: Measure) -> Callable[[float], str]:
    return "{:.1%}".format if measure == "accuracy" else "{:.4f}".format


def _signed(measure: Measure) -> Callable[[float], str]:
    return _points if measure == "accuracy" else "{:+.4f}".format


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _short(value: float) -> str:
    return f"{value:.3g}"
