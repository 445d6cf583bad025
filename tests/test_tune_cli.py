"""`affinage tune` on a model small enough to train: a planted rule, methods of every kind, and what the command says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import affinage.tune
from affinage.cli import app
from affinage.tune import SearchEvent
from affinage.tune.trials import read_trials, search_folder
from tiny import write_study

RUN = CliRunner()
LORA = "{name: lora, settings: {rank: 2}, training: {rate: 1.0e-5}}"
SPLIT = "fold-0-of-2"


def study(folder: Path, model: Path, *, methods: str = f"[{LORA}]", steps: int = 12, templates: int = 32) -> Path:
    """A study's file: two cultures, one split."""
    return write_study(folder, model, yaml.safe_load(methods), steps=steps, templates=templates, device="cpu")


def run(*arguments: object, code: int = 0) -> Result:
    """A command's result, with the exit code that is expected."""
    result = RUN.invoke(app, [str(part) for part in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def test_a_rate_at_which_the_rule_is_learned_is_found_and_used(tmp_path: Path, tiny_folder: Path) -> None:
    source, out = study(tmp_path, tiny_folder), tmp_path / "search"
    told = run("tune", source, "--trials", 4, "--share", 0.4, "--only", "training.rate", "--out", out).stdout
    assert "Each method has 4 whole trainings on each split." in told
    assert f"lora on {SPLIT}, trial 0: training.rate 1e-05: complete after 12 steps, accuracy" in told
    assert f"Presets: {out / 'presets'}. All trials: {out / 'trials.csv'}. Page: {out / 'search.md'}" in told
    trials = read_trials(search_folder(out, SPLIT, "lora"))
    scores = [trial.score.value for trial in trials if trial.score]
    assert max(scores) > scores[0] + 0.2  # at the study's own rate nothing is learned in so few steps
    best = max((trial for trial in trials if trial.score), key=lambda trial: trial.score.value if trial.score else 0)
    preset = yaml.safe_load((out / "presets" / "lora.yaml").read_text(encoding="utf-8"))
    assert preset["splits"][SPLIT]["training"]["rate"] == best.values["training.rate"]
    assert preset["splits"][SPLIT]["settings"]["rank"] == 2
    after = told.splitlines()[-1]
    assert after.startswith(f"Next: affinage study run {out / 'tuned.yaml'} --out ")
    planned = run("study", "plan", out / "tuned.yaml", "--out", tmp_path / "tuned").stdout
    assert "4 runs, 0 finished, 4 to run." in planned
    trained = run(
        "train", "--method", "lora", "--preset", out / "presets" / "lora.yaml", "--culture", "Atlantis", "--study", source, "--out", tmp_path / "one"
    )
    assert "Adapter:" in trained.stdout
    written = yaml.safe_load((tmp_path / "one" / "study.yaml").read_text(encoding="utf-8"))["methods"][0]
    assert written["tuned"][SPLIT]["training"]["rate"] == best.values["training.rate"]
    again = run("tune", source, "--trials", 4, "--share", 0.4, "--only", "training.rate", "--out", out).stdout
    assert "complete after" not in again  # nothing was missing
    refused = run("study", "plan", out / "tuned.yaml", "--set", "splits.count=2", "--out", tmp_path / "other", code=2).stderr
    assert re.search(r"methods\.lora\.preset: found lora\.yaml, trained or chosen on \d+ templates that split fold-1-of-2 tests", refused)
    assert "Traceback" not in refused


def test_methods_that_are_trained_together_or_alone_are_searched_too(tmp_path: Path, tiny_folder: Path) -> None:
    methods = "[{name: contrastive-prefix}, {name: full}, {name: lora-hyper, settings: {held_out: each, hidden: 8, code: 8}}]"
    source, out = study(tmp_path, tiny_folder, methods=methods, steps=4, templates=16), tmp_path / "search"
    run("tune", source, "--trials", 2, "--every", 2, "--out", out)
    together, alone, apart = (read_trials(search_folder(out, SPLIT, label)) for label in ("contrastive-prefix", "full", "lora-hyper"))
    assert [trial.state for trial in (*together, *alone, *apart)] == ["complete"] * 6
    assert [list(trial.measured) for trial in (*together, *alone, *apart)] == [[2], [2], [], [], [], []]
    assert not list(out.rglob("checkpoint.safetensors"))


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = study(tmp_path, tiny_folder, steps=4, templates=16), tmp_path / "search"
    real = affinage.tune.tune

    def interrupted(*given: Any, watch: Callable[[SearchEvent], None], **named: Any) -> Any:
        def watched(event: SearchEvent) -> None:
            watch(event)
            if (event.trial.number, event.trial.steps) == (1, 3):
                raise KeyboardInterrupt

        return real(*given, watch=watched, **named)

    with monkeypatch.context() as patch:
        patch.setattr(affinage.tune, "tune", interrupted)
        stopped = run("tune", source, "--trials", 2, "--out", out, code=130)
    assert "The same command continues." in stopped.stderr
    assert [trial.state for trial in read_trials(search_folder(out, SPLIT, "lora"))] == ["complete", "running"]
    run("tune", source, "--trials", 2, "--out", out)
    whole = tmp_path / "whole"
    run("tune", source, "--trials", 2, "--out", whole)
    ends = [[(trial.values, trial.score, trial.measured) for trial in read_trials(search_folder(place, SPLIT, "lora"))] for place in (out, whole)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trials", "2", "--seconds", "3"), "a budget is either `trials` or `seconds`"),
        (("--share", "1.5"), "flags: share: found 1.5"),
        (("--sampler", "grid"), "'tpe' or 'random'"),
        (("--only", "training.rat"), "Did you mean 'training.rate'?"),
        (("--set", "methods=[{name: none}]"), "no method that trains"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, tiny_folder: Path, arguments: tuple[str, ...], message: str) -> None:
    refused = run("tune", study(tmp_path, tiny_folder), "--out", tmp_path / "search", *arguments, code=2).stderr
    assert message in refused
    assert "Traceback" not in refused
    assert not (tmp_path / "search").exists()


def test_without_the_library_the_command_names_the_extra(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused = run("tune", study(tmp_path, tiny_folder), "--out", tmp_path / "search", code=2).stderr
    assert "pip install 'affinage[tune]'" in refused
