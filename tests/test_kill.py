"""kill -9 at random moments of a whole study, and the same command again: it ends bit for bit where an undisturbed one ends."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from affinage import seeds
from affinage.config import StudyConfig
from affinage.store import Checkout, RunFolder, StudyFolder, read_log, read_plan, read_state
from affinage.study import run
from tiny import questions, write_model, write_questions

KILLS = 3
"""Per configuration, at least; there are four."""

STEPS = 8

CONFIGURATIONS = [("float32", "letters"), ("float32", "text"), ("bfloat16", "letters"), ("bfloat16", "text")]


def work(values: dict[str, Any], out: Path) -> None:
    """What a killed process was doing: the whole study."""
    outcome = run(StudyConfig.model_validate(values), out, standing=Checkout("0" * 40, False), stale_after=2.0, poll=0.05)
    for planned, reason in outcome.failures:
        print(planned.path, reason, file=sys.stderr)  # noqa: T201
    sys.exit(0 if outcome.complete else 1)


@dataclass(frozen=True)
class Theatre:
    """Starts processes that have the heavy modules in them already."""

    context: Any

    def start(self, values: dict[str, Any], out: Path) -> BaseProcess:
        process: BaseProcess = self.context.Process(target=work, args=(values, out))
        process.start()
        return process

    def whole(self, values: dict[str, Any], out: Path) -> float:
        """Runs the study to its end; gives the seconds."""
        began = time.monotonic()
        process = self.start(values, out)
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began


@pytest.fixture(scope="module")
def theatre() -> Theatre:
    """A server that imports once and forks for each process; nothing has computed in it, so the children's threads are their own."""
    context = multiprocessing.get_context("forkserver")
    names = ("study", "backbone", "train", "evaluate", "adapters")
    context.set_forkserver_preload([*(f"affinage.{name}" for name in names), "transformers.models.llama.modeling_llama"])
    first = context.Process(target=time.time)
    first.start()
    first.join()  # the imports are over
    return Theatre(context)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer: two threads meet after each operation, which takes long on a busy machine."""
    return write_model(tmp_path_factory.mktemp("one layer") / "model", layers=1)


def study(model: Path, data: Path, dtype: str, style: str) -> dict[str, Any]:
    """One method on one of two cultures, one split, a checkpoint after each step, two threads."""
    return {
        "model": {"id": str(model), "dtype": dtype, "device": "cpu", "threads": 2},
        "data": {"source": "table", "path": str(data), "cultures": ["Atlantis"]},
        "prompt": {"style": style},
        "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
        "methods": [{"name": "lora", "settings": {"rank": 2, "targets": ["q_proj", "v_proj"]}}],
        "training": {"steps": STEPS, "batch_size": 2, "loss": "choice" if style == "text" else "answer", "checkpoint_seconds": 0},
        "starts": 1,
    }


def trained(out: Path) -> RunFolder | None:
    """The folder of the one run that trains, once it stands."""
    found = [path for path in out.glob("runs/lora/Atlantis/*") if path.is_dir()]
    return RunFolder(found[0]) if found else None


def steps(out: Path) -> int:
    """How far the log says that training is."""
    there = trained(out)
    return 0 if there is None else len(read_log(there.log))


def assert_same(out: Path, whole: Path) -> None:
    """Adapters and scores byte for byte, the log but for its clock."""
    record = read_plan(StudyFolder(whole))
    assert read_plan(StudyFolder(out)) == record
    for row in record.runs:
        one, other = StudyFolder(out).run(row["run"]), StudyFolder(whole).run(row["run"])
        state = read_state(one)
        assert state is not None
        assert state.status == "finished"
        names = [path.name for path in other.adapter.glob("*")]
        assert sorted(path.name for path in one.adapter.glob("*")) == sorted(names)
        for name in names:
            assert (one.adapter / name).read_bytes() == (other.adapter / name).read_bytes(), name
        assert one.scores("Atlantis").read_bytes() == other.scores("Atlantis").read_bytes()
        logs = [[{**line, "seconds": 0} for line in read_log(folder.log)] for folder in (one, other)]
        assert logs[0] == logs[1]
        assert not list(one.path.rglob("*.tmp"))


@pytest.mark.parametrize(("dtype", "style"), CONFIGURATIONS)
def test_a_killed_study_ends_where_an_undisturbed_one_ends(dtype: str, style: str, theatre: Theatre, model: Path, tmp_path: Path) -> None:
    data = write_questions(tmp_path / "questions.parquet", [*questions("Atlantis", 12), *questions("Lemuria", 12)])
    values = study(model, data, dtype, style)
    seconds = theatre.whole(values, tmp_path / "whole")
    assert steps(tmp_path / "whole") == STEPS
    there = trained(tmp_path / "whole")
    assert there is not None
    step_seconds = sum(line["seconds"] for line in read_log(there.log)) / STEPS
    kills, attempt, in_training = 0, 0, 0
    while kills < KILLS or not in_training:  # unless one dies in its training, nothing is continued
        chance = seeds.uniform("kill", time.time_ns())
        out = tmp_path / f"killed-{attempt}"
        process = theatre.start(values, out)
        if kills:  # the first dies anywhere, the others in training
            before = steps(out)
            while process.is_alive() and steps(out) <= before:
                time.sleep(0.005)
        process.join(chance * (step_seconds * (STEPS - steps(out)) if kills else seconds))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            in_training += 0 < steps(out) < STEPS
        else:  # it was quicker than the whole one
            assert process.exitcode == 0
            assert_same(out, tmp_path / "whole")
            attempt += 1
        assert kills + attempt < 40
    theatre.whole(values, out)
    assert_same(out, tmp_path / "whole")
