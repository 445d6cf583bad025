"""A bench of learning that is stopped goes on: what is finished is not trained again, and is never mixed with another setting."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benches import LIMITS, Twin, learning
from typer.testing import CliRunner

from affinage.bench.learning.cells import Cells
from affinage.bench.learning.curves import Curve
from affinage.bench.learning.runner import Limits
from affinage.bench.learning.side import OURS, TRL
from affinage.bench.loss.bench import race
from affinage.bench.loss.result import Race, markdown
from affinage.bench.material import Material
from affinage.bench.sharing import bench as sharing_bench
from affinage.bench.wire import SideError
from affinage.cli import app
from affinage.records import UserError


@pytest.fixture(scope="module")
def ready(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return learning(tiny_folder, tmp_path_factory.mktemp("questions"))


def scripted(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
    """Nothing is trained; each learning takes a second a step."""
    match request["do"]:
        case "learn":
            return {"seconds": float(request["steps"]), "tokens": 10}
        case "judge":
            return {"loss": 1.0, "accuracy": 0.5, "choice": 1.2}
        case "export":
            return {}
    return {"device": "cpu", "threads": 1}


def run(ready: Material, cells: Path, log: list[str] | None = None, script: Callable[..., Any] = scripted, **values: Any) -> Race:
    chosen: dict[str, Any] = {"starts": 2, "ours": LIMITS, "theirs": LIMITS, "command": "c", **values}
    return race(ready.config, start=lambda: Twin([] if log is None else log, script), cells=cells, **chosen)


def opened(log: list[str]) -> list[str]:
    return [line for line in log if line.startswith("open") and "judge" not in line]


def stop_in_the_third(so_far: Race) -> None:
    if len(so_far.trainings.curves) == 3 and len(so_far.trainings.curves[-1].points) == 2:
        raise KeyboardInterrupt


def test_what_is_finished_is_not_trained_again(ready: Material, tmp_path: Path) -> None:
    whole = run(ready, tmp_path / "whole").trainings
    first, second, told = [], [], []  # type: ignore[var-annotated]
    stopped = run(ready, tmp_path / "cells", first, on_result=stop_in_the_third).trainings
    assert (stopped.interrupted, stopped.ended, stopped.planned, stopped.kept) == (True, 2, 4, 0)
    assert opened(first) == [f"open {TRL} {{'seed': 0}}", f"open {OURS} {{'seed': 0}}", f"open {OURS} {{'seed': 1}}"]
    again = run(ready, tmp_path / "cells", second, on_event=told.append)
    assert opened(second) == [f"open {OURS} {{'seed': 1}}", f"open {TRL} {{'seed': 1}}"]
    assert again.trainings.curves == whole.curves
    assert again.trainings.kept == 2
    assert told[0] == f"seed 0, {TRL}: finished by an earlier run, kept"
    assert "2 of the 4 trainings were finished by an earlier run" in markdown(again, "here")
    third: list[str] = []
    assert run(ready, tmp_path / "cells", third).trainings.curves == whole.curves
    assert third == ["open judge {}", "close judge"]
    assert run(ready, tmp_path / "cells", third, starts=3).trainings.kept == 4
    assert opened(third) == [f"open {TRL} {{'seed': 2}}", f"open {OURS} {{'seed': 2}}"]


def test_a_training_that_broke_runs_again(ready: Material, tmp_path: Path) -> None:
    def broken(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if side == TRL and request["do"] == "learn":
            raise SideError("out of order")
        return scripted(side, request)

    assert run(ready, tmp_path / "cells", script=broken, starts=1).trainings.failed
    log: list[str] = []
    assert not run(ready, tmp_path / "cells", log, starts=1).trainings.failed
    assert opened(log) == [f"open {TRL} {{'seed': 0}}"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"theirs": Limits(8, 1e9, 2)}, r"work\.trl, per seed: at most 4 steps .* there, at most 8 steps .* now"),
        ({"peer_rate": 0.5}, r"sides\.trl\.rate: 0\.0001, linear there, 0\.5, linear now"),
        ({"seed": 7}, r"study\.seed: 0 there, 7 now"),
    ],
    ids=["limits", "rate", "seed"],
)
def test_another_setting_is_refused_before_anything_runs(ready: Material, tmp_path: Path, values: dict[str, Any], named: str) -> None:
    run(ready, tmp_path / "cells", starts=1)
    before = {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    seed = values.pop("seed", 0)
    config = ready.config.model_copy(update={"seed": seed})
    log: list[str] = []
    chosen: dict[str, Any] = {"starts": 1, "ours": LIMITS, "theirs": LIMITS, "command": "c", **values}
    with pytest.raises(UserError, match=rf"cells: found trainings of another setting \({named}.*Give another --name, or remove the folder"):
        race(config, start=lambda: Twin(log, scripted), cells=tmp_path / "cells", **chosen)
    assert not log
    assert {path: path.read_bytes() for path in (tmp_path / "cells").iterdir()} == before


def test_other_questions_are_another_setting(tmp_path: Path) -> None:
    Cells.of(tmp_path, {"questions": "a", "work": {"limits": (1, 2)}})
    assert Cells.of(tmp_path, {"questions": "a", "work": {"limits": [1, 2]}}).curve("x", 0) is None
    with pytest.raises(UserError, match="questions: a there, b now; more: nothing there, 1 now"):
        Cells.of(tmp_path, {"questions": "b", "work": {"limits": (1, 2)}, "more": 1})


def test_a_cut_file_is_an_error_and_not_a_training(tmp_path: Path) -> None:
    cells = Cells.of(tmp_path, {})
    cells.keep(Curve("x", 0, "through", ()))
    assert cells.curve("x", 0) == Curve("x", 0, "through", ())
    (tmp_path / "x-0.json").write_text("{")
    with pytest.raises(UserError, match=r"x-0\.json"):
        cells.curve("x", 0)


def test_the_command_says_where_it_stopped_and_goes_on(ready: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    plain = sharing_bench.sharing

    def stopping(given: Callable[..., object], so_far: Any) -> None:
        given(so_far)
        if len(so_far.trainings.curves) == 2:
            raise KeyboardInterrupt

    def twins(*args: Any, on_result: Callable[..., object], **values: Any) -> Any:
        first = not log
        hears = functools.partial(stopping, on_result) if first else on_result
        return plain(*args, **values, on_result=hears, start=lambda: Twin(log, scripted))

    monkeypatch.setattr(sharing_bench, "sharing", twins)
    data = ready.config.data
    command = ["bench", "sharing", "--model", ready.config.model.id, "--source", data.source, "--path", str(data.path), "--culture", "Atlantis"]
    command += ["--per-template", "1", "--per-template", "2", "--seeds", "1", "--steps", "4", "--out", str(tmp_path), "--name", "here"]
    command += [
        part for value in ("model.device=cpu", "model.dtype=float32", "model.threads=1", "training.batch_size=6") for part in ("--set", value)
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130, result.output
    assert f"Stopped. 1 of 2 trainings are in {tmp_path / 'here.cells'}; the same command goes on from there." in result.stderr
    assert json.loads((tmp_path / "here.json").read_text())["interrupted"]
    count = len(opened(log))
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert len(opened(log)) == count + 1
    assert f"Written: {tmp_path / 'here.json'}, {tmp_path / 'here.md'}, {tmp_path / 'here.svg'}, {tmp_path / 'here.png'}" in result.stdout
    assert "2 of 2 trainings are in" in result.stdout
    assert "Next: the same with --set training.schedule=constant" in result.stdout
    result = CliRunner().invoke(app, [*command, "--steps", "6"])
    assert result.exit_code == 2
    assert "work.limits: at most 4 steps" in result.stderr
