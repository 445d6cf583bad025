"""The last feed-forward network at the predicting nodes alone: the same logits and gradients for less work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from affinage.backbone import model as backbones
from affinage.backbone.last import feed_forward, only_at
from affinage.backbone.shape import decoder_layers
from affinage.pack import pack
from trees import BATCH, backbone_of, doors_of, on_a_tree, placed, small


def rows_of(module: nn.Module, run: Any) -> list[int]:
    """How many rows a module was given in a run."""
    seen: list[int] = []
    inner = next(each for each in module.modules() if isinstance(each, nn.Linear))
    handle = inner.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[-2]))
    try:
        run()
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3_text", "olmo2", "gpt_neox", "cohere", "phi"])
def test_only_predicting_nodes_reach_the_last_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of(*small(name))
    doors = doors_of(backbone, ["vectors", "updates"])
    packed = pack([placed(branch, doors) for branch in BATCH])
    last = feed_forward(decoder_layers(backbone.model))
    assert last is not None
    narrowed: list[Any] = []
    assert rows_of(last, lambda: narrowed.extend(on_a_tree(backbone, doors))) == [len(packed.predicting)]
    assert len(packed.predicting) < packed.nodes
    monkeypatch.setattr(backbones, "feed_forward", lambda layers: None)
    whole: list[Any] = []
    assert rows_of(last, lambda: whole.extend(on_a_tree(backbone, doors))) == [packed.nodes]
    for here, there in zip([narrowed[0], *narrowed[1]], [whole[0], *whole[1]], strict=True):
        assert (here - there).abs().max() <= 1e-5 * there.abs().max()


def test_a_cohort_updates_the_rows_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of(*small("llama"))
    both = [doors_of(backbone, ["vectors", "updates"], key=key) for key in ("one", "other")]
    packed = pack([placed(branch, doors, r) for r, doors in enumerate(both) for branch in BATCH], 2)

    def logits() -> Tensor:
        with torch.no_grad(), backbone.logits(packed, both) as found:
            return found.clone()

    narrowed = logits()
    monkeypatch.setattr(backbones, "feed_forward", lambda layers: None)
    whole = logits()
    assert (narrowed - whole).abs().max() <= 1e-5 * whole.abs().max()
    first, second = whole.chunk(2)
    assert not torch.allclose(first, second)  # the two adapters differ


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "opt"])
def test_other_networks_are_left_alone(name: str) -> None:
    assert feed_forward(decoder_layers(small(name)[0])) is None


def test_other_inputs_pass_as_they_are() -> None:
    module = nn.Linear(2, 3)
    rows = torch.ones(1, 5, 2)
    with only_at(module, torch.tensor([1, 4]), 5):
        assert module(rows)[0, [0, 2, 3]].count_nonzero() == 0
        assert module(torch.ones(1, 7, 2)).shape == (1, 7, 3)
    assert module(rows).count_nonzero() == 15
