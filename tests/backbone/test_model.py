"""A backbone leaves no trace, gives what a cache would hold, and refuses what its positions do not allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, DynamicCache

from affinage.backbone.doors import Doors
from affinage.backbone.model import Backbone
from affinage.backbone.probe import tiny
from affinage.backbone.shape import longest_position, node_limit, shape_of
from affinage.pack import Branch, pack
from affinage.records import UserError
from trees import BATCH, PASSING, backbone_of, doors_of, on_a_tree, one_by_one, placed, small


def logits_of(backbone: Backbone) -> torch.Tensor:
    with torch.no_grad(), backbone.logits(pack(BATCH)) as logits:
        return logits


@pytest.mark.parametrize("name", ["llama", "stablelm", "gpt2"])
def test_the_base_is_bit_identical_after_use(name: str) -> None:
    model, config = small(name)
    backbone = backbone_of(model, config)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    base = logits_of(backbone)
    doors = doors_of(backbone, ["vectors", "prefix", "updates"])
    packed = pack([placed(branch, doors) for branch in BATCH])
    with backbone.logits(packed, [doors]) as changed:
        assert changed.shape == base.shape
        assert not torch.allclose(changed, base, atol=1e-2)
        changed.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(logits_of(backbone), base)
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_base_is_bit_identical_after_an_error_inside() -> None:
    model, config = small("llama")
    backbone = backbone_of(model, config)
    base = logits_of(backbone)
    doors = doors_of(backbone, ["updates"])
    with pytest.raises(RuntimeError, match="inside"), backbone.logits(pack(BATCH), [doors]):
        raise RuntimeError("inside")
    assert torch.equal(logits_of(backbone), base)
    broken = replace(doors, keys=torch.zeros(2, 3, 5, 16), values=torch.zeros(2, 3, 5, 16))
    with pytest.raises(UserError, match="prefix slots with 5 heads"), backbone.logits(pack(BATCH), [broken]):
        pass
    assert torch.equal(logits_of(backbone), base)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "gemma2", "stablelm", "phimoe"])
def test_keys_and_values_are_what_a_cache_holds(name: str) -> None:
    model, config = small(name, **PASSING[name])
    ids = (5, 9, 17, 4, 60, 33, 8)
    keys, values = backbone_of(model, config).keys_values(ids)
    model.set_attn_implementation("eager")
    cache = DynamicCache()  # without the configuration, so that sliding layers keep all
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
    for layer, held in enumerate(cache.layers):
        torch.testing.assert_close(keys[layer].transpose(0, 1)[None], held.keys, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(values[layer].transpose(0, 1)[None], held.values, rtol=1e-5, atol=1e-5)


def test_embeddings_are_those_that_the_model_computes_with() -> None:
    model, config = small("gemma")
    backbone = backbone_of(model, config)
    weight = model.get_input_embeddings().weight
    assert not torch.allclose(backbone.embed([7]), weight[7:8])  # Gemma scales inside
    vectors = Doors(vectors=backbone.embed([50, 51, 52]).requires_grad_())
    spelled = [Branch((50, 51, 52, *branch.ids), branch.first + 3) for branch in BATCH]
    torch.testing.assert_close(on_a_tree(backbone, vectors)[0], on_a_tree(backbone, Doors(), spelled)[0], rtol=1e-5, atol=1e-5)


def test_an_update_of_an_unknown_module_is_refused() -> None:
    model, config = small("llama")
    backbone = backbone_of(model, config)
    name, update = next(iter(doors_of(backbone, ["updates"]).updates.items()))
    with (
        pytest.raises(UserError, match=r"found updates of lm_head; expected plain linear modules of the decoder layers"),
        backbone.logits(pack(BATCH), [Doors(updates={name: update, "lm_head": update})]),
    ):
        pass


def test_prefixes_of_two_lengths_in_one_pack_are_refused() -> None:
    model, config = small("llama")
    backbone = backbone_of(model, config)
    packed = pack([replace(branch, adapter=r) for r in range(2) for branch in BATCH], adapters=2)
    doors = [doors_of(backbone, ["prefix"], slots=slots) for slots in (2, 3)]
    with pytest.raises(ValueError, match="prefixes of one length"), backbone.logits(packed, doors):
        pass


LENGTHS: list[tuple[str, dict[str, Any], str]] = [
    ("gpt2", {"n_positions": 40}, "its positions are learned"),
    ("opt", {"max_position_embeddings": 40}, "its positions are learned"),
    (
        "llama",
        {"max_position_embeddings": 40, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
        r"its rotary embedding \(dynamic\) changes with the longest sequence",
    ),
    (
        "phi3",
        {
            "max_position_embeddings": 80,
            "original_max_position_embeddings": 40,
            "rope_parameters": {
                "rope_type": "longrope",
                "short_factor": [1.0] * 48,
                "long_factor": [4.0] * 48,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 40,
            },
        },
        r"its rotary embedding \(longrope\) changes with the longest sequence",
    ),
]


@pytest.mark.parametrize(("name", "values", "reason"), LENGTHS, ids=lambda value: value if isinstance(value, str) else "")
def test_positions_end_where_the_model_says(name: str, values: dict[str, Any], reason: str) -> None:
    model, config = small(name, **values)
    backbone = backbone_of(model, config)
    fits = [Branch(tuple(1 + i % 100 for i in range(38)), 1), Branch((5, *range(1, 30)), 1)]
    doors = doors_of(backbone, ["prefix"], slots=3)
    torch.testing.assert_close(on_a_tree(backbone, doors, fits)[0], one_by_one(model, config, doors, fits)[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=f"a sequence of 41 tokens; expected at most 40: {reason}. Shorten the prompt or the virtual tokens"):
        on_a_tree(backbone, doors_of(backbone, ["prefix"], slots=4), fits)


def test_other_rotary_embeddings_set_no_length() -> None:
    assert longest_position(AutoConfig.for_model("llama", max_position_embeddings=40)) == (None, "")
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 40}
    assert longest_position(AutoConfig.for_model("qwen3", rope_parameters=yarn)) == (None, "")


def test_llama4_derives_positions_from_the_index_and_is_capped() -> None:
    model, config = small("llama4_text", floor_scale=20, attn_temperature_tuning=True)
    backbone = backbone_of(model, config)
    assert node_limit(config) == 19
    few = [Branch((1, 2, 3, 4, 5), 1), Branch((1, 2, 9, 8, 7), 1)]
    torch.testing.assert_close(on_a_tree(backbone, Doors(), few)[0], one_by_one(model, config, Doors(), few)[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"a pack of \d+ nodes; expected at most 19: it derives positions from the index"):
        on_a_tree(backbone, Doors())
    assert node_limit(small("llama")[1]) is None
    config.attn_temperature_tuning = False
    assert node_limit(config) is None


def test_shape_of_olmo_7b_gives_the_studys_parameter_counts() -> None:
    shape = shape_of(
        AutoConfig.for_model(
            "olmo",
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            vocab_size=50304,
            tie_word_embeddings=False,
        )
    )
    assert (shape.layers, shape.width, shape.kv_heads, shape.head_width, shape.vocabulary) == (32, 4096, 32, 128, 50304)
    assert shape.parameters == 6_888_095_744
    assert f"{16 * shape.width / (shape.parameters + 16 * shape.width):.3%}" == "0.001%"
    wide = 2 * shape.layers * shape.kv_heads * shape.head_width
    prefix = 256 * (shape.width + 1) + wide * 257 + 4 * shape.width
    assert prefix == 68_436_224
    assert f"{prefix / (shape.parameters + prefix):.3%}" == "0.984%"


def test_tied_embeddings_are_counted_once() -> None:
    config = tiny(AutoConfig.for_model("llama", tie_word_embeddings=True))
    untied = tiny(AutoConfig.for_model("llama", tie_word_embeddings=False))
    assert shape_of(untied).parameters - shape_of(config).parameters == 128 * 64


def test_the_head_width_may_be_set_apart() -> None:
    config = AutoConfig.for_model(
        "qwen3", hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=32, num_hidden_layers=2, vocab_size=99
    )
    shape = shape_of(config)
    assert (shape.kv_heads, shape.head_width, shape.width, shape.uniform_heads) == (2, 32, 64, True)
    assert ("model.layers.0.self_attn.k_proj", 64, 64) in shape.linears
    assert ("model.layers.1.self_attn.o_proj", 128, 64) in shape.linears


def test_only_plain_linear_modules_of_the_layers_can_be_updated() -> None:
    names = [name for name, _, _ in shape_of(tiny(AutoConfig.for_model("llama4_text"))).linears]
    assert any(name.endswith("q_proj") for name in names)
    assert not any(name.endswith(("router", "lm_head")) for name in names)
    assert shape_of(tiny(AutoConfig.for_model("gpt2"))).linears == ()


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("deepseek_v3", {}, "its keys and values differ in width (latent attention)"),
        ("gemma4_text", {"num_kv_shared_layers": 2}, "its last 2 layers reuse another layer's keys and values"),
        ("gemma3n_text", {}, "its last 15 layers reuse another layer's keys and values"),
        ("gemma4_text", {"num_kv_shared_layers": 0}, "its keys and values have widths [2048] beside 1024"),
    ],
)
def test_why_keys_and_values_cannot_be_prefixed(name: str, values: dict[str, Any], why: str) -> None:
    shape = shape_of(AutoConfig.for_model(name, **values))
    assert not shape.uniform_heads
    assert shape.refusal == why
