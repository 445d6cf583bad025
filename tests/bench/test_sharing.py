"""The bench of sharing: what is compared at equal steps and at equal seconds, that all variants start alike, and what a page says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benches import LIMITS, Script, Twin, learning
from safetensors.torch import load_file
from typer.testing import CliRunner

from affinage.bench.learning.curves import Curve, Point, Standing
from affinage.bench.learning.runner import Limits
from affinage.bench.learning.side import JUDGE
from affinage.bench.learning.trainings import Trainings
from affinage.bench.material import Material
from affinage.bench.sharing.bench import METHODS, sharing
from affinage.bench.sharing.figure import draw, write_figure
from affinage.bench.sharing.readings import Cut, Spread, compared, cuts
from affinage.bench.sharing.result import Sharing, as_dict, markdown, write
from affinage.bench.wire import SideError
from affinage.cli import app


def curve(variant: str, seed: int, pace: float, fall: float, state: str = "through") -> Curve:
    """Measured at 0, 2 and 4 steps of `pace` seconds; the loss falls by `fall` a step, the accuracy stays."""
    return Curve(variant, seed, state, tuple(Point(at, at * pace, at * 100, Standing(5 - at * fall, 0.25, 1.4)) for at in (0, 2, 4)))


CURVES = (curve("1", 0, 3.0, 0.5), curve("1", 1, 4.0, 0.6), curve("4", 0, 1.0, 0.4), curve("4", 1, 1.5, 0.7))


def result_of(*curves: Curve, schedule: str = "linear") -> Sharing:
    trainings = Trainings("affinage bench sharing", {"device": "cpu"}, {}, Standing(5.5, 0.25, 1.4), curves)
    return Sharing(schedule, "loss", ("1", "4"), trainings)


def at(value: float, by: str = "seconds") -> Cut:
    return next(cut for cut in cuts(compared(CURVES, ("1", "4"))) if (cut.by, cut.value) == (by, value))


def test_equal_steps_and_equal_seconds_are_read_off_the_same_points() -> None:
    found = cuts(compared(CURVES, ("1", "4")))
    # The quickest variant's slower seed was through after 6 s, the slowest after 16.
    assert [(cut.by, cut.value) for cut in found] == [
        *(("steps", 0), ("steps", 2), ("steps", 4)),
        *(("seconds", 1.5), ("seconds", 3.0), ("seconds", 4.5), ("seconds", 6.0), ("seconds", 16.0)),
    ]
    assert at(2, "steps").of("4", "loss") == Spread((5 - 0.8, 5 - 1.4))
    assert [point.steps for point in at(6.0).points["1"]] == [2, 0], "a seed that was measured later than that stands where it was before"
    assert [point.steps for point in at(6.0).points["4"]] == [4, 4]
    assert [at(value).through["4"] for value in (3.0, 6.0, 16.0)] == [False, True, True]
    assert [at(value).through["1"] for value in (6.0, 16.0)] == [False, True]


def test_differences_are_paired_by_seed_and_agree_only_by_sign() -> None:
    difference = at(4, "steps").difference("4", "1", "loss")
    assert difference.values == pytest.approx((0.4, -0.4))
    assert not difference.agree
    sooner = at(6.0).difference("4", "1", "loss")
    assert sooner.values == pytest.approx((-0.6, -2.8))
    assert sooner.agree
    assert not Spread((1.0,)).agree, "one seed agrees with nobody"
    assert not Spread((1.0, 0.0)).agree


@pytest.mark.parametrize(
    ("curves", "seeds"),
    [
        (CURVES, {"1": [0, 1], "4": [0, 1]}),
        ((*CURVES[:3], curve("4", 1, 1.0, 0.5, "running")), {"1": [0], "4": [0]}),
        ((*CURVES[:3], curve("4", 1, 1.0, 0.5, "failed: ValueError")), {"1": [0, 1]}),
        ((*CURVES[:2], Curve("4", 0, "out of time", CURVES[2].points[:1])), {}),
        (CURVES[:2], {}),
    ],
    ids=["all", "one still runs", "one broke", "no step", "one variant alone"],
)
def test_what_is_compared_has_the_same_seeds(curves: tuple[Curve, ...], seeds: dict[str, list[int]]) -> None:
    assert {variant: [each.seed for each in own] for variant, own in compared(curves, ("1", "4")).items()} == seeds


def test_a_page_says_who_agrees_and_which_schedule() -> None:
    page = markdown(result_of(*CURVES), "here")
    assert "| 6 s | 4 | -1.7000 (-2.8000 to -0.6000), all 2 seeds agree | +0.0000 (+0.0000 to +0.0000) | +0.0 points" in page
    assert "| step 0 | 4 | 0 | 5.0000 (5.0000 to 5.0000) | 5.0000, 5.0000 |" in page
    assert "0.0000 (-0.4000 to +0.4000) |" in page
    assert "| 1 | 100 (100 to 100) | 3.5 (3 to 4) | 14 (12 to 16) |" in page
    assert "| 6 s | 1 | 0 to 2 |" in page
    assert "| 6 s | 4 | 4, through |" in page
    assert "the schedule is linear over these steps" in page
    assert "The rate is constant" in markdown(result_of(*CURVES, schedule="constant"), "here")
    assert "nothing to compare" in markdown(result_of(CURVES[0]), "here")


def test_variants_differ_in_colour_and_in_line() -> None:
    lines = [line for line in draw(result_of(*CURVES)).axes[0].get_lines() if str(line.get_label()).endswith("mean of 2")]
    assert len(lines) == len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 2


@pytest.fixture(scope="module")
def ready(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    training = {"batch_size": 6, "loss": "choice", "steps": 99}
    return learning(tiny_folder, tmp_path_factory.mktemp("questions"), prompt={"style": "text"}, training=training)


def variant_of(request: dict[str, Any]) -> str:
    """A training's name in the log: its variant, and over how many steps its schedule is."""
    training = json.loads(Path(request["work"]).read_text())["training"]
    return JUDGE if request["side"] == JUDGE else f"{training['questions_per_template']} over {training['steps']}"


def run(ready: Material, script: Script, log: list[str] | None = None, **values: Any) -> Sharing:
    chosen: dict[str, Any] = {"method": "prompt-tuning", "per_template": (4, 1), "starts": 2, "limits": LIMITS, "command": "c", **values}
    return sharing(ready.config, start=lambda: Twin([] if log is None else log, script, variant_of), **chosen)


def scripted(variant: str, request: dict[str, Any]) -> dict[str, Any] | None:
    """Nothing is trained or measured."""
    match request["do"]:
        case "learn":
            return {"seconds": request["steps"] * (2.0 if variant == "1 over 4" else 1.0), "tokens": 10 * request["steps"]}
        case "judge":
            return {"loss": 1.0, "accuracy": 0.5, "choice": 1.2}
        case "export":
            return {}
    return {"device": "cpu", "threads": 1}


def test_variants_take_turns_and_the_schedule_has_the_same_steps(ready: Material) -> None:
    log: list[str] = []
    kept: list[Sharing] = []
    result = run(ready, scripted, log, on_result=kept.append)
    turns = [("1", 0), ("4", 0), ("4", 1), ("1", 1)]
    lines = [line for variant, seed in turns for line in (f"open {variant} over 4 {{'seed': {seed}}}", f"close {variant} over 4")]
    assert log == ["open judge {}", *lines, "close judge"]
    assert result.variants == ("1", "4")
    assert result.trained == "choice"
    assert [(each.side, each.seed, each.state) for each in result.trainings.curves] == [(variant, seed, "through") for variant, seed in turns]
    assert [point.steps for point in result.trainings.curves[0].points] == [0, 1, 2, 4]
    assert len(kept) == 4 * 4
    early = run(ready, scripted, limits=Limits(4, 2.0, 2), starts=1)
    assert [(each.state, each.points[-1].steps) for each in early.trainings.curves] == [("out of time", 1), ("out of time", 2)]


def test_a_failure_is_a_state_and_an_interruption_keeps_what_there_is(ready: Material) -> None:
    def broken(variant: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if variant == "4 over 4" and request["do"] == "learn":
            raise SideError("ValueError: out of order")
        return scripted(variant, request)

    result = run(ready, broken, starts=1)
    assert [each.state for each in result.trainings.curves] == ["through", "failed: ValueError: out of order"]
    assert result.failed

    def stop(so_far: Sharing) -> None:
        if len(so_far.trainings.curves) == 3:
            raise KeyboardInterrupt

    log: list[str] = []
    result = run(ready, scripted, log, on_result=stop)
    assert result.trainings.interrupted
    assert [each.state for each in result.trainings.curves] == ["through", "through", "interrupted"]
    assert log.count("close judge") == 1
    assert [each.seed for own in result.compared.values() for each in own] == [0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_real_bench_starts_alike_and_shares_more(ready: Material, tmp_path: Path, method: str) -> None:
    seen: dict[str, list[dict[str, torch.Tensor]]] = {}

    def listening(variant: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if request["do"] == "judge" and request["folder"]:
            folder = Path(request["folder"])
            seen.setdefault(folder.parent.name, []).append(load_file(folder / "adapter_model.safetensors"))
        return None

    result = run(ready, listening, method=method, starts=1, limits=Limits(4, 1e9, 4))
    plain, shared = (result.trainings.of(variant)[0].points for variant in ("1", "4"))
    assert plain[0].standing == shared[0].standing
    for name, start in seen["1-0"][0].items():
        assert torch.equal(start, seen["4-0"][0][name])
    assert any(not torch.equal(start, seen["1-0"][-1][name]) for name, start in seen["1-0"][0].items())
    assert plain[-1].standing != plain[0].standing, "the judge reads what was learned"
    assert shared[-1].tokens < plain[-1].tokens
    record, page = write(result, tmp_path, "here")
    values = json.loads(record.read_text())
    assert values == json.loads(json.dumps(as_dict(result)))
    assert [row["variant"] for row in values["cuts"][0]["rows"]] == ["1", "4"]
    assert values["costs"]["4"]["nodes_per_step"]["mean"] < values["costs"]["1"]["nodes_per_step"]["mean"]
    assert f"* method: {method}" in page.read_text()
    for path in write_figure(result, tmp_path, "here"):
        assert path.stat().st_size > 5000


def test_another_method_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "sharing", "--method", "full"])
    assert result.exit_code == 2
    assert result.stderr.startswith("--method: found 'full'")
