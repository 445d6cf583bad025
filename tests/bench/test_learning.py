"""What the benches of learning share: curves, the judge, the two who train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benches import learning
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from affinage.backbone import load
from affinage.bench.learning.curves import Curve, Point, Standing, mean_curve
from affinage.bench.learning.judge import Judge
from affinage.bench.learning.ours import OurLearning
from affinage.bench.learning.side import TRL
from affinage.bench.learning.worker import LearningDesk
from affinage.bench.material import Material
from affinage.bench.sides.ours import encoded
from affinage.bench.work import Question, Work
from affinage.config import MethodConfig
from affinage.evaluate import evaluate
from affinage.methods import registry, resolve
from affinage.store import RunFolder
from affinage.train import Batch, cohort_losses, train

METHOD = "prompt-tuning"


def at(steps: int, seconds: float, loss: float, accuracy: float = 0.25, choice: float = 1.0) -> Point:
    return Point(steps, seconds, 100 * steps, Standing(loss, accuracy, choice))


POINTS = (at(0, 0, 6.0), at(5, 50, 4.0, 0.5), at(10, 100, 3.0, 0.25))


def test_the_mean_is_over_the_steps_that_all_seeds_have() -> None:
    other = (at(0, 0, 4.0), at(5, 30, 2.0, choice=3.0))
    assert mean_curve([Curve(TRL, 0, "through", POINTS), Curve(TRL, 1, "out of time", other)]) == (at(0, 0, 5.0), at(5, 40, 3.0, 0.375, 2.0))
    assert mean_curve([]) == ()


def test_a_curve_is_read_back_as_it_was_written() -> None:
    curve = Curve(TRL, 3, "out of time", POINTS)
    assert Curve.of(json.loads(json.dumps(curve.as_dict()))) == curve


@pytest.fixture(scope="module")
def ready(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return learning(tiny_folder, tmp_path_factory.mktemp("questions"))


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


def test_a_desk_without_a_side_judges_nothing() -> None:
    with pytest.raises(ValueError, match="no open side can answer"):
        LearningDesk().answer({"do": "judge", "folder": None})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_trl_learns_and_the_judge_reads_what_it_saved(ready: Material, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="trl is not installed (pip install 'affinage[bench]')")
    from affinage.bench.learning.sft import SftLearning  # noqa: PLC0415

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
