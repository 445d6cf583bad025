"""A whole small study through the command line: plan, run, interrupt, continue, report, ask, single runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import affinage.cli.demo
import affinage.study.work
from affinage.cli import app
from affinage.cli.flags import composed
from affinage.config import StudyConfig
from affinage.controls import registered
from affinage.report import read_evidence
from affinage.study import Event
from tiny import write_model, write_study

RUN = CliRunner()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A study's file: two cultures, one split, one method."""
    methods: list[dict[str, Any]] = [{"name": "none"}, {"name": "lora", "settings": {"rank": 2}}]
    return write_study(tmp_path_factory.mktemp("study"), tiny_folder, methods, steps=12, templates=24)


@pytest.fixture(scope="module")
def done(study: Path) -> Path:
    """The study's folder, interrupted once and then finished; its commands' output is kept beside it."""
    out = study.parent / "out"
    first = run("study", "plan", str(study), "--out", str(out))
    assert "4 runs, 0 finished, 4 to run." in first.stdout
    assert not out.exists(), "planning writes nothing"
    assert f"Next: affinage study run {study} --out {out}" in first.stdout
    interrupted = interrupt(lambda event: event.place[0] == 3 and event.step is not None and event.step.step == 5, str(study), "--out", str(out))
    assert interrupted.exit_code == 130
    assert f"nothing that is done is lost. Continue with: affinage study run {out}" in interrupted.stderr
    second = run("study", "run", str(study), "--out", str(out))
    (study.parent / "second.txt").write_text(second.stdout)
    return out


def run(*arguments: str, code: int = 0) -> Result:
    """A command's result, with the exit code that is expected."""
    result = RUN.invoke(app, arguments)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def interrupt(when: Callable[[Event], bool], *arguments: str) -> Result:
    """`affinage study run`, with Ctrl-C at an event."""
    real = affinage.study.run

    def interrupted(*given: Any, watch: Callable[[Event], None], **named: Any) -> Any:
        def watched(event: Event) -> None:
            watch(event)
            if when(event):
                raise KeyboardInterrupt

        return real(*given, watch=watched, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(affinage.study, "run", interrupted)
        return RUN.invoke(app, ["study", "run", *arguments])


def adapters(out: Path) -> dict[str, Path]:
    return {path.parent.parent.name: path for path in sorted(out.glob("runs/lora/*/*/adapter"))}


def test_every_control_is_listed_with_its_values() -> None:
    output = RUN.invoke(app, ["study", "controls"])
    assert output.exit_code == 0, output.output
    assert all(f"\n{name}: " in f"\n{output.output}" for name in registered)
    for text in ("  questions: At most so many training questions", "Default: 512.", "Default: [10, 25, 50, 100]."):
        assert text in output.output


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_device_that_is_not_there_is_said_before_anything_is_written(command: str, study: Path, tmp_path: Path) -> None:
    result = run("study", command, str(study), "--out", str(tmp_path / "out"), "--set", "model.device=cuda:99", code=2)
    assert "model.device: found 'cuda:99', and " in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_plan_lists_every_run(done: Path) -> None:
    output = run("study", "plan", str(done)).stdout
    assert re.search(r"none +untouched +fold-0-of-2 +1 finished", output)
    assert re.search(r"lora +Atlantis +fold-0-of-2 +1 finished +\d+ +12 +\d+", output)
    assert "4 runs, 4 finished, 0 to run" in output
    assert f"Next: affinage report {done}" in output


def test_an_interrupted_study_is_continued_not_begun_anew(study: Path, done: Path) -> None:
    output = (study.parent / "second.txt").read_text()
    assert "[1/4]" not in output, "what was finished before the interruption is not made again"
    assert "[3/4] lora on Atlantis, fold-0-of-2, start 0: 12 steps" in output
    assert "[4/4]" in output
    assert "All 4 runs are finished in" in output
    assert "; 2 of them now, in" in output
    assert "\x1b" not in output, "no control codes where there is no terminal"
    log = next(done.glob("runs/lora/Atlantis/*/train.jsonl")).read_text().splitlines()
    assert len(log) == 12


def test_the_start_says_where_values_come_from(study: Path, done: Path) -> None:
    output = (study.parent / "second.txt").read_text()
    assert f"Set by file {study}: name, model.id, model.dtype, model.threads, data.source" in output
    assert "in float32 on cpu with 1 thread." in output


def test_a_second_run_does_nothing(study: Path, done: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    for source in (study, done, done / "study.yaml"):
        arguments = [str(source), "--out", str(done)] if source == study else [str(source)]
        assert "Nothing was missing: all 4 runs are finished" in run("study", "run", *arguments).stdout
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()} == before


def test_a_study_that_was_stopped_before_it_began_has_no_folder_to_name(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(affinage.study, "run", stopped)
    result = run("study", "run", str(study), "--out", str(tmp_path / "x"), code=130)
    assert result.stderr == "Stopped after 0 runs; nothing that is done is lost. Continue with: the same command\n"


def test_other_settings_in_the_same_folder_are_refused(study: Path, done: Path) -> None:
    result = run("study", "run", str(study), "--out", str(done), "--set", "training.steps=13", code=2)
    assert "training.steps: 12 there, 13 now" in result.stderr


def test_unknown_methods_of_a_study_are_refused(study: Path, tmp_path: Path) -> None:
    result = run("study", "plan", str(study), "--out", str(tmp_path / "x"), "--set", "methods=[{name: lorra}, {name: lora, preset: papers}]", code=2)
    assert "Did you mean 'lora'?" in result.stderr
    assert "Did you mean 'paper'?" in result.stderr


def test_a_failed_run_ends_with_code_1_and_its_reason(study: Path, tmp_path: Path) -> None:
    # A rate that no float32 survives.
    result = run("study", "run", str(study), "--out", str(tmp_path / "f"), "--set", "training.rate=1e30", "--set", "training.clip=null", code=1)
    assert "FAILED: training step" in result.stderr
    assert "2 of 4 runs failed" in result.stderr
    plan = run("study", "plan", str(tmp_path / "f"))
    assert "1 failed" in plan.stdout
    assert "finite numbers" in plan.stderr


def test_report(done: Path) -> None:
    output = run("report", str(done)).stdout
    assert (done / "report" / "report.md").is_file()
    assert f"Report:   {done / 'report' / 'report.md'}" in output
    assert re.search(r"lora, own culture +\d", output)
    assert "  3. " in output
    evidence = read_evidence(done)
    assert ("Provisional, no result: " in output) == bool(evidence.trial)


def test_the_report_of_a_trial_says_that_it_is_no_result(study: Path, tmp_path: Path) -> None:
    run("study", "run", str(study), "--out", str(tmp_path / "t"), "--limit", "4", "--set", "training.steps=1")
    output = run("report", str(tmp_path / "t")).stdout
    assert "Provisional, no result: a trial with at most 4 questions per culture and side" in output


def test_ask_with_and_without_and_beside(done: Path) -> None:
    found = adapters(done)
    atlantis, lemuria = str(found["Atlantis"]), str(found["Lemuria"])
    question = "What do people like about it?"
    alone = run("ask", atlantis, question, "--tokens", "5", "--dtype", "float32").stdout
    assert run("ask", atlantis, question, "--tokens", "5", "--study", str(done)).stdout == alone, "the study says float32"
    assert alone.index("untouched:") < alone.index("lora, Atlantis:")
    both = run("ask", atlantis, question, "--beside", lemuria, "--tokens", "5", "--dtype", "float32").stdout
    assert "untouched" not in both
    assert both.index("lora, Atlantis:") < both.index("lora, Lemuria:")


def test_an_adapter_is_tested_on_unseen_templates_and_refused_on_seen_ones(done: Path, tmp_path: Path) -> None:
    adapter, scores = str(adapters(done)["Atlantis"]), tmp_path / "scores.parquet"
    output = run("evaluate", adapter, "--study", str(done), "--culture", "Lemuria", "--culture", "Atlantis", "--out", str(scores)).stdout
    assert "on test templates of fold-0-of-2" in output
    assert re.search(r"Atlantis +\d+\.\d", output)
    assert scores.is_file()
    refusal = run("evaluate", adapter, "--study", str(done), "--culture", "Lemuria", "--side", "train", code=2).stderr
    assert "templates that it has seen in training: t0" in refusal
    assert str(adapter) in refusal
    run("evaluate", "none", "--study", str(done), "--culture", "Lemuria", "--side", "train")


def test_an_adapter_of_another_split_or_model_is_refused(study: Path, done: Path, tmp_path: Path) -> None:
    adapter = str(adapters(done)["Atlantis"])
    other = run("evaluate", adapter, "--study", str(done), "--culture", "Lemuria", "--set", "splits.folds=3", code=2).stderr
    assert "expected fold-0-of-2, on which the adapter was trained" in other
    stranger = write_model(tmp_path / "stranger", seed=1)
    refusal = run("ask", adapter, "What?", "--model", str(stranger), code=2).stderr
    assert "expected one made for" in refusal


def test_one_adapter_by_hand(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    arguments = ("train", "--method", "prompt-tuning", "--culture", "Lemuria", "--study", str(study), "--out", str(out))
    settings = ("--set", "settings.length=3", "--set", "training.steps=4")
    output = run(*arguments, *settings).stdout
    assert "[1/1] prompt-tuning on Lemuria, fold-0-of-2, start 0: 4 steps" in output
    assert (out / "adapter" / "affinage.json").is_file()
    following = next(line for line in output.splitlines() if line.startswith("Next: "))
    assert "on test templates" in run(*following.removeprefix("Next: affinage ").split()).stdout
    assert f"Nothing was missing: {out} is finished." in run(*arguments, *settings).stdout
    changed = run(*arguments, "--set", "settings.length=4", "--set", "training.steps=4", code=2).stderr
    assert "methods.0.settings.length: 3 there, 4 now" in changed
    assert "expected a method that trains" in run(*arguments[:2], "none", *arguments[3:-1], str(tmp_path / "none"), code=2).stderr


def test_an_interrupted_training_says_how_to_continue(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(affinage.study.work, "load", interrupted)
    result = run("train", "--method", "lora", "--culture", "Lemuria", "--study", str(study), "--out", str(tmp_path / "x"), code=130)
    assert result.stderr == "Stopped; what is done is kept. The same command continues.\n"


@pytest.mark.parametrize("flags", [(), ("--strong",)])
def test_the_demo_runs_its_preset_and_says_what_was_found(study: Path, done: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]) -> None:
    presets = []

    def preset(name: str, overrides: dict[str, object]) -> StudyConfig:
        presets.append(name)
        return composed(str(study), overrides)

    monkeypatch.setattr(affinage.cli.demo, "composed", preset)
    output = run("demo", "--out", str(done), *flags).stdout
    assert presets == ["demo-strong" if flags else "demo"]
    assert "Nothing was missing" in output
    assert re.search(r"untouched +\d", output)
    assert all(f"  {number}. LoRA" in output for number in (1, 2, 3))
    assert "report.md" in output
    assert "figure-2-1-lora.png" in output
    found = adapters(done)
    assert f'affinage ask {found["Lemuria"]} "What do people eat for breakfast?" --beside {found["Atlantis"]}' in output


def test_the_example_of_the_package_works(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert affinage.__doc__ is not None
    example = affinage.__doc__.split("\n\n")[1:3]
    code = "\n".join(line.removeprefix("    ") for line in "\n".join(example).splitlines())
    assert len([line for line in code.splitlines() if line]) == 5
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('"demo"', repr(str(study))), "the package's docstring", "exec"), {})
    assert "4 # Provisional: two islands" in capsys.readouterr().out
    assert (tmp_path / "runs" / "try" / "report" / "report.md").is_file()


def test_the_public_names_are_what_they_say() -> None:
    assert all(callable(getattr(affinage, name)) for name in affinage.__all__)
    assert set(affinage.__all__) <= set(dir(affinage))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = affinage.nothing
