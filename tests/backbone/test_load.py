"""From a folder or a name to a probed backbone, and what is said where that fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from affinage.backbone import configuration, describe, load
from affinage.backbone.doors import Doors
from affinage.backbone.probe import tiny
from affinage.config import ModelConfig
from affinage.pack import Branch
from affinage.records import UserError
from tiny import write_model, write_tokenizer
from trees import assert_close, doors_of, on_a_tree, one_by_one


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path / "cache"))


def model_config(folder: Path | str, **values: Any) -> ModelConfig:
    return ModelConfig(id=str(folder), **{"dtype": "float32", "device": "cpu", "threads": 1, **values})


def test_a_folder_becomes_a_frozen_backbone(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    backbone = load(model_config(folder))
    assert backbone.dtype == torch.float32
    assert backbone.device == torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not backbone.model.training
    assert torch.are_deterministic_algorithms_enabled()
    shape, identity = describe(model_config(folder))
    assert (shape, identity) == (backbone.shape, backbone.identity)
    doors = doors_of(backbone, ["vectors", "prefix", "updates"])
    assert_close(on_a_tree(backbone, doors)[0], one_by_one(backbone.model, backbone.model.config, doors)[0])


def test_weights_are_cast_to_the_wanted_type(tmp_path: Path) -> None:
    assert load(model_config(write_model(tmp_path / "model"), dtype="bfloat16")).dtype == torch.bfloat16


def test_another_weight_or_configuration_is_another_model(tmp_path: Path) -> None:
    same, other = write_model(tmp_path / "one"), write_model(tmp_path / "other", seed=1)
    digests = [describe(model_config(folder))[1].digest for folder in (same, write_model(tmp_path / "again"), other)]
    assert digests[0] == digests[1] != digests[2]
    file = same / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "rms_norm_eps": 1e-3}))
    assert describe(model_config(same))[1].digest != digests[0]


def test_checkpointing_as_loaded_changes_no_gradient(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    plain, saving = load(model_config(folder)), load(model_config(folder, gradient_checkpointing=True))
    layers = saving.model.model.layers
    assert all(layer.training and layer.gradient_checkpointing for layer in layers)
    assert not any(module.training for layer in layers for module in list(layer.modules())[1:])
    doors = doors_of(plain, ["vectors", "prefix", "updates"])
    expected, reference = on_a_tree(plain, doors)
    found, own = on_a_tree(saving, doors)
    assert torch.equal(found, expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(own, reference, strict=True))


def test_a_stablelm_computes_on_trees_when_loaded(tmp_path: Path) -> None:
    config = tiny(AutoConfig.for_model("stablelm"))
    config.vocab_size = len(write_tokenizer(tmp_path))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    plain, saving = load(model_config(tmp_path)), load(model_config(tmp_path, gradient_checkpointing=True))
    doors = doors_of(plain, ["vectors", "prefix", "updates"])
    expected, reference = on_a_tree(plain, doors)
    assert_close(expected, one_by_one(plain.model, plain.model.config, doors)[0])
    found, own = on_a_tree(saving, doors)
    assert torch.equal(found, expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(own, reference, strict=True))


def test_a_composite_checkpoint_gives_its_text_decoder(tmp_path: Path) -> None:
    size = len(write_tokenizer(tmp_path))
    text = tiny(AutoConfig.for_model("gemma3_text")).to_dict() | {"vocab_size": size}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": text["num_hidden_layers"], "num_attention_heads": 2, "image_size": 28}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, image_token_index=size - 1, mm_tokens_per_image=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    backbone = load(model_config(tmp_path))
    assert type(backbone.model).__name__ == "Gemma3ForConditionalGeneration"
    assert all(".language_model." in name for name, _, _ in backbone.shape.linears)
    doors = doors_of(backbone, ["vectors", "prefix", "updates"], slots=7)
    batch = [Branch((5, 6, 7, 8, 9, 10, 11, 12, 13), 2), Branch((5, 6, 7, 20, 21, 22, 23, 24), 3)]
    expected, reference = one_by_one(backbone.model, backbone.model.config.get_text_config(), doors, batch)
    found, own = on_a_tree(backbone, doors, batch)
    assert float((found - on_a_tree(backbone, replace(Doors(), vectors=doors.vectors), batch)[0]).abs().max()) > 1e-2
    assert_close(found, expected, 5e-5)
    for mine, theirs in zip(own, reference, strict=True):
        assert_close(mine, theirs, 5e-4)


@pytest.mark.parametrize("name", ["bloom", "falcon_h1", "mamba"])
def test_a_refused_architecture_is_refused_before_its_weights_are_read(name: str, tmp_path: Path) -> None:
    AutoConfig.for_model(name).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"model {tmp_path} .*It cannot be used; `affinage models ls --probe`"):
        load(model_config(tmp_path))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no file named model\.safetensors|model\.safetensors"):
        load(model_config(folder))


def test_weights_cut_short_are_said_to_be(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"model {folder}: found .*expected a model that transformers can load"):
        load(model_config(folder))


def test_a_configuration_with_values_of_the_wrong_type_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(UserError, match=f"model {tmp_path}: found .*hidden_size"):
        configuration(tmp_path)


def test_weights_that_do_not_fit_the_configuration_are_a_message(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "intermediate_size": 128}))
    with pytest.raises(UserError, match=f"model {folder}: found .*expected a model that transformers can load"):
        load(model_config(folder))


@pytest.mark.parametrize(
    ("content", "found"),
    [('{"model_type": "no-such-type"}', "no-such-type"), ("{}", "model_type"), ("not json", "not a valid JSON")],
)
def test_a_configuration_that_says_nothing_known(content: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=f"model {tmp_path}: found .*{found}.*expected a model that transformers can load, here or on the hub"):
        configuration(tmp_path)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("clip").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"found .*expected a decoder"):
        load(model_config(tmp_path))
    with pytest.raises(UserError, match="expected a decoder-only language model whose attention goes through"):
        describe(model_config(tmp_path))


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_cannot_be_reached_is_a_message(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its attempts
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"model nobody/nothing: found .*Check the name and the network; `affinage models ls`\."):
        describe(ModelConfig(id="nobody/nothing"))
