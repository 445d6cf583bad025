"""Contexts apart: the part of a question before its first virtual token, where nothing trained stands before or in it.

Its nodes then compute the same whatever the trained tensors are, so that their keys and values are constants of the backward pass. There are three
ways to one result, equal but for rounding:

* `gradient`: contexts and what follows them are one tree, as everywhere else;
* `no-gradient`: a pass over the distinct contexts of the pack, of which nothing is kept but keys and values, then a pass over what follows them;
* `kept`: the first of these passes is made once, over the contexts of all training questions, and what it gives is held while the training lasts:
  2 * L * K * D values for each node of their token trees, in the backbone's type.

What is kept is a function of the questions alone, not of the step at which a training is continued.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.backbone.memory import out_of_memory
from affinage.backbone.states import States
from affinage.methods import Adapter
from affinage.pack import Branch, Ints, Packed, after_contexts, contexts, greedy_packs, pack
from affinage.records import Encoded, Score, UserError
from affinage.train.loss import Reads, read

__all__ = ["Contexts", "Way", "context_packs", "laid_apart", "reading", "way_of"]

Way = Literal["gradient", "no-gradient", "kept"]

_NODES = 2048
"""Node budget of a pack of contexts that are kept: whatever else is settled or changes, the same question gets the same states, bit for bit."""

Ids = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Contexts:
    """A backbone that computes contexts apart, in a pack's place or before the training."""

    backbone: Backbone
    kept: States | None = None
    """Of all training questions; None where each pack computes its own."""
    rows: Mapping[Ids, Ints] = field(default_factory=dict)
    """Context -> the row in `kept` of each of its nodes."""

    @contextmanager
    def logits(self, packed: Packed, doors: Sequence[Doors]) -> Iterator[Tensor]:
        """As `Backbone.logits`, for adapters that stand behind the contexts (`Adapter.after_context`)."""
        if self.kept is None:
            before, rest = laid_apart(packed)
            states = self.backbone.states(before)
        else:
            found = contexts(packed)
            chosen = np.unique(np.concatenate([self.rows[ids] for ids in set(found)]))
            place = {ids: np.searchsorted(chosen, self.rows[ids]) for ids in set(found)}
            rest, states = after_contexts(packed, [place[ids] for ids in found]), self.kept.at(torch.from_numpy(chosen))
        with self.backbone.logits(rest, doors, context=states) as logits:
            yield logits


def way_of(adapters: Iterable[Adapter], wanted: Way, *, fresh: bool) -> Way:
    """The way in which adapters that are trained together can be read.

    Args:
        adapters: of a cohort.
        wanted: the study's.
        fresh: whether questions are encoded anew for each epoch; then there is nothing to keep.
    """
    if not all(adapter.after_context for adapter in adapters):
        return "gradient"
    return "no-gradient" if wanted == "kept" and fresh else wanted


def reading(backbone: Backbone, way: Way, encoded: Iterable[Encoded], loss: str, score: Score) -> Reads:
    """The backbone as a training reads it.

    Args:
        backbone: the frozen model.
        way: of `way_of`.
        encoded: the training questions of all adapters of the cohort.
        loss: `answer` or `choice`.
        score: how options are compared.

    Raises:
        UserError: what is to be kept does not fit into memory.
    """
    if way == "gradient":
        return backbone
    if way == "no-gradient":
        return Contexts(backbone)
    try:
        return _keeping(backbone, context_packs(encoded, loss, score))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
    raise UserError(
        "model.context",
        f"'kept', and keys and values of the training questions that do not fit into memory: {reason}",
        "room for them beside the model",
        "End what else uses the memory and run the same command again, or begin anew with `model.context: no-gradient`.",
    )


def context_packs(encoded: Iterable[Encoded], loss: str, score: Score) -> list[tuple[list[Ids], Packed]]:
    """The distinct contexts of questions, sorted, in packs that depend on these questions alone."""
    distinct = sorted({branch.ids[: branch.first] for each in encoded for branch in read(each, loss, score)})
    chosen = greedy_packs([[_alone(ids)] for ids in distinct], _NODES)
    return [([distinct[place] for place in sorted(places)], pack([_alone(distinct[place]) for place in places])) for places in chosen]


def laid_apart(packed: Packed) -> tuple[Packed, Packed]:
    """A pack as that of its distinct contexts, under no adapter, and that of everything else, whose paths lead through the nodes of the first."""
    found = contexts(packed)
    distinct = sorted(set(found))
    before = pack([_alone(ids) for ids in distinct])
    place = {ids: before.path[row, : len(ids)] for row, ids in enumerate(distinct)}
    return before, after_contexts(packed, [place[ids] for ids in found])


def _alone(ids: Ids) -> Branch:
    """A context by itself; the id behind it gets no node."""
    return Branch((*ids, 0), len(ids))


def _keeping(backbone: Backbone, packs: Sequence[tuple[Sequence[Ids], Packed]]) -> Contexts:
    """Computes and keeps the states of contexts."""
    kept: States | None = None
    rows: dict[Ids, Ints] = {}
    first, total = 0, sum(packed.nodes for _, packed in packs)
    for own, packed in packs:
        states = backbone.states(packed)
        if kept is None:
            kept = states.empty(total)
        kept.put(first, states)
        rows |= {ids: first + packed.path[row, : len(ids)] for row, ids in enumerate(own)}
        first += packed.nodes
    return Contexts(backbone, kept, rows)
