"""Which architectures are refused and what is said of them; that the probe sees what it is there to see; that its result is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AttentionInterface, AutoConfig

from affinage.backbone import probe as probes
from affinage.backbone.attention import attend
from affinage.backbone.probe import Probe, probe, probe_configuration, require, tiny
from affinage.records import UserError
from trees import PASSING, small

REFUSED = {
    "qwen3_next": r"layers: linear_attention, full_attention\): found the layers .* called the attention function as \[3\], not once each",
    "qwen3_5_text": r"layers: linear_attention, full_attention\): found the layers .* called the attention function as \[3\], not once each",
    "jamba": r"layers: linear_attention, full_attention\): found the layers .* called the attention function as \[4\], not once each",
    "nemotron_h": r"layers: linear_attention, moe, full_attention, mlp\): found the layers .* called the attention function as \[2\], not once each",
    "minimax": r"layers: full_attention, linear_attention\): found the layers \[0, 1\] called the attention function as \[0\], not once each",
    # transformers 5.17 does not tell its layer types yet.
    "recurrent_gemma": r"layers: (linear_attention, sliding_attention|not told)\): found the layers .* called the .* as \[2?\], not once each",
    "bamba": r"layers: linear_attention\): found the layers \[0, 1\] called the attention function as \[\], not once each",
    "falcon_h1": r"layers: hybrid\): found branches of the token tree leak into each other \(by ",
    "mamba": r"layers: linear_attention\): found .*no attention heads in its configuration",
    "rwkv": r"layers: not told\): found .*no attention heads in its configuration",
    "bloom": r"layers: not told\): found the layers \[0, 1\] called the attention function as \[\], not once each",
    "xglm": r"layers: not told\): found the layers \[0, 1\] called the attention function as \[\], not once each",
    "openai-gpt": r"layers: not told\): found the layers \[0, 1\] called the attention function as \[\], not once each",
    "falcon": r"layers: not told\): found .*KeyError: 'affinage'",
    "gptj": r"layers: not told\): found .*KeyError: 'affinage'",
    "doge": r"layers: not told\): found attention of DogeAttention: found the arguments attention_mask",
    "diffllama": r"layers: not told\): found the layers \[0, 1\] called the attention function as \[0, 0, 1, 1\], not once each",
    "t5": r"found ",
    "mpt": r"found ",
    "codegen": r"found ",
}
"""Recurrent, linear-attention, position-bias (ALiBi, relative) and unregistered architectures, and what is said of each."""


@pytest.mark.parametrize("name", REFUSED)
def test_architectures_that_cannot_compute_on_a_tree_are_refused_by_name(name: str, tmp_path: Path) -> None:
    result = probe_configuration(AutoConfig.for_model(name), tmp_path)
    assert not result.passed
    assert result.reason
    with pytest.raises(UserError, match=REFUSED[name]) as caught:
        require(result, f"some/{name}")
    assert caught.value.where.startswith(f"model some/{name} (")
    assert "whose every layer attends through transformers' AttentionInterface, and through nothing else" in caught.value.expected
    assert "affinage models ls --probe" in caught.value.todo


@pytest.mark.parametrize("name", PASSING)
def test_architectures_that_can_are_not(name: str, tmp_path: Path) -> None:
    result = probe_configuration(AutoConfig.for_model(name, **PASSING[name]), tmp_path)
    assert result.reason == ""
    require(result, name)
    assert 0 < result.difference <= 1e-5


@pytest.mark.parametrize("kinds", [["conv", "full_attention"] * 2, ["full_attention", "conv"] * 2])
def test_one_convolution_among_the_layers_is_enough(kinds: list[str], tmp_path: Path) -> None:
    config = AutoConfig.for_model("lfm2", num_hidden_layers=4, layer_types=kinds)
    with pytest.raises(UserError, match=r"found the layers \[0, 1\] called the attention function as \[\d\], not once each"):
        require(probe_configuration(config, tmp_path), "lfm2")
    whole = AutoConfig.for_model("lfm2", num_hidden_layers=4, layer_types=["full_attention"] * 4)
    require(probe_configuration(whole, tmp_path), "lfm2")


def test_long_rotary_factors_are_shortened_with_the_heads(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 36, "long_factor": [2.0] * 36, "rope_theta": 1e4}
    rope |= {"original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75}
    config = AutoConfig.for_model("phi3", rope_parameters=rope, partial_rotary_factor=0.75, original_max_position_embeddings=4096)
    require(probe_configuration(config, tmp_path), "phi3")


def test_the_tiny_copy_keeps_windows_and_caps_and_makes_them_bind() -> None:
    config = tiny(AutoConfig.for_model("gemma2"), window=5, cap=1.0)
    assert (config.sliding_window, config.attn_logit_softcapping, config.num_hidden_layers) == (5, 1.0, 2)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert tiny(AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=8)).num_key_value_heads == 2
    assert tiny(AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=1)).num_key_value_heads == 1
    assert not getattr(tiny(AutoConfig.for_model("mistral", sliding_window=None)), "sliding_window", None)


def wrong(change: str) -> Any:
    """An attention function that is wrong in one way."""

    def function(module: Any, query: Any, key: Any, value: Any, mask: Any = None, **keywords: Any) -> Any:
        result, weights = attend(module, query, key, value, mask, **keywords)
        if change == "leak":
            result = result + 0.1 * result.mean(1, keepdim=True)
        elif change == "difference":
            result = result * 1.01
        elif change == "twice":
            attend(module, query, key, value, mask, **keywords)
        elif change == "not finite":
            result = result / 0
        return result, weights

    return function


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("leak", "branches of the token tree leak into each other"),
        ("difference", "the token tree differs from the model's own attention"),
        ("twice", "the layers [0, 1] called the attention function as [0, 0, 1, 1], not once each"),
        ("not finite", "the logits are not finite"),
    ],
)
def test_each_fault_is_seen(change: str, reason: str) -> None:
    model, config = small("llama")
    assert probe(model, config).passed
    AttentionInterface.register("affinage", wrong(change))
    try:
        result = probe(model, config)
    finally:
        AttentionInterface.register("affinage", attend)
    assert not result.passed
    assert result.reason.startswith(reason)


def test_a_model_that_ignores_which_logits_are_wanted_is_seen() -> None:
    model, config = small("llama")
    forward = model.forward
    model.forward = lambda logits_to_keep=0, **keywords: forward(**keywords)
    result = probe(model, config)
    assert "logits at" in result.reason
    assert "It ignores `logits_to_keep`" in result.reason


def test_a_layer_without_a_mask_is_seen() -> None:
    model, config = small("llama")

    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean(1, keepdim=True)

    model.model.layers[0].mlp = Mixing()
    assert "leak into each other" in probe(model, config).reason


def test_weights_in_bfloat16_have_their_own_tolerance() -> None:
    model, config = small("llama")
    result = probe(model.to(torch.bfloat16), config)
    assert result.passed
    assert result.tolerance == 5e-2


def test_real_weights_in_bfloat16_are_judged_by_how_far_the_models_own_functions_are_apart() -> None:
    model, config = small("llama")
    half = model.to(torch.bfloat16)
    result = probe(half, config, loaded=True)
    assert result.spread > 0
    assert result.allowed == max(5e-2, 1.2 * result.spread)
    assert replace(result, difference=result.allowed).passed
    assert not replace(result, difference=1.01 * result.allowed).passed
    assert not replace(result, leak=1.01 * result.tolerance).passed
    assert probe(half, config).spread == 0


@pytest.mark.parametrize(("dtype", "change"), [(torch.bfloat16, "leak"), (torch.bfloat16, "not finite"), (torch.float32, "difference")])
def test_faults_are_seen_with_real_weights_too(dtype: torch.dtype, change: str) -> None:
    model, config = small("llama")
    model = model.to(dtype)
    assert probe(model, config, loaded=True).passed
    AttentionInterface.register("affinage", wrong(change))
    try:
        assert not probe(model, config, loaded=True).passed
    finally:
        AttentionInterface.register("affinage", attend)


def test_the_model_is_left_as_it_was() -> None:
    model, config = small("llama")
    state = torch.random.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe(model, config)
    small("llama")
    assert model.config._attn_implementation == "affinage"
    assert not model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_result_is_remembered_per_configuration(tmp_path: Path) -> None:
    config = AutoConfig.for_model("llama")
    result = probe_configuration(config, tmp_path)
    (file,) = (tmp_path / "probes").glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "leak": 0.25}))
    remembered = probe_configuration(config, tmp_path)
    assert (remembered.leak, remembered.passed) == (0.25, False)
    assert remembered.layer_types == result.layer_types
    assert probe_configuration(AutoConfig.for_model("llama", rms_norm_eps=1e-3), tmp_path).passed
    assert len(list((tmp_path / "probes").iterdir())) == 2


@pytest.mark.parametrize("changed", ["strips.py", "gather.py", "attention.py", "pack.py"])
def test_another_kernel_is_tried_again(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", lambda *given: Probe("M", (), "", 0.0, 0.0, 1e-5))
    config, real = AutoConfig.for_model("llama"), Path.read_text
    for _ in range(2):
        probe_configuration(config, tmp_path)
    assert len(list((tmp_path / "probes").iterdir())) == 1
    monkeypatch.setattr(Path, "read_text", lambda path, *given, **named: real(path, *given, **named) + "#" * (path.name == changed))
    probe_configuration(config, tmp_path)
    assert len(list((tmp_path / "probes").iterdir())) == 2


def test_a_passed_probe_has_no_reason() -> None:
    good = Probe("M", (), "", 0.0, 1e-7, 1e-5)
    assert good.passed
    assert good.reason == ""
    assert not Probe("M", (), "", 2e-5, 0.0, 1e-5).passed
    assert not Probe("M", (), "", 0.0, 2e-5, 1e-5).passed
    assert not Probe("M", (), "", float("nan"), 0.0, 1e-5).passed
