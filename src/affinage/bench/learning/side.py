"""A whole training as a side does it by itself, stopped after each step: what was learned so far leaves it as PEFT's file of an adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["JUDGE", "OURS", "TRL", "Learned", "LearningSide"]

OURS, TRL, JUDGE = "affinage", "trl", "judge"
"""Names of the sides, and of the process that measures both."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What some steps took."""

    seconds: float
    tokens: int
    """That the decoder computed, padding left out; for us the nodes of the trees."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class LearningSide(ABC):
    """Trains an adapter from its own start, in its own order, by its own loop."""

    device: str
    """Where it computes."""
    threads: int
    """CPU threads."""

    @abstractmethod
    def learn(self, steps: int) -> Learned:
        """The next optimiser steps: all that the side does from one to the next, its log and checkpoints included."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes what was learned so far, in PEFT's format."""
