"""Which linear modules an update is for, by the ends of their names."""

from __future__ import annotations

import pytest

from affinage.backbone import Backbone
from affinage.config import MethodConfig, TrainingConfig
from affinage.methods import resolve
from affinage.methods.linears import chosen
from affinage.records import UserError


def names(targets: tuple[str, ...] | None, backbone: Backbone) -> list[str]:
    return [name for name, _, _ in chosen("lora", targets, backbone.shape)]


def test_each_module_once_in_the_models_order(backbone: Backbone) -> None:
    everything = names(None, backbone)
    assert len(everything) == 7 * backbone.shape.layers
    found = names(("down_proj", "layers.1.self_attn.q_proj", "self_attn.q_proj", "model.layers.0.mlp.down_proj"), backbone)
    assert found == [name for name in everything if name.endswith(("self_attn.q_proj", "mlp.down_proj"))]
    assert names(("layers.1.mlp.up_proj",), backbone) == ["model.layers.1.mlp.up_proj"]


@pytest.mark.parametrize("target", ["proj", "lm_head", "layers.7.self_attn.q_proj", "input_layernorm"])
def test_what_is_no_plain_linear_module_of_the_layers_is_refused(target: str, backbone: Backbone) -> None:
    with pytest.raises(UserError, match=f"method lora: targets: found '{target}'"):
        names(("q_proj", target), backbone)


@pytest.mark.parametrize("name", ["lora", "lora-hyper", "lora-mixture"])
def test_an_update_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"settings: targets: found .* at least 1 item"):
        resolve(MethodConfig(name=name, settings={"targets": []}), TrainingConfig())


def test_more_experts_cannot_be_opened_than_there_are() -> None:
    with pytest.raises(UserError, match="top 3 of 2 experts"):
        resolve(MethodConfig(name="lora-mixture", settings={"top": 3, "experts": 2}), TrainingConfig())
