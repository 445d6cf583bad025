"""Trackers: told of every step and of the end, changing nothing, and missing with a message that names the extra."""

from __future__ import annotations

import importlib
import importlib.util
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, final, get_args

import pytest

from affinage import tracking
from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.store import Checkout, StudyFolder, read_state, read_study
from affinage.study import Event, plan, run
from affinage.study.tracked import opened, tracked
from affinage.tracking import Facts, Kind, Tracker, open_tracker, trackers
from study_fakes import CLEAN, STEPS, Fake, contents, study, write_questions

NEEDS = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


def installed(name: str) -> pytest.MarkDecorator:
    missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the extra `{name}` is not installed: no {', '.join(missing)}")


@final
class Heard(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, run: str, facts: Facts) -> None:
        self.told.append(("begin", run, dict(facts)))

    def measure(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self.told.append(("measure", run, step, dict(values)))

    def end(self, run: str, values: Mapping[str, float], failure: str = "") -> None:
        self.told.append(("end", run, dict(values), failure))

    def close(self) -> None:
        self.told.append(("close",))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] == kind]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Stands for TensorBoard."""
    found = Heard()
    monkeypatch.setitem(trackers._things, "tensorboard", Kind("tensorboard", "", (), lambda folder, name: found))
    return found


def told_engine(**changes: Any) -> Any:
    """A fake engine whose steps have everything that a step has."""
    fake = Fake(**changes)
    engine = fake.engine()

    def member(*values: Any) -> Any:
        made = fake.member(*values)
        on_step = made.on_step
        full = {"loss": 0.5, "rate": 1e-3, "norm": 2.0, "nodes": 100, "seconds": 0.1, "total": STEPS}
        made.on_step = lambda record: on_step(SimpleNamespace(**full, step=record.step))
        return made

    return replace(engine, member=cast(Any, member))


def config_of(folder: Path, name: str, **changes: Any) -> StudyConfig:
    return study(write_questions(folder / "questions.parquet"), methods=[{"name": "lora", "settings": {"rank": 4}}], tracking=name, **changes)


def test_the_names_of_the_configuration_are_those_of_the_registry() -> None:
    names = get_args(StudyConfig.model_fields["tracking"].annotation)
    assert names[0] == StudyConfig().tracking == "none"
    assert sorted(names[1:]) == list(trackers)


def test_every_run_is_told_from_its_first_step_to_its_accuracies(tmp_path: Path, heard: Heard) -> None:
    outcome = run(config_of(tmp_path, "tensorboard"), tmp_path / "out", engine=told_engine(), standing=CLEAN)
    assert outcome.complete
    record = read_study(tmp_path / "out")
    assert sorted(each[1] for each in heard.of("begin")) == sorted(each[1] for each in heard.of("end")) == sorted(run.run for run in record.runs)
    trained = {run.run for run in record.runs if run.trained_culture in {"Spain", "Iran"}}
    steps = {path: [each[2] for each in heard.of("measure") if each[1] == path] for path in trained}
    assert set(map(tuple, steps.values())) == {tuple(range(1, STEPS + 1))}
    assert {each[1] for each in heard.of("measure")} == trained
    assert heard.of("measure")[0][3] == {"loss": 0.5, "rate": 1e-3, "gradient norm": 2.0, "nodes": 100.0, "seconds": 0.1}
    facts = next(each[2] for each in heard.of("begin") if each[1] in trained)
    assert facts["method"] == "lora"
    assert facts["settings.rank"] == 4
    # The fake's first option has the adapter's value, 0 and 0 the others: whoever has trained prefers it.
    for _, path, values, failure in heard.of("end"):
        assert failure == ""
        assert set(values) == {"accuracy/Spain", "accuracy/Iran"}
        assert all(0 <= value <= 1 for value in values.values()), path
    assert heard.told[-1] == ("close",)


def test_a_tracker_changes_neither_names_nor_results(tmp_path: Path, heard: Heard) -> None:
    for name in ("none", "tensorboard"):
        folder = tmp_path / name
        folder.mkdir()
        run(config_of(folder, name), folder / "out", engine=told_engine(), standing=CLEAN)
    assert heard.told
    plain, followed = (contents(tmp_path / name / "out") for name in ("none", "tensorboard"))
    for each in (plain, followed):
        each.pop("study.yaml")
    assert plain.keys() == followed.keys()
    assert {name for name in plain if plain[name] != followed[name]} <= {"plan/costs.jsonl"}


@pytest.mark.parametrize("broken", ["begin", "measure", "end"])
def test_what_a_tracker_refuses_fails_its_run_alone(broken: str, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = getattr(Heard, broken)

    def refuse(tracker: Heard, run: str, *rest: Any) -> None:
        if "/Iran/" in run:
            raise OSError("database is locked")
        whole(tracker, run, *rest)

    config = config_of(tmp_path, "tensorboard")
    with monkeypatch.context() as patch:
        patch.setattr(Heard, broken, refuse)
        outcome = run(config, tmp_path / "out", engine=told_engine(), standing=CLEAN)
    assert {planned.trained_culture for planned, _ in outcome.failures} == {"Iran"}
    assert all("OSError: database is locked" in reason and "tracking=none" in reason for _, reason in outcome.failures)
    assert all(reason.startswith(f"tracking of {planned.path}") for planned, reason in outcome.failures)
    assert heard.told[-1] == ("close",)
    assert run(config, tmp_path / "out", engine=told_engine(), standing=CLEAN).complete


def test_a_study_goes_on_with_another_tracker_or_none(tmp_path: Path, heard: Heard) -> None:
    config = config_of(tmp_path, "tensorboard")
    failing = told_engine(fail=lambda folder: "Spain" in str(folder.path))
    assert not run(config, tmp_path / "out", engine=failing, standing=CLEAN).complete
    failures = [each for each in heard.of("end") if each[3]]
    assert failures
    assert all("a loss of nan" in each[3] for each in failures)
    count = len(heard.told)
    rest = run(config.model_copy(update={"tracking": "none"}), tmp_path / "out", engine=told_engine(), standing=CLEAN)
    assert rest.complete
    assert len(heard.told) == count


def test_what_is_not_installed_is_said_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in {"tensorboard", "wandb", "mlflow"}:
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    for name in trackers:
        with pytest.raises(UserError, match=rf'tracking: {name}: found no {name} .*pip install "affinage\[{name}\]"'):
            run(config_of(tmp_path, name), tmp_path / "out", engine=told_engine(), standing=Checkout(None, False))
    assert not (tmp_path / "out").exists()


def test_an_unknown_tracker_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="a known tracker"):
        open_tracker("tensorbord", Path(), "study")


def test_without_a_tracker_the_watcher_is_the_users_own(tmp_path: Path) -> None:
    seen: list[Event] = []
    folder = StudyFolder(tmp_path)
    made = plan(config_of(tmp_path, "none"), engine=told_engine(), standing=CLEAN)
    assert opened(made.config, folder) is None
    with tracked(None, made, folder, seen.append) as watch:
        assert watch == seen.append


# Those that are installed ------------------------------------------------------------------------------------------------------------------


def play(tracker: Tracker) -> None:
    """Two runs side by side, as in a cohort, one of which fails."""
    for name in ("runs/lora/Spain/a", "runs/lora/Iran/a"):
        tracker.begin(name, {"label": "lora", "settings.rank": 4, "rate": 1e-3})
    for step in (1, 2, 3):
        for name in ("runs/lora/Spain/a", "runs/lora/Iran/a"):
            tracker.measure(name, step, {"loss": 1 / step, "gradient norm": 0.5})
    tracker.end("runs/lora/Spain/a", {"accuracy/Spain": 0.75})
    tracker.end("runs/lora/Iran/a", {}, "a loss of nan")
    tracker.begin("runs/lora/Spain/b", {"label": "lora"})
    tracker.measure("runs/lora/Spain/b", 1, {"loss": 1.0})
    tracker.close()


@installed("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_tensorboard_writes_event_files_that_it_reads(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    play(open_tracker("tensorboard", tmp_path, "study"))
    events = EventAccumulator(str(tmp_path / "lora/Spain/a"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    assert [event.value for event in events.Scalars("accuracy/Spain")] == [0.75]
    assert list((tmp_path / "lora/Iran/a").glob("events*"))


@installed("mlflow")
@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_mlflow_writes_one_file_and_finds_a_run_again(tmp_path: Path) -> None:
    play(open_tracker("mlflow", tmp_path, "study"))
    play(open_tracker("mlflow", tmp_path, "study"))
    with sqlite3.connect(tmp_path / "mlflow.db") as file:
        runs = dict(file.execute("select name, status from runs"))
        losses = file.execute("select count(*) from metrics where key = 'loss'").fetchone()[0]
    assert runs == {"lora/Spain/a": "FINISHED", "lora/Iran/a": "FAILED", "lora/Spain/b": "KILLED"}
    assert losses == 2 * (3 + 3 + 1)


@installed("wandb")
@pytest.mark.filterwarnings("ignore")  # of W&B's own imports
def test_wandb_writes_offline_runs(tmp_path: Path) -> None:
    play(open_tracker("wandb", tmp_path, "study"))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3


def test_every_tracker_has_an_extra_of_its_name() -> None:
    text = (Path(tracking.__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    extras = text[text.index("[project.optional-dependencies]") : text.index("[project.scripts]")]
    assert all(f"\n{name} = [" in extras for name in trackers)


def test_runs_stay_as_they_are_when_they_are_done(tmp_path: Path, heard: Heard) -> None:
    config = config_of(tmp_path, "tensorboard")
    run(config, tmp_path / "out", engine=told_engine(), standing=CLEAN)
    count = len(heard.told)
    run(config, tmp_path / "out", engine=told_engine(), standing=CLEAN)
    assert len(heard.told) == count
    record = read_study(tmp_path / "out")
    assert all((state := read_state(record.folder.run(each.run))) is not None and state.status == "finished" for each in record.runs)
