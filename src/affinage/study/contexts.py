"""How trainings compute questions whose virtual tokens stand behind them (`model.context`): refused or settled before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from affinage.config import StudyConfig
from affinage.records import MCQ, BackboneShape, UserError
from affinage.study.costs import Machine, Step, seconds_of, state_bytes, step_bytes, step_seconds, weight_bytes
from affinage.study.engine import Engine

if TYPE_CHECKING:
    from affinage.encode import Tokens
    from affinage.study.plan import PlannedRun

__all__ = ["check_context", "kept_bytes", "reading_seconds", "stands_after_context", "with_context"]

KERNELS = ("auto", "strips", "buckets")
"""Values of `model.attention` that read keys from outside of a pack."""

_MEMORY_SHARE = 0.6
"""Part of the memory that is free beside the model's weights that kept states and a step may take together."""

_WORTH = 0.98
"""What has to be left of the time for keeping states to pay."""


def stands_after_context(run: PlannedRun) -> bool:
    """Whether a run trains an adapter whose virtual tokens all stand behind the context."""
    return run.trains and run.method is not None and run.method.after_context


def check_context(config: StudyConfig, runs: Sequence[PlannedRun]) -> None:
    """Refuses a way of computing contexts that nothing in the study can go.

    Raises:
        UserError: a kernel that reads no keys from outside of a pack, or no method that stands behind the context.
    """
    asked = config.model.context
    if asked is None or asked == "gradient":
        return
    if not any(map(stands_after_context, runs)):
        todo = "Leave it out, or place virtual tokens before the answer (`affinage params prompt-tuning`)."
        raise UserError("model.context", f"{asked!r}", "a method whose virtual tokens all stand behind the question", todo)
    if config.model.attention not in KERNELS:
        found = f"{asked!r} with `model.attention: {config.model.attention}`"
        raise UserError("model.context", found, f"one of {', '.join(KERNELS)}, which read keys from outside of a pack", "Change one of the two.")


def with_context(
    config: StudyConfig,
    questions: Sequence[MCQ],
    engine: Engine,
    *,
    shape: BackboneShape,
    tokens: Tokens,
    runs: Sequence[PlannedRun],
    machine: Machine,
) -> StudyConfig:
    """The study with the way written down in which contexts are computed.

    `kept` where the estimate says that it takes less time than `no-gradient` and that what is kept fits beside the model and a step. Elsewhere
    `no-gradient`, but `gradient` under an attention kernel that reads no keys from outside of a pack.

    Args:
        config: the study, its cohorts and packs settled.
        questions: a training side; it stands for every culture's.
        engine: lays batches out.
        shape: the model's.
        tokens: the model's tokenizer.
        runs: of the plan; the first method that stands behind the context stands for all.
        machine: what the study runs on.
    """
    model = config.model
    run = next(run for run in runs if stands_after_context(run))
    assert run.method is not None
    training, adapter, members = run.method.training, engine.adapter_of(run.method, shape), model.cohort or 1
    way = "no-gradient" if model.attention in KERNELS else "gradient"
    if way == "no-gradient" and training.orders == "fixed" and questions:
        width = 2 if model.dtype == "bfloat16" else 4
        sides = engine.first_batches(questions, tokens, training, run.prompt, members=members, seed=config.seed)

        def step(context: str) -> Step:
            return engine.training_step(
                sides, training.loss, run.prompt.score, adapter, nodes_per_pack=model.nodes_per_pack, context=context
            )  # fmt: skip

        def seconds(laid_out: Step) -> float:
            return step_seconds(laid_out, shape, machine.rates, width=width, adapter=adapter, members=members)

        read = engine.reading_step(questions, tokens, training.loss, run.prompt, seed=config.seed)
        steps, after = engine.total_steps(training, len(questions)), step("kept")
        all_of_them = members * len(questions)
        once = reading_seconds(read, shape, machine, width=width) * all_of_them
        room = max(0, machine.free - weight_bytes(shape, model)) * _MEMORY_SHARE
        needed = kept_bytes(read, all_of_them, shape, width=width)
        needed += step_bytes(after, shape, width=width, training=True, adapter=adapter, members=members, recomputed=model.gradient_checkpointing)
        if once + steps * seconds(after) <= _WORTH * steps * seconds(step("no-gradient")) and needed <= room:
            way = "kept"
    return config.model_copy(update={"model": model.model_copy(update={"context": way})})


def reading_seconds(read: Step, shape: BackboneShape, machine: Machine, *, width: int) -> float:
    """Seconds per question in which the states of contexts are computed once.

    Args:
        read: of `Engine.reading_step`.
        shape: the model's.
        machine: its rates.
        width: bytes of one value of the model's type.
    """
    return sum(seconds_of(pack, shape, machine.rates, width=width, training=False) for pack in read.read) / max(1, read.questions)


def kept_bytes(read: Step, questions: int, shape: BackboneShape, *, width: int) -> int:
    """Bytes of the kept states of so many questions: 2 * L * K * D values for each node of their contexts' trees.

    Args:
        read: of `Engine.reading_step`.
        questions: of all adapters that are trained together.
        shape: the model's.
        width: bytes of one value of the model's type.
    """
    return state_bytes(sum(pack.nodes for pack in read.read) / max(1, read.questions) * questions, shape, width=width)
