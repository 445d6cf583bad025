"""`affinage adapters` from end to end on a tiny model, and every command that reads an adapter against another backbone."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import affinage.adapters.hub
import affinage.backbone
from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.adapters.hub import Upload
from affinage.backbone import Backbone, Identity, load
from affinage.cli import app
from affinage.config import ModelConfig
from affinage.methods import registry
from affinage.methods.base import normal
from affinage.records import BackboneShape
from small_studies import BASE, SPLIT, Small
from tiny import TEXT, questions, write_model, write_questions

RUN = CliRunner()


def run(*arguments: object, code: int = 0) -> Result:
    """A command's result, with the exit code that is expected."""
    result = RUN.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def refused(*arguments: object) -> str:
    """What a refused command says."""
    return run(*arguments, code=2).stderr


def saved(name: str, backbone: Backbone, folder: Path, culture: str = "Spain", **settings: object) -> Path:
    """An adapter one random step from its start."""
    method = registry.get(name)
    values = method.settings.model_validate(settings)
    made = method.build(values, backbone, ("k",))
    with torch.no_grad():
        for place, value in made.named_parameters():
            value.add_(normal(value.shape, "moved", place, deviation=0.1))
    seen = frozenset({"X1", "X2"})
    card = AdapterCard(name, values.model_dump(mode="json"), culture, SPLIT, seen, (name, 0), TEXT, backbone.identity, "digest", sources=("starter",))
    adapters.save(made, folder, card)
    return folder


@pytest.fixture
def lora(backbone: Backbone, tmp_path: Path) -> Path:
    """A run's folder with a LoRA."""
    saved("lora", backbone, tmp_path / "run" / "adapter", rank=2)
    return tmp_path / "run"


@pytest.fixture
def study(backbone: Backbone, tmp_path: Path) -> Path:
    """A finished study: a LoRA for each of two cultures, the second replaced by what PEFT cannot hold."""
    folder = Small(BASE, data={"name": "starter"}).write(tmp_path / "study")
    runs = {run["trained_culture"]: run["run"] for run in json.loads((folder / "plan" / "plan.json").read_text())["runs"] if run["label"] == "lora"}
    saved("lora", backbone, folder / runs["Spain"] / "adapter", rank=2)
    saved("prefix-tuning-plus", backbone, folder / runs["Mexico"] / "adapter", "Mexico")
    return folder


class TestLook:
    def test_ls_finds_them_at_any_depth_and_says_what_is_damaged(self, study: Path) -> None:
        output = run("adapters", "ls", study).stdout
        assert re.search(r"lora/Spain/\S+/adapter +lora +Spain +fold-0-of-2 +\S+ +2 +\d+ kB", output)
        assert re.search(r"lora/Mexico/\S+/adapter +prefix-tuning-plus +Mexico", output)
        next(study.glob("runs/lora/Mexico/*/adapter/affinage.json")).write_text("{")
        result = run("adapters", "ls", study)
        assert "found JSONDecodeError" in result.stderr
        assert "prefix-tuning-plus" not in result.stdout

    def test_ls_where_nothing_is(self, tmp_path: Path) -> None:
        assert "found no adapter; expected at least one below it" in refused("adapters", "ls", tmp_path)

    def test_show_says_what_it_is_and_under_whose_terms(self, lora: Path, backbone: Backbone) -> None:
        output = run("adapters", "show", lora).stdout
        assert "lora for Spain, made by Affinage" in output
        assert f"digest {backbone.identity.digest[:16]}" in output
        assert "seen templates: 2" in output
        assert "PEFT format yes" in output
        assert "terms of starter: CC-BY-4.0" in output
        tensors = load_file(lora / "adapter" / "adapter_model.safetensors")
        assert f"{len(tensors)} tensors, {sum(value.numel() for value in tensors.values()):,} values:" in output


class TestExport:
    def test_a_run_as_a_peft_folder(self, lora: Path, tmp_path: Path) -> None:
        output = run("adapters", "export", lora, "--to", tmp_path / "to", "--base-model", "org/name").stdout
        assert "of the largest logit apart" in output
        assert f"peft: {tmp_path / 'to'}" in output
        assert json.loads((tmp_path / "to" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/name"
        assert "base_model: org/name" in (tmp_path / "to" / "README.md").read_text()
        assert "something that stands there already" in refused("adapters", "export", lora, "--to", tmp_path / "to")

    def test_a_study_exports_what_the_format_holds_and_names_the_rest(self, study: Path, tmp_path: Path) -> None:
        output = run("adapters", "export", study, "--to", tmp_path / "to").stdout
        (folder,) = (tmp_path / "to").glob("lora/*/*")
        assert folder.parent.name == "Spain"
        assert re.search(r"Left out: lora/Mexico/\S+: method prefix-tuning-plus: found an adapter that the format peft cannot hold", output)
        assert f"1 adapter in {tmp_path / 'to'}." in output
        page = (folder / "README.md").read_text()
        assert "| Spain (its own) | 25.0 | 75.0 |" in page

    def test_a_study_of_which_nothing_can_be_held(self, study: Path, tmp_path: Path) -> None:
        message = refused("adapters", "export", study, "--to", tmp_path / "to", "--format", "embeddings")
        assert "method lora: found an adapter that the format embeddings cannot hold" in message
        assert "Use --format peft or merged." in message
        assert not (tmp_path / "to").exists()

    def test_merged_and_embeddings(self, lora: Path, backbone: Backbone, tmp_path: Path) -> None:
        run("adapters", "export", lora, "--to", tmp_path / "merged", "--format", "merged")
        assert (tmp_path / "merged" / "model.safetensors").is_file()
        saved("prompt-tuning", backbone, tmp_path / "soft", length=3)
        run("adapters", "export", tmp_path / "soft", "--to", tmp_path / "vectors", "--format", "embeddings")
        assert load_file(tmp_path / "vectors" / "prompt_embeddings.safetensors")["prompt_embeds"].shape == (3, 64)

    def test_where_no_adapter_is(self, tmp_path: Path) -> None:
        assert "found no readable affinage.json" in refused("adapters", "export", tmp_path, "--to", tmp_path / "to")


class TestImport:
    @pytest.fixture
    def theirs(self, lora: Path, tmp_path: Path) -> Path:
        """A folder as PEFT leaves it: without our card."""
        shutil.copytree(lora / "adapter", tmp_path / "theirs")
        (tmp_path / "theirs" / "affinage.json").unlink()
        return tmp_path / "theirs"

    def test_imported_with_what_it_has_seen_it_can_be_tested(self, theirs: Path, lora: Path, tmp_path: Path) -> None:
        (tmp_path / "ids.txt").write_text("t001\n\n t002 \n")
        given = ("--culture", "Atlantis", "--seen", tmp_path / "ids.txt", "--set", "prompt.style=text")
        output = run("adapters", "import", theirs, "--to", tmp_path / "mine", *given).stdout
        assert "that its tensors fit that model was checked" in output
        assert f"Next: affinage doctor {tmp_path / 'mine'}" in output
        card = adapters.read_card(tmp_path / "mine")
        assert (card.seen, card.prompt, card.culture) == (frozenset({"t001", "t002"}), TEXT, "Atlantis")
        before, after = (load_file(place / "adapter_model.safetensors") for place in (lora / "adapter", tmp_path / "mine"))
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_with_unknown_templates_it_can_be_asked_but_not_tested(self, theirs: Path, tmp_path: Path) -> None:
        output = run("adapters", "import", theirs, "--culture", "Atlantis", "--to", tmp_path / "mine").stdout
        assert "Seen templates: unknown." in output
        assert "unknown" in run("adapters", "ls", tmp_path / "mine").stdout
        run("ask", tmp_path / "mine", "What?", "--tokens", "1", "--dtype", "float32")
        path = write_questions(tmp_path / "q.parquet", questions("Atlantis", 6))
        message = refused("evaluate", tmp_path / "mine", "--source", "table", "--path", path, "--set", "model.dtype=float32")
        assert "found one that does not tell which templates it has seen in training (seen: unknown)" in message

    def test_without_a_base_model_s_name_the_user_says_it(self, theirs: Path, tiny_folder: Path, tmp_path: Path) -> None:
        path = theirs / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": None}))
        given = ("adapters", "import", theirs, "--culture", "Atlantis", "--seen", "none", "--to", tmp_path / "mine")
        assert "found no name of a base model in its files" in refused(*given)
        assert "names no base model" in run(*given, "--model", tiny_folder).stdout

    def test_a_revision_of_its_base_model_is_not_asked_of_another(self, theirs: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
        path = theirs / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "org/base", "revision": "abc"}))
        asked: list[ModelConfig] = []
        real = affinage.backbone.describe

        def described(config: ModelConfig) -> tuple[BackboneShape, Identity]:
            asked.append(config)
            return real(config)

        monkeypatch.setattr(affinage.backbone, "describe", described)
        run("adapters", "import", theirs, "--culture", "Atlantis", "--to", tmp_path / "mine", "--model", tiny_folder)
        run("adapters", "import", theirs, "--culture", "Atlantis", "--to", tmp_path / "its", "--model", tiny_folder, "--revision", "main")
        assert [config.revision for config in asked] == [None, "main"]

    @pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("\n \n", "found an empty file")])
    def test_a_list_of_templates_that_is_none(self, content: str | None, message: str, theirs: Path, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "ids.txt").write_text(content)
        assert message in refused("adapters", "import", theirs, "--culture", "A", "--seen", tmp_path / "ids.txt", "--to", tmp_path / "mine")
        assert not (tmp_path / "mine").exists()

    def test_a_command_that_wants_our_card_says_how_to_get_one(self, theirs: Path) -> None:
        assert "For one that PEFT wrote: `affinage adapters import`." in refused("ask", theirs, "What?")


class TestPush:
    def test_a_dry_run_prints_card_terms_and_files_and_sends_nothing(self, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def sent(*given: object, **named: object) -> str:
            raise AssertionError("nothing is sent")

        monkeypatch.setattr(affinage.adapters.hub, "push", sent)
        output = run("adapters", "push", lora, "--repo", "me/spain", "--base-model", "org/name").stdout
        for said in ("base_model: org/name", "No licence is filled in", "Terms of the data set starter: CC-BY-4.0.", "Terms of the backbone: "):
            assert said in output
        assert re.search(r"adapter_model\.safetensors  [\d,]+ bytes", output)
        assert "To me/spain (public where it is new):" in output
        assert output.rstrip().endswith("Nothing was uploaded. The same command with --yes uploads it.")

    def test_with_yes_it_is_sent(self, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def sent(made: Upload, repository: str, *, private: bool) -> str:
            asked.append((sorted(path.name for path in made.folder.iterdir()), repository, private))
            return "https://hub/commit"

        monkeypatch.setattr(affinage.adapters.hub, "push", sent)
        assert "Uploaded: https://hub/commit" in run("adapters", "push", lora, "--repo", "me/spain", "--private", "--yes").stdout
        assert asked == [(["README.md", "adapter_config.json", "adapter_model.safetensors", "affinage.json"], "me/spain", True)]


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install affinage[quantise])")
def test_an_adapter_of_a_quantised_model_finds_it_again(tiny_folder: Path, tmp_path: Path) -> None:
    quantised = load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, quantisation="8bit"))
    folder = saved("lora", quantised, tmp_path / "adapter", rank=2)
    assert adapters.read_card(folder).backbone == quantised.identity
    assert "8bit weights" in run("adapters", "show", folder).stdout
    run("ask", folder, "What?", "--tokens", "1", "--dtype", "float32")
    assert re.search(r"backbone +ok", RUN.invoke(app, ["doctor", str(folder)]).output)
    message = refused("adapters", "export", folder, "--to", tmp_path / "to", "--format", "merged")
    assert "found one of a model in 8bit weights" in message
    assert not (tmp_path / "to").exists()


def test_every_command_refuses_an_adapter_of_another_backbone(lora: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=1)
    path = write_questions(tmp_path / "q.parquet", questions("Spain", 6))
    asked = ("--source", "table", "--path", path, "--set", "model.dtype=float32")
    commands: list[tuple[object, ...]] = [
        ("ask", lora / "adapter", "What?"),
        ("evaluate", lora / "adapter", *asked, "--set", "splits={kind: folds, folds: 2, count: 1, development: false}"),
        *(("adapters", "export", lora, "--to", tmp_path / "to", "--format", form) for form in ("peft", "merged", "embeddings")),
    ]
    for command in commands:
        assert "Load the model that it was made for, or train it anew." in refused(*command, "--model", other), command[0]
    doctor = run("doctor", lora, "--model", other, code=1).stdout
    assert re.search(r"backbone +wrong", doctor)
