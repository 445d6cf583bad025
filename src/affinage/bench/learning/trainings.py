"""What is known of a bench's trainings: the record that its result is made of, and the parts that its page shares with the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from affinage.bench.learning.curves import Curve, Standing
from affinage.bench.page import grid, listed

__all__ = ["CLOCK", "Trainings"]

CLOCK = "Seconds are those of training steps; loading, tokenising and measuring count for nobody."
"""For a page."""


@dataclass(frozen=True, slots=True)
class Trainings:
    """Every curve so far, and what they were measured on."""

    command: str
    """As it was typed."""
    machine: Mapping[str, Any]
    """`machine.describe`."""
    work: Mapping[str, Any]
    """Model, questions, limits, settings: what is the same for all."""
    untouched: Standing
    """The model without an adapter, on the held-out questions."""
    curves: tuple[Curve, ...] = ()
    planned: int = 0
    """How many there will be."""
    kept: int = 0
    """How many of the curves an earlier run of the same command had finished."""
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        """Whether a training broke."""
        return any(curve.failed for curve in self.curves)

    @property
    def ended(self) -> int:
        """How many trainings came to their end."""
        return sum(curve.ended for curve in self.curves)

    def of(self, side: str) -> list[Curve]:
        """The curves of a side, or of a variant, with at least one point, by seed."""
        return sorted((curve for curve in self.curves if curve.side == side and curve.points), key=lambda curve: curve.seed)

    def stopped(self) -> Trainings:
        """The same after the user interrupted."""
        curves = (replace(curve, state="interrupted") if curve.state == "running" else curve for curve in self.curves)
        return replace(self, curves=tuple(curves), interrupted=True)

    def as_dict(self, bench: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """For JSON.

        Args:
            bench: its name.
            found: what it reads off the curves.
        """
        return {
            "bench": bench,
            "command": self.command,
            "machine": dict(self.machine),
            "work": dict(self.work),
            "interrupted": self.interrupted,
            "failed": self.failed,
            "kept": self.kept,
            "untouched": asdict(self.untouched),
            **found,
            "curves": [curve.as_dict() for curve in self.curves],
        }

    def head(self, title: str) -> list[str]:
        """The page's beginning: command, machine, work; whether it was measured in one go."""
        about = f"{self.kept} of the {len(self.curves)} trainings were finished by an earlier run of this command and not run again."
        parts = [f"# {title}", f"    {self.command}", listed(self.machine) + "\n" + listed(self.work)]
        return [*parts, about] if self.kept else parts

    def ends(self, name: str, columns: Mapping[str, Callable[[Curve], str]]) -> list[str]:
        """The page's section on where each training ended.

        Args:
            name: heading of the first column, which tells the sides.
            columns: heading -> what a curve with at least one point has there.
        """
        rows = [
            (curve.side, str(curve.seed), curve.state, *(tell(curve) if curve.points else "" for tell in columns.values())) for curve in self.curves
        ]
        return ["## Where each training ended", grid((name, "seed", "state", *columns), rows, words=3)]
