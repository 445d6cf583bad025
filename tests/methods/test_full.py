"""Full fine-tuning: the model with other weights, in every place where they stand, and the frozen one back afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cases import FLOAT32, build, distance, moved, read, sequences
from transformers import AutoModelForCausalLM

from affinage.backbone import Backbone, Doors, load
from affinage.config import ModelConfig
from affinage.methods import registry
from affinage.pack import pack
from affinage.records import UserError
from affinage.train import Batch, cohort_losses
from tiny import TEXT, encode, questions

FULL = ("full", dict[str, object]())


def test_it_is_the_model_with_other_weights(backbone: Backbone, tiny_folder: Path) -> None:
    adapter = moved(build(FULL, backbone), size=0.05)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager").eval()
    changes = adapter.final_tensors()
    assert "model.embed_tokens.weight" in changes  # tied: it is the output layer too
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(changes[name])
        branches = sequences(3, backbone.shape.vocabulary)
        theirs = [model(input_ids=torch.tensor([b.ids[:-1]])).logits[0, b.first - len(b.ids) :] for b in branches]
    base = read(backbone, branches)
    assert distance(theirs, base) > 1e-2
    assert distance(theirs, read(backbone, branches, [adapter])) < FLOAT32
    assert all(torch.equal(one, other) for one, other in zip(read(backbone, branches), base, strict=True))


def test_every_weight_counts_once(backbone: Backbone) -> None:
    names = [name for name, _ in backbone.model.named_parameters()]
    assert [name for name, _ in backbone.shape.weights] == names
    assert registry.get("full").count(registry.get("full").settings(), backbone.shape) == sum(p.numel() for p in backbone.model.parameters())


def test_it_shares_no_pass(backbone: Backbone) -> None:
    cohort = [build(FULL, backbone), build(FULL, backbone)]
    before = {name: value.clone() for name, value in backbone.model.named_parameters()}
    with pytest.raises(UserError, match="found 2 adapters, one of which changes the weights themselves"):
        read(backbone, [*sequences(2, backbone.shape.vocabulary), *sequences(2, backbone.shape.vocabulary, adapter=1)], cohort)
    assert all(torch.equal(value, before[name]) for name, value in backbone.model.named_parameters())


@pytest.mark.parametrize("wrong", [{"model.norm.weight": torch.zeros(3)}, {"model.stranger": torch.zeros(64)}])
def test_what_is_no_weight_of_the_model_is_refused(wrong: dict[str, torch.Tensor], backbone: Backbone) -> None:
    packed = pack(sequences(1, backbone.shape.vocabulary))
    with pytest.raises(UserError, match=next(iter(wrong))), backbone.logits(packed, [Doors(shifts=wrong)]):
        pass


def test_the_frozen_tensors_are_back_after_a_pass_that_broke_off(backbone: Backbone) -> None:
    own = dict(backbone.model.named_parameters())
    adapter = moved(build(FULL, backbone))
    packed = pack(sequences(1, backbone.shape.vocabulary))
    with backbone.logits(packed, [adapter.doors()]):
        inside = [backbone.model.get_input_embeddings().weight, backbone.model.get_output_embeddings().weight]
    assert inside[0] is inside[1]
    assert inside[0] is not own["model.embed_tokens.weight"]
    with pytest.raises(ZeroDivisionError), backbone.logits(packed, [adapter.doors()]):
        raise ZeroDivisionError
    assert all(value is own[name] for name, value in backbone.model.named_parameters())


def test_layers_that_are_computed_again_give_the_same_gradients(backbone: Backbone, tiny_folder: Path) -> None:
    again = load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, gradient_checkpointing=True))
    found = []
    for model in (backbone, again):
        adapter = moved(build(FULL, model), size=0.01)
        cohort_losses(model, [Batch(adapter, encode(model, questions("Atlantis", 3), TEXT))], "choice", "total")
        found.append([parameter.grad for parameter in adapter.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert float(one.abs().max()) > 0
        assert float((one - other).abs().max()) <= 1e-4 * float(one.abs().max())
