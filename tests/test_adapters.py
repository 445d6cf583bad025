"""An adapter's folder: what is written there, and every way in which it must not be read."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from affinage import __version__, adapters
from affinage.adapters import AdapterCard
from affinage.backbone import Backbone, Identity, load
from affinage.config import ModelConfig
from affinage.methods import registry
from affinage.records import UserError
from tiny import LETTERS, write_model


def card(backbone: Backbone, method: str = "prompt-tuning", **settings: object) -> AdapterCard:
    """What an adapter trained on Atlantis says of itself."""
    values = registry.get(method).settings.model_validate(settings or {"length": 3}).model_dump(mode="json")
    seen = frozenset({"t2", "t1"})
    return AdapterCard(method, values, "Atlantis", "fold-0-of-2", seen, (method, "fold-0-of-2", 0, 7), LETTERS, backbone.identity, "data digest")


@pytest.fixture
def folder(backbone: Backbone, tmp_path: Path) -> Path:
    """A saved soft prompt."""
    found = registry.get("prompt-tuning")
    adapters.save(found.build(found.settings.model_validate({"length": 3}), backbone, ("k",)), tmp_path / "adapter", card(backbone))
    return tmp_path / "adapter"


def test_what_stands_in_the_folder(folder: Path, backbone: Backbone) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "affinage.json"]
    written = json.loads((folder / "affinage.json").read_text())
    assert written["seen_templates"] == ["t1", "t2"]
    assert written["backbone"] == {"id": backbone.identity.id, "revision": "", "digest": backbone.identity.digest}
    assert (written["culture"], written["split"], written["start"], written["data"], written["version"]) == (
        "Atlantis",
        "fold-0-of-2",
        ["prompt-tuning", "fold-0-of-2", 0, 7],
        "data digest",
        __version__,
    )
    assert adapters.read_card(folder) == card(backbone)
    assert {name: tuple(value.shape) for name, value in load_file(folder / "adapter_model.safetensors").items()} == {"prompt_embeddings": (3, 64)}


def test_the_same_adapter_is_the_same_file(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    adapters.save(adapters.load(folder, backbone), tmp_path / "again", card(backbone))
    for name in ("adapter_config.json", "adapter_model.safetensors", "affinage.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_an_adapter_for_another_backbone(folder: Path, backbone: Backbone, tmp_path: Path) -> None:
    other = load(ModelConfig(id=str(write_model(tmp_path / "other", seed=1)), dtype="float32", device="cpu", threads=1))
    assert other.shape == backbone.shape  # so only the digest of the weights tells
    with pytest.raises(UserError, match=r"adapter .*: found one made for .*; expected one made for .*other .*Load the model that it was made for"):
        adapters.load(folder, other)


def test_the_same_weights_elsewhere_are_the_same_backbone(folder: Path, backbone: Backbone) -> None:
    moved = replace(backbone, identity=Identity("elsewhere", "", backbone.identity.digest))
    assert adapters.load(folder, moved).seen == frozenset({"t1", "t2"})


def test_a_pickle_is_never_loaded(folder: Path, backbone: Backbone) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.bin: found a pickle, which can run code when it is loaded"):
        adapters.load(folder, backbone)


def test_tensors_cut_short_missing_or_of_another_shape(folder: Path, backbone: Backbone) -> None:
    tensors = folder / "adapter_model.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-5])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: found .*; expected a whole safetensors file"):
        adapters.load(folder, backbone)
    tensors.unlink()
    with pytest.raises(UserError, match=r"expected a whole safetensors file"):
        adapters.load(folder, backbone)
    tensors.write_bytes(content)
    said = json.loads((folder / "affinage.json").read_text())
    said["settings"]["length"] = 4
    (folder / "affinage.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"prompt_embeddings of shape \[3, 64\]; expected prompt_embeddings \[4, 64\]"):
        adapters.load(folder, backbone)


def test_a_folder_without_a_card(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(UserError, match=r"found no readable affinage\.json; expected an adapter's folder"):
        adapters.load(tmp_path, backbone)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("{", r"affinage\.json: found JSONDecodeError"),
        ("[]", r"affinage\.json: found TypeError"),
        ('{"method": "lora"}', r"affinage\.json: found KeyError: 'settings'"),
    ],
)
def test_a_damaged_card(fault: str, message: str, folder: Path, backbone: Backbone) -> None:
    (folder / "affinage.json").write_text(fault)
    with pytest.raises(UserError, match=message):
        adapters.load(folder, backbone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "promt-tuning"}, r"method: found 'promt-tuning'.*Did you mean .*'prompt-tuning'"),
        ({"settings": {"lenght": 3}}, r"affinage\.json: lenght: found an unknown key.*Did you mean 'length'"),
        ({"prompt": {"style": "leters"}}, r"affinage\.json: style: found 'leters'"),
    ],
)
def test_a_card_with_unknown_names(change: dict[str, object], message: str, folder: Path, backbone: Backbone) -> None:
    said = json.loads((folder / "affinage.json").read_text())
    (folder / "affinage.json").write_text(json.dumps({**said, **change}))
    with pytest.raises(UserError, match=message):
        adapters.load(folder, backbone)


def test_a_full_disk_leaves_no_card(folder: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    adapter = adapters.load(folder, backbone)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match="found a full disk"):
            adapters.save(adapter, tmp_path / "new", card(backbone))
    assert list((tmp_path / "new").iterdir()) == []
