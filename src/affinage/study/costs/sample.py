"""What steps and tests of a study count, from a few of its own batches: laid out as they will be, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from affinage.backbone.attention import LONGEST_STRIP
from affinage.config import PromptConfig, TrainingConfig
from affinage.encode import Tokens
from affinage.methods import ResolvedMethod, registry
from affinage.pack import Branch, Packed, greedy_packs, pack, strips
from affinage.prompts import orders
from affinage.records import MCQ, NO_AID, Aid, BackboneShape, Encoded, Orders, Rendered, Score
from affinage.scoring import option_branches
from affinage.study.costs.formulas import Adapter, Counts, Step
from affinage.train import Way, batches, context_packs, laid_apart, read

__all__ = ["adapter_of", "count", "first_batches", "reading_step", "testing_step", "training_step"]

KEPT = 512
"""Questions that stand for those whose contexts' states are kept, at least."""

TESTED = 192
"""Questions that stand for a test set, whole templates of it; more than one pack of the default budget needs."""


def adapter_of(method: ResolvedMethod, shape: BackboneShape) -> Adapter:
    """What costs time and memory of a method's adapter."""
    trained = registry.get(method.name).count(method.settings, shape)
    virtual = getattr(method.settings, "length", getattr(method.settings, "virtual", 0))
    return Adapter(
        trained,
        virtual if isinstance(virtual, int) else 0,
        updates=hasattr(method.settings, "targets"),
        after_context=method.after_context,
        weights=method.alone,  # who shares no pass has other weights than the others
    )


def first_batches(
    questions: Sequence[MCQ], tokens: Tokens, training: TrainingConfig, prompt: PromptConfig, *, members: int, seed: int
) -> list[list[Encoded]]:
    """First batches of one culture's questions under different seeds, which stand for those of a cohort's members.

    Args:
        questions: the culture's training side; only what stands in the batches is encoded.
        tokens: the model's tokenizer.
        training: batch size and order.
        prompt: how questions are put.
        members: of the cohort.
        seed: of the first member's order.
    """
    bare = [Encoded(Rendered(mcq, "", (), "", ()), (), (), ()) for mcq in questions]
    order = TrainingConfig(batch_size=training.batch_size, questions_per_template=training.questions_per_template)
    chosen = [[each.rendered.mcq for each in next(batches(bare, order, seed + member, 0))] for member in range(members)] if bare else []
    return [_encoded(batch, tokens, prompt, seed) for batch in chosen]


def training_step(
    sides: Sequence[Sequence[Encoded]], loss: str, score: Score, adapter: Adapter, *, nodes_per_pack: int | None, context: Way = "gradient"
) -> Step:
    """A step of a cohort.

    Args:
        sides: the batch of each member.
        loss: `answer` or `choice`.
        score: how options are compared.
        adapter: its virtual tokens count as nodes.
        nodes_per_pack: budget of a pack; None for a step in one.
        context: how contexts are computed where the adapter's virtual tokens stand behind them.
    """
    placed = [[[_under(branch, adapter) for branch in read(each, loss, score)] for each in side] for side in sides if side]
    packs = [_laid_out(chosen) for chosen in _packs(placed, nodes_per_pack)]
    if context == "gradient" or not adapter.after_context:
        return Step(tuple(map(count, packs)), sum(map(len, placed)))
    apart = [laid_apart(packed) for packed in packs]
    before = tuple(_counted_states(states) for states, _ in apart) if context == "no-gradient" else ()
    return Step(tuple(count(rest) for _, rest in apart), sum(map(len, placed)), before)


def reading_step(questions: Sequence[MCQ], tokens: Tokens, loss: str, prompt: PromptConfig, *, seed: int) -> Step:
    """The contexts of some questions, whole templates of them, that stand for a whole side whose states are kept."""
    near = sorted(questions, key=lambda mcq: (mcq.template_id, mcq.mcq_id))
    encoded = _encoded(near[: _whole(near, KEPT)], tokens, prompt, seed)
    return Step((), len(encoded), tuple(_counted_states(packed) for _, packed in context_packs(encoded, loss, prompt.score)) if encoded else ())


def _whole(sorted_by_template: Sequence[MCQ], least: int) -> int:
    """How many of the first questions are so many at least, and no part of a template."""
    until = min(least, len(sorted_by_template))
    while until < len(sorted_by_template) and sorted_by_template[until].template_id == sorted_by_template[until - 1].template_id:
        until += 1
    return until


def _counted_states(packed: Packed) -> Counts:
    """As `count`; logits are read at one node."""
    return replace(count(packed), predicted=1)


def testing_step(
    questions: Sequence[MCQ],
    tokens: Tokens,
    prompt: PromptConfig,
    adapter: Adapter,
    *,
    nodes_per_pack: int,
    seed: int,
    asked: Orders,
    aid: Callable[[MCQ], Aid] = lambda mcq: NO_AID,  # noqa: PT028  (no test of pytest's)
) -> Step:
    """The tests of some questions, each in all of its orders, that stand for a whole side: neighbours by template, as evaluation packs hold them.

    Args:
        questions: the side.
        tokens: the model's tokenizer.
        prompt: how questions are put.
        adapter: its virtual tokens count as nodes.
        nodes_per_pack: budget of a pack.
        seed: the study's.
        asked: in which orders of its options each question is put.
        aid: question -> the examples and facts that it comes with.
    """
    near = sorted(questions, key=lambda mcq: (mcq.template_id, mcq.mcq_id))[:TESTED]
    near = near[: max(1, TESTED // max((len(orders(len(mcq.options), asked)) for mcq in near), default=1))]
    encoded = _encoded(near, tokens, prompt, seed, asked=asked, aid=aid)
    items = [[_under(branch, adapter) for branch in option_branches(each, prompt.score)] for each in encoded]
    chosen = greedy_packs(items, nodes_per_pack) if items else []
    return Step(
        tuple(count(pack([branch for place in places for branch in items[place]])) for places in chosen),
        len({each.rendered.mcq.mcq_id for each in encoded}),
    )


def count(packed: Packed) -> Counts:
    """What of a pack costs time and memory."""
    groups, _ = strips(packed, LONGEST_STRIP)
    return Counts(
        nodes=packed.nodes,
        predicted=len(packed.predicting),
        pairs=sum(group.queries.size * group.keys.shape[1] for group in groups),
        queries=sum(group.queries.size for group in groups),
        keys=sum(group.keys.size for group in groups),
        groups=len(groups),
        branches=len(packed.length),
    )


def _encoded(questions: list[MCQ], tokens: Tokens, prompt: PromptConfig, seed: int, **put: Any) -> list[Encoded]:
    """Those that can be put to the model; `put` goes on to `Tokens.encode_all`."""
    encoded: list[Encoded] = tokens.encode_all(questions, prompt, seed=seed, **put)[0] if questions else []
    return encoded


def _under(branch: Branch, adapter: Adapter) -> Branch:
    """A sequence with virtual tokens before it, or behind its context; other places count as before it."""
    place = branch.first if adapter.after_context else 0
    ids = (*branch.ids[:place], *range(-adapter.virtual, 0), *branch.ids[place:])
    return replace(branch, ids=ids, first=branch.first + adapter.virtual)


def _packs(sides: Sequence[list[list[Branch]]], nodes_per_pack: int | None) -> Iterator[list[list[Branch]]]:
    """The sequences of each pack, those of one adapter side by side, as `train.loss` cuts a step."""
    waiting: list[list[Branch]] = []
    filled, last = 0, -1
    for member, side in enumerate(sides):
        for places in [range(len(side))] if nodes_per_pack is None else greedy_packs(side, nodes_per_pack):
            own = [branch for place in places for branch in side[place]]
            nodes = pack(own).nodes
            if waiting and nodes_per_pack is not None and filled + nodes > nodes_per_pack:
                yield waiting
                waiting, filled, last = [], 0, -1
            if member == last:
                waiting[-1].extend(own)
            else:
                waiting.append(own)
            filled, last = filled + nodes, member
    if waiting:
        yield waiting


def _laid_out(chosen: Sequence[Sequence[Branch]]) -> Packed:
    """One pack of some adapters' sequences."""
    return pack([replace(branch, adapter=place) for place, own in enumerate(chosen) for branch in own], adapters=len(chosen))
