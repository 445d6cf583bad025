"""The complete state of a training in one file: tensors and moments of every adapter of a cohort, the step in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from affinage.config import PromptConfig, TrainingConfig
from affinage.records import Encoded
from affinage.store import CheckpointError, write_atomically

__all__ = ["State", "plan_digest", "restore_checkpoint", "save_checkpoint"]

_MOMENTS = ("exp_avg", "exp_avg_sq")

State = tuple[Mapping[str, Tensor], torch.optim.AdamW]
"""An adapter's parameters by name, and its optimiser."""


def plan_digest(
    members: Iterable[tuple[Sequence[Encoded], int, Sequence[str]]],
    training: TrainingConfig,
    prompt: PromptConfig,
    nodes_per_pack: int | None,
    context: str = "gradient",
) -> str:
    """A digest of what a checkpoint must agree with to be continued.

    Args:
        members: per adapter its questions, the seed of their order, and the names of its parameters.
        training: how they are trained.
        prompt: how questions are put.
        nodes_per_pack: budget of a pack: sums are rounded in the packs' order.
        context: how contexts are computed (`train.contexts`), which rounds too.
    """
    values = training.model_dump(exclude={"checkpoint_seconds"})
    apart = [] if context == "gradient" else [context]
    digest = hashlib.sha256(json.dumps([values, prompt.model_dump(), nodes_per_pack, *apart], sort_keys=True).encode())
    for encoded, seed, names in members:
        digest.update(json.dumps([seed, list(names)]).encode())
        for each in encoded:
            digest.update(each.rendered.mcq.mcq_id.encode())
    return digest.hexdigest()


def save_checkpoint(path: Path, states: Sequence[State], step: int, plan: str, out: Iterable[int]) -> None:
    """Puts the state on disk, atomically.

    Args:
        path: the file.
        states: per adapter.
        step: steps done.
        plan: of `plan_digest`.
        out: places of the adapters that have left the cohort for a loss that was not finite; nothing of theirs is kept.
    """
    left = sorted(out)
    tensors = {}
    for place, (parameters, optimiser) in enumerate(states):
        if place in left:
            continue
        for name, value in parameters.items():
            tensors[f"{place}|{name}|value"] = value.detach().contiguous()
            state = optimiser.state.get(value, {})  # none of a tensor that no pass reads, such as those of a model's other towers
            tensors |= {f"{place}|{name}|{moment}": state[moment].contiguous() for moment in _MOMENTS if moment in state}
    header = {"step": str(step), "plan": plan, "out": json.dumps(left)}
    write_atomically(path, lambda place: save_file(tensors, place, header))  # straight to the file: bytes would be a second copy in memory


def restore_checkpoint(
    path: Path, states: Sequence[State], plan: str, totals: Sequence[int], earlier: Iterable[str] = ()
) -> tuple[int, frozenset[int]]:
    """Puts a checkpoint's state into parameters and optimisers.

    Args:
        path: the file.
        states: per adapter, at their starts.
        plan: of `plan_digest`.
        totals: steps of each adapter's whole training.
        earlier: digests of the plans that this one has replaced, each change recorded; their checkpoints are continued under this one.

    Returns:
        Steps done, 0 where there is no checkpoint, and the places of the adapters that had left the cohort.

    Raises:
        CheckpointError: the file cannot be read, or belongs to another plan.
    """
    if not path.exists():
        return 0, frozenset()
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            str(path), f"a file that cannot be read ({error})", "a whole checkpoint", "Remove it to train from the start."
        ) from None
    out = frozenset(json.loads(header.get("out", "[]")))
    present = [(place, parameters) for place, (parameters, _) in enumerate(states) if place not in out]
    values = {f"{place}|{name}|value" for place, parameters in present for name in parameters}
    known = values | {f"{place}|{name}|{moment}" for place, parameters in present for name in parameters for moment in _MOMENTS}
    if header.get("plan") not in {plan, *earlier} or not values <= set(tensors) <= known:
        raise CheckpointError(
            str(path), "a checkpoint of another plan", "one of the same questions and settings", "Remove it to train from the start."
        )
    step = int(header["step"])
    with torch.no_grad():
        for place, (parameters, optimiser) in enumerate(states):
            if place in out:
                continue
            for name, value in parameters.items():
                value.copy_(tensors[f"{place}|{name}|value"])
                if f"{place}|{name}|{_MOMENTS[0]}" not in tensors:
                    continue
                optimiser.state[value] = {
                    "step": torch.tensor(float(min(step, totals[place]))),
                    **{moment: tensors[f"{place}|{name}|{moment}"].to(value.device) for moment in _MOMENTS},
                }
    return step, out
