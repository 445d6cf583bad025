"""The race to a held-out loss: what is a target, what is a bound, whose time counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benches import LIMITS, Script, Twin, learning
from typer.testing import CliRunner

from affinage.bench.learning.curves import Point, Standing
from affinage.bench.learning.runner import Limits
from affinage.bench.learning.side import OURS, TRL
from affinage.bench.learning.trainings import Trainings
from affinage.bench.loss.bench import STUDY, race
from affinage.bench.loss.figure import write_figure
from affinage.bench.loss.result import Race, as_dict, markdown, write
from affinage.bench.loss.targets import Ratio, Target, ratio, reached, summary, targets
from affinage.bench.material import Material
from affinage.bench.wire import SideError
from affinage.cli import app
from affinage.config import StudyConfig, load_study
from affinage.records import UserError


def at(steps: int, seconds: float, loss: float, accuracy: float = 0.25, choice: float = 1.0) -> Point:
    return Point(steps, seconds, 100 * steps, Standing(loss, accuracy, choice))


THEIRS = (at(0, 0, 6.0), at(5, 50, 4.0, 0.5), at(10, 100, 3.0, 0.25))
OURS_FAST = (at(0, 0, 5.0), at(5, 10, 3.0, 0.5), at(10, 20, 1.0, 0.75))
OURS_SLOW = (at(0, 0, 5.0), at(5, 10, 4.5), at(10, 40, 4.5))
UNTOUCHED = Standing(5.0, 0.3, 1.4)


def test_targets_are_functions_of_the_peer_and_the_untouched_model() -> None:
    best, way, untouched, accuracy = targets(THEIRS, UNTOUCHED)
    assert (best.measure, best.value) == ("loss", 3.0)
    assert way.value == pytest.approx(5.0 - 0.9 * 2.0)
    assert (untouched.value, accuracy.measure, accuracy.value) == (5.0, "accuracy", 0.5)
    assert [target.value for target in targets(THEIRS, Standing(2.5, 0.3, 1.4))] == [3.0, 2.5, 0.5], "no way down from a model that is better"
    assert targets((), UNTOUCHED) == ()


def test_a_target_is_reached_at_the_first_measured_point_that_meets_it() -> None:
    target = Target("", "loss", 3.5)
    assert reached(THEIRS, target) == THEIRS[2]
    assert reached(OURS_FAST, target) == OURS_FAST[1]
    assert reached(OURS_SLOW, target) is None
    assert reached(THEIRS, Target("", "accuracy", 0.5)) == THEIRS[1]


@pytest.mark.parametrize(
    ("theirs", "ours", "loss", "shown"),
    [
        (THEIRS, OURS_FAST, 3.0, "10.0"),
        (THEIRS, OURS_FAST, 1.0, ">= 5.0"),
        (THEIRS, OURS_SLOW, 4.0, "<= 1.2"),
        (THEIRS, OURS_SLOW, 1.0, "neither"),
        (THEIRS, OURS_SLOW, 5.5, ">= 5.0 (affinage at its start, one step counted)"),
        (THEIRS, OURS_SLOW[:1], 5.5, "no step of ours"),
        (OURS_SLOW, THEIRS, 5.5, "the peer at its start"),
        (THEIRS, OURS_FAST, 6.0, "both at their starts"),
        (THEIRS, (), 6.0, "neither"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ratios_and_bounds(theirs: tuple[Point, ...], ours: tuple[Point, ...], loss: float, shown: str) -> None:
    assert str(ratio(theirs, ours, Target("", "loss", loss))) == shown


@pytest.mark.parametrize(
    ("signs", "shown"),
    [("== =", "2.0 (1.0 to 3.0)"), ("= >= =", "at least 1.0"), ("<= =", "at most 2.0"), ("<= >=", "no bound"), ("", "")],
)
def test_a_summary_says_no_more_than_its_ratios(signs: str, shown: str) -> None:
    listed = ["=", "=", "="] if signs == "== =" else signs.split()
    assert summary([Ratio(sign, place + 1.0) for place, sign in enumerate(listed)]).startswith(shown)  # type: ignore[arg-type]
    assert summary([Ratio("", 0.0, "neither")]) == ""


@pytest.fixture(scope="module")
def ready(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return learning(tiny_folder, tmp_path_factory.mktemp("questions"))


def run(ready: Material, log: list[str], script: Script, **values: Any) -> Race:
    chosen: dict[str, Any] = {"starts": 2, "ours": LIMITS, "theirs": LIMITS, "command": "affinage bench loss", **values}
    return race(ready.config, start=lambda: Twin(log, script), **chosen)


def seconds(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
    """Ours takes 2 s a step, the peer 30; nothing is trained."""
    return {"seconds": request["steps"] * (30.0 if side == TRL else 2.0), "tokens": 10} if request["do"] == "learn" else None


def test_both_sides_train_from_every_seed_and_who_begins_changes(ready: Material) -> None:
    log: list[str] = []
    kept: list[Race] = []
    result = run(ready, log, seconds, on_result=kept.append)
    assert log == [
        "open judge {}",
        *[line for side, seed in ((TRL, 0), (OURS, 0), (OURS, 1), (TRL, 1)) for line in (f"open {side} {{'seed': {seed}}}", f"close {side}")],
        "close judge",
    ]
    assert [(curve.side, curve.seed, curve.state) for curve in result.trainings.curves] == [
        (TRL, 0, "through"),
        (OURS, 0, "through"),
        (OURS, 1, "through"),
        (TRL, 1, "through"),
    ]
    assert [point.steps for point in result.trainings.curves[0].points] == [0, 1, 2, 4]
    assert [point.seconds for point in result.trainings.curves[0].points] == [0, 30, 60, 120]
    assert len(kept) == 4 * 4
    assert [len(each.trainings.curves) for each in kept[::4]] == [1, 2, 3, 4]
    study = load_study(STUDY)
    assert result.settings[TRL]["rate"] == f"{study.methods[0].training['rate']:g}, linear"
    assert result.settings[OURS]["rate"] == "0.01, linear"
    assert run(ready, [], seconds, starts=1, peer_rate=0.5).settings[TRL]["rate"] == "0.5, linear"


def test_time_runs_out_and_a_failure_is_a_state(ready: Material) -> None:
    result = run(ready, [], seconds, starts=1, theirs=Limits(4, 30.0, 2))
    assert [(curve.state, curve.points[-1].steps) for curve in result.trainings.curves] == [("out of time", 1), ("through", 4)]
    assert not result.failed

    def broken(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if side == TRL and request["do"] == "learn":
            raise SideError("ValueError: out of order")
        return seconds(side, request)

    result = run(ready, [], broken, starts=1)
    assert [curve.state for curve in result.trainings.curves] == ["failed: ValueError: out of order", "through"]
    assert result.failed
    assert len(result.trainings.curves[0].points) == 1


def test_an_interrupted_race_keeps_what_it_has(ready: Material) -> None:
    log: list[str] = []

    def stop(so_far: Race) -> None:
        if len(so_far.trainings.curves) == 2:
            raise KeyboardInterrupt

    result = run(ready, log, seconds, on_result=stop)
    assert result.trainings.interrupted
    assert [(curve.side, curve.state, len(curve.points)) for curve in result.trainings.curves] == [(TRL, "through", 4), (OURS, "interrupted", 1)]
    assert log.count("close judge") == 1


def test_a_real_race_writes_pages_and_figures(ready: Material, tmp_path: Path) -> None:
    result = run(ready, [], lambda side, request: None, starts=1, ours=Limits(6, 1e9, 3))
    ours = next(curve for curve in result.trainings.curves if curve.side == OURS)
    assert ours.points[-1].standing.loss < ours.points[0].standing.loss
    record, page = write(result, tmp_path, "here")
    values = json.loads(record.read_text())
    assert values == json.loads(json.dumps(as_dict(result)))
    assert [target["measure"] for target in values["targets"]][-1] == "accuracy"
    assert [row["of"] for row in values["targets"][0]["rows"]] == ["seed 0", "mean curves"]
    assert [len(curve["points"]) for curve in values["curves"]] == [4, 5]
    assert "the rest differs on purpose" in page.read_text()
    assert "![Held-out loss and accuracy over seconds of training](here.svg)" in page.read_text()
    for path in write_figure(result, tmp_path, "here"):
        assert path.stat().st_size > 5000
    empty = Race(result.settings, Trainings("", {"device": "cpu"}, {}, result.trainings.untouched))
    assert "## To" not in markdown(empty, "here")
    write_figure(empty, tmp_path, "empty")


def test_options_in_a_fresh_order_come_from_the_epoch_s_file(ready: Material) -> None:
    fresh = StudyConfig.model_validate({**ready.config.model_dump(exclude_unset=True), "training": {"batch_size": 6, "orders": "fresh"}})
    opened: list[dict[str, Any]] = []

    def listening(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if request["do"] == "open" and side == OURS:
            opened.append(request["options"])
        return None

    result = race(fresh, starts=1, ours=Limits(2, 1e9, 1), theirs=Limits(1, 1e9, 1), command="", start=lambda: Twin([], listening))
    assert [curve.state for curve in result.trainings.curves] == ["through", "through"]
    assert len(opened[0]["epochs"]) == 1


def test_a_score_that_needs_texts_is_refused(ready: Material) -> None:
    wrong = StudyConfig.model_validate({**ready.config.model_dump(exclude_unset=True), "prompt": {"score": "pmi"}})
    with pytest.raises(UserError, match=r"prompt\.score: found 'pmi'; expected total or per-token"):
        race(wrong, starts=1, ours=LIMITS, theirs=LIMITS, command="")


def test_a_peer_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinage.cli.bench_loss.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["bench", "loss"])
    assert result.exit_code == 2
    assert result.stderr.startswith("peer trl: found no trl, peft, accelerate, datasets; expected it installed.")
