"""Layers spread over devices: what an adapter puts into a layer follows it, and what cannot be spread is refused by name."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from affinage.backbone import Doors, load, placement
from affinage.backbone.attention import Prefix, Tree, plant
from affinage.backbone.kernels import kernel_of
from affinage.backbone.model import Backbone
from affinage.backbone.placement import require_resident
from affinage.backbone.terms import Additive
from affinage.config import ModelConfig
from affinage.pack import Packed, pack
from affinage.records import UserError
from trees import BATCH, GROUPED, backbone_of, doors_of, on_a_tree, placed, small

META = torch.device("meta")


def model_config(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(id=str(folder), **{"dtype": "float32", "device": "cpu", "threads": 1, **values})


def tensors(tree: Tree) -> list[Tensor]:
    """Every tensor that a layer may read."""
    groups = [each for g in tree.groups for each in (g.adapter, g.query_position, g.key_position)]
    gathers = [tree.queries.index, tree.queries.order, tree.queries.first]
    assert tree.prefix is not None
    assert tree.additive is not None
    assert tree.gates is not None
    return [*groups, *gathers, tree.prefix.keys, tree.prefix.values, tree.additive.maps, tree.gates]


def planted() -> tuple[Packed, Tree]:
    packed = pack(BATCH)
    prefix = Prefix(torch.zeros(2, 1, 3, 2, 4), torch.zeros(2, 1, 3, 2, 4))
    tree = plant(packed, (None, None), torch.device("cpu"), prefix, additive=Additive(torch.zeros(2, 1, 2, 4, 4), [packed.nodes]))
    return packed, replace(tree, gates=torch.zeros(packed.nodes, 3))


def test_a_tree_goes_to_a_device_whole_and_once() -> None:
    packed, tree = planted()
    assert tree.on(torch.device("cpu")) is tree
    moved = tree.on(META)
    assert all(each.device == META for each in tensors(moved))
    again = tree.on(META)
    assert again.queries.index is moved.queries.index
    assert again.prefix is moved.prefix
    # The next layer's gates are other ones, with the same copy of the rest.
    other = replace(tree, gates=torch.zeros(packed.nodes, 5)).on(META)
    assert other.gates is not None
    assert other.gates.shape == (packed.nodes, 5)
    assert other.groups is moved.groups
    assert moved.masks is not tree.masks
    assert tree.copies[META].copies == {}  # not one that it stands in itself


def spread(backbone: Backbone) -> Backbone:
    """The model with all behind its first layer on another device, which holds no memory and so needs no GPU; inputs are moved to each part."""
    model = copy.deepcopy(backbone.model)

    def move(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # As accelerate's hooks do: tensors and what consists of them, not a tree.
        return send_to_device((args, kwargs), META)

    for part in (*model.model.layers[1:], model.model.norm, model.lm_head):
        part.to(META).register_forward_pre_hook(move, with_kwargs=True)
    return replace(backbone, model=model)


def everything(backbone: Backbone) -> Doors:
    shape = backbone.shape
    return replace(
        doors_of(backbone, ["vectors", "prefix", "updates"]),
        gates=torch.zeros(shape.layers, shape.width, 3),
        scales=torch.ones(shape.layers),
        additive=torch.zeros(shape.layers, shape.kv_heads, shape.head_width, shape.head_width),
    )


@pytest.mark.parametrize("kernel", ["strips", "buckets", "sdpa"])
@pytest.mark.parametrize("adapters", [1, 2])
def test_what_an_adapter_puts_into_a_layer_follows_it(kernel: str, adapters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = replace(backbone_of(*small("llama", **GROUPED)), kernel=kernel_of(kernel))
    doors = everything(backbone)
    if kernel == "sdpa":
        doors = replace(doors, gates=None, scales=None)
    packed = pack([placed(branch, doors, r) for r in range(adapters) for branch in BATCH], adapters)
    with spread(backbone).logits(packed, [doors] * adapters) as logits:
        assert (logits.device, logits.shape) == (META, (len(packed.predicting), backbone.shape.vocabulary))
    # An operation over tensors of two devices is an error, so that the one above is one that could fail.
    monkeypatch.setattr(Tree, "on", lambda tree, device: tree)
    with pytest.raises(RuntimeError, match=r"same device|not on the expected device"), spread(backbone).logits(packed, [doors] * adapters):
        pass


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_a_map_with_one_place_changes_nothing(device_map: Any, tiny_folder: Path) -> None:
    plain, mapped = load(model_config(tiny_folder)), load(model_config(tiny_folder, device_map=device_map))
    doors = doors_of(plain, ["vectors", "prefix", "updates"])
    for one, other in zip(on_a_tree(plain, doors)[1], on_a_tree(mapped, doors)[1], strict=True):
        assert torch.equal(one, other)
    assert mapped.device == torch.device("cpu")


@pytest.mark.parametrize("places", [{"model": "cpu", "lm_head": "disk"}, {"model": 0, "lm_head": "cpu"}, {"": "disk"}])
def test_layers_that_wait_elsewhere_are_refused(places: dict[str, Any], tiny_folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.device_map: found layers that are kept on (disk|cpu); expected every layer on a GPU"):
        load(model_config(tiny_folder, device_map=places))

    class Loaded:
        hf_device_map = places

    with pytest.raises(UserError, match=r"model\.device_map"):
        require_resident(Loaded())


def test_tensor_parallelism_is_refused_with_its_reason(tiny_folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.device_map: found tensor parallelism; expected .* whole layers.*share of the heads"):
        load(model_config(tiny_folder, device_map="tensor-parallel"))


def test_a_missing_accelerate_is_named(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"model\.device_map: found no accelerate.*Run `pip install accelerate`"):
        load(model_config(tiny_folder, device_map="auto"))
    assert load(model_config(tiny_folder)).device == torch.device("cpu")
