"""Trains the adapters of a cohort in lockstep over one frozen model; one adapter is a cohort of one.

Each adapter has its own questions, order, schedule, optimiser, clipping and loss; only the passes through the frozen model are shared. An adapter
that is through its steps, or whose loss is not finite, leaves; the others go on as if it had only stopped reading.

A step that does not fit into memory changes the plan, where the caller keeps such changes: packs of half the size from it on, the step made again
from the state before it. Otherwise it is an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from affinage.backbone import Backbone
from affinage.backbone.memory import out_of_memory, release
from affinage.config import PromptConfig, TrainingConfig
from affinage.methods import Adapter
from affinage.records import Encoded, UserError
from affinage.store import RunFolder, append_log, cut_log
from affinage.train.checkpoint import plan_digest, restore_checkpoint, save_checkpoint
from affinage.train.contexts import Way, reading, way_of
from affinage.train.loss import Batch, Reads, cohort_losses, step_packs
from affinage.train.order import batches, by_culture, mixed_batches, template_weights
from affinage.train.schedule import StepRecord, rate_at, total_steps

__all__ = ["Cut", "Member", "train", "train_cohort"]


@dataclass(frozen=True, slots=True)
class Cut:
    """A change of a training's plan: a step that did not fit into memory is made in smaller packs, and all after it."""

    step: int
    """Steps done before it."""
    before: int | None
    """Budget of a pack until then; None for a step in one pack."""
    after: int
    """Budget from then on."""
    reason: str
    """What the allocator said."""


@dataclass(frozen=True, slots=True)
class Member:
    """One adapter of a cohort."""

    adapter: Adapter
    """At its start; trained in place."""
    encoded: Sequence[Encoded]
    """Its training questions."""
    seed: int
    """Of their order."""
    folder: RunFolder
    """Where its log goes."""
    again: Callable[[int], Sequence[Encoded]] | None = None
    """Epoch -> the same questions, encoded anew for it; needed where the options' order is fresh in each epoch."""
    on_step: Callable[[StepRecord], None] = lambda record: None
    """Told of each step."""
    on_done: Callable[[], None] = lambda: None
    """Called when it is through its steps; again when a training that was stopped after that is continued."""
    on_failed: Callable[[UserError], None] | None = None
    """Told why it left the cohort; None to raise the reason."""


@final
@dataclass
class _Trainee:
    """A member on its way."""

    member: Member
    training: TrainingConfig
    total: int
    parameters: Mapping[str, Tensor]
    optimiser: torch.optim.AdamW
    weights: Mapping[str, float] | None
    stream: Iterator[list[Encoded]] = field(default_factory=lambda: iter(()))
    out: bool = False
    """Whether it has left for a loss or gradient that was not finite."""

    def learn(self, batch: Sequence[Encoded], loss: float, step: int) -> tuple[float, float]:
        """One optimiser step on the gradients that are there: its rate, and the gradient's norm before clipping.

        Raises:
            UserError: the loss or the gradient is not finite; nothing was changed.
        """
        rate = rate_at(step, self.total, self.training)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        clip = self.training.clip if self.training.clip is not None else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise _not_finite(step, loss, norm, batch)
        self.optimiser.step()
        return rate, norm


def train(
    backbone: Backbone,
    adapter: Adapter,
    encoded: Sequence[Encoded],
    training: TrainingConfig,
    *,
    prompt: PromptConfig,
    seed: int,
    folder: RunFolder,
    again: Callable[[int], Sequence[Encoded]] | None = None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> None:
    """Trains one adapter in place; continues from `folder.checkpoint` where there is one. See `train_cohort`.

    Raises:
        UserError: a loss or gradient that is not finite (naming the batch), a checkpoint that does not fit, a full disk, a step that does not fit
            into memory.
    """
    train_cohort(backbone, [Member(adapter, encoded, seed, folder, again, on_step)], training, prompt=prompt, checkpoint=folder.checkpoint)


def train_cohort(
    backbone: Backbone,
    members: Sequence[Member],
    training: TrainingConfig,
    *,
    prompt: PromptConfig,
    checkpoint: Path,
    nodes_per_pack: int | None = None,
    earlier: Sequence[int | None] = (),
    on_cut: Callable[[Cut], int | None] | None = None,
    context: Way = "gradient",
) -> None:
    """Trains several adapters of one method in lockstep; continues from the checkpoint where there is one.

    For the same plan (members, their order, budget), library build and thread count on a CPU, an interrupted and continued training ends
    bit-identical to an uninterrupted one. A step that does not fit into memory begins another plan, whose first state is the one before
    that step; it is on disk before the step is made again.

    Args:
        backbone: the frozen model.
        members: adapters of one method and shape.
        training: loss, steps, rate, ...
        prompt: how the questions are scored.
        checkpoint: the cohort's state, one file.
        nodes_per_pack: budget of a pack; a step that is larger is cut. Default: a step is one pack.
        earlier: budgets of the plans that were given up for this one; a checkpoint of theirs is continued.
        on_cut: keeps the change of a step that did not fit, before that is made again, and gives the budget to go on with: the change's, or a
            smaller one that is in force already. Who continues the training must name it. Default: such a step is an error.
        context: how contexts are computed where every adapter stands behind them (`train.contexts`); elsewhere it means nothing.

    Raises:
        UserError: a loss or gradient that is not finite where its member does not want to be told, a checkpoint that does not fit, a full disk,
            a step that does not fit into memory where nobody keeps the change, or one question that does not, or kept contexts that do not.
    """
    trainees = [_trainee(member, training) for member in members]
    if not any(trainee.total for trainee in trainees):
        for member in members:
            member.on_done()
        return
    states = [(trainee.parameters, trainee.optimiser) for trainee in trainees]
    known = [(member.encoded, member.seed, list(trainee.parameters)) for member, trainee in zip(members, trainees, strict=True)]
    way = way_of((member.adapter for member in members), context, fresh=any(member.again is not None for member in members))
    plan = plan_digest(known, training, prompt, nodes_per_pack, way)
    totals = [trainee.total for trainee in trainees]
    replaced = [plan_digest(known, training, prompt, budget, way) for budget in earlier]
    step, out = restore_checkpoint(checkpoint, states, plan, totals, replaced)
    for place, trainee in enumerate(trainees):
        trainee.out = place in out
        stream = mixed_batches if trainee.member.adapter.cultures else batches
        trainee.stream = stream(trainee.member.encoded, training, trainee.member.seed, step, trainee.member.again)
        if trainee.member.folder.log.exists():
            cut_log(trainee.member.folder.log, min(step, trainee.total))
    for trainee in trainees:
        if trainee.total <= step and not trainee.out:
            trainee.member.on_done()
    if all(trainee.total <= step or trainee.out for trainee in trainees):
        return
    reads = reading(backbone, way, (each for member in members for each in member.encoded), training.loss, prompt.score)
    saved = time.monotonic()

    def keep() -> None:
        if step and any(not trainee.out for trainee in trainees):
            save_checkpoint(checkpoint, states, step, plan, [place for place, trainee in enumerate(trainees) if trainee.out])

    def cut(change: Cut) -> int | None:
        nonlocal nodes_per_pack, plan
        if on_cut is None:
            raise _does_not_fit(change)
        nodes_per_pack = on_cut(change)
        plan = plan_digest(known, training, prompt, nodes_per_pack, way)
        keep()
        return nodes_per_pack

    while active := [trainee for trainee in trainees if step < trainee.total and not trainee.out]:
        _step(reads, active, step, prompt=prompt, nodes_per_pack=nodes_per_pack, cut=cut)
        step += 1
        done = [trainee for trainee in active if trainee.total == step and not trainee.out]
        left = any(trainee.out for trainee in active)  # kept, so that who continues does not make it leave again
        if done or left or time.monotonic() - saved >= training.checkpoint_seconds:
            keep()
            saved = time.monotonic()
        for trainee in done:
            trainee.member.on_done()


def _trainee(member: Member, training: TrainingConfig) -> _Trainee:
    """A member with its optimiser.

    Raises:
        UserError: steps to make, but nothing to train or to train on.
    """
    sides = by_culture(member.encoded).values() if member.adapter.cultures else [member.encoded]
    total = total_steps(training, max(map(len, sides), default=0))
    parameters = dict(member.adapter.named_parameters())
    if total and (not parameters or not member.encoded):
        where = f"training of method {member.adapter.method}"
        raise UserError(where, f"{len(parameters)} trained tensors and {len(member.encoded)} questions", "some of both", "")
    optimiser = torch.optim.AdamW(list(parameters.values()), lr=training.rate, weight_decay=training.weight_decay) if parameters else None
    weights = template_weights(member.encoded) if training.weights == "templates" else None
    return _Trainee(member, training, total, parameters, optimiser, weights)  # type: ignore[arg-type]  # without parameters there is no step


def _step(
    backbone: Reads,
    active: Sequence[_Trainee],
    step: int,
    *,
    prompt: PromptConfig,
    nodes_per_pack: int | None,
    cut: Callable[[Cut], int | None],
) -> None:
    """One step of every adapter that is still in."""
    began = time.monotonic()
    read = [next(trainee.stream) for trainee in active]
    given = [Batch(trainee.member.adapter, batch, trainee.weights) for trainee, batch in zip(active, read, strict=True)]
    losses, nodes = _losses(backbone, active, given, step, prompt=prompt, nodes_per_pack=nodes_per_pack, cut=cut)
    for trainee in active:
        trainee.member.adapter.draw = None
    records = []
    for trainee, batch, loss in zip(active, read, losses, strict=True):
        try:
            rate, norm = trainee.learn(batch, loss, step)
        except UserError as reason:
            if trainee.member.on_failed is None:
                raise
            trainee.out = True
            trainee.member.on_failed(reason)
        else:
            records.append((trainee, StepRecord(step + 1, trainee.total, loss, rate, norm, nodes, 0.0)))
    seconds = round(time.monotonic() - began, 4)
    for trainee, record in records:
        timed = {name: getattr(record, name) for name in StepRecord.__slots__} | {"seconds": seconds}
        append_log(trainee.member.folder.log, timed)
        trainee.member.on_step(StepRecord(**timed))


def _losses(
    backbone: Reads,
    active: Sequence[_Trainee],
    given: Sequence[Batch],
    step: int,
    *,
    prompt: PromptConfig,
    nodes_per_pack: int | None,
    cut: Callable[[Cut], int | None],
) -> tuple[list[float], int]:
    """`cohort_losses` of a step with its gradients, in smaller packs where it does not fit: every try has the same questions and draws.

    Raises:
        UserError: one question alone does not fit, or the training may not be cut.
    """
    loss = active[0].training.loss
    while True:
        for trainee in active:
            trainee.optimiser.zero_grad()
            trainee.member.adapter.draw = (trainee.member.seed, step)
        try:
            return cohort_losses(backbone, given, loss, prompt.score, nodes_per_pack)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:300] or type(error).__name__
        # Out here the exception is gone, and with its traceback what the failed pass held.
        for trainee in active:
            trainee.optimiser.zero_grad()
        release()
        nodes_per_pack = cut(_smaller(step, nodes_per_pack, step_packs(given, loss, prompt.score, nodes_per_pack), reason))


def _smaller(step: int, nodes_per_pack: int | None, packs: Sequence[tuple[int, int]], reason: str) -> Cut:
    """Half the budget, or half of the largest pack where the step never filled the budget.

    Raises:
        UserError: the largest pack is one question, which no budget makes smaller.
    """
    largest, questions = max((nodes, questions) for questions, nodes in packs)
    if questions == 1:
        raise UserError(
            f"training step {step + 1}",
            f"one question ({largest} nodes) that does not fit into memory: {reason}",
            "room for it beside the model and the adapters of the cohort",
            "End what else uses the memory and run the same command again, or begin anew (another --out) with "
            "`model.gradient_checkpointing: true`, a smaller `model.cohort` or a smaller model.",
        )
    return Cut(step, nodes_per_pack, max(1, min(nodes_per_pack or largest, largest) // 2), reason)


def _does_not_fit(change: Cut) -> UserError:
    packs = "one pack" if change.before is None else f"packs of at most {change.before} nodes"
    return UserError(
        f"training step {change.step + 1}",
        f"a step in {packs} that does not fit into memory: {change.reason}",
        "room for it beside the model and the adapters",
        f"End what else uses the memory, or begin anew with a budget (`nodes_per_pack`) of {change.after} nodes or a smaller `training.batch_size`.",
    )


def _not_finite(step: int, loss: float, norm: float, batch: Sequence[Encoded]) -> UserError:
    ids = ", ".join(encoded.rendered.mcq.mcq_id for encoded in batch)
    return UserError(
        f"training step {step + 1}, questions {ids}",
        f"a loss of {loss} and a gradient of norm {norm}",
        "finite numbers",
        "Lower `training.rate`, or look at these questions with `affinage data show ID`.",
    )
