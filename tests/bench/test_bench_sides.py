"""Every side computes the same: the same loss, gradients and scores on the same batches, from the same start."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benches import METHODS, Near, made
from safetensors.numpy import load_file
from torch import nn

from affinage.bench.equality import FLOAT32_BOUND, deviation, gradient_answer, score_answer
from affinage.bench.material import Material, evaluation_work, training_work
from affinage.bench.sides import OURS, candidates, peers, sides
from affinage.bench.wire import SideError
from affinage.bench.work import Work, batch_digest, write_work
from affinage.pack import pack
from affinage.records import Style, UserError
from affinage.scoring import answer_branch
from affinage.train import batches
from pretended import gpus

# What foreign libraries warn of is theirs to mend.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("FutureWarning", "UserWarning", "DeprecationWarning")]


@pytest.fixture(scope="module")
def material(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return made(tiny_folder, tmp_path_factory.mktemp("questions"))


def installed(name: str) -> None:
    """Skips a peer whose library is not there."""
    missing = [module for module in sides.get(name).needs if find_spec(module) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (pip install 'affinage[bench]')")


def opened(side: str, work: Work, folder: Path, options: dict[str, Any] | None = None) -> Near:
    talk = Near()
    talk.ask("open", side=side, work=write_work(folder / f"{side}.json", work), options=options or {})
    return talk


def first(side: str, work: Work, folder: Path, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any], Near]:
    """A side's answer to the first step."""
    talk = opened(side, work, folder, options)
    reply = talk.ask("step", index=0, gradients=folder / f"{side}.safetensors")
    return gradient_answer([(folder / f"{side}.safetensors", reply["loss"])]), reply, talk


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("peer", peers("train"))
def test_a_peer_s_step_is_ours(peer: str, method: str, material: Material, tmp_path: Path) -> None:
    installed(peer)
    if (peer, method) == ("trl", "prefix-tuning"):
        pytest.skip("SFTTrainer turns checkpointing on, with which PEFT refuses a prefix: does not run, as it comes")
    work = training_work(material, method, 3, 3, tmp_path / "start")
    ours, here, own = first(OURS["train"], work, tmp_path)
    assert all(np.abs(value).max() > 0 for value in ours.values.values()), "a gradient that is zero compares nothing"
    for options in candidates(peer, method, "float32"):
        theirs, there, talk = first(peer, work, tmp_path, dict(options))
        largest, where = deviation(ours, theirs)
        assert largest < FLOAT32_BOUND, (options, where)
        assert here["batch"] == there["batch"]
        assert here["tokens"] < there["tokens"] <= there["padded"]
        if options == candidates(peer, method, "float32")[0]:
            for index in (1, 2):  # optimiser, clipping and schedule too: a wrong update shows in the next step's loss
                again, same = own.ask("step", index=index, gradients=None), talk.ask("step", index=index, gradients=None)
                assert again["batch"] == same["batch"] != here["batch"]
                assert again["loss"] == pytest.approx(same["loss"], rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("peer", ["peft-loop", "peft-loop-tuned"])
def test_both_sides_compute_on_a_gpu(peer: str, method: str, material: Material, tmp_path: Path) -> None:
    installed(peer)
    work = training_work(material, method, 3, 2, tmp_path / "start")
    work = work.model_copy(update={"model": work.model.model_copy(update={"device": "cuda"})})
    with gpus(1) as places:
        ours, _, own = first(OURS["train"], work, tmp_path)
        second = own.ask("step", index=1, gradients=None)["loss"]
        for options in candidates(peer, method, "float32"):
            before = places.operations["cuda:0"]
            theirs, _, talk = first(peer, work, tmp_path, dict(options))
            assert deviation(ours, theirs)[0] < FLOAT32_BOUND
            assert talk.ask("step", index=1, gradients=None)["loss"] == pytest.approx(second, rel=1e-3)
            assert places.operations["cuda:0"] > before + 300


@pytest.mark.parametrize("method", METHODS)
def test_the_peer_at_its_best_is_compiled_where_ours_is(method: str, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("peft-loop-tuned")
    compile_, asked = nn.Module.compile, list[nn.Module]()

    def traced(module: nn.Module, **options: Any) -> None:
        asked.append(module)
        compile_(module, **{**options, "backend": "eager"})  # machine code takes minutes

    monkeypatch.setattr(nn.Module, "compile", traced)
    plain = training_work(material, method, 3, 1, tmp_path / "start")
    fused = plain.model_copy(update={"model": plain.model.model_copy(update={"compile": True})})
    opened(OURS["train"], plain, tmp_path)  # writes the start
    (as_is, _, _), asked_before = first("peft-loop-tuned", plain, tmp_path, {"attention": "sdpa"}), len(asked)
    compiled, _, _ = first("peft-loop-tuned", fused, tmp_path, {"attention": "sdpa"})
    torch._dynamo.reset()
    assert (asked_before, len({id(layer) for layer in asked})) == (0, 2)
    assert deviation(as_is, compiled)[0] < FLOAT32_BOUND


def test_the_batches_are_those_of_a_training(material: Material, tmp_path: Path) -> None:
    work = training_work(material, "lora", 3, 2, tmp_path)
    encoded, _ = material.tokens.encode_all(material.trained, material.config.prompt, seed=material.config.seed)
    stream = batches(encoded, work.training, material.config.seed, 0)
    for batch in work.batches:
        expected = next(stream)
        assert [question.id for question in batch] == [each.rendered.mcq.mcq_id for each in expected]
        assert [question.trained for question in batch] == [answer_branch(each).ids for each in expected]
        assert max(sum(other.template == question.template for other in batch) for question in batch) == 3


@pytest.mark.parametrize("named", ["cuda of 1", "cuda:0 of 1", "cuda:1 of 2", "cuda of 2", "cpu of 2"])
def test_a_trainer_is_given_one_gpu_or_none(named: str, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("trainer")
    from affinage.bench.sides.trainer import on_cpu  # noqa: PLC0415  (needs the peer)

    device, _, there = named.partition(" of ")
    work = training_work(material, "prompt-tuning", 3, 3, tmp_path / "start")
    elsewhere = work.model_copy(update={"model": work.model.model_copy(update={"device": device})})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(there))
    if device == "cpu" or there == "1":
        assert on_cpu(elsewhere) is (device == "cpu")
        return
    with pytest.raises(UserError, match=f"found {device} of 2 GPUs, .* Set CUDA_VISIBLE_DEVICES"):
        on_cpu(elsewhere)


def test_a_trainer_refuses_another_step_than_its_next(material: Material, tmp_path: Path) -> None:
    work = training_work(material, "prompt-tuning", 1, 3, tmp_path / "start")
    first(OURS["train"], work, tmp_path)
    talk = opened("trainer", work, tmp_path)
    with pytest.raises(SideError, match="the trainer stands before step 0"):
        talk.ask("step", index=1, gradients=None)
    assert talk.ask("step", index=0, gradients=None)["loss"] > 0


def test_tokens_are_nodes_here_and_positions_there(material: Material, tmp_path: Path) -> None:
    work = training_work(material, "prompt-tuning", 3, 1, tmp_path / "start")
    _, here, _ = first(OURS["train"], work, tmp_path)
    _, there, _ = first("peft-loop", work, tmp_path)
    lengths = [len(question.trained) for question in work.batches[0]]
    encoded, _ = material.tokens.encode_all(material.trained, material.config.prompt, seed=material.config.seed)
    branches = [answer_branch(each) for each in next(batches(encoded, work.training, material.config.seed, 0))]
    assert here["tokens"] == pack(branches).nodes + 16
    assert there["tokens"] == sum(lengths) + 16 * len(lengths)
    assert there["padded"] == (max(lengths) + 16) * len(lengths)
    assert there["batch"] == batch_digest(reversed([branch.ids for branch in branches])) != batch_digest([(1, 2)])


def test_no_tensor_starts_at_zero_and_all_sides_copy_one_start(material: Material, tmp_path: Path) -> None:
    work = training_work(material, "lora", 1, 1, tmp_path / "start")
    opened(OURS["train"], work, tmp_path)
    before = load_file(tmp_path / "start" / "start.safetensors")
    assert all(np.abs(value).max() > 0 for value in before.values())
    opened("peft-loop", work, tmp_path)
    opened(OURS["train"], work, tmp_path)
    after = load_file(tmp_path / "start" / "start.safetensors")
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("style", ["letters", "text"])
@pytest.mark.parametrize("method", ["none", *METHODS])
@pytest.mark.parametrize("peer", peers("eval"))
def test_a_peer_s_scores_are_ours(peer: str, method: str, style: Style, material: Material, tmp_path: Path) -> None:
    installed(peer)
    if (peer.partition("-")[0], style) == ("generate", "text"):
        pytest.skip("generate scores no options: does not run, as its own tests say")
    prompt = material.config.prompt.model_copy(update={"style": style})
    work = evaluation_work(material, method, prompt, tmp_path / "start")
    ours = opened(OURS["eval"], work, tmp_path)
    expected = ours.ask("scores", count=5)["scores"]
    assert len(expected) == 5
    assert np.ptp(expected, axis=1).min() > 0
    options = dict(candidates(peer, method, "float32")[-1])
    theirs = opened(peer, work, tmp_path, options)
    scores = theirs.ask("scores", count=5)["scores"]
    assert deviation(score_answer(expected), score_answer(scores))[0] < FLOAT32_BOUND
    here, there = ours.ask("run"), theirs.ask("run")
    assert 0 < here["tokens"] < there["tokens"] <= there["padded"]


def test_one_forward_a_question_for_letters_and_one_row_an_option_for_texts(material: Material, tmp_path: Path) -> None:
    for style in ("letters", "text"):
        prompt = material.config.prompt.model_copy(update={"style": style})
        work = evaluation_work(material, "none", prompt, tmp_path / style)
        tokens = opened("peft-eval", work, tmp_path).ask("run")["tokens"]
        if style == "letters":
            assert tokens == sum(len(question.context) for question in work.questions)
        else:
            rows = [(question, scored) for question in work.questions for scored in question.scored]
            assert tokens == sum(len(question.context) + scored - 1 for question, scored in rows)
