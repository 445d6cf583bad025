"""The model's last states over questions: what the output layer reads at the token before the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods import Adapter
from affinage.pack import Branch, greedy_packs, pack
from affinage.records import Encoded
from affinage.scoring import option_branches

__all__ = ["last_states"]


def last_states(backbone: Backbone, adapter: Adapter | None, encoded: Sequence[Encoded], *, nodes_per_pack: int) -> npt.NDArray[np.float32]:
    """[Q, H] the states from which the first token of each question's answer is predicted, behind the last norm.

    Args:
        backbone: the frozen model.
        adapter: trained tensors; None for the model without one.
        encoded: Q questions; their options are not read.
        nodes_per_pack: node budget of a pack.
    """
    branches = [_context(each) for each in encoded]
    placed = branches if adapter is None else [adapter.place(branch) for branch in branches]
    states = np.empty((len(encoded), 0), np.float32)
    for chosen in greedy_packs([[branch] for branch in branches], nodes_per_pack):
        packed = pack([placed[i] for i in chosen])
        with torch.no_grad(), _read_by_output(backbone) as read, backbone.logits(packed, [Doors() if adapter is None else adapter.doors()]):
            found = read[-1].float().cpu().numpy()
        if not states.shape[1]:
            states = np.empty((len(encoded), found.shape[1]), np.float32)
        states[np.asarray(chosen)[packed.target_branch]] = found[packed.target_row]
    return states


def _context(encoded: Encoded) -> Branch:
    """A question up to the first token of an answer, which is predicted and not read."""
    branch = option_branches(encoded, "total")[0]
    return replace(branch, ids=branch.ids[: branch.first + 1])


@contextmanager
def _read_by_output(backbone: Backbone) -> Iterator[list[Tensor]]:
    """Gathers what the output layer is given in each pass, [M, H], until the block ends."""
    read: list[Tensor] = []

    def keep(_: Any, args: tuple[Tensor, ...]) -> None:
        read.append(args[0][0].detach())

    handle = backbone.model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield read
    finally:
        handle.remove()
