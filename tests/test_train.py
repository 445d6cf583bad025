"""Training: the loss is what it says, the order a function of (questions, seed, step), and a continued training ends like an unbroken one."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from affinage.backbone import Backbone, load
from affinage.config import ModelConfig, PromptConfig, TrainingConfig
from affinage.evaluate import evaluate
from affinage.methods import Adapter, registry
from affinage.pack import Branch, pack
from affinage.records import Encoded, Score, UserError
from affinage.store import RunFolder, read_log
from affinage.train import Batch, StepRecord, batches, checkpoint, cohort_losses, rate_at, template_weights, total_steps, train
from tiny import LETTERS, PMI, TEXT, encode, questions, write_model

PER_TOKEN = PromptConfig(style="text", score="per-token")
PER_CHARACTER = PromptConfig(style="text", score="per-character")


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def plan(**values: Any) -> TrainingConfig:
    """A short training that writes a checkpoint after each step."""
    return TrainingConfig.model_validate({"steps": 8, "batch_size": 4, "rate": 1e-2, "warmup": 0.25, "checkpoint_seconds": 0, **values})


def start(backbone: Backbone, method: str = "lora", **settings: Any) -> Adapter:
    """A small adapter at its start."""
    found = registry.get(method)
    return found.build(found.settings.model_validate(settings or {"rank": 2}), backbone, ("train", 0))


def batch_loss(
    backbone: Backbone, adapter: Adapter, batch: Sequence[Encoded], loss: str, score: Score, *, weights: dict[str, float] | None = None
) -> float:
    """One adapter's mean loss over a batch, its gradient already added to the adapter's parameters."""
    return cohort_losses(backbone, [Batch(adapter, batch, weights)], loss, score)[0][0]


def tensors_of(adapter: Adapter) -> dict[str, Tensor]:
    """A copy of the trained tensors."""
    return {name: value.detach().clone() for name, value in adapter.named_parameters()}


def run(
    backbone: Backbone,
    encoded: Sequence[Encoded],
    folder: Path,
    training: TrainingConfig,
    prompt: PromptConfig,
    *,
    stop: int | None = None,
    seed: int = 0,
) -> Adapter:
    """A training from wherever the folder stands, stopped after step `stop`."""
    adapter = start(backbone)

    def on_step(record: StepRecord) -> None:
        if record.step == stop:
            raise StoppedError

    train(backbone, adapter, encoded, training, prompt=prompt, seed=seed, folder=RunFolder(folder), on_step=on_step)
    return adapter


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """One layer, in either type: two threads meet after each operation, which takes long on a busy machine."""
    folder = write_model(tmp_path_factory.mktemp("one layer") / "model", layers=1)
    return load(ModelConfig(id=str(folder), dtype=request.param, device="cpu", threads=1))


@pytest.mark.parametrize(("loss", "prompt"), [("answer", LETTERS), ("choice", TEXT), ("choice", PMI)])
def test_a_continued_training_ends_bit_for_bit_where_an_unbroken_one_does(loss: str, prompt: PromptConfig, model: Backbone, tmp_path: Path) -> None:
    encoded = encode(model, questions("Atlantis", 4), prompt)
    training = plan(loss=loss, steps=4, batch_size=2)
    with threads(2):
        whole = tensors_of(run(model, encoded, tmp_path / "whole", training, prompt))
        for stop in (1, 3):
            with pytest.raises(StoppedError):
                run(model, encoded, tmp_path / "broken", training, prompt, stop=stop)
            # The checkpoint of the last step was not written yet.
            assert [record["step"] for record in read_log(tmp_path / "broken" / "train.jsonl")] == list(range(1, stop + 1))
        broken = tensors_of(run(model, encoded, tmp_path / "broken", training, prompt))
    fresh = tensors_of(start(model))
    for name, value in whole.items():
        assert not torch.equal(value, fresh[name])
        assert torch.equal(value, broken[name])
    logs = [[{**line, "seconds": 0} for line in read_log(tmp_path / name / "train.jsonl")] for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == list(range(1, 5))
    kept = [load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "broken")]
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())


def test_a_finished_training_is_only_read_back(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    whole = tensors_of(run(backbone, encoded, tmp_path, plan(), LETTERS))
    before = (tmp_path / "train.jsonl").read_bytes()
    again = tensors_of(run(backbone, encoded, tmp_path, plan(), LETTERS, stop=1))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert (tmp_path / "train.jsonl").read_bytes() == before


def test_the_log_is_cut_back_to_the_checkpoint(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    with pytest.raises(StoppedError):
        run(backbone, encoded, tmp_path, plan(checkpoint_seconds=1000), LETTERS, stop=3)
    assert len(read_log(tmp_path / "train.jsonl")) == 3
    assert not (tmp_path / "checkpoint.safetensors").exists()
    run(backbone, encoded, tmp_path, plan(checkpoint_seconds=1000), LETTERS)
    lines = read_log(tmp_path / "train.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert set(lines[0]) == {"step", "total", "loss", "rate", "norm", "nodes", "seconds"}
    assert lines[0]["rate"] == rate_at(0, 8, plan())


def test_a_checkpoint_cut_short_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    with pytest.raises(StoppedError):
        run(backbone, encoded, tmp_path, plan(), LETTERS, stop=3)
    checkpoint = tmp_path / "checkpoint.safetensors"
    content = checkpoint.read_bytes()
    for kept in (0, 4, 100, len(content) - 7):
        checkpoint.write_bytes(content[:kept])
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: found a file that cannot be read .* Remove it to train from the start"):
            run(backbone, encoded, tmp_path, plan(), LETTERS)


def test_a_checkpoint_of_another_plan_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    with pytest.raises(StoppedError):
        run(backbone, encoded, tmp_path, plan(), LETTERS, stop=3)
    message = r"checkpoint\.safetensors: found a checkpoint of another plan"
    with pytest.raises(UserError, match=message):
        run(backbone, encoded, tmp_path, plan(rate=2e-2), LETTERS)
    with pytest.raises(UserError, match=message):
        run(backbone, encoded[:-1], tmp_path, plan(), LETTERS)
    with pytest.raises(UserError, match=message):
        run(backbone, encoded, tmp_path, plan(), LETTERS.model_copy(update={"closing": ""}))
    with pytest.raises(UserError, match=message):
        run(backbone, encoded, tmp_path, plan(), LETTERS, seed=1)
    run(backbone, encoded, tmp_path, plan(checkpoint_seconds=9), LETTERS)  # how often to save is no part of a plan


def test_a_full_disk_leaves_the_old_checkpoint_whole(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    whole = tensors_of(run(backbone, encoded, tmp_path / "whole", plan(), LETTERS))
    folder = tmp_path / "full"
    with pytest.raises(StoppedError):
        run(backbone, encoded, folder, plan(), LETTERS, stop=3)
    before = (folder / "checkpoint.safetensors").read_bytes()

    def full(tensors: object, place: Path, header: object) -> None:
        place.write_bytes(b"a part")
        raise SafetensorError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")  # as the library says it

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: found a full disk .* run the same command again: it continues"):
            run(backbone, encoded, folder, plan(), LETTERS)
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []
    again = tensors_of(run(backbone, encoded, folder, plan(), LETTERS))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_holds_everything_that_a_step_needs(backbone: Backbone, tmp_path: Path) -> None:
    adapter = run(backbone, encode(backbone, questions("Atlantis", 6), LETTERS), tmp_path, plan(), LETTERS)
    kept = load_file(tmp_path / "checkpoint.safetensors")
    expected = {f"0|{name}|{part}" for name, _ in adapter.named_parameters() for part in ("value", "exp_avg", "exp_avg_sq")}
    assert set(kept) == expected
    assert all(value.dtype == torch.float32 for value in kept.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_its_batch(value: float, backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    adapter = start(backbone)
    with torch.no_grad():
        next(adapter.parameters()).fill_(value)
    ids = [each.rendered.mcq.mcq_id for each in next(batches(encoded, plan(), 0, 0))]
    with pytest.raises(UserError, match=r"a loss of nan") as caught:
        train(backbone, adapter, encoded, plan(), prompt=LETTERS, seed=0, folder=RunFolder(tmp_path))
    assert caught.value.where == f"training step 1, questions {', '.join(ids)}"
    assert "training.rate" in caught.value.todo
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_training_that_bursts_stops_before_it_is_saved(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    with pytest.raises(UserError, match=r"training step \d+, questions t\d"):
        run(backbone, encoded, tmp_path, plan(rate=1e30, warmup=0, steps=20), LETTERS)
    steps = len(read_log(tmp_path / "train.jsonl"))
    assert 0 < steps < 20


def test_nothing_to_train_on_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training of method lora: found \d+ trained tensors and 0 questions"):
        run(backbone, [], tmp_path, plan(), LETTERS)
    run(backbone, [], tmp_path, plan(steps=0), LETTERS)
    assert not tmp_path.joinpath("train.jsonl").exists()


# The order of the questions.


def order_of(encoded: Sequence[Encoded], training: TrainingConfig, seed: int, steps: int, first: int = 0) -> list[list[str]]:
    """Ids of the batches of some steps."""
    return [[each.rendered.mcq.mcq_id for each in batch] for batch in islice(batches(encoded, training, seed, first), steps)]


@pytest.fixture(scope="module")
def many(backbone: Backbone) -> list[Encoded]:
    """30 questions: ten templates of three."""
    return encode(backbone, questions("Atlantis", 10, rows=3), TEXT)


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("size", [4, 7, 45])
def test_a_batch_is_a_function_of_seed_and_step(together: int, size: int, many: list[Encoded]) -> None:
    training = plan(batch_size=size, questions_per_template=together)
    whole = order_of(many, training, 0, 20)
    for first in (1, 5, 13):
        assert order_of(many, training, 0, 20 - first, first) == whole[first:]
    assert order_of(many, training, 1, 20) != whole
    flat = [question for batch in whole for question in batch]
    for epoch in range(len(flat) // 30):
        assert len(set(flat[30 * epoch : 30 * epoch + 30])) == 30
    assert flat[:30] != flat[30:60]


def test_questions_that_are_filtered_out_leave_the_order_of_the_others(many: list[Encoded]) -> None:
    kept = [each for number, each in enumerate(many) if number % 5]
    wanted = {each.rendered.mcq.mcq_id for each in kept}
    (before,), (after,) = order_of(many, plan(batch_size=30), 0, 1), order_of(kept, plan(batch_size=len(kept)), 0, 1)
    assert [question for question in before if question in wanted] == after
    (turned,) = order_of(many[::-1], plan(batch_size=30), 0, 1)
    assert turned == before


def test_an_epoch_may_have_its_own_encoding(many: list[Encoded]) -> None:
    """The order of the questions stays; what stands in them is that epoch's, also where a resumed training begins within one."""
    training = plan(batch_size=5)

    def again(epoch: int) -> list[Encoded]:
        return [replace(each, context_ids=(epoch, *each.context_ids)) for each in many]

    length = len(many)
    plain = list(islice(batches(many, training, 3, 0), 10))
    fresh = list(islice(batches(many, training, 3, 0, again), 10))
    assert [[e.rendered.mcq.mcq_id for e in batch] for batch in fresh] == [[e.rendered.mcq.mcq_id for e in batch] for batch in plain]
    flat = [each for batch in fresh for each in batch]
    assert [each.context_ids[0] for each in flat] == [place // length for place in range(len(flat))]
    assert flat[-1].context_ids[0] > 0
    assert list(islice(batches(many, training, 3, 7, again), 3)) == fresh[7:]


def test_weights_let_each_template_count_the_same(many: list[Encoded], backbone: Backbone) -> None:
    some = [*(each for each in many if each.rendered.mcq.template_id == many[0].rendered.mcq.template_id)][:3]
    other = next(each for each in many if each.rendered.mcq.template_id != many[0].rendered.mcq.template_id)
    first, second = many[0].rendered.mcq.template_id, other.rendered.mcq.template_id
    assert len(some) >= 2
    weights = template_weights([*some, other])
    assert weights == pytest.approx({first: (len(some) + 1) / (2 * len(some)), second: (len(some) + 1) / 2})
    batch = [some[0], other]
    one, two = (batch_loss(backbone, start(backbone), [each], "choice", "per-token") for each in batch)
    found = batch_loss(backbone, start(backbone), batch, "choice", "per-token", weights=weights)
    assert found == pytest.approx((weights[first] * one + weights[second] * two) / 2, rel=1e-5)
    assert found != pytest.approx((one + two) / 2, rel=1e-5)


def test_questions_of_a_template_stay_together(many: list[Encoded]) -> None:
    (flat,) = order_of(many, plan(batch_size=30, questions_per_template=3), 0, 1)
    assert all(len({question.split("_")[0] for question in flat[at : at + 3]}) == 1 for at in range(0, 30, 3))
    (plain,) = order_of(many, plan(batch_size=30), 0, 1)
    assert any(len({question.split("_")[0] for question in plain[at : at + 3]}) > 1 for at in range(0, 30, 3))
    (pairs,) = order_of(many, plan(batch_size=30, questions_per_template=2), 0, 1)
    templates = [question.split("_")[0] for question in pairs]
    neighbours = sum(one == other for one, other in pairwise(templates))
    assert neighbours >= 10


# The rate.


def test_the_schedules() -> None:
    linear = [rate_at(step, 8, TrainingConfig(rate=1.0, schedule="linear", warmup=0.25)) for step in range(8)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = [rate_at(step, 4, TrainingConfig(rate=2.0, schedule="cosine")) for step in range(4)]
    assert cosine == pytest.approx([2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])
    assert [rate_at(step, 4, TrainingConfig(rate=0.5, schedule="constant", warmup=0.5)) for step in range(4)] == pytest.approx(
        [1 / 6, 1 / 3, 0.5, 0.5]
    )


def test_the_number_of_steps() -> None:
    assert total_steps(TrainingConfig(epochs=3, batch_size=16), 20) == 4
    assert total_steps(TrainingConfig(epochs=3, batch_size=16, steps=7), 20) == 7
    assert total_steps(TrainingConfig(epochs=0.5, batch_size=16), 1) == 1


# The loss.


def slow_sum(backbone: Backbone, adapter: Adapter, context: Sequence[int], continuation: Sequence[int]) -> Tensor:
    """Log-probability of a continuation: one sequence, one token after the other."""
    total = torch.zeros(())
    ids = [*context, *continuation]
    for place in range(len(context), len(ids)):
        with backbone.logits(pack([adapter.place(Branch(tuple(ids[: place + 1]), place))]), [adapter.doors()]) as logits:
            total = total + logits[-1].float().log_softmax(-1)[ids[place]]
    return total


def slow_scores(backbone: Backbone, adapter: Adapter, each: Encoded, score: str) -> Tensor:
    """[C] scores of a question's options, without their endings."""
    values = []
    for option, ids in enumerate(each.continuation_ids):
        value = slow_sum(backbone, adapter, each.context_ids, ids[: each.scored[option]])
        if score == "per-token":
            value = value / each.scored[option]
        if score == "per-character":
            value = value / len(each.rendered.answers[option])
        if score == "pmi":
            assert each.empty is not None
            value = value - slow_sum(backbone, adapter, each.empty.context_ids, each.empty.continuation_ids[option][: each.empty.scored[option]])
        values.append(value)
    return torch.stack(values)


@pytest.mark.parametrize("method", ["lora", "prompt-tuning", "prefix-tuning"])
@pytest.mark.parametrize("prompt", [LETTERS, TEXT], ids=lambda prompt: prompt.style)
def test_the_loss_answer_is_the_sum_over_the_answer_and_its_ending(method: str, prompt: PromptConfig, backbone: Backbone) -> None:
    encoded = encode(backbone, questions("Atlantis", 3), prompt)
    adapter = start(backbone, method, **({"rank": 2} if method == "lora" else {"length": 3}))
    right = [each.continuation_ids[each.rendered.mcq.answer] for each in encoded]
    assert all(len(ids) > each.scored[each.rendered.mcq.answer] for ids, each in zip(right, encoded, strict=True))
    sums = torch.stack([slow_sum(backbone, adapter, each.context_ids, ids) for ids, each in zip(right, encoded, strict=True)])
    slow = -sums.mean()
    slow.backward()  # type: ignore[no-untyped-call]
    wanted = [value.grad for value in adapter.parameters()]
    adapter.zero_grad()
    loss = batch_loss(backbone, adapter, encoded, "answer", prompt.score)
    assert loss == pytest.approx(float(slow.detach()), rel=1e-5)
    for value, grad in zip(adapter.parameters(), wanted, strict=True):
        assert value.grad is not None
        assert grad is not None
        assert float((value.grad - grad).abs().max()) <= 1e-4 * float(grad.abs().max())


@pytest.mark.parametrize("prompt", [LETTERS, TEXT, PER_TOKEN, PER_CHARACTER, PMI], ids=lambda prompt: f"{prompt.style}-{prompt.score}")
def test_the_loss_choice_is_over_the_very_scores_that_evaluation_compares(prompt: PromptConfig, backbone: Backbone) -> None:
    encoded = encode(backbone, questions("Atlantis", 3), prompt)
    adapter = start(backbone, "prefix-tuning", length=3)
    with torch.no_grad():
        slow = [slow_scores(backbone, adapter, each, prompt.score) for each in encoded]
    loss = batch_loss(backbone, adapter, encoded, "choice", prompt.score)
    expected = sum(float(-scores.log_softmax(0)[each.rendered.mcq.answer]) for scores, each in zip(slow, encoded, strict=True)) / 3
    assert loss == pytest.approx(expected, rel=1e-4)
    for item, scores in zip(evaluate(backbone, adapter, encoded, prompt=prompt), slow, strict=True):
        values = torch.tensor(item.logprob)
        values = {
            "total": values,
            "per-token": values / torch.tensor(item.tokens),
            "per-character": values / torch.tensor(item.characters),
            "pmi": values - torch.tensor(item.empty_logprob) if item.empty_logprob else values,
        }[prompt.score]
        assert values.tolist() == pytest.approx(scores.tolist(), rel=1e-4, abs=1e-4)


def test_the_loss_is_a_mean_over_questions(backbone: Backbone) -> None:
    encoded = encode(backbone, questions("Atlantis", 4), LETTERS)
    for loss in ("answer", "choice"):
        alone = [batch_loss(backbone, start(backbone), [each], loss, "total") for each in encoded]
        (together,), nodes = cohort_losses(backbone, [Batch(start(backbone), encoded)], loss, "total")
        assert together == pytest.approx(sum(alone) / 4, rel=1e-5)
        assert nodes < sum(len(each.context_ids) + len(each.continuation_ids[0]) for each in encoded)


def test_clipping_and_the_log(backbone: Backbone, tmp_path: Path) -> None:
    encoded = encode(backbone, questions("Atlantis", 6), LETTERS)
    free = tensors_of(run(backbone, encoded, tmp_path / "free", plan(clip=None), LETTERS))
    clipped = tensors_of(run(backbone, encoded, tmp_path / "clipped", plan(clip=1e-6), LETTERS))
    assert any(not torch.equal(free[name], clipped[name]) for name in free)
    first = [json.loads((tmp_path / name / "train.jsonl").read_text().splitlines()[0]) for name in ("free", "clipped")]
    assert first[0]["norm"] == first[1]["norm"] > 1e-6  # as it was before clipping
