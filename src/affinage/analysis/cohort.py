"""Many adapters tested together: questions that fit a pack under one adapter fit it under several, side by side in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch

from affinage.backbone import Backbone, Doors
from affinage.config import PromptConfig
from affinage.encode import Refusal
from affinage.evaluate import refuse_seen
from affinage.methods import Adapter
from affinage.pack import greedy_packs, pack
from affinage.records import Encoded, ItemScore
from affinage.scoring import item_scores, option_branches, unscored

__all__ = ["evaluate_together"]


def evaluate_together(
    backbone: Backbone,
    adapters: Sequence[Adapter],
    encoded: Sequence[Encoded],
    refused: Sequence[Refusal] = (),
    *,
    prompt: PromptConfig,
    nodes_per_pack: int = 4096,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[list[ItemScore]]:
    """Scores each question once under each adapter: what `evaluate` gives one by one, up to rounding.

    Questions are put into packs as for one adapter; a pass reads one such pack under as many adapters as the budget holds. Where questions fill the
    budget under one adapter, passes, and so scores to the bit, are those of `evaluate`.

    Args:
        backbone: the frozen model.
        adapters: of any methods.
        encoded: the questions.
        refused: questions that could not be encoded; they keep their place with their reason.
        prompt: how questions were put and are scored.
        nodes_per_pack: node budget of a pack.
        on_progress: told how many adapters are done, after each pass through all questions.

    Returns:
        Per adapter one record per question, in the order given, the refused ones last.

    Raises:
        UserError: an adapter has seen some of the questions' templates.
    """
    for adapter in adapters:
        refuse_seen(adapter, (each.rendered.mcq.template_id for each in encoded), "Test it on the test side of its own split.")
    items = [option_branches(each, prompt.score) for each in encoded]
    packs = greedy_packs(items, nodes_per_pack)
    results: list[list[ItemScore | None]] = [[None] * len(encoded) for _ in adapters]
    done = 0
    for places in _side_by_side(adapters, max((pack([b for i in chosen for b in items[i]]).nodes for chosen in packs), default=1), nodes_per_pack):
        for chosen in packs:
            beside = [
                replace(adapters[place].place(branch), adapter=number) for number, place in enumerate(places) for i in chosen for branch in items[i]
            ]
            packed = pack(beside, adapters=len(places))
            asked = [encoded[i] for i in chosen] * len(places)
            with torch.no_grad(), backbone.logits(packed, [adapters[place].doors() for place in places]) as logits:
                scores = iter(item_scores(asked, logits, packed, prompt.score, letters=prompt.style == "letters"))
            for place in places:
                for i in chosen:
                    results[place][i] = next(scores)
        done += len(places)
        on_progress(done)
    left = [unscored(refusal.mcq, refusal.reason) for refusal in refused]
    return [[score for score in own if score is not None] + left for own in results]


def _side_by_side(adapters: Sequence[Adapter], nodes: int, nodes_per_pack: int) -> Iterator[list[int]]:
    """Adapters of each pass through the questions: neighbours that can share one, as many as the budget holds of the largest pack of questions."""
    with torch.no_grad():
        kinds = [_kind(place, adapter.doors()) for place, adapter in enumerate(adapters)]
    for _, same in groupby(range(len(adapters)), key=kinds.__getitem__):
        group = list(same)
        longest = max(len(vectors) if (vectors := adapters[place].doors().vectors) is not None else 0 for place in group)
        many = max(1, nodes_per_pack // (nodes + longest))
        yield from (group[first : first + many] for first in range(0, len(group), many))


def _kind(place: int, doors: Doors) -> tuple[object, ...]:
    """What adapters that share a pass have in common: the sizes of what enters attention. One that changes weights shares its pass with nobody."""
    sizes = [None if tensor is None else tensor.shape for tensor in (doors.keys, doors.gates, doors.additive)]
    return (*sizes, place if doors.shifts else None)
