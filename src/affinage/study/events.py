"""What a study's executor tells who watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from affinage.study.plan import PlannedRun

if TYPE_CHECKING:
    from affinage.train import StepRecord

__all__ = ["Event", "Outcome", "Stage"]

Stage = Literal["started", "training", "testing", "finished", "failed", "waiting"]
"""What happened; `waiting`: another process works on the run, and nothing else is left to do."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a run."""

    run: PlannedRun
    stage: Stage
    place: tuple[int, int]
    """The run's number in the plan, from 1, and how many there are."""
    note: str = ""
    """`testing`: the culture; `failed`: the reason; `waiting`: who works on it."""
    done: int = 0
    """`testing`: questions of the culture that are scored."""
    total: int = 0
    """`training`, `started`: questions trained on, 0 where nothing is trained; `testing`: questions of the culture."""
    step: StepRecord | None = None
    """`training`: the step that was just made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a study stands when its command ends."""

    runs: int
    """Runs of the plan."""
    finished: int
    """Finished ones among them, whoever made them."""
    failures: tuple[tuple[PlannedRun, str], ...]
    """Runs that failed now, here or in another process, each with its reason."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.finished == self.runs
