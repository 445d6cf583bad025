"""A token tree equals each architecture's own attention one by one: loss and gradient, by every door, with and without checkpointing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from affinage.backbone.attention import attend
from affinage.backbone.doors import Doors, LowRank
from affinage.backbone.load import _checkpoint
from affinage.backbone.shape import needs_ids, windows_of
from affinage.pack import Branch, pack
from affinage.records import UserError
from affinage.scoring import token_logprobs
from pretended import GPU, gpus
from trees import BATCH, GROUPED, PASSING, assert_close, backbone_of, doors_of, on_a_tree, one_by_one, placed, random, small, tensors_of

GRADIENT = 1e-4
"""Gradients add up over sequences in another order; as a share of each tensor's largest value."""


def check(model: Any, config: Any, doors: Doors, rounding: float = 1) -> None:
    found, own = on_a_tree(backbone_of(model, config), doors)
    expected, reference = one_by_one(model, config, doors)
    assert_close(found, expected, 1e-5 * rounding)
    for mine, theirs in zip(own, reference, strict=True):
        assert_close(mine, theirs, GRADIENT * rounding)


@pytest.mark.parametrize("name", PASSING)
def test_soft_prompts_equal_concatenated_embeddings(name: str) -> None:
    model, config = small(name, **PASSING[name])
    backbone = backbone_of(model, config)
    doors = doors_of(backbone, ["vectors"])
    if needs_ids(config):
        with pytest.raises(UserError, match="virtual tokens; expected tokens alone: its layers look token ids up again"):
            on_a_tree(backbone, doors)
        return
    assert not torch.allclose(on_a_tree(backbone, doors)[0], on_a_tree(backbone, Doors())[0], atol=1e-2)
    check(model, config, doors)


@pytest.mark.parametrize("name", PASSING)
def test_updates_equal_merged_weights(name: str) -> None:
    model, config = small(name, **PASSING[name])
    backbone = backbone_of(model, config)
    doors = doors_of(backbone, ["updates"])
    if name != "gpt2":  # whose linear modules are transposed ones, no plain ones
        assert not torch.allclose(on_a_tree(backbone, doors)[0], on_a_tree(backbone, Doors())[0], atol=1e-2)
    # (W + BA)x is rounded elsewhere than Wx + B(Ax): on Gemma 3n by 3e-5 (gradients by 9e-4) without any tree, since it clips its activations.
    check(model, config, doors, rounding=20 if name == "gemma3n_text" else 5)


@pytest.mark.parametrize("slots", [3, 9])
@pytest.mark.parametrize("name", PASSING)
def test_prefix_slots_equal_a_filled_cache(name: str, slots: int) -> None:
    model, config = small(name, **PASSING[name])
    backbone = backbone_of(model, config)
    if backbone.shape.refusal:
        assert name in {"deepseek_v2", "deepseek_v3", "gemma3n_text", "gemma4_text", "minicpm3"}
        return
    doors = doors_of(backbone, ["prefix"], slots=slots)
    if name == "jetmoe":  # repeats keys for its experts before attention
        with pytest.raises(UserError, match="2 heads of width 16 in layer 0; expected keys with 4 heads of width 16 and values with 4 of width 16"):
            on_a_tree(backbone, doors)
        return
    assert not torch.allclose(on_a_tree(backbone, doors)[0], on_a_tree(backbone, Doors())[0], atol=1e-2)
    check(model, config, doors)


@pytest.mark.parametrize("name", ["llama", "qwen2", "olmo2", "mistral", "gpt_oss", "gemma2"])
def test_grouped_queries_and_all_doors_at_once(name: str) -> None:
    model, config = small(name, **{**PASSING[name], **GROUPED})
    assert config.num_key_value_heads < config.num_attention_heads
    check(model, config, doors_of(backbone_of(model, config), ["vectors", "prefix", "updates"], slots=7))


BINDING: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 500},
    "gemma2": {"attn_logit_softcapping": 1e6},
    "phimoe": {"sliding_window": 500},
    "qwen2_moe": {"sliding_window": 500},
    "llama4_text": {"attention_chunk_size": 500},
}
"""Values that take the window or the cap away."""


@pytest.mark.parametrize("name", BINDING)
def test_windows_and_caps_of_the_tiny_copies_bind(name: str) -> None:
    model, config = small(name, **PASSING[name])
    own, _ = one_by_one(model, config, Doors())
    wide = type(config)(**{**config.to_dict(), **BINDING[name]})
    other = type(model)._from_config(wide, attn_implementation="affinage").eval()
    other.load_state_dict(model.state_dict())
    found, _ = one_by_one(other, wide, Doors())
    assert float((own - found).abs().max()) > 1e-2


def test_sinks_bind() -> None:
    model, config = small("gpt_oss")
    own, _ = one_by_one(model, config, Doors())
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("sinks"):
                assert parameter.abs().min() > 0
                parameter.fill_(-1e4)
    assert float((own - one_by_one(model, config, Doors())[0]).abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["phimoe", "qwen2_moe", "llama4_text"])
def test_windows_that_stand_in_the_configuration_alone_are_read_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = small(name, **PASSING[name])
    assert any(windows_of(config))
    backbone = backbone_of(model, config)
    expected, _ = one_by_one(model, config, Doors())
    monkeypatch.setattr("affinage.backbone.model.windows_of", lambda config: (None,) * config.num_hidden_layers)
    assert float((on_a_tree(backbone, Doors())[0] - expected).abs().max()) > 1e-2
    monkeypatch.undo()
    assert_close(on_a_tree(backbone, Doors())[0], expected)


def test_only_the_layers_that_slide_have_a_window() -> None:
    _, config = small("qwen2_moe", **PASSING["qwen2_moe"])
    kinds = [window and (window.kind, window.size) for window in windows_of(config)]
    assert kinds == [("sliding", 5), None]
    assert not any(windows_of(small("qwen2_moe", use_sliding_window=False, sliding_window=4096)[1]))


CHECKPOINTED: dict[str, dict[str, Any]] = {
    "llama": {"attention_dropout": 0.5},
    "mistral": {"attention_dropout": 0.5},
    "gemma2": {"attention_dropout": 0.5},
    "gpt_oss": {"attention_dropout": 0.5},
    "gpt2": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5},
    "gpt_neox": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "opt": {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5},
    "biogpt": {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "activation_dropout": 0.5, "layerdrop": 0.5},
    "phi3": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attention_dropout": 0.5},
    "phi": {"resid_pdrop": 0.5, "embd_pdrop": 0.5},
    "phimoe": {"sliding_window": 2047, "input_jitter_noise": 0.5, "router_jitter_noise": 0.1, "attention_dropout": 0.5},
    "mixtral": {"router_jitter_noise": 0.5, "attention_dropout": 0.5},
    "stablelm": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "nemotron": {"attention_dropout": 0.5},
    "llama4_text": {"attention_dropout": 0.5},
    "gemma3n_text": {},
    "gemma4_text": {"num_kv_shared_layers": 2},
}


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """The layers that call the attention function, recomputations among them."""
    calls: list[int] = []

    def counting(module: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(module.layer_idx)
        return attend(module, *args, **kwargs)

    AttentionInterface.register("affinage", counting)
    try:
        yield calls
    finally:
        AttentionInterface.register("affinage", attend)


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_checkpointing_changes_no_gradient(name: str) -> None:
    model, config = small(name, **CHECKPOINTED[name])
    backbone = backbone_of(model, config)
    kinds = [*([] if needs_ids(config) else ["vectors"]), *([] if backbone.shape.refusal else ["prefix"]), "updates"]
    doors = doors_of(backbone, kinds)
    expected, reference = on_a_tree(backbone, doors)
    _checkpoint(model, name)
    with counted_calls() as calls:
        found, own = on_a_tree(backbone, doors)
    assert len(calls) == 2 * config.num_hidden_layers
    assert_close(found, expected)
    for mine, theirs in zip(own, reference, strict=True):
        assert_close(mine, theirs, GRADIENT)


@pytest.mark.parametrize("name", ["opt", "gpt2", "llama", "phimoe"])
def test_train_mode_alone_would_change_the_result(name: str) -> None:
    model, config = small(name, **CHECKPOINTED[name])
    expected, _ = one_by_one(model, config, Doors())
    model.train()
    torch.manual_seed(3)
    assert float((one_by_one(model, config, Doors())[0] - expected).abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt2"])
def test_adapters_of_one_pack_are_each_alone(name: str) -> None:
    model, config = small(name)
    backbone = backbone_of(model, config)
    doors = [doors_of(backbone, ["vectors", "prefix", "updates"], key=str(r)) for r in range(3)]
    doors[1] = replace(doors[1], updates={})
    batches = [BATCH[:4], BATCH[2:6], BATCH]
    packed = pack([placed(branch, doors[r], r) for r, batch in enumerate(batches) for branch in batch], adapters=3)
    weights = [torch.linspace(0.5, 1.5, sum(len(branch.ids) - branch.first for branch in batch)) for batch in batches]
    with backbone.logits(packed, doors) as logits:
        together = token_logprobs(logits, packed)
        tensors = [tensor for door in doors for tensor in tensors_of(door)]
        gradients = torch.autograd.grad((together * torch.cat(weights)).sum(), tensors)
    alone = [on_a_tree(backbone, door, batch) for door, batch in zip(doors, batches, strict=True)]
    assert_close(together.detach(), torch.cat([values for values, _ in alone]))
    for mine, theirs in zip(gradients, [gradient for _, own in alone for gradient in own], strict=True):
        assert_close(mine, theirs, GRADIENT)


def test_one_adapters_nan_leaves_the_others_bit_equal() -> None:
    model, config = small("llama")
    backbone = backbone_of(model, config)
    doors = [doors_of(backbone, ["vectors", "prefix", "updates"], key=str(r)) for r in range(2)]
    assert doors[0].vectors is not None
    assert doors[0].keys is not None
    packed = pack([placed(branch, doors[r], r) for r in range(2) for branch in BATCH], adapters=2)
    half = len(packed.target_id) // 2
    results = []
    for poison in (1.0, float("nan")):
        first = replace(doors[0], vectors=doors[0].vectors.detach() * poison, keys=doors[0].keys.detach() * poison)
        with backbone.logits(packed, [first, doors[1]]) as logits:
            found = token_logprobs(logits, packed)
            results.append((found.detach(), torch.autograd.grad(found[half:].sum(), tensors_of(doors[1]))))
    (clean, clean_gradients), (poisoned, gradients) = results
    assert poisoned[:half].isnan().all()
    assert torch.equal(clean[half:], poisoned[half:])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(clean_gradients, gradients, strict=True))


@pytest.mark.parametrize("name", PASSING)
def test_a_gpu_s_layers_get_what_is_theirs(name: str) -> None:
    model, config = small(name, **PASSING[name])
    backbone = backbone_of(model, config)
    unlike = needs_ids(config) or backbone.shape.refusal or name == "jetmoe"  # see the tests above
    doors = doors_of(backbone, ["updates"] if unlike else ["vectors", "prefix", "updates"])
    expected, reference = on_a_tree(backbone, doors)
    with gpus(1) as places:
        model.to("cuda")
        found, own = on_a_tree(backbone, doors)
        assert places.where(found) == GPU
        found, own = found.cpu(), [each.cpu() for each in own]
    assert_close(found, expected, 1e-5)
    for mine, theirs in zip(own, reference, strict=True):
        assert_close(mine, theirs, GRADIENT)


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3", "gpt_oss", "phi3", "olmo2"])
def test_bfloat16_is_no_farther_from_float32_than_one_by_one(name: str) -> None:
    model, config = small(name, **PASSING[name])
    exact, _ = one_by_one(model, config, Doors())
    tree = alone = 0.0
    half = model.to(torch.bfloat16)
    backbone = backbone_of(half, config)
    for seed in range(4):
        batch = tuple(Branch(tuple(1 + (7 * token + 13 * seed) % 120 for token in branch.ids), branch.first) for branch in BATCH)
        exact, _ = one_by_one(model.float(), config, Doors(), batch)
        model.to(torch.bfloat16)
        tree += float((on_a_tree(backbone, Doors(), batch)[0] - exact).square().mean())
        alone += float((one_by_one(model, config, Doors(), batch)[0] - exact).square().mean())
    assert alone > 0
    assert tree <= 1.5**2 * alone


def test_adapters_of_one_pack_cannot_update_sorted_rows() -> None:
    model, config = small("qwen2_moe")
    backbone = backbone_of(model, config)
    gate = [(name, inputs, outputs) for name, inputs, outputs in backbone.shape.linears if name.endswith("shared_expert_gate")][:1]
    doors = Doors(updates={name: LowRank(random(2, inputs, key="a"), random(outputs, 2, key="b"), 1.0) for name, inputs, outputs in gate})
    packed = pack([replace(branch, adapter=r) for r in range(2) for branch in BATCH], adapters=2)
    with pytest.raises(UserError, match=r"an input of shape \(\d+, 64\); expected one row per node"), backbone.logits(packed, [doors, doors]):
        pass


def test_several_packs_in_a_row_share_nothing() -> None:
    model, config = small("gpt_oss")
    backbone = backbone_of(model, config)
    first, _ = on_a_tree(backbone, Doors())
    for one, other in pairwise(BATCH):
        on_a_tree(backbone, doors_of(backbone, ["prefix"]), (one, other))
    assert torch.equal(on_a_tree(backbone, Doors())[0], first)
