"""The race to a held-out loss: what is a target, what is a bound, what the judge measures, whose time counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benches import made
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from affinage.backbone import load
from affinage.bench.held_out.course import Limits
from affinage.bench.held_out.curves import Curve, Point, Ratio, Standing, Target, mean_curve, ratio, reached, summary, targets
from affinage.bench.held_out.figure import write_figure
from affinage.bench.held_out.judge import Judge
from affinage.bench.held_out.ours import OurLearning
from affinage.bench.held_out.page import Race, as_dict, markdown, write
from affinage.bench.held_out.race import METHOD, STUDY, race
from affinage.bench.held_out.side import OURS, TRL
from affinage.bench.held_out.worker import LossDesk
from affinage.bench.material import Material, material
from affinage.bench.sides.ours import encoded
from affinage.bench.wire import SideError
from affinage.bench.work import Question, Work
from affinage.cli import app
from affinage.config import MethodConfig, StudyConfig, load_study
from affinage.evaluate import evaluate
from affinage.methods import registry, resolve
from affinage.records import UserError
from affinage.store import RunFolder
from affinage.train import Batch, cohort_losses, train

LIMITS = Limits(steps=4, seconds=1e9, every=2)


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


def test_the_mean_is_over_the_steps_that_all_seeds_have() -> None:
    other = (at(0, 0, 4.0), at(5, 30, 2.0, choice=3.0))
    assert mean_curve([Curve(TRL, 0, "through", THEIRS), Curve(TRL, 1, "out of time", other)]) == (at(0, 0, 5.0), at(5, 40, 3.0, 0.375, 2.0))
    assert mean_curve([]) == ()


@pytest.fixture(scope="module")
def ready(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    config = made(tiny_folder, tmp_path_factory.mktemp("questions")).config
    values = {**config.model_dump(exclude_unset=True), "splits": {"side": "development"}}
    return material(StudyConfig.model_validate(values))


def asked(ready: Material, *, trained: bool) -> tuple[Question, ...]:
    questions, _ = ready.tokens.encode_all(ready.trained if trained else ready.tested, ready.config.prompt, seed=0)
    return tuple(Question.of(each) for each in questions)


def work(ready: Material, questions: tuple[Question, ...], folder: Path) -> Work:
    resolved = resolve(MethodConfig(name=METHOD), ready.config.training)
    settings = resolved.settings.model_dump(mode="json")
    return Work(
        model=ready.config.model,
        method=METHOD,
        settings=settings,
        training=resolved.training,
        prompt=ready.config.prompt,
        questions=questions,
        start=folder,
    )


def test_the_judge_measures_what_single_questions_say(ready: Material, tmp_path: Path) -> None:
    held_out = asked(ready, trained=False)
    assert {question.template for question in held_out}.isdisjoint(question.template for question in asked(ready, trained=True))
    judge = Judge(work(ready, held_out, tmp_path))
    learner = OurLearning(work(ready, asked(ready, trained=True), tmp_path / "run"), seed=0)
    learner.learn(2)
    learner.export(tmp_path / "adapter")
    backbone, adapter = load(ready.config.model), learner._adapter
    questions = [encoded(question) for question in held_out]
    for folder, tensors in ((tmp_path / "adapter", adapter), (None, None)):
        found = judge.judged(folder)
        scores = evaluate(backbone, tensors, questions, prompt=ready.config.prompt)
        assert found["accuracy"] == np.mean([int(np.argmax(score.logprob)) == score.answer for score in scores])
        if tensors is not None:
            losses, choices = (
                [cohort_losses(backbone, [Batch(adapter, [question])], loss, "total")[0][0] for question in questions]
                for loss in ("answer", "choice")
            )
            tokens = sum(len(question.continuation_ids[question.rendered.mcq.answer]) for question in questions)
            assert found["loss"] == pytest.approx(sum(losses) / tokens, rel=1e-5)
            assert found["choice"] == pytest.approx(np.mean(choices), rel=1e-5)
    assert judge.judged(None)["loss"] != judge.judged(tmp_path / "adapter")["loss"]


def test_ours_is_the_training_itself(ready: Material, tmp_path: Path) -> None:
    questions = asked(ready, trained=True)
    own = work(ready, questions, tmp_path / "run")
    own = own.model_copy(update={"training": own.training.model_copy(update={"steps": 3})})
    learner = OurLearning(own, seed=5)
    learner.export(tmp_path / "start")
    took = [learner.learn(1), learner.learn(2)]
    assert all(each.seconds > 0 for each in took)
    learner.export(tmp_path / "end")
    lines = [json.loads(line) for line in RunFolder(own.start).log.read_text().splitlines()]
    assert [line["nodes"] for line in lines] == [took[0].tokens, *[line["nodes"] for line in lines[1:]]]
    assert sum(line["nodes"] for line in lines[1:]) == took[1].tokens
    backbone = load(own.model)
    settings = registry.get(METHOD).settings.model_validate(own.settings)
    adapter = registry.get(METHOD).build(settings, backbone, (METHOD, "bench", 0, 5))
    encodeds = [encoded(question) for question in questions]
    start, end = (load_file(tmp_path / name / "adapter_model.safetensors")["prompt_embeddings"] for name in ("start", "end"))
    assert torch.equal(start, adapter.final_tensors()["vectors"])
    train(backbone, adapter, encodeds, own.training, prompt=own.prompt, seed=5, folder=RunFolder(tmp_path / "again"))
    assert torch.equal(end, adapter.final_tensors()["vectors"])
    assert not torch.equal(start, end)


class Twin:
    """A worker in this process whose peer is our own loop with the peer's settings; `script` may take a request over."""

    def __init__(self, log: list[str], script: Callable[[str, dict[str, Any]], dict[str, Any] | None]) -> None:
        self._desk, self._log, self._script, self._side = LossDesk(), log, script, ""

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        request = json.loads(json.dumps({"do": do, **values}, default=str))
        if do == "open":
            self._side = request["side"]
            self._log.append(f"open {self._side} {request['options']}")
            request["side"] = OURS if self._side == TRL else self._side
        answer = self._script(self._side, request)
        return self._desk.answer(request) if answer is None else answer

    def close(self) -> None:
        self._log.append(f"close {self._side}")


def run(ready: Material, log: list[str], script: Callable[[str, dict[str, Any]], dict[str, Any] | None], **values: Any) -> Race:
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
    assert [(curve.side, curve.seed, curve.state) for curve in result.curves] == [
        (TRL, 0, "through"),
        (OURS, 0, "through"),
        (OURS, 1, "through"),
        (TRL, 1, "through"),
    ]
    assert [point.steps for point in result.curves[0].points] == [0, 1, 2, 4]
    assert [point.seconds for point in result.curves[0].points] == [0, 30, 60, 120]
    assert len(kept) == 4 * 4
    assert [len(each.curves) for each in kept[::4]] == [1, 2, 3, 4]
    study = load_study(STUDY)
    assert result.settings[TRL]["rate"] == f"{study.methods[0].training['rate']:g}, linear"
    assert result.settings[OURS]["rate"] == "0.01, linear"
    assert run(ready, [], seconds, starts=1, peer_rate=0.5).settings[TRL]["rate"] == "0.5, linear"


def test_time_runs_out_and_a_failure_is_a_state(ready: Material) -> None:
    result = run(ready, [], seconds, starts=1, theirs=Limits(4, 30.0, 2))
    assert [(curve.state, curve.points[-1].steps) for curve in result.curves] == [("out of time", 1), ("through", 4)]
    assert not result.failed

    def broken(side: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if side == TRL and request["do"] == "learn":
            raise SideError("ValueError: out of order")
        return seconds(side, request)

    result = run(ready, [], broken, starts=1)
    assert [curve.state for curve in result.curves] == ["failed: ValueError: out of order", "through"]
    assert result.failed
    assert len(result.curves[0].points) == 1


def test_an_interrupted_race_keeps_what_it_has(ready: Material) -> None:
    log: list[str] = []

    def stop(so_far: Race) -> None:
        if len(so_far.curves) == 2:
            raise KeyboardInterrupt

    result = run(ready, log, seconds, on_result=stop)
    assert result.interrupted
    assert [(curve.side, curve.state, len(curve.points)) for curve in result.curves] == [(TRL, "through", 4), (OURS, "interrupted", 1)]
    assert log.count("close judge") == 1


def test_a_real_race_writes_pages_and_figures(ready: Material, tmp_path: Path) -> None:
    result = run(ready, [], lambda side, request: None, starts=1, ours=Limits(6, 1e9, 3))
    ours = next(curve for curve in result.curves if curve.side == OURS)
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
    empty = Race("", {"device": "cpu"}, {}, result.settings, result.untouched, ())
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
    assert [curve.state for curve in result.curves] == ["through", "through"]
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


def test_a_desk_without_a_side_judges_nothing() -> None:
    with pytest.raises(ValueError, match="no open side can answer"):
        LossDesk().answer({"do": "judge", "folder": None})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_trl_learns_and_the_judge_reads_what_it_saved(ready: Material, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="trl is not installed (pip install 'affinage[bench]')")
    from affinage.bench.held_out.sft import SftLearning  # noqa: PLC0415

    learner = SftLearning(work(ready, asked(ready, trained=True), tmp_path / "run"), seed=0)
    learner.export(tmp_path / "start")
    took = learner.learn(2)
    assert took.seconds > 0
    learner.export(tmp_path / "end")
    start, end = (load_file(tmp_path / name / "adapter_model.safetensors")["prompt_embeddings"] for name in ("start", "end"))
    assert 0 < float((start - end).abs().max()) < 1
    held_out = asked(ready, trained=False)
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(ready.config.model.id, dtype=torch.float32), tmp_path / "end").eval()
    loss, tokens = 0.0, 0
    with torch.no_grad():
        for question in held_out:
            labels = torch.tensor([[-100] * len(question.context) + list(question.trained[len(question.context) :])])
            count = len(question.trained) - len(question.context)
            loss += float(model(input_ids=torch.tensor([question.trained]), labels=labels).loss) * count
            tokens += count
    judged = Judge(work(ready, held_out, tmp_path)).judged(tmp_path / "end")
    assert judged["loss"] == pytest.approx(loss / tokens, rel=1e-5)
