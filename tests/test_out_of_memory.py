"""A step that does not fit into memory: recorded as a change of the plan, made again in smaller packs, and never the end of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from affinage.backbone import Backbone
from affinage.backbone.memory import out_of_memory
from affinage.config import StudyConfig
from affinage.evaluate import evaluate
from affinage.records import UserError
from affinage.store import RunFolder, StudyFolder, read_log, read_state, read_study
from affinage.study import run
from affinage.train import Cut, Member, cohort_losses, lockstep, step_packs, train_cohort
from affinage.train.loss import Batch
from study_fakes import CLEAN, study, write_questions
from test_cohort import EPOCHS, cohort, near, sides
from test_train import StoppedError, plan, start, tensors_of
from tiny import TEXT, encode, questions, write_model

CPU = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 96 bytes. Error code 12"
Losses = Callable[..., tuple[list[float], int]]


def allocator(limit: int, since: int = 0) -> tuple[Losses, list[int]]:
    """`cohort_losses` on a machine on which from the call of that number on a pack of more nodes than `limit` fails, half done."""
    calls: list[int] = []

    def losses(backbone: Backbone, batches: list[Batch], loss: str, score: Any, nodes_per_pack: int | None = None) -> tuple[list[float], int]:
        calls.append(max(nodes for _, nodes in step_packs(batches, loss, score, nodes_per_pack)))
        value = cohort_losses(backbone, batches, loss, score, nodes_per_pack)
        if len(calls) > since and calls[-1] > limit:
            raise RuntimeError(CPU)  # gradients of the failed try are there: they must not be added to
        return value

    return losses, calls


def test_what_says_that_memory_is_full() -> None:
    said = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError(), RuntimeError(CPU)]
    assert all(map(out_of_memory, said))
    assert not any(
        map(out_of_memory, [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("can't allocate memory"), OSError(12, "x")])
    )
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(real.value), f"this PyTorch says it otherwise: {real.value}"


def test_a_pack_that_does_not_fit_in_testing_says_what_to_set(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError(CPU)

    monkeypatch.setattr("affinage.evaluate.item_scores", full)
    encoded = encode(backbone, questions("Atlantis", 4), TEXT)
    with pytest.raises(UserError, match=r"testing: found a pack of \d+ nodes \(of 200 at most\).*`evaluation.nodes_per_pack` to \d+ or less"):
        evaluate(backbone, None, encoded, prompt=TEXT, nodes_per_pack=200)
    monkeypatch.setattr("affinage.evaluate.item_scores", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(backbone, None, encoded, prompt=TEXT, nodes_per_pack=200)


def _members(backbone: Backbone, folder: Path) -> list[Member]:
    return [Member(start(backbone), encoded, place, RunFolder(folder / str(place))) for place, encoded in enumerate(sides(backbone))]


def _train(backbone: Backbone, folder: Path, nodes_per_pack: int | None, **more: Any) -> tuple[list[dict[str, Tensor]], list[Cut]]:
    cuts: list[Cut] = []
    members = _members(backbone, folder)
    checkpoint = folder / "checkpoint.safetensors"

    def on_cut(cut: Cut) -> int:
        cuts.append(cut)
        return cut.after

    more = {"on_cut": on_cut, **more}
    train_cohort(backbone, members, plan(**EPOCHS), prompt=TEXT, checkpoint=checkpoint, nodes_per_pack=nodes_per_pack, **more)
    return [tensors_of(member.adapter) for member in members], cuts


def test_without_a_way_out_the_training_ends_there(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, _ = allocator(200, since=3)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    monkeypatch.setattr(lockstep, "out_of_memory", lambda error: False)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        _train(backbone, tmp_path, None)


@pytest.mark.parametrize("budget", [None, 100_000])
def test_where_nobody_keeps_the_change_a_step_that_does_not_fit_is_an_error(
    budget: int | None, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, calls = allocator(200, since=3)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    with pytest.raises(UserError, match=r"training step 4: found a step in .*pack.* that does not fit into memory: .*can't allocate memory"):
        _train(backbone, tmp_path, budget, on_cut=None)
    assert len(calls) == 4


def test_the_budget_in_force_is_gone_on_with(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, calls = allocator(200, since=3)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    told: list[int | None] = []

    def on_cut(cut: Cut) -> int:
        told.append(cut.before)
        return 60  # another process cut to this meanwhile

    _train(backbone, tmp_path, 100_000, on_cut=on_cut)
    assert told == [100_000]
    assert max(calls[4:]) < 200
    with pytest.raises(UserError, match="a checkpoint of another plan"):
        _train(backbone, tmp_path, 100)
    _train(backbone, tmp_path, 60)  # what is on disk is of that budget


@pytest.mark.parametrize("budget", [None, 100_000])
def test_a_step_that_does_not_fit_is_made_again_in_smaller_packs(
    budget: int | None, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, none = _train(backbone, tmp_path / "whole", budget)
    assert none == []
    losses, calls = allocator(200, since=3)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    cut, cuts = _train(backbone, tmp_path / "cut", budget)
    assert min(calls[:4]) > 200, "the steps fit into less: the test shows nothing"
    assert all(cut.step == 3 for cut in cuts)
    assert [cuts[0].before, *(cut.after for cut in cuts[:-1])] == [cut.before for cut in cuts]
    assert cuts[0].before == budget
    assert cuts[0].after == calls[3] // 2
    assert "can't allocate memory" in cuts[0].reason
    assert max(calls[3 + len(cuts) :]) <= 200
    assert len(calls) == 12 + len(cuts)
    assert all(near(one, other) for one, other in zip(whole, cut, strict=True)), "the failed try left something in the step"
    for place, steps in enumerate((12, 6, 10)):
        assert [line["step"] for line in read_log(tmp_path / "cut" / str(place) / "train.jsonl")] == list(range(1, steps + 1))


def test_a_checkpoint_of_before_the_cut_is_continued_under_the_new_plan(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        cohort(backbone, sides(backbone), tmp_path, plan(**EPOCHS, checkpoint_seconds=0), stop=(0, 3), nodes_per_pack=100_000)
    with pytest.raises(UserError, match="a checkpoint of another plan"):
        _train(backbone, tmp_path, 150)
    continued, _ = _train(backbone, tmp_path, 150, earlier=(100_000,))
    whole, _ = _train(backbone, tmp_path / "whole", 150)
    assert all(near(one, other) for one, other in zip(whole, continued, strict=True))


def test_a_training_that_dies_after_a_cut_is_continued_bit_for_bit(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, _ = allocator(200, since=3)
    with monkeypatch.context() as patch:
        patch.setattr(lockstep, "cohort_losses", losses)
        whole, cuts = _train(backbone, tmp_path / "whole", 100_000)
    losses, _ = allocator(200, since=3)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    with pytest.raises(StoppedError):
        cohort(backbone, sides(backbone), tmp_path / "broken", plan(**EPOCHS), stop=(0, 5), nodes_per_pack=100_000)
    monkeypatch.undo()
    before = tuple(cut.before for cut in cuts)
    broken, more = _train(backbone, tmp_path / "broken", cuts[-1].after, earlier=before)
    assert more == []
    assert all(torch.equal(one[name], other[name]) for one, other in zip(whole, broken, strict=True) for name in one)


def test_one_question_that_does_not_fit_is_an_error_with_what_to_do(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, calls = allocator(10)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    with pytest.raises(UserError, match=r"training step 1: found one question \(\d+ nodes\) that does not fit into memory.*gradient_checkpointing"):
        _train(backbone, tmp_path, None)
    assert len(calls) < 12, "halving ends"


def test_a_budget_is_not_cut_for_one_question_that_is_the_largest_pack() -> None:
    with pytest.raises(UserError, match=r"found one question \(900 nodes\)"):
        lockstep._smaller(0, 1000, [(12, 700), (1, 900)], "full")
    assert lockstep._smaller(0, 1000, [(12, 900), (1, 700)], "full").after == 450


@pytest.fixture(scope="module")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("tiny")
    model = {"id": str(write_model(folder / "model")), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 2, "nodes_per_pack": 5000}
    return study(
        write_questions(folder / "questions.parquet", templates=8),
        model=model,
        prompt={"style": "text"},
        methods=[{"name": "prompt-tuning", "settings": {"length": 2}}, {"name": "lora", "settings": {"rank": 2}}],
        training={"loss": "choice", "steps": 4, "batch_size": 4, "checkpoint_seconds": 0.0, "rate": 0.05},
        splits={"kind": "folds", "folds": 2, "count": 1, "development": False},
        starts=1,
    )


def test_a_study_records_the_change_and_resumes_under_it(tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, calls = allocator(100, since=2)
    monkeypatch.setattr(lockstep, "cohort_losses", losses)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_study, tmp_path, standing=CLEAN, watch=_interrupt)
    assert max(calls) > 100, "every step fits: the test shows nothing"
    folder = StudyFolder(tmp_path)
    (change,) = read_log(folder.changes)
    assert change["what"] == "model.nodes_per_pack"
    assert (change["before"], change["step"]) == (5000, 2)
    assert change["after"] == calls[2] // 2
    assert [path.split("/")[1:3] for path in change["runs"]] == [["prompt-tuning", "Spain"], ["prompt-tuning", "Iran"]]
    assert "can't allocate memory" in change["reason"]
    assert change["time"]

    monkeypatch.undo()
    assert run(tiny_study, tmp_path, standing=CLEAN).complete
    assert len(read_log(folder.changes)) == 1
    states = {(kept.label, kept.trained_culture): read_state(folder.run(kept.run)) for kept in read_study(tmp_path).runs}
    used = {key: state.plan["training_nodes_per_pack"] for key, state in states.items() if state is not None}
    assert used["none", ""] == 5000, "what was finished before the change keeps its plan"
    assert {used[label, culture] for label in ("prompt-tuning", "lora") for culture in ("Spain", "Iran")} == {change["after"]}


def _interrupt(event: Any) -> None:
    if event.step is not None and event.step.step == 3 and event.run.trained_culture == "Iran":
        raise KeyboardInterrupt
