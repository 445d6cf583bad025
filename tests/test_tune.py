"""The search of settings: equal budgets, a validation side of its own, kills, giving up, and presets that know what they have seen."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from affinage import data
from affinage.config import MethodConfig, SplitConfig, StudyConfig, TrainingConfig, validated
from affinage.methods import registry, resolve
from affinage.methods.spaces import Choice, Space, Span, check_space
from affinage.records import Split, UserError
from affinage.store import CheckpointError, claim, write_json
from affinage.study import plan
from affinage.study import run as run_study
from affinage.tune import Outcome, SearchConfig, search, training
from affinage.tune.optimiser import begin
from affinage.tune.sides import check_sides, validation_split
from affinage.tune.trials import Score, Trial, TrialFolder, read_trials, search_folder, write_trial
from study_fakes import CLEAN, Fake, study, write_questions
from tune_fakes import BEST, SPACES, STEPS, Workshop, run, searched

SPLIT = "fold-0-of-2"
ONE = {"methods": [{"name": "prompt-tuning"}]}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("questions") / "questions.parquet", 60)


@pytest.fixture(scope="module")
def whole(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A search from beginning to end."""
    return run(questions, tmp_path_factory.mktemp("whole") / "out")


def trials(out: Path, label: str, split: str = SPLIT) -> list[dict[str, Any]]:
    """What a search left on disk but for its clock."""
    return [{**asdict(trial), "seconds": 0} for trial in read_trials(search_folder(out, split, label))]


def dataset(questions: Path) -> data.Dataset:
    return data.load(searched(questions).data)


def preset(outcome: Outcome, label: str = "prompt-tuning") -> Path:
    return outcome.out / "presets" / f"{label}.yaml"


def tuned(outcome: Outcome, **changes: Any) -> StudyConfig:
    """The study with what a search found for prompt-tuning, in whole trainings of the fakes that need no rate."""
    methods = [{"name": "prompt-tuning", "preset": str(preset(outcome))}]
    values = yaml.safe_load((outcome.out / "tuned.yaml").read_text(encoding="utf-8"))
    return validated(StudyConfig, {**values, "methods": methods, **changes}, "test")


# Budgets


def test_without_early_stopping_every_method_has_the_same_number_of_whole_trainings(questions: Path, tmp_path: Path) -> None:
    config = searched(questions, splits={"kind": "folds", "folds": 2, "count": 2, "development": False})
    outcome = run(questions, tmp_path, config=config, prune=False, trials=2, sampler="random")
    assert [(each.split, each.label, len(each.trials)) for each in outcome.found] == [
        (split, label, 2) for split in ("fold-0-of-2", "fold-1-of-2") for label in ("prompt-tuning", "lora")
    ]
    complete = [trial for each in outcome.found for trial in each.trials if trial.state == "complete"]
    assert {trial.steps for trial in complete} == {STEPS}


def test_what_is_stopped_early_pays_for_further_trials_within_the_same_budget(questions: Path, tmp_path: Path) -> None:
    outcome = run(questions, tmp_path, config=searched(questions, **ONE), trials=12, sampler="random")
    (found,) = outcome.found
    assert found.count("pruned") > 0
    assert len(found.trials) > 12
    spent = sum(max(trial.steps, 2) for trial in found.trials)
    assert 11 * STEPS < spent <= 12 * STEPS


def test_a_hopeless_trial_is_stopped_and_a_promising_one_is_not() -> None:
    space: Space = {"training.rate": Span(1e-4, 1e-1)}
    score = Score(0.6, None, None, 1, 1, 1)
    past = [Trial(number, {"training.rate": 1e-2 + number / 1000}, "complete", 4, 1.0, {2: 0.5 + number / 100}, score) for number in range(4)]
    for value, hopeless in ((0.2, True), (0.9, False)):
        live = begin(space, past, key=("k", 4), sampler="tpe", prune=True)
        live.tell({2: value}, 2)
        assert live.hopeless is hopeless
        kept = begin(space, past, key=("k", 4), sampler="tpe", prune=False)
        kept.tell({2: value}, 2)
        assert not kept.hopeless


def test_seconds_are_a_budget_too(questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.01)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))  # a clock that ticks when it is read
    config = searched(questions, **ONE)
    nothing = run(questions, tmp_path / "short", config=config, seconds=1e-6)
    assert [trial.state for trial in nothing.found[0].trials] == ["out of time"]
    assert nothing.found[0].best is None
    assert nothing.failures[SPLIT, "prompt-tuning"].startswith("no trial was complete (1 out of time)")
    assert not preset(nothing).exists()
    longer = run(questions, tmp_path / "short", config=config, seconds=1.0)  # the budget may be raised
    assert longer.found[0].best is not None
    assert [trial.state for trial in longer.found[0].trials].count("out of time") == 2  # at the end of either budget
    assert 1.0 <= sum(trial.seconds for trial in longer.found[0].trials) < 1.1


def test_a_search_over_a_training_without_steps_is_refused(questions: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found a training of no steps"):
        run(questions, tmp_path, config=searched(questions, training={"steps": 0}, **ONE))


# Choice


def test_a_better_rate_than_the_study_has_is_found(whole: Outcome) -> None:
    for each in whole.found:
        assert each.trials[0].values["training.rate"] == 1e-4  # as it stood
        assert each.best is not None
        assert each.best.score is not None
        assert each.trials[0].score is not None
        assert each.best.score.value > each.trials[0].score.value + 0.5
        assert BEST / 5 < each.best.values["training.rate"] < BEST * 5


def test_of_equally_good_trials_the_first_is_chosen(whole: Outcome) -> None:
    score = Score(0.5, None, None, 1, 1, 1)
    same = replace(whole.found[0], trials=tuple(Trial(number, {}, "complete", score=score) for number in range(3)))
    assert same.best is not None
    assert same.best.number == 0
    assert replace(same, trials=()).best is None


def test_the_sampler_goes_where_it_was_good() -> None:
    space: Space = {"training.rate": Span(1e-4, 1e-1), "settings.start": Choice(("random", "vocabulary"))}
    past: list[Trial] = []
    for number in range(30):
        live = begin(space, past, key=("k", number), sampler="tpe", prune=True)
        value = 0.9 if live.values["settings.start"] == "vocabulary" and live.values["training.rate"] > 1e-2 else 0.1
        past.append(Trial(number, live.values, "complete", 1, 1.0, {}, Score(value, None, None, 1, 1, 1)))
    late = [trial.score.value for trial in past[15:] if trial.score]
    assert sum(value > 0.5 for value in late) > 6  # at random one in six would be


def test_what_is_tried_is_a_function_of_the_seed_and_of_the_trials_before() -> None:
    space: Space = {"training.rate": Span(1e-4, 1e-1), "settings.root": Choice(((4,), (8,)))}
    first, again, other = (begin(space, [], key=("k", number), sampler="tpe", prune=True).values for number in (1, 1, 2))
    assert first == again != other
    assert first["settings.root"] in ([4], [8])


def test_a_setting_from_outside_the_space_is_tried_as_it_is() -> None:
    space: Space = {"training.rate": Span(1e-4, 1e-1)}
    live = begin(space, [], key=("k", 0), sampler="tpe", prune=True, values={"training.rate": 1e-7})
    assert live.values == {"training.rate": 1e-7}
    past = [Trial(0, live.values, "complete", 1, 1.0, {}, Score(0.5, None, None, 1, 1, 1))]
    assert 1e-4 <= begin(space, past, key=("k", 1), sampler="tpe", prune=True).values["training.rate"] <= 1e-1


def test_a_training_that_diverges_is_a_trial_that_failed(questions: Path, tmp_path: Path) -> None:
    config = searched(questions, methods=[{"name": "prompt-tuning", "training": {"rate": 0.095}}])
    outcome = run(questions, tmp_path, config=config)
    first = outcome.found[0].trials[0]
    assert (first.state, first.steps) == ("failed", 1)
    assert "found a loss of nan" in first.reason
    assert outcome.found[0].best is not None
    assert not outcome.failures


def test_a_method_whose_every_trial_fails_takes_no_other_with_it(questions: Path, tmp_path: Path) -> None:
    workshop = Workshop()
    train = workshop.train

    def broken(backbone: Any, members: Any, training: TrainingConfig, **rest: Any) -> None:
        if "lora" in str(members[0].folder.path):
            raise RuntimeError("no memory")
        train(backbone, members, training, **rest)

    workshop.train = broken  # type: ignore[method-assign]
    outcome = run(questions, tmp_path, workshop)
    assert "5 failed trials and no other; the last: RuntimeError: no memory" in outcome.failures[SPLIT, "lora"]
    assert preset(outcome).exists()
    assert not preset(outcome, "lora").exists()
    assert "RuntimeError: no memory" in (tmp_path / "search.md").read_text(encoding="utf-8")
    kept = yaml.safe_load((tmp_path / "tuned.yaml").read_text(encoding="utf-8"))["methods"]
    assert [method.get("preset") is not None for method in kept] == [True, False]


# Sides


@pytest.mark.parametrize("development", [False, True])
def test_the_validation_side_is_cut_from_the_training_side_alone(questions: Path, development: bool) -> None:
    made = dataset(questions)
    splits = data.make_splits(made, SplitConfig(kind="folds", folds=3, count=3, development=development))
    for split in splits:
        inner = validation_split(made, split, share=0.2, seed=0, development=False)
        assert inner.train_templates | inner.test_templates == split.train_templates
        assert 0 < len(inner.test_templates) < len(inner.train_templates)
        for other in (inner.train_templates, split.test_templates, split.development_templates):
            assert not inner.test_templates & other
        assert inner == validation_split(made, split, share=0.2, seed=0, development=False)
    assert splits[0].development_templates or not development


def test_a_validation_side_that_overlaps_is_refused(questions: Path) -> None:
    made = dataset(questions)
    split = data.make_splits(made, SplitConfig(kind="folds", folds=2, count=1))[0]
    inner = validation_split(made, split, share=0.2, seed=0, development=False)
    check_sides(made, inner, split)
    for name, side in {"test": split.test_templates, "development": split.development_templates, "trials' training": inner.train_templates}.items():
        bad = replace(inner, test_templates=inner.test_templates | {min(side)})
        with pytest.raises(UserError, match=rf"1 templates? that are on the {name} side too|templates that are on the {name} side too"):
            check_sides(made, bad, split)


def test_a_trial_is_never_measured_on_what_it_was_trained_on(questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(made: Any, split: Split, **rest: Any) -> Split:
        return Split("leaky", split.train_templates, split.train_templates)

    monkeypatch.setattr(search, "validation_split", leaky)
    outcome = run(questions, tmp_path, config=searched(questions, **ONE))
    assert "templates that it has seen in training" in outcome.failures[SPLIT, "prompt-tuning"]


def test_near_duplicates_stay_on_one_side_and_one_group_cannot_be_cut(questions: Path) -> None:
    made = dataset(questions)
    split = data.make_splits(made, SplitConfig(kind="folds", folds=2, count=1, development=False))[0]
    lonely = replace(split, train_templates=frozenset({min(split.train_templates)}))
    with pytest.raises(UserError, match="at least two, one to learn from and one to choose by"):
        validation_split(made, lonely, share=0.2, seed=0, development=False)


def test_a_search_on_the_development_side_sees_nothing_that_any_split_tests(questions: Path, tmp_path: Path) -> None:
    splits = {"kind": "folds", "folds": 2, "count": 2, "side": "development"}
    outcome = run(questions, tmp_path, config=searched(questions, splits=splits, **ONE))
    development = data.make_splits(dataset(questions), SplitConfig(kind="folds", folds=2, count=1))[0].development_templates
    side = outcome.sides[SPLIT]
    assert list(outcome.sides) == [SPLIT], "one search on it stands for every split"
    assert side.train_templates
    assert side.test_templates
    assert not side.train_templates & side.test_templates
    assert side.train_templates | side.test_templates == development
    assert outcome.made.provisional
    after = tuned(outcome, starts=1)
    assert after.splits.side == "test"
    made = plan(after, engine=Workshop().engine(), standing=CLEAN)
    trained = [run for run in made.runs if run.trains]
    assert len({run.split.name for run in trained}) == 2
    for each in trained:
        assert each.chosen_on == development
        assert not each.chosen_on & each.split.test_templates


# Kills


def test_a_killed_search_ends_where_an_undisturbed_one_ends(questions: Path, whole: Outcome, tmp_path: Path) -> None:
    program = [sys.executable, str(Path(__file__).with_name("tune_fakes.py")), str(questions), str(tmp_path), "140"]
    assert subprocess.run(program, check=False, capture_output=True).returncode == -9
    states = [trial["state"] for label in SPACES for trial in trials(tmp_path, label)]
    assert states[-1] == "running"
    assert len(states) > 1
    outcome = run(questions, tmp_path)
    for label in SPACES:
        assert trials(tmp_path, label) == trials(whole.out, label)
    assert [each.best and each.best.values for each in outcome.found] == [each.best and each.best.values for each in whole.found]
    assert not list(tmp_path.rglob("checkpoint.safetensors"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_interrupted_trial_goes_on_from_its_checkpoint(questions: Path, tmp_path: Path) -> None:
    first, second, config = Workshop(), Workshop(), searched(questions, **ONE)
    train = first.train

    def interrupted(backbone: Any, members: Any, training: TrainingConfig, **rest: Any) -> None:
        told = members[-1].on_step

        def stop(record: Any) -> None:
            told(record)
            if record.step == 5:
                raise KeyboardInterrupt

        members[-1].on_step = stop
        train(backbone, members, training, **rest)

    first.train = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(questions, tmp_path, first, config)
    (running,) = trials(tmp_path, "prompt-tuning")
    assert running["state"] == "running"
    assert list(running["measured"]) == [2, 4]
    outcome = run(questions, tmp_path, second, config)
    trial = outcome.found[0].trials[0]
    assert (trial.state, trial.steps, sorted(trial.measured)) == ("complete", STEPS, [2, 4, 6])
    assert next(iter(second.steps.values())) == STEPS - 4  # the fifth step was not in the checkpoint yet


def test_a_checkpoint_of_another_plan_stops_the_search_and_is_no_failed_trial(questions: Path, tmp_path: Path) -> None:
    config, other = searched(questions), Workshop()
    folder = TrialFolder(search_folder(tmp_path, SPLIT, "prompt-tuning") / "000")
    begun = write_trial(folder, Trial(0, {"training.rate": 1e-3, "settings.length": 8, "settings.start": "random"}, measured={2: 0.123}, steps=3))
    write_json(folder.checkpoint, {"step": 3})

    def refused(backbone: Any, members: Any, training: TrainingConfig, *, checkpoint: Path, **rest: Any) -> None:
        raise CheckpointError(str(checkpoint), "a checkpoint of another plan", "one of the same questions", "Remove it to train from the start.")

    other.train = refused  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"000.checkpoint\.safetensors: found a checkpoint of another plan.* Remove it"):
        run(questions, tmp_path, other, config)
    assert trials(tmp_path, "prompt-tuning") == [asdict(begun)]
    assert not trials(tmp_path, "lora")
    folder.checkpoint.unlink()
    workshop = Workshop()
    trial = run(questions, tmp_path, workshop, config).found[0].trials[0]
    assert (trial.state, trial.values, sorted(trial.measured)) == ("complete", begun.values, [2, 4, 6])
    assert trial.measured[2] != begun.measured[2], "it was measured in a training that has been thrown away"
    assert next(iter(workshop.steps.values())) == STEPS


@pytest.mark.parametrize(("cohort", "allowed"), [(None, [2]), (2, [2]), (1, [1, 1])])
def test_a_trial_has_as_many_adapters_in_hand_as_the_study_allows(questions: Path, tmp_path: Path, cohort: int | None, allowed: list[int]) -> None:
    config, workshop, taken = searched(questions, **ONE, cohort=cohort), Workshop(), list[int]()
    train = workshop.train

    def counted(backbone: Any, members: Any, training: TrainingConfig, **rest: Any) -> None:
        taken.append(len(members))
        train(backbone, members, training, **rest)

    workshop.train = counted  # type: ignore[method-assign]
    outcome = run(questions, tmp_path / "out", workshop, config, trials=1)
    (trial,) = outcome.found[0].trials
    assert (trial.state, taken) == ("complete", allowed)
    whole = run(questions, tmp_path / "whole", config=searched(questions, **ONE), trials=1).found[0].trials[0]
    assert trial.score == whole.score
    parted = len(allowed) > 1
    assert sorted(trial.measured) == ([] if parted else [2, 4, 6])
    page = (tmp_path / "out" / "search.md").read_text(encoding="utf-8")
    assert ("1 at a time (`model.cohort`)" in page) == parted
    if parted:
        with pytest.raises(UserError, match="a search that was begun with another cohort"):
            run(questions, tmp_path / "out", config=searched(questions, **ONE, cohort=None), trials=1)


def test_what_another_process_searches_is_waited_for(questions: Path, tmp_path: Path) -> None:
    done: list[Outcome] = []
    with claim(search_folder(tmp_path, SPLIT, "prompt-tuning")) as held:
        assert held is not None
        thread = threading.Thread(target=lambda: done.append(run(questions, tmp_path, trials=2)))
        thread.start()
        while not [trial for trial in trials(tmp_path, "lora") if trial["number"] == 1 and trial["state"] != "running"]:
            thread.join(0.05)
            assert thread.is_alive()
        assert not trials(tmp_path, "prompt-tuning")
    thread.join()
    assert [each.best is not None for each in done[0].found] == [True, True]


def test_a_search_that_is_over_loads_no_model(questions: Path, whole: Outcome) -> None:
    workshop = Workshop()
    again = run(questions, whole.out, workshop)
    assert (workshop.loads, workshop.rates) == (0, [])
    assert again.found == whole.found


def test_a_trial_whose_folder_was_removed_is_made_again_and_no_other(questions: Path, tmp_path: Path) -> None:
    config = searched(questions, **ONE)
    whole = run(questions, tmp_path, config=config, trials=3, prune=False)
    shutil.rmtree(search_folder(tmp_path, SPLIT, "prompt-tuning") / "001")
    workshop = Workshop()
    again = run(questions, tmp_path, workshop, config, trials=3, prune=False)
    assert [trial.number for trial in again.found[0].trials] == [0, 1, 2]
    assert (again.found[0].trials[0], again.found[0].trials[2]) == (whole.found[0].trials[0], whole.found[0].trials[2])
    assert len(workshop.rates) == 1


def test_what_failed_for_another_reason_is_tried_again_by_the_next_command(questions: Path, tmp_path: Path) -> None:
    config, broken = searched(questions, **ONE), Workshop()

    def train(*_: Any, **__: Any) -> None:
        raise RuntimeError("the network is down")

    broken.train = train  # type: ignore[method-assign]
    outcome = run(questions, tmp_path, broken, config, trials=12)
    assert "5 failed trials and no other; the last: RuntimeError: the network is down" in outcome.failures[SPLIT, "prompt-tuning"]
    assert "run the same command again" in outcome.failures[SPLIT, "prompt-tuning"]
    after = run(questions, tmp_path, config=config, trials=12)
    assert after.found[0].best is not None
    assert after.found[0].count("failed") >= 5


def test_a_full_disk_is_no_failed_trial(questions: Path, tmp_path: Path) -> None:
    config, full = searched(questions, **ONE), Workshop()

    def train(*_: Any, **__: Any) -> None:
        raise UserError("checkpoint", "a full disk", "room", "Free some.") from OSError(errno.ENOSPC, "No space left on device")

    full.train = train  # type: ignore[method-assign]
    outcome = run(questions, tmp_path, full, config)
    assert "a full disk" in outcome.failures[SPLIT, "prompt-tuning"]
    (trial,) = outcome.found[0].trials
    assert trial.state == "running"
    after = run(questions, tmp_path, config=config)
    assert after.found[0].trials[0].state == "complete"
    assert after.found[0].trials[0].values == trial.values


def test_a_method_s_defaults_in_a_preset_do_not_override_what_its_trials_used(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = searched(questions, training={"steps": STEPS, "rate": 0.02}, **ONE)
    outcome = run(questions, Path("out"), config=config, trials=2, only=("settings.length",))
    made = plan(tuned(outcome), engine=Workshop().engine(), standing=CLEAN)
    assert {planned.method.training.rate for planned in made.runs if planned.method is not None} == {0.02}
    named = yaml.safe_load((tmp_path / "out" / "tuned.yaml").read_text(encoding="utf-8"))["methods"][0]["preset"]
    assert Path(named) == tmp_path / "out" / "presets" / "prompt-tuning.yaml"  # from wherever the study is run


def test_a_larger_budget_goes_on_and_another_search_is_refused(questions: Path, tmp_path: Path) -> None:
    config = searched(questions, **ONE)
    before = run(questions, tmp_path, config=config, trials=2, prune=False)
    after = run(questions, tmp_path, config=config, trials=3, prune=False)
    assert after.found[0].trials[:2] == before.found[0].trials
    assert len(after.found[0].trials) == 3
    with pytest.raises(UserError, match="a search that was begun with another search, splits"):
        run(questions, tmp_path, config=config, trials=3, prune=False, share=0.3)
    with pytest.raises(UserError, match=r"training\.steps"):
        run(questions, tmp_path, config=searched(questions, training={"steps": 4}, **ONE), trials=3, prune=False)


# What it leaves


def test_all_trials_are_listed_and_the_page_says_more_than_the_best(whole: Outcome) -> None:
    rows = json.loads((whole.out / "trials.json").read_text(encoding="utf-8"))["trials"]
    made = [(each.split, each.label, trial.number) for each in whole.found for trial in each.trials]
    assert [(row["split"], row["method"], row["trial"]) for row in rows] == made
    with (whole.out / "trials.csv").open(encoding="utf-8") as file:
        flat = list(csv.DictReader(file))
    assert [json.loads(row["values"]) for row in flat] == [row["values"] for row in rows]
    assert {"state", "steps", "seconds", "score"} <= set(flat[0])
    page = (whole.out / "search.md").read_text(encoding="utf-8")
    assert "Every method had the same on every split: 5 whole trainings." in page
    spread = page.split("## Spread over trials")[1].split("## What was chosen")[0]
    for each in whole.found:
        scores = sorted(trial.score.value for trial in each.trials if trial.score)
        line = next(line for line in spread.splitlines() if f"| {each.label} |" in line)
        assert f"{100 * scores[0]:.1f} % " in line
        assert f"{100 * scores[-1]:.1f} % " in line
        assert f" of {5 * STEPS} |" in line
    assert page.index("## Spread over trials") < page.index("## What was chosen")


def test_a_preset_says_on_what_it_was_chosen(whole: Outcome) -> None:
    values = yaml.safe_load(preset(whole, "lora").read_text(encoding="utf-8"))
    found = next(each for each in whole.found if each.label == "lora")
    assert found.best is not None
    entry = values["splits"][SPLIT]
    side = whole.sides[SPLIT]
    assert entry["seen"] == sorted(side.train_templates | side.test_templates)
    assert entry["training"] == {"rate": found.best.values["training.rate"]}
    assert entry["settings"] == {"rank": found.best.values["settings.rank"]}
    assert entry["found"]["accuracy"] == asdict(found.best.score) if found.best.score else False
    assert entry["found"]["accuracy"]["low"] < entry["found"]["accuracy"]["value"]
    assert sum(entry["found"]["trials"].values()) == len(found.trials)
    provenance = values["provenance"]
    assert provenance["data"]["digest"] == whole.made.record.data["digest"]
    assert provenance["made by"]["commit"] == "0" * 40
    assert provenance["made by"]["optuna"]
    assert provenance["search"]["trials"] == 5


def test_a_study_uses_the_preset_and_then_needs_its_file_no_more(whole: Outcome, questions: Path, tmp_path: Path) -> None:
    file = preset(whole)
    best = whole.found[0].best
    assert best is not None
    config = tuned(whole, training={"steps": 5, "rate": 0.5})
    moved = tmp_path / "moved.yaml"
    moved.write_bytes(file.read_bytes())
    config = config.model_copy(update={"methods": (config.methods[0].model_copy(update={"preset": str(moved)}),)})
    outcome = run_study(config, tmp_path / "study", engine=Fake().engine(), standing=CLEAN)
    assert outcome.complete
    made = plan(config, tmp_path / "study", engine=Fake().engine(), standing=CLEAN)
    trained = [run for run in made.runs if run.trains]
    assert trained
    for run_ in trained:
        assert run_.method is not None
        assert run_.method.training.rate == best.values["training.rate"]  # above the study's own 0.5
        assert run_.method.settings.model_dump()["length"] == best.values["settings.length"]
        assert run_.method.training.steps == 5
        card = json.loads((tmp_path / "study" / run_.path / "adapter" / "affinage.json").read_text(encoding="utf-8"))
        assert set(card["seen"]) == whole.sides[SPLIT].train_templates | whole.sides[SPLIT].test_templates
    moved.unlink()
    standing = yaml.safe_load((tmp_path / "study" / "study.yaml").read_text(encoding="utf-8"))
    again = run_study(validated(StudyConfig, standing, "test"), tmp_path / "study", engine=Fake().engine(), standing=CLEAN)
    assert again.complete
    assert [planned.path for planned in plan(validated(StudyConfig, standing, "t"), engine=Fake().engine(), standing=CLEAN).runs] == [
        planned.path for planned in made.runs
    ]


def test_what_stands_at_the_method_is_above_its_preset(whole: Outcome) -> None:
    methods = [{"name": "prompt-tuning", "preset": str(preset(whole)), "settings": {"length": 3}, "training": {"rate": 0.25}}]
    made = plan(tuned(whole, methods=methods), engine=Workshop().engine(), standing=CLEAN)
    method = next(run.method for run in made.runs if run.trains)
    assert method is not None
    assert (method.training.rate, method.settings.model_dump()["length"]) == (0.25, 3)


def test_a_preset_that_has_seen_what_a_study_tests_is_refused(whole: Outcome, tmp_path: Path) -> None:
    plan(tuned(whole), engine=Workshop().engine(), standing=CLEAN)
    both = tuned(whole, splits={"kind": "folds", "folds": 2, "count": 2, "development": False})
    with pytest.raises(
        UserError, match=r"methods\.prompt-tuning\.preset: found prompt-tuning\.yaml, trained or chosen on \d+ templates that split fold-1-of-2"
    ):
        run_study(both, tmp_path / "study", engine=Workshop().engine(), standing=CLEAN)
    assert not (tmp_path / "study").exists()
    same_name = tuned(whole, splits={"kind": "folds", "folds": 2, "count": 1, "seed": 7, "development": False})
    with pytest.raises(UserError, match="templates that split fold-0-of-2 tests"):
        plan(same_name, engine=Workshop().engine(), standing=CLEAN)


def test_each_split_has_its_own_values(questions: Path, tmp_path: Path) -> None:
    config = searched(questions, splits={"kind": "folds", "folds": 2, "count": 2, "development": False}, **ONE)
    outcome = run(questions, tmp_path, config=config, trials=4)
    made = plan(tuned(outcome), engine=Workshop().engine(), standing=CLEAN)
    rates = {run.split.name: run.method.training.rate for run in made.runs if run.trains and run.method}
    assert rates == {each.split: each.best.values["training.rate"] for each in outcome.found if each.best}
    assert len(set(rates.values())) == 2
    third = tuned(outcome, splits={"kind": "folds", "folds": 3, "count": 1, "development": False})
    with pytest.raises(UserError, match="with values for fold-0-of-2, fold-1-of-2 only"):
        plan(third, engine=Workshop().engine(), standing=CLEAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "no preset of format 1"),
        ({"method": "lora"}, "a preset of 'lora'"),
        ({"splits": {}}, "no preset of format 1"),
        ({"splits": {SPLIT: {"settings": {}, "tarining": {}, "seen": []}}}, "an unknown key"),
        ({"splits": {SPLIT: {"training": {"rate": -1}, "seen": []}}}, "greater than 0"),
        ({"splits": {SPLIT: {"settings": {}}}}, "seen"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(whole: Outcome, tmp_path: Path, change: Mapping[str, Any], message: str) -> None:
    values = yaml.safe_load(preset(whole).read_text(encoding="utf-8"))
    file = tmp_path / "preset.yaml"
    file.write_text(yaml.safe_dump({**values, **change}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        plan(tuned(whole, methods=[{"name": "prompt-tuning", "preset": str(file)}]), engine=Workshop().engine(), standing=CLEAN)


# What may be searched


def test_what_cannot_be_searched_is_said_at_once(questions: Path, whole: Outcome, tmp_path: Path) -> None:
    methods = [{"name": "none"}, {"name": "prompt-tuning", "preset": str(preset(whole))}, {"name": "lora"}]
    methods.append({"name": "lora", "label": "later", "start": "similar"})
    with pytest.raises(UserError) as raised:
        run(questions, tmp_path, config=searched(questions, methods=methods), only=("training.rat",))
    message = str(raised.value)
    assert "methods.prompt-tuning.preset: found the result of another search" in message
    assert "methods.lora: found nothing to search" in message
    assert "methods.later.start: found 'similar'" in message
    assert "Did you mean 'training.rate'?" in message or "Known: settings.rank, training.rate" in message
    with pytest.raises(UserError, match="no method that trains"):
        run(questions, tmp_path, config=searched(questions, methods=[{"name": "none"}]))
    assert not any(tmp_path.iterdir())


def test_only_what_is_named_is_searched(questions: Path, tmp_path: Path) -> None:
    outcome = run(questions, tmp_path, config=searched(questions, **ONE), only=("training.rate",), trials=3)
    assert {tuple(trial.values) for trial in outcome.found[0].trials} == {("training.rate",)}


@pytest.mark.parametrize("values", [{}, {"trials": 3, "seconds": 1.0}, {"trials": 0}, {"trials": 1, "sampler": "grid"}])
def test_a_search_has_one_budget_and_known_values(values: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        validated(SearchConfig, values, "flags")


@pytest.mark.parametrize("name", [name for name in registry if name != "none"])
def test_every_method_can_take_what_its_space_offers(name: str) -> None:
    method = registry.get(name)
    assert "training.rate" in method.space
    kinds = Counter(type(part) for part in method.space.values())
    assert kinds[Span] >= 1
    for number in range(6):
        values = begin(method.space, [], key=(name, number), sampler="random", prune=False).values
        settings = {key.removeprefix("settings."): value for key, value in values.items() if key.startswith("settings.")}
        training = {key.removeprefix("training."): value for key, value in values.items() if key.startswith("training.")}
        resolved = resolve(MethodConfig(name=name, settings=settings, training=training), TrainingConfig())
        found = {f"settings.{key}": value for key, value in resolved.settings.model_dump(mode="json").items()}
        found |= {f"training.{key}": value for key, value in resolved.training.model_dump(mode="json").items()}
        assert {key: found[key] for key in values} == dict(values)


def test_a_space_over_a_value_that_is_not_there_is_a_mistake() -> None:
    method = registry.get("lora")
    with pytest.raises(ValueError, match=r"'settings\.length' is neither"):
        check_space({"settings.length": Span(1, 2)}, method.settings, "lora")


def test_a_study_without_presets_is_planned_as_before(questions: Path) -> None:
    made = plan(study(questions), engine=Fake().engine(), standing=CLEAN)
    assert {run.chosen_on for run in made.runs} == {frozenset()}
