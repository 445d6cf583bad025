"""How alike two adapters' tensors are: only of one start, since from two starts they differ by what they began with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from affinage.analysis.pairs import Pair
from affinage.analysis.subject import Subject
from affinage.methods import registry
from affinage.store import RunRecord

__all__ = ["Tensors", "cosines", "matched", "mean_pairwise", "mean_tokens", "products", "virtual_tokens", "whole"]

Floats = npt.NDArray[np.float64]
Named = Mapping[str, npt.NDArray[np.float32]]

_KEPT = 6
"""Adapters whose tensors are in memory at a time."""


def cosines(one: Floats, other: Floats) -> Floats:
    """[P, P'] cosine of every row of one with every row of the other; NaN where one of the two is zero."""
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)[None, :]
    return np.asarray(np.divide(one @ other.T, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0), np.float64)


def mean_tokens(one: Floats, other: Floats) -> float:
    """Cosine of the mean rows ("cosine similarity of average tokens", Vu et al. 2022, "SPoT", section 4.1)."""
    return float(cosines(one.mean(axis=0)[None], other.mean(axis=0)[None])[0, 0])


def mean_pairwise(one: Floats, other: Floats) -> float:
    """Mean of the cosines of all pairs of rows ("per-token average cosine similarity", Vu et al. 2022, "SPoT", section 4.1)."""
    return float(cosines(one, other).mean())


def matched(one: Floats, other: Floats) -> float:
    """Mean cosine of rows under the pairing of rows that makes it largest.

    A prompt's vectors may do the same work in another order. The pairing is fitted, so that two random prompts come out above zero: read it beside
    its floors.
    """
    found = cosines(one, other)
    return float(found[linear_sum_assignment(np.nan_to_num(found), maximize=True)].mean())


def whole(one: Named, other: Named) -> float:
    """Cosine of all tensors as one long vector."""
    return _cosine(*(sum(float(np.vdot(a[name], b[name])) for name in one) for a, b in ((one, other), (one, one), (other, other))))


def products(one: Named, other: Named) -> Mapping[str, float]:
    """Cosines of two LoRA adapters' updates B A, for which factors have no meaning of their own: (B M, M^-1 A) is the same update.

    <B A, B' A'> = sum_ij (B^T B')_ij (A A'^T)_ij, so that no product is ever formed. An update is zero at its start, so it is its own displacement.

    Args:
        one: `<module>.a` [r, inputs] and `<module>.b` [outputs, r] per module.
        other: likewise, of the same modules.

    Returns:
        `whole`, of all updates as one long vector, and `mean by module`.
    """
    modules = sorted(name.removesuffix(".a") for name in one if name.endswith(".a"))
    table = np.array([[_inner(a, b, module) for a, b in ((one, other), (one, one), (other, other))] for module in modules])
    return {"whole": _cosine(*table.sum(axis=0)), "mean by module": float(np.mean([_cosine(*row) for row in table]))}


def _inner(one: Named, other: Named, module: str) -> float:
    """<B A, B' A'> of one module."""
    outer = one[f"{module}.b"].T.astype(np.float64) @ other[f"{module}.b"]
    return float((outer * (one[f"{module}.a"].astype(np.float64) @ other[f"{module}.a"].T)).sum())


def _cosine(cross: float, left: float, right: float) -> float:
    return cross / np.sqrt(left * right) if left > 0 and right > 0 else float("nan")


def low_rank(tensors: Named) -> bool:
    """Whether these are plain pairs of factors."""
    return bool(tensors) and all(name.endswith((".a", ".b")) and value.ndim == 2 for name, value in tensors.items())


def virtual_tokens(method: str, tensors: Named, width: int) -> Floats | None:
    """[P, ...] one row per virtual token; None where a method has none.

    They are the method's declared rows, or all tensors together where each has one row of the model's width per token (P-tuning's places).

    Args:
        method: its registered name.
        tensors: its final ones.
        width: H.
    """
    rows = registry.get(method).rows
    if rows is not None:
        return tensors[rows].astype(np.float64)
    if tensors and not low_rank(tensors) and all(value.ndim == 2 and value.shape[1] == width for value in tensors.values()):
        return np.concatenate([tensors[name] for name in sorted(tensors)]).astype(np.float64)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """An adapter's tensors and those that it began from."""

    tensors: Named
    start: Named | None
    """None where nothing on disk says what it began from, or nobody asks."""

    @property
    def displacement(self) -> Named | None:
        """Where training has moved it."""
        return None if self.start is None else {name: value - self.start[name] for name, value in self.tensors.items()}


@final
class Tensors:
    """Compares adapters' tensors; a few are kept in memory.

    Args:
        subject: the study.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._held = lru_cache(maxsize=_KEPT)(self._read)

    def _read(self, path: str) -> _Held:
        """The tensors of a run; low-rank updates began as zero, so that nobody asks for their start."""
        run = next(run for run in self._subject.record.runs if run.run == path)
        tensors = self._named(run)
        start = None if low_rank(tensors) else self._subject.start_of(run)
        return _Held(tensors, None if start is None else self._named(start))

    def _named(self, run: RunRecord) -> Named:
        return {name: value.float().numpy() for name, value in self._subject.tensors(run).items()}

    def compare(self, pair: Pair) -> Iterator[tuple[str, str, float]]:
        """(Of what, measure, value), for a pair of trained adapters.

        Of `tensor`: the tensors as they are, only where both began with the same. Of `displacement`: what training added. Of `product`: low-rank
        updates. A measure that is not defined (nothing moved) is left out, and so are methods that change every weight of the model.
        """
        for of, measure, value in self._all(pair):
            if np.isfinite(value):
                yield of, measure, value

    def _all(self, pair: Pair) -> Iterator[tuple[str, str, float]]:
        if pair.kind == "untouched" or registry.get(pair.one.method).alone:
            return
        one, other = self._held(pair.one.run), self._held(pair.other.run)
        sizes = [{name: value.shape for name, value in each.tensors.items()} for each in (one, other)]
        if sizes[0] != sizes[1]:
            return
        if low_rank(one.tensors):
            yield from (("product", measure, value) for measure, value in products(one.tensors, other.tensors).items())
            return
        if one.start is None or other.start is None:
            return
        if all(np.array_equal(one.start[name], other.start[name]) for name in one.start):
            yield from (("tensor", measure, value) for measure, value in self._measured(pair, one.tensors, other.tensors))
        moved, others = one.displacement, other.displacement
        assert moved is not None
        assert others is not None
        yield from (("displacement", measure, value) for measure, value in self._measured(pair, moved, others))

    def _measured(self, pair: Pair, one: Named, other: Named) -> Iterator[tuple[str, float]]:
        yield "whole", whole(one, other)
        width = self._subject.plan.shape.width
        rows, others = (virtual_tokens(pair.one.method, each, width) for each in (one, other))
        if rows is None or others is None:
            return
        moved = rows.any(axis=1) & others.any(axis=1)  # anchors of a pattern stand where they stood
        if moved.any():
            yield "mean tokens", mean_tokens(rows[moved], others[moved])
            yield "mean pairwise", mean_pairwise(rows[moved], others[moved])
            yield "matched", matched(rows[moved], others[moved])
