"""Ranks with their probability: who is first is a finding only as far as other template groups would have said so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from affinage.stats.resampling import TIE

__all__ = ["Ranked", "first_probabilities", "ranked"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate, what it reached, and how often it is first."""

    name: str
    value: float
    """What it reached on all template groups."""
    probability: float
    """Share of the bootstrap samples of template groups in which it is first; a tie is shared."""


def first_probabilities(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How often each candidate is the highest over bootstrap samples (Efron and Tibshirani 1998, "The problem of regions").

    Args:
        drawn: [draws, candidates] what each candidate reaches in each sample, the same samples for all. A sample in which some candidate has no
            number is left out.

    Returns:
        [candidates], sums to 1; k candidates that tie share a sample, 1/k each.

    Raises:
        ValueError: no candidate, or fewer than half of the samples have a number of each.
    """
    if drawn.ndim != 2 or not drawn.shape[1]:
        raise ValueError(f"draws of one or more candidates are needed, got shape {drawn.shape}")
    whole = drawn[~np.isnan(drawn).any(1)]
    if 2 * len(whole) < len(drawn) or not len(whole):
        raise ValueError(f"only {len(whole)} of {len(drawn)} samples have a number of every candidate")
    first = whole >= whole.max(1, keepdims=True) - TIE
    return np.asarray((first / first.sum(1, keepdims=True)).mean(0))


def ranked(names: Sequence[str], values: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64]) -> tuple[Ranked, ...]:
    """Candidates from the highest value on, each with its probability of being first.

    Args:
        names: of the candidates; equal values stay in this order.
        values: [candidates] on all template groups.
        drawn: as `first_probabilities`.

    Raises:
        ValueError: numbers of another count than there are names, or as `first_probabilities`.
    """
    if not len(names) == values.size == drawn.shape[-1]:
        raise ValueError(f"{len(names)} candidates need as many values and draws, got {values.size} and {drawn.shape[-1]}")
    probabilities = first_probabilities(drawn)
    order = np.argsort(-values, kind="stable")
    return tuple(Ranked(names[place], float(values[place]), float(probabilities[place])) for place in order)
