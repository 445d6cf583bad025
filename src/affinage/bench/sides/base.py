"""What a side of the bench does, whoever it is: the same steps of a training, or the same test set."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["Clock", "EvaluationSide", "Pass", "Step", "TrainingSide", "stopwatch", "write_gradients"]


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step as a side did it."""

    seconds: float
    loss: float
    """Mean over the answers' tokens, before the step."""
    tokens: int
    """Tokens and virtual tokens that the decoder computed, padding left out; for us the nodes of the tree."""
    padded: int
    """The same with padding."""
    batch: str
    """Digest of the sequences that it was done with (`work.batch_digest`)."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the test set."""

    seconds: float
    tokens: int
    """As in `Step`."""
    padded: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class TrainingSide(ABC):
    """Trains an adapter from the work's start."""

    device: str
    """Where it computes."""
    threads: int
    """CPU threads."""

    @abstractmethod
    def step(self, index: int, gradients: Path | None = None) -> Step:
        """The optimiser step on batch `index`; steps are asked for in order, from 0.

        Args:
            index: of the batch.
            gradients: where to write the gradients before clipping (float32, by PEFT's names of the trained tensors). Writing them is no part
                of the step's time, reading them off may be: a step that writes is not for timing.
        """

    def products(self, indices: Sequence[int], rounds: int) -> dict[str, Any]:
        """What the matrix products of steps take alone (`products.timed_products`).

        Raises:
            ValueError: the side is a peer: the multiplications that a tree needs are counted for our own steps.
        """
        raise ValueError("the products of our own steps are timed, no peer's")


class EvaluationSide(ABC):
    """Scores the options of the work's questions."""

    device: str
    """Where it computes."""
    threads: int
    """CPU threads."""

    @abstractmethod
    def scores(self, count: int) -> list[list[float]]:
        """Log-probability of each option's answer, per question, of the first `count` questions."""

    @abstractmethod
    def run(self) -> Pass:
        """Scores all questions."""


@dataclass(slots=True)
class Clock:
    """What a stopwatch measured."""

    seconds: float = 0.0


@contextmanager
def stopwatch(device: str) -> Iterator[Clock]:
    """Times what happens inside, work that the device still has to do included."""

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    clock = Clock()
    wait()
    began = time.perf_counter()
    yield clock
    wait()
    clock.seconds = time.perf_counter() - began


def write_gradients(path: Path, gradients: Mapping[str, Tensor]) -> None:
    """Keeps gradients for the comparison, in float32."""
    save_file({name: value.detach().float().cpu().contiguous() for name, value in gradients.items()}, path)
