"""Layers that are computed again in the backward pass give every method's gradients, alone and in a cohort, with the step's dropout drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import BESIDE_OTHERS, CASES, Case, build, label, moved, sequences
from torch import Tensor

from affinage.backbone import Backbone, load
from affinage.config import ModelConfig
from affinage.pack import pack
from affinage.scoring import token_logprobs

COMPANY = [(case, members) for members in (1, 2) for case in (CASES if members == 1 else BESIDE_OTHERS)]


@pytest.fixture(scope="module")
def saving(tiny_folder: Path) -> Backbone:
    """The tiny model with checkpointing on."""
    backbone = load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, gradient_checkpointing=True))
    assert all(layer.training and layer.gradient_checkpointing for layer in backbone.model.model.layers)
    return backbone


def trained(case: Case, backbone: Backbone, members: int) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities and the gradient of every trained tensor, of a cohort whose members differ in weights and in what they draw."""
    adapters = [moved(build(case, backbone, ("split", number)), number) for number in range(members)]
    for number, adapter in enumerate(adapters):
        adapter.draw = (0, number)
    branches = [
        replace(adapter.place(branch), adapter=number)
        for number, adapter in enumerate(adapters)
        for branch in sequences(5, backbone.shape.vocabulary, stream=number)
    ]
    packed = pack(branches, members)
    with backbone.logits(packed, [adapter.doors() for adapter in adapters]) as logits:
        found = token_logprobs(logits, packed)
        tensors = [value for adapter in adapters for value in adapter.parameters()]
        loss = (found * torch.linspace(0.5, 1.5, len(found))).sum()
        return found.detach(), list(torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize(("case", "members"), COMPANY, ids=lambda value: str(value) if isinstance(value, int) else label(value))
def test_layers_computed_again_give_the_same_gradients(case: Case, members: int, backbone: Backbone, saving: Backbone) -> None:
    expected, reference = trained(case, backbone, members)
    found, gradients = trained(case, saving, members)
    assert torch.equal(found, expected)
    assert any(float(gradient.abs().max()) > 0 for gradient in gradients)
    for mine, theirs in zip(gradients, reference, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max()) + 1e-9
