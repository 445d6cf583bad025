"""What the doctor finds: each check on a sound adapter, and each kind of damage by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig
from typer.testing import CliRunner

from affinage import adapters
from affinage.adapters import AdapterCard, logits
from affinage.backbone import Backbone, Identity
from affinage.cli import app
from affinage.doctor import Check, adapter, files, living, machine, tiny_model, versions
from affinage.methods import registry
from affinage.methods.base import normal
from tiny import LETTERS

RUN = CliRunner()
CASES: dict[str, dict[str, Any]] = {"prompt-tuning": {"length": 3}, "prefix-tuning": {"length": 3}, "lora": {"rank": 2}, "prefix-tuning-plus": {}}


def saved(name: str, backbone: Backbone, folder: Path, *, culture: str = "Atlantis", trained: bool = True) -> Path:
    """An adapter, one random step from its start where it is trained."""
    method = registry.get(name)
    settings = method.settings.model_validate(CASES[name])
    made = method.build(settings, backbone, ("k",))
    if trained:
        with torch.no_grad():
            for place, value in made.named_parameters():
                value.add_(normal(value.shape, "moved", place, deviation=0.1))
    values = settings.model_dump(mode="json")
    adapters.save(made, folder, AdapterCard(name, values, culture, "fold", frozenset({"t1"}), ("k", 0), LETTERS, backbone.identity, "d"))
    return folder


def states(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


def edited(folder: Path, change: Callable[[Tensor], Tensor], which: str = "") -> None:
    """Changes the tensors whose name has `which` in it."""
    path = folder / "adapter_model.safetensors"
    save_file({name: change(value) if which in name else value for name, value in load_file(path).items()}, path)


class TestSound:
    @pytest.mark.parametrize("name", CASES)
    def test_a_trained_adapter_passes_every_check(self, name: str, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved(name, backbone, tmp_path)
        found = states([*files(folder), *living(folder, backbone)])
        assert list(found) == ["files", "tensors", "backbone", "alive", "one = batch = cohort", "ours = PEFT", "gradient"]
        held = registry.get(name).peft_type is not None
        assert {check.name for check in found.values() if check.state != "ok"} == (set() if held else {"ours = PEFT"})
        if not held:
            assert found["ours = PEFT"].found.startswith(f"PEFT's format cannot hold the method {name}")

    def test_an_untrained_start_is_neither_alive_nor_wrong(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path, culture="", trained=False)
        found = states([*files(folder), *living(folder, backbone)])
        assert (found["alive"].state, found["tensors"].state, found["gradient"].state) == ("not checked", "ok", "ok")

    def test_without_peft_that_check_is_not_made(self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter, "has_peft", lambda: False)
        check = states(living(saved("lora", backbone, tmp_path), backbone))["ours = PEFT"]
        assert (check.state, check.found, check.todo) == ("not checked", "PEFT is not installed", "pip install 'affinage[peft]'")


class TestDamage:
    @pytest.mark.parametrize("name", ["affinage.json", "adapter_config.json", "adapter_model.safetensors"])
    def test_a_missing_file_is_named(self, name: str, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path)
        (folder / name).unlink()
        (check,) = files(folder)
        assert check.state == "wrong"
        assert check.found.startswith(f"{name} missing in ")
        assert ("affinage adapters import" in check.todo) == (name == "affinage.json")

    def test_a_pickle_in_the_tensors_place_is_named(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path)
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
        (check,) = files(folder)
        assert "a pickle (adapter_model.bin) stands there, which is never loaded" in check.found

    def test_values_that_are_no_numbers_are_named(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path)
        edited(folder, lambda value: value.fill_(float("nan")), "layers.1.mlp.up_proj.lora_B")
        found = states([*files(folder), *living(folder, backbone)])
        assert found["tensors"].state == "wrong"
        assert "192 values that are no numbers" in found["tensors"].found
        assert "model.layers.1.mlp.up_proj.lora_B.weight" in found["tensors"].found
        for name in ("alive", "one = batch = cohort", "ours = PEFT", "gradient"):
            assert found[name].state == "wrong", name

    def test_zeros_are_named_and_do_nothing(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path)
        edited(folder, torch.zeros_like, "lora_B")
        found = states([*files(folder), *living(folder, backbone)])
        assert re.search(r"nothing but zeros in .*lora_B.* and \d+ more tensors", found["tensors"].found)
        assert found["alive"].state == "wrong"
        assert "the logits are those of the untouched model" in found["alive"].found
        assert found["backbone"].state == "ok"

    def test_tensors_of_another_shape_are_named(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("prompt-tuning", backbone, tmp_path)
        edited(folder, lambda value: value[:, :32].contiguous())
        found = states(living(folder, backbone))
        assert "prompt_embeddings of shape [3, 32]; expected prompt_embeddings [3, 64]" in found["backbone"].found
        assert {check.state for name, check in found.items() if name != "backbone"} == {"not checked"}

    def test_files_cut_short_or_that_disagree_are_named(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("prompt-tuning", backbone, tmp_path)
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({"peft_type": None}))
        assert "says peft_type None" in states(files(folder))["files"].found
        tensors = folder / "adapter_model.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:-4])
        assert states(files(folder))["tensors"].state == "wrong"

    def test_another_backbone_is_named(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("lora", backbone, tmp_path)
        other = replace(backbone, identity=Identity("another", "", "e" * 64))
        found = states(living(folder, other))["backbone"]
        assert found.state == "wrong"
        assert found.todo == "Load the model that it was made for, or train it anew."

    def test_an_adapter_that_computes_something_else_in_company(self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = logits.read

        def leaking(model: Backbone, branches: Any, cohort: Any = (None,)) -> list[Tensor]:
            return [each + (0.1 if len(cohort) > 1 else 0.0) for each in real(model, branches, cohort)]

        monkeypatch.setattr(adapter, "read", leaking)
        found = states(living(saved("lora", backbone, tmp_path), backbone))
        assert [name for name, check in found.items() if check.state == "wrong"] == ["one = batch = cohort"]

    def test_a_peft_that_reads_otherwise(self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("peft")
        real = logits.read_peft
        monkeypatch.setattr(adapter, "read_peft", lambda *given: [each + 1 for each in real(*given)])
        found = states(living(saved("lora", backbone, tmp_path), backbone))
        assert [name for name, check in found.items() if check.state == "wrong"] == ["ours = PEFT"]

    def test_a_tensor_that_no_gradient_reaches(self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = adapter._moved

        def cut(patient: Any) -> Any:
            moved = real(patient)
            moved.idle = torch.nn.Parameter(torch.ones(2))
            return moved

        monkeypatch.setattr(adapter, "_moved", cut)
        found = states(living(saved("lora", backbone, tmp_path), backbone))["gradient"]
        assert (found.state, found.found) == ("wrong", "no gradient reaches idle")


class TestMachine:
    def test_every_library_that_is_claimed_is_looked_at(self) -> None:
        found = states(versions())
        needed = {re.split(r"[<>=!~;\[ ]", line)[0] for line in metadata.requires("affinage") or () if "extra ==" not in line}
        assert needed | {"Python"} <= set(found)
        assert {"torch", "transformers"} <= needed
        assert found["transformers"].state == "ok"

    @pytest.mark.parametrize(
        ("lines", "states_found"),
        [
            (["transformers>=5.17,<6"], {"transformers": "ok"}),
            (["transformers>=99"], {"transformers": "wrong"}),
            (["a-library-that-is-not-there>=1"], {"a-library-that-is-not-there": "wrong"}),
            (['peft>=0.19; extra == "peft"', 'pytest>=8; extra == "dev"'], {"peft": "ok"}),
            (['a-library-that-is-not-there>=1; extra == "peft"'], {"a-library-that-is-not-there": "not checked"}),
            (['torch<1; python_version < "3"'], {}),
        ],
    )
    def test_a_version_outside_of_the_claimed_range(self, lines: list[str], states_found: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metadata, "requires", lambda name: lines)
        found = {check.name: check.state for check in versions() if check.name != "Python"}
        assert found == states_found

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path / "file" / "cache"))
        check = states(machine())["cache of models"]
        assert check.state == "wrong"
        assert "set AFFINAGE_CACHE to another folder" in check.todo
        monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path / "new" / "cache"))
        assert states(machine())["cache of models"].state == "ok"
        assert not (tmp_path / "new").exists()

    def test_a_tiny_model_is_probed_and_trained(self) -> None:
        found = states(tiny_model(AutoConfig.for_model("llama")))
        assert {check.state for check in found.values()} == {"ok"}
        before, after = map(float, re.findall(r"[\d.]+\d", found["one training step"].found))
        assert after < before

    def test_a_model_that_leaks_is_found(self) -> None:
        check = states(tiny_model(AutoConfig.for_model("bloom")))["token tree"]
        assert check.state == "wrong"


class TestCommand:
    def test_a_sound_adapter_is_code_0(self, backbone: Backbone, tmp_path: Path) -> None:
        result = RUN.invoke(app, ["doctor", str(saved("prompt-tuning", backbone, tmp_path))])
        assert result.exit_code == 0, result.output
        assert re.search(r"alive +ok", result.output)
        assert re.search(r"\d+ checks: 0 wrong", result.output)

    def test_a_damaged_one_is_code_1_and_says_what_to_do(self, backbone: Backbone, tmp_path: Path) -> None:
        run = tmp_path / "run"
        folder = saved("prompt-tuning", backbone, run / "adapter")
        edited(folder, lambda value: value.fill_(float("inf")))
        result = RUN.invoke(app, ["doctor", str(run)])
        assert result.exit_code == 1, result.output
        assert re.search(r"tensors +wrong +192 values that are no numbers", result.output)
        assert "Train the adapter again" in result.output

    def test_a_model_that_cannot_be_loaded_is_a_check(self, backbone: Backbone, tmp_path: Path) -> None:
        folder = saved("prompt-tuning", backbone, tmp_path / "adapter")
        result = RUN.invoke(app, ["doctor", str(folder), "--model", str(tmp_path / "nowhere")])
        assert result.exit_code == 1, result.output
        assert re.search(r"tensors +ok", result.output)
        assert re.search(r"backbone +wrong", result.output)
        assert "1 wrong" in result.output

    def test_files_that_cannot_be_read_end_before_the_model_is_loaded(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        result = RUN.invoke(app, ["doctor", str(tmp_path)])
        assert result.exit_code == 1
        assert "affinage.json, adapter_model.safetensors missing" in result.output
        assert "backbone" not in result.output
