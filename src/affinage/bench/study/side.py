"""What a side of a study's bench does, whoever it is: trains adapters from the work's starts to files on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["StudySide", "Taken"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What the training of one or more adapters took, saving included."""

    seconds: float
    tokens: int
    """Tokens and virtual tokens that the decoder computed, padding left out; for us the nodes of the trees."""
    padded: int
    """The same with padding."""
    losses: list[float]
    """Of each adapter's last step."""
    digests: list[str]
    """Of each adapter's batches (`work.batch_digest`), one after the other."""
    nodes: list[int] = field(default_factory=list)
    """Per step the nodes of all its packs; ours alone tells it."""
    state: int = 0
    """Bytes of one adapter's trained tensors, gradients and moments; ours alone tells it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class StudySide(ABC):
    """Trains one adapter, or several together."""

    device: str
    """Where it computes."""
    threads: int
    """CPU threads."""

    @abstractmethod
    def train(self, number: int, folder: Path) -> Taken:
        """Trains and saves.

        Args:
            number: of the cohort; 0 for a side that has one adapter.
            folder: for its files, new.
        """

    @abstractmethod
    def gradients(self, places: Sequence[int], paths: Sequence[Path]) -> list[float]:
        """Losses of some adapters' first batches at the start, their gradients written (float32, before clipping, by PEFT's names).

        Args:
            places: numbers of the adapters; 0 for a side that has one.
            paths: where the gradients of each go.
        """
