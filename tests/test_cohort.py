"""Adapters trained in lockstep: each as if alone, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from affinage.backbone import Backbone
from affinage.config import TrainingConfig
from affinage.records import Encoded, UserError
from affinage.store import RunFolder, read_log
from affinage.train import Batch, Member, StepRecord, cohort_losses, lockstep, train, train_cohort
from affinage.train.checkpoint import restore_checkpoint, save_checkpoint
from test_train import StoppedError, plan, start, tensors_of
from tiny import LETTERS, TEXT, encode, questions

PLACES = ("Atlantis", "Lemuria", "Mu")


def sides(backbone: Backbone) -> list[list[Encoded]]:
    """Questions of three cultures, not equally many: with epochs, the trainings differ in length."""
    return [encode(backbone, questions(place, count), TEXT) for place, count in zip(PLACES, (6, 3, 5), strict=True)]


def cohort(backbone: Backbone, asked: Sequence[Sequence[Encoded]], folder: Path, training: TrainingConfig, **values: object) -> list[Member]:
    """One member per side, trained as far as it goes."""
    stop = values.pop("stop", None)
    nodes_per_pack = values.pop("nodes_per_pack", None)
    assert nodes_per_pack is None or isinstance(nodes_per_pack, int)
    hooks = values.pop("hooks", {})
    assert isinstance(hooks, dict)
    done = values.pop("done", [])
    failed = values.pop("failed", {})
    assert isinstance(done, list)
    assert isinstance(failed, dict)
    members: list[Member] = []
    for place, encoded in enumerate(asked):

        def on_step(record: StepRecord, place: int = place) -> None:
            if place in hooks:
                hooks[place](members[place], record)
            if stop == (place, record.step):
                raise StoppedError

        def on_failed(reason: UserError, place: int = place) -> None:
            failed[place] = str(reason)

        def on_done(place: int = place) -> None:
            done.append(place)

        members.append(Member(start(backbone), encoded, place, RunFolder(folder / str(place)), None, on_step, on_done, on_failed))
    checkpoint = folder / "checkpoint.safetensors"
    train_cohort(backbone, members, training, prompt=TEXT, checkpoint=checkpoint, nodes_per_pack=nodes_per_pack, on_cut=lambda cut: cut.after)
    return members


def near(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(float((one[name] - other[name]).abs().max()) <= 1e-4 * float(one[name].abs().max()) for name in one)


EPOCHS = {"steps": None, "epochs": 4, "batch_size": 2, "loss": "choice", "rate": 1e-3}
"""12, 6 and 10 steps."""


def test_each_adapter_learns_as_if_alone(backbone: Backbone, tmp_path: Path) -> None:
    asked, done = sides(backbone), list[int]()
    together = cohort(backbone, asked, tmp_path / "cohort", plan(**EPOCHS), done=done)
    assert done == [1, 2, 0]
    for place, encoded in enumerate(asked):
        folder = RunFolder(tmp_path / f"alone {place}")
        alone = start(backbone)
        train(backbone, alone, encoded, plan(**EPOCHS), prompt=TEXT, seed=place, folder=folder)
        assert near(tensors_of(alone), tensors_of(together[place].adapter))
        assert not near(tensors_of(alone), tensors_of(start(backbone)))
        logs = [read_log(path) for path in (folder.log, tmp_path / "cohort" / str(place) / "train.jsonl")]
        assert len(logs[0]) == len(logs[1]) == (12, 6, 10)[place]
        for one, other in zip(*logs, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
            assert one["norm"] == pytest.approx(other["norm"], rel=1e-3)
            assert one["rate"] == other["rate"]
    assert not near(tensors_of(together[0].adapter), tensors_of(together[1].adapter))


@pytest.mark.parametrize("stop", [(0, 3), (2, 7), (0, 11)])
def test_a_continued_cohort_ends_bit_for_bit_where_an_unbroken_one_does(stop: tuple[int, int], backbone: Backbone, tmp_path: Path) -> None:
    asked = sides(backbone)
    whole = [tensors_of(member.adapter) for member in cohort(backbone, asked, tmp_path / "whole", plan(**EPOCHS))]
    with pytest.raises(StoppedError):
        cohort(backbone, asked, tmp_path / "broken", plan(**EPOCHS, checkpoint_seconds=0), stop=stop)
    done: list[int] = []
    broken = [tensors_of(member.adapter) for member in cohort(backbone, asked, tmp_path / "broken", plan(**EPOCHS), done=done)]
    assert sorted(done) == [0, 1, 2], "who is through its steps must be told again: the process may have died before it was written down"
    assert all(torch.equal(one[name], other[name]) for one, other in zip(whole, broken, strict=True) for name in one)
    for place in range(3):
        logs = [[{**line, "seconds": 0} for line in read_log(tmp_path / name / str(place) / "train.jsonl")] for name in ("whole", "broken")]
        assert logs[0] == logs[1]


def test_one_that_is_not_finite_leaves_the_others_bit_for_bit(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a run in which the same adapter only stops reading after the same step."""
    asked = sides(backbone)

    def burst(member: Member, record: StepRecord) -> None:
        if record.step == 3:
            with torch.no_grad():
                for value in member.adapter.parameters():
                    value.fill_(float("nan"))

    failed: dict[int, str] = {}
    done: list[int] = []
    struck = cohort(backbone, asked, tmp_path / "struck", plan(**EPOCHS), hooks={1: burst}, failed=failed, done=done)
    assert list(failed) == [1]
    assert "training step 4, questions" in failed[1]
    assert "a loss of nan" in failed[1]
    assert done == [2, 0]

    learn = lockstep._Trainee.learn

    def leaving(trainee: lockstep._Trainee, batch: Sequence[Encoded], loss: float, step: int) -> tuple[float, float]:
        if trainee.member.seed == 1 and step == 3:
            raise UserError("a test", "a healthy adapter", "that it leaves", "")
        return learn(trainee, batch, loss, step)

    monkeypatch.setattr(lockstep._Trainee, "learn", leaving)
    left = cohort(backbone, asked, tmp_path / "left", plan(**EPOCHS))
    for place in (0, 2):
        one, other = tensors_of(struck[place].adapter), tensors_of(left[place].adapter)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(read_log(tmp_path / "struck" / "1" / "train.jsonl")) == 3


def test_a_cohort_that_lost_a_member_is_continued_without_it(backbone: Backbone, tmp_path: Path) -> None:
    asked = sides(backbone)

    def burst(member: Member, record: StepRecord) -> None:
        if record.step == 3:
            with torch.no_grad():
                next(iter(member.adapter.parameters())).fill_(float("inf"))

    failed: dict[int, str] = {}
    whole = cohort(backbone, asked, tmp_path / "whole", plan(**EPOCHS), hooks={1: burst})
    with pytest.raises(StoppedError):
        cohort(backbone, asked, tmp_path / "broken", plan(**EPOCHS), hooks={1: burst}, stop=(0, 8))
    broken = cohort(backbone, asked, tmp_path / "broken", plan(**EPOCHS), failed=failed)
    assert failed == {}
    for place in (0, 2):
        one, other = tensors_of(whole[place].adapter), tensors_of(broken[place].adapter)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_who_leaves_last_has_left_when_the_cohort_is_continued(backbone: Backbone, tmp_path: Path) -> None:
    def burst(member: Member, record: StepRecord) -> None:
        if record.step == 10:  # the others are through after 10 steps
            with torch.no_grad():
                next(iter(member.adapter.parameters())).fill_(float("inf"))

    for tries in (1, 0):
        failed: dict[int, str] = {}
        done: list[int] = []
        cohort(backbone, sides(backbone), tmp_path, plan(**EPOCHS, checkpoint_seconds=60.0), hooks={0: burst}, failed=failed, done=done)
        assert (len(failed), sorted(done)) == (tries, [1, 2])


def test_a_tensor_that_no_pass_reads_stays_as_it_is(tmp_path: Path) -> None:
    def begin() -> tuple[dict[str, Tensor], torch.optim.AdamW]:
        values = {name: torch.nn.Parameter(torch.ones(2)) for name in ("read", "unread")}
        return dict(values), torch.optim.AdamW(list(values.values()))

    values, optimiser = begin()
    values["read"].square().sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    save_checkpoint(tmp_path / "state", [(values, optimiser)], 1, "plan", [])
    again, other = begin()
    assert restore_checkpoint(tmp_path / "state", [(again, other)], "plan", [2]) == (1, frozenset())
    assert torch.equal(again["read"], values["read"])
    assert torch.equal(again["unread"], torch.ones(2))
    assert not torch.equal(again["read"], torch.ones(2))
    assert [torch.equal(other.state[again["read"]][name], optimiser.state[values["read"]][name]) for name in ("exp_avg", "step")] == [True, True]
    assert not other.state.get(again["unread"])


def test_after_zero_steps_every_member_is_through(backbone: Backbone, tmp_path: Path) -> None:
    done: list[int] = []
    members = cohort(backbone, sides(backbone), tmp_path, TrainingConfig(steps=0), done=done)
    assert done == list(range(len(members)))
    for member in members:
        assert all(torch.equal(value, other) for value, other in zip(member.adapter.parameters(), start(backbone).parameters(), strict=True))


def test_alone_a_loss_that_is_not_finite_is_raised(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training step"):
        train(backbone, start(backbone), sides(backbone)[0], plan(rate=1e30), prompt=LETTERS, seed=0, folder=RunFolder(tmp_path))


@pytest.mark.parametrize("loss", ["answer", "choice"])
def test_a_step_may_be_cut_into_packs(loss: str, backbone: Backbone) -> None:
    asked = sides(backbone)

    def losses(nodes_per_pack: int | None) -> tuple[list[float], int, list[Tensor]]:
        adapters = [start(backbone, "prompt-tuning", length=3) for _ in asked]
        values, nodes = cohort_losses(
            backbone, [Batch(adapter, side) for adapter, side in zip(adapters, asked, strict=True)], loss, "total", nodes_per_pack
        )
        return values, nodes, [value.grad for adapter in adapters for value in adapter.parameters() if value.grad is not None]

    whole, nodes, gradients = losses(None)
    assert len(gradients) == len(asked)
    for budget in (nodes // 2, nodes // 5, 1):
        cut, cut_nodes, cut_gradients = losses(budget)
        assert cut_nodes > nodes or budget == nodes // 2
        assert cut == pytest.approx(whole, rel=1e-5)
        for one, other in zip(gradients, cut_gradients, strict=True):
            assert float((one - other).abs().max()) <= 1e-4 * float(one.abs().max())


def test_another_budget_is_another_plan(backbone: Backbone, tmp_path: Path) -> None:
    asked = sides(backbone)
    with pytest.raises(StoppedError):
        cohort(backbone, asked, tmp_path, plan(**EPOCHS), stop=(0, 3), nodes_per_pack=300)
    with pytest.raises(UserError, match="a checkpoint of another plan"):
        cohort(backbone, asked, tmp_path, plan(**EPOCHS), nodes_per_pack=301)
