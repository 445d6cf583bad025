"""What a search may change of a method: each method declares its space beside its settings, in its own file.

A name is a dotted path below the method in a study: `training.rate`, `settings.length`. What is not in a space keeps the study's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from affinage.config import TrainingConfig

__all__ = ["RATE", "SOFT", "Choice", "Space", "Span", "check_space"]


@dataclass(frozen=True, slots=True)
class Span:
    """Every number between two, both included."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""
    log: bool = True
    """Drawn by the logarithm: as many values between 1 and 10 as between 10 and 100."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values without an order."""

    values: tuple[Any, ...]


Space = Mapping[str, Span | Choice]
"""Dotted name -> values that a search may take."""

RATE = Span(1e-4, 1e-1)
"""Learning rates of soft prompts and prefixes."""

SOFT: Space = {"training.rate": RATE, "settings.length": Span(4, 64, whole=True), "settings.start": Choice(("random", "vocabulary"))}
"""The space of methods that train P vectors, or P slots per layer, from a named start. The start `text` wants a text, which no search can invent."""


def check_space(space: Space, settings: type[Any], where: str) -> None:
    """Refuses names that are no value of a method: a search over them would change nothing.

    Raises:
        ValueError: naming the first.
    """
    known = {f"training.{name}" for name in TrainingConfig.model_fields} | {f"settings.{name}" for name in settings.model_fields}
    for name in space:
        if name not in known:
            raise ValueError(f"{where}: {name!r} is neither of its settings nor of training")
