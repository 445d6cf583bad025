"""Scores an adapter, or the untouched model, on questions; the packs are the same for all of them, so paired comparisons share their rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from affinage.backbone import Backbone, Doors
from affinage.backbone.memory import out_of_memory
from affinage.config import PromptConfig
from affinage.encode import Refusal
from affinage.methods import Adapter
from affinage.pack import greedy_packs, pack
from affinage.records import Encoded, ItemScore, UserError
from affinage.scoring import item_scores, option_branches, unscored

__all__ = ["evaluate", "refuse_seen"]


def evaluate(
    backbone: Backbone,
    adapter: Adapter | None,
    encoded: Sequence[Encoded],
    refused: Sequence[Refusal] = (),
    *,
    prompt: PromptConfig,
    nodes_per_pack: int = 4096,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[ItemScore]:
    """Scores each question once.

    Args:
        backbone: the frozen model.
        adapter: trained tensors; None for the untouched model.
        encoded: the questions.
        refused: questions that could not be encoded; they keep their place with their reason.
        prompt: how questions were put and are scored.
        nodes_per_pack: node budget of a pack.
        on_progress: told how many questions are done, after each pack.

    Returns:
        One record per question, in the order given, the refused ones last.

    Raises:
        UserError: the adapter has seen some of the questions' templates, or a pack does not fit into memory.
    """
    refuse_seen(adapter, (each.rendered.mcq.template_id for each in encoded), "Test it on the test side of its own split.")
    items = [option_branches(each, prompt.score) for each in encoded]
    results: list[ItemScore | None] = [None] * len(encoded)
    done = 0
    for chosen in greedy_packs(items, nodes_per_pack):
        branches = [branch for i in chosen for branch in items[i]]
        placed = branches if adapter is None else [adapter.place(branch) for branch in branches]
        packed = pack(placed)
        try:
            with torch.no_grad(), backbone.logits(packed, [Doors() if adapter is None else adapter.doors()]) as logits:
                scores = item_scores([encoded[i] for i in chosen], logits, packed, prompt.score, letters=prompt.style == "letters")
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise _does_not_fit(len(packed.ids), nodes_per_pack) from error
        for i, score in zip(chosen, scores, strict=True):
            results[i] = score
        done += len(chosen)
        on_progress(done)
    return [score for score in results if score is not None] + [unscored(refusal.mcq, refusal.reason) for refusal in refused]


def _does_not_fit(nodes: int, budget: int) -> UserError:
    """Smaller packs round otherwise, so a study that has scores already cannot change them."""
    todo = f"Set `evaluation.nodes_per_pack` to {max(1, nodes // 2)} or less, in a study with a new --out, or use a device with more memory."
    return UserError("testing", f"a pack of {nodes:,} nodes (of {budget:,} at most) that does not fit into memory", "one that fits", todo)


def refuse_seen(adapter: Adapter | None, templates: Iterable[str], todo: str) -> None:
    """An adapter is never tested on a template that it was trained or chosen on.

    Args:
        adapter: trained tensors; None for the untouched model, which has seen nothing.
        templates: ids of the questions' templates.
        todo: what the user can do about it.

    Raises:
        UserError: it has seen some of them.
    """
    if adapter is None:
        return
    seen = sorted(set(templates) & adapter.seen)
    if seen:
        raise UserError(
            f"adapter {adapter.origin}",
            f"{len(seen)} templates that it has seen in training: {', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}",
            "questions of unseen templates only",
            todo,
        )
