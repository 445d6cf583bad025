"""Methods that one run trains for several cultures, in a study: one training, an adapter for each culture, and cultures that are held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from affinage.cli import app
from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.store import StudyFolder, read_all_scores, read_log, read_state
from affinage.study import Event, Plan, plan, progress, run
from affinage.study.cohorts import cohorts
from study_fakes import CLEAN, CULTURES
from trained_study import material, tiny_study

HYPER = {"rank": 1, "code": 4, "place": 2, "hidden": 4}
METHODS: list[dict[str, Any]] = [
    {"name": "lora-hyper", "settings": {**HYPER, "held_out": ["Iran"]}},
    {"name": "lora-hyper", "label": "zero-shot", "settings": {**HYPER, "held_out": "each", "source": "code"}},
    {"name": "contrastive-prefix", "settings": {"length": 2, "start": "random"}},
    {"name": "lora-mixture", "settings": {"rank": 1, "experts": 2, "top": 2, "hidden": 2, "code": 2, "targets": ["q_proj", "v_proj"]}},
    {"name": "full"},
]
TEMPLATES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory.mktemp("together"), TEMPLATES)


def together(folder: Path, methods: list[dict[str, Any]] = METHODS, **changes: Any) -> StudyConfig:
    """The methods that train together, small packs and cohorts of two."""
    training = {"steps": 3, "batch_size": 2, "checkpoint_seconds": 0.0}
    return tiny_study(folder, methods, training=training, cohort=2, nodes_per_pack=400, **changes)


def of(made: Plan, label: str) -> list[Any]:
    """The trained runs of a method."""
    return [run for run in made.runs if run.label == label and run.trains]


def test_a_plan_has_a_run_per_culture_and_trains_those_of_one_kind_as_one(folder: Path, tmp_path: Path) -> None:
    made = plan(together(folder), tmp_path / "out", standing=CLEAN)
    found = cohorts(made.runs, 2)
    assert [run.trained_culture for run in of(made, "lora-hyper")] == list(CULTURES)
    assert {run.taught for run in of(made, "lora-hyper")} == {("Spain", "Mexico")}
    assert [run.taught for run in of(made, "zero-shot")] == [("Mexico", "Iran"), ("Spain", "Iran"), ("Spain", "Mexico")]
    for label in ("lora-hyper", "contrastive-prefix", "lora-mixture"):  # whatever the size of a cohort
        assert all(found[run.path] == tuple(of(made, label)) for run in of(made, label))
    assert not {run.path for label in ("zero-shot", "full") for run in of(made, label)} & set(found)
    questions = {(line.run.label, line.run.trained_culture): line.questions[0] for line in progress(made, StudyFolder(tmp_path / "out"))}
    assert questions["lora-hyper", "Iran"] == 2 * questions["full", "Iran"] == 2 * len(made.record.splits[0].train_templates)
    assert questions["lora-hyper", "untrained"] == 0


def test_who_is_trained_with_whom_is_in_a_runs_name(folder: Path) -> None:
    def names(cultures: list[str], settings: dict[str, Any]) -> set[str]:
        config = together(folder, [{"name": "lora-hyper", "settings": settings}])
        config = config.model_copy(update={"data": config.data.model_copy(update={"cultures": tuple(cultures)})})
        return {run.path[-8:] for run in plan(config, standing=CLEAN).runs if run.method is not None}

    everyone = names(list(CULTURES), HYPER)
    assert not everyone & names(["Spain", "Mexico"], HYPER)
    assert not {*everyone} & {*names(list(CULTURES), {**HYPER, "held_out": ["Iran"]})}


def test_a_control_takes_none_of_them(folder: Path) -> None:
    methods = [*METHODS[:1], {"name": "lora", "settings": {"rank": 1}}]
    made = plan(together(folder, methods, controls=[{"name": "all-cultures"}]), standing=CLEAN)
    assert {run.label for run in made.runs if run.made is not None} == {"lora"}
    with pytest.raises(UserError, match=r"controls.0.methods: found 'lora-hyper', which trains several cultures together"):
        plan(together(folder, methods, controls=[{"name": "all-cultures", "methods": ["lora-hyper"]}]), standing=CLEAN)


def test_cultures_that_are_not_studied_cannot_be_held_out(folder: Path) -> None:
    with pytest.raises(UserError, match=r"method lora-hyper: held_out: found 'Spian'.*Did you mean .*'Spain'"):
        plan(together(folder, [{"name": "lora-hyper", "settings": {"held_out": ["Spian"]}}]), standing=CLEAN)


def results(out: Path) -> dict[str, object]:
    """Adapters and scores by their paths."""
    tensors = {path: {name: value.numpy().tobytes() for name, value in load_file(path).items()} for path in out.rglob("adapter/*.safetensors")}
    found: dict[Path, object] = {**tensors, **{path: path.read_bytes() for path in out.rglob("scores/*.parquet")}}
    return {str(path.relative_to(out)): content for path, content in found.items()}


def test_a_study_runs_to_its_end_and_hands_on_an_adapter_for_each_culture(folder: Path, tmp_path: Path) -> None:
    config = together(folder, [method for method in METHODS if method["name"] != "lora-mixture"])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(config, whole, standing=CLEAN).complete
    made, study_folder = plan(config, whole, standing=CLEAN), StudyFolder(whole)
    assert set(read_all_scores(whole)["state"]) == {"scored"}
    for label, held in (("lora-hyper", "LORA"), ("zero-shot", "LORA"), ("contrastive-prefix", "PREFIX_TUNING")):
        folders = [study_folder.run(each.path) for each in of(made, label)]
        assert len({(each.adapter / "adapter_model.safetensors").read_bytes() for each in folders}) == len(CULTURES)
        for each, planned in zip(folders, of(made, label), strict=True):
            assert json.loads((each.adapter / "adapter_config.json").read_text())["peft_type"] == held
            card = json.loads((each.adapter / "affinage.json").read_text())
            assert (card["culture"], set(card["seen_templates"])) == (planned.trained_culture, planned.split.train_templates)
            state = read_state(each)
            assert state is not None
            assert state.counts is not None
            assert state.counts["questions"] == len(planned.taught) * len(planned.split.train_templates)
    assert len(read_log(study_folder.run(of(made, "lora-hyper")[0].path).log)) == 3

    def stop(event: Event) -> None:
        if event.step is not None and event.step.step == 2 and event.run.label == "contrastive-prefix":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, broken, standing=CLEAN, watch=stop)
    assert run(config, broken, standing=CLEAN).complete
    assert results(broken) == results(whole)


def test_what_was_trained_together_is_exported_as_plain_lora_of_each_culture(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    assert run(together(folder, METHODS[:1]), tmp_path / "study", standing=CLEAN).complete
    result = CliRunner().invoke(app, ["adapters", "export", str(tmp_path / "study"), "--to", str(tmp_path / "to")])
    assert result.exit_code == 0, result.output
    for culture in CULTURES:
        (exported,) = (tmp_path / "to" / "lora-hyper" / culture).iterdir()
        assert json.loads((exported / "adapter_config.json").read_text())["peft_type"] == "LORA"
        page = " ".join((exported / "README.md").read_text().split())
        assert "PEFT itself loads this folder and computes the same logits" in page
        assert f"| {culture} (its own{', zero-shot' if culture == 'Iran' else ''}) |" in page
        assert "under the labels Spain, Mexico" in page
        assert ("of which no question was trained on" in page) == (culture == "Iran")
        assert "templates, of all its training's labels |" in page


def test_a_training_that_fails_fails_for_every_culture_that_it_serves(folder: Path, tmp_path: Path) -> None:
    methods = [{"name": "lora-hyper", "settings": HYPER, "training": {"rate": 1e30}}]
    config = together(folder, methods)
    for _ in range(2):  # the next command tries again
        outcome = run(config, tmp_path, standing=CLEAN)
        assert [planned.trained_culture for planned, _ in outcome.failures] == list(CULTURES)
        assert all("expected finite numbers" in reason for _, reason in outcome.failures)
    assert not [path for culture in CULTURES for path in (tmp_path / "runs" / "lora-hyper" / culture).rglob("adapter")]
