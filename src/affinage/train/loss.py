"""The losses of a step: one batch for each adapter of a cohort, read in as few packs as the budget allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from affinage.backbone import Doors
from affinage.methods import Adapter, Contrast
from affinage.pack import Branch, Packed, greedy_packs, pack
from affinage.records import Encoded, Score
from affinage.scoring import answer_branch, answer_losses, branch_logprobs, choice_losses, contrast_loss, option_branches

__all__ = ["Batch", "Reads", "cohort_losses", "read", "step_nodes", "step_packs"]


class Reads(Protocol):
    """What computes the logits of a pack: a backbone, or one that computes contexts apart (`train.contexts`)."""

    def logits(self, packed: Packed, doors: Sequence[Doors]) -> AbstractContextManager[Tensor]:
        """As `Backbone.logits`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one adapter reads in one step."""

    adapter: Adapter
    questions: Sequence[Encoded]
    weights: Mapping[str, float] | None = None
    """Per template the weight of its questions; None for 1 each."""


def cohort_losses(backbone: Reads, batches: Sequence[Batch], loss: str, score: Score, nodes_per_pack: int | None = None) -> tuple[list[float], int]:
    """Each adapter's mean loss over its own batch, the gradients already added to the adapters' parameters.

    Every adapter's loss is divided by the size of its whole batch, before the step is cut into packs. The sum over the adapters is what is
    differentiated; they share no parameter, so each gets the gradient of its own loss, also when another one's is not finite. Of an adapter
    that serves several cultures each question is read under its culture's part.

    Args:
        backbone: the frozen model, or how it is read.
        batches: one per adapter of the cohort.
        loss: `answer` or `choice`.
        score: how options are compared.
        nodes_per_pack: budget of a pack. Default: the whole step is one pack.

    Returns:
        The losses in the batches' order, and the nodes of all packs.
    """
    items = _items(batches, loss, score)
    losses = [0.0] * len(batches)
    nodes = 0
    for chosen in _packs(items, nodes_per_pack):
        packed, adapters = _laid_out(chosen)
        doors = [adapter.doors() for adapter in adapters]
        with backbone.logits(packed, doors) as logits:
            values = _values(chosen, branch_logprobs(logits, packed, len(packed.adapter)), loss, score)
            parts = values * torch.tensor([item.weight for item in chosen], device=values.device)
            terms = list(_terms(chosen, adapters, doors, values.device))
            torch.stack([parts.sum(), *(term for _, term in terms)]).sum().backward()  # type: ignore[no-untyped-call]
        for item, part in zip(chosen, parts.tolist(), strict=True):
            losses[item.member] += part
        for member, term in terms:
            losses[member] += float(term.detach())
        nodes += packed.nodes
    return losses, nodes


def step_nodes(encoded: Sequence[Encoded], loss: str, score: Score) -> int:
    """Nodes of a batch's token tree, an adapter's virtual tokens not counted."""
    return pack([branch for each in encoded for branch in read(each, loss, score)]).nodes


def step_packs(batches: Sequence[Batch], loss: str, score: Score, nodes_per_pack: int | None = None) -> list[tuple[int, int]]:
    """Questions and nodes of each pack that `cohort_losses` cuts a step into; the arguments are the same."""
    packs = _packs(_items(batches, loss, score), nodes_per_pack)
    return [(len(chosen), _laid_out(chosen)[0].nodes) for chosen in packs]


def read(encoded: Encoded, loss: str, score: Score) -> list[Branch]:
    """The sequences that a loss reads of a question."""
    return option_branches(encoded, score) if loss == "choice" else [answer_branch(encoded)]


@dataclass(frozen=True, slots=True)
class _Item:
    """What a step reads of one question."""

    member: int
    """Number of its adapter in the cohort."""
    question: Encoded
    weight: float
    """Its part in its adapter's mean."""
    contrast: Contrast | None
    views: tuple[Adapter, ...]
    """Under whom it is read: its adapter's part for its culture, then those from whom the answer shall tell it apart."""
    branches: tuple[Branch, ...]
    """Sequences with virtual tokens in them; `adapter` is a place in `views`."""
    own: int
    """How many of them, from the first, the loss of every method reads; those after it are the contrast's, one per view."""


def _items(batches: Sequence[Batch], loss: str, score: Score) -> list[list[_Item]]:
    """The questions of a step, side by side where they are read under the same adapter."""
    sides: dict[tuple[int, Adapter], list[_Item]] = {}
    for member, batch in enumerate(batches):
        for each in batch.questions:
            view = batch.adapter.under(each.rendered.mcq.culture)
            contrast = view.contrast()
            views = (view,) if contrast is None else (view, *contrast.others)
            branches = [view.place(branch) for branch in read(each, loss, score)]
            own = len(branches)
            if contrast is not None:
                branches += [replace(other.place(answer_branch(each)), adapter=place) for place, other in enumerate(views)]
            item = _Item(member, each, _weight(batch, each), contrast, views, tuple(branches), own)
            sides.setdefault((member, view), []).append(item)
    return list(sides.values())


def _laid_out(chosen: Sequence[_Item]) -> tuple[Packed, list[Adapter]]:
    """One pack of these questions and its adapters; sequences of the contrast stand behind all others."""
    places: dict[Adapter, int] = {}
    read = []
    ordinary = [(item.views, branch) for item in chosen for branch in item.branches[: item.own]]
    further = [(item.views, branch) for item in chosen for branch in item.branches[item.own :]]
    for views, branch in ordinary + further:
        read.append(replace(branch, adapter=places.setdefault(views[branch.adapter], len(places))))
    return pack(read, adapters=len(places)), list(places)


def _values(chosen: Sequence[_Item], sums: Tensor, loss: str, score: Score) -> Tensor:
    """The loss of each question, [B], from the sums over the sequences of `_laid_out`."""
    own, further = torch.split(sums, [sum(item.own for item in chosen), sum(len(item.branches) - item.own for item in chosen)])
    values = choice_losses([item.question for item in chosen], own, score) if loss == "choice" else answer_losses(own)
    if not len(further):
        return values
    each = torch.split(further, [len(item.branches) - item.own for item in chosen])
    told = [
        value if item.contrast is None else item.contrast.answer * value + item.contrast.against * contrast_loss(under)
        for item, value, under in zip(chosen, values, each, strict=True)
    ]
    return torch.stack(told)


def _terms(chosen: Sequence[_Item], adapters: Sequence[Adapter], doors: Sequence[Doors], device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """(adapter's number in the cohort, what the pass left for its loss), by the part of the adapter's mean that is in this pack.

    Layers leave their terms on their own devices; the loss stands on one.
    """
    for adapter, door in zip(adapters, doors, strict=True):
        own = [item for item in chosen if item.views[0] is adapter]
        if door.terms and own:
            said = torch.stack([term.to(device) for term in door.terms])
            yield own[0].member, said.sum() * sum(item.weight for item in own)


def _weight(batch: Batch, question: Encoded) -> float:
    """A question's part in its adapter's mean."""
    own = 1.0 if batch.weights is None else batch.weights[question.rendered.mcq.template_id]
    return own / len(batch.questions)


def _packs(items: Sequence[Sequence[_Item]], nodes_per_pack: int | None) -> Iterator[list[_Item]]:
    """The questions of each pack, adapters in order; a function of the questions and the budget alone."""
    if nodes_per_pack is None:
        yield [item for own in items for item in own]
        return
    waiting: list[_Item] = []
    filled = 0
    for own in items:
        for places in greedy_packs([item.branches for item in own], nodes_per_pack):
            nodes = pack([branch for place in places for branch in own[place].branches]).nodes
            if waiting and filled + nodes > nodes_per_pack:
                yield waiting
                waiting, filled = [], 0
            waiting += [own[place] for place in places]
            filled += nodes
    if waiting:
        yield waiting
