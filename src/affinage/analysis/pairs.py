"""Which adapters are compared: those of two cultures, and beside them those that differ by chance alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from affinage.analysis.subject import Subject
from affinage.store import RunRecord

__all__ = ["KINDS", "Kind", "Pair", "pairs"]

Kind = Literal["cultures", "start", "split", "untouched"]
KINDS: tuple[Kind, ...] = ("cultures", "start", "split", "untouched")
"""`cultures`: two cultures, same split and start, which is the question. The floors: `start`, one culture and split from two starts; `split`, one
culture and start index on two splits. `untouched`: an adapter and the model without one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs of one method."""

    kind: Kind
    one: RunRecord
    other: RunRecord

    @property
    def same_split(self) -> bool:
        """Whether both were tested on the same questions."""
        return self.one.split == self.other.split

    def row(self) -> dict[str, str | int]:
        """What names it in a table."""
        sides = {"a": self.one, "b": self.other}
        named = {"label": self.one.label, "pair": self.kind}
        for side, run in sides.items():
            named |= {f"culture_{side}": run.trained_culture, f"split_{side}": run.split, f"run_{side}": run.run}
        return {**named, "start_a": self.one.start, "start_b": self.other.start}


def pairs(subject: Subject, label: str) -> Iterator[Pair]:
    """Every pair of a method's finished adapters that is compared, and each with the untouched model.

    Args:
        subject: the study.
        label: the method's name in it.
    """
    for one, other in combinations(subject.runs(label), 2):
        culture, split, start = (getattr(one, name) == getattr(other, name) for name in ("trained_culture", "split", "start"))
        if (culture, split, start) == (False, True, True):
            yield Pair("cultures", one, other)
        elif (culture, split, start) == (True, True, False):
            yield Pair("start", one, other)
        elif (culture, split, start) == (True, False, True):
            yield Pair("split", one, other)
    for run in subject.runs(label):
        base = subject.untouched(run.split)
        if base is not None:
            yield Pair("untouched", run, base)
