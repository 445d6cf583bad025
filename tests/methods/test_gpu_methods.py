"""Every method on GPUs that are none (`pretended`): the same as on the CPU, with layers on one of them and on two, and with little that crosses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import BESIDE_OTHERS, CASES, Case, build, label, moved

from affinage.backbone import Backbone, load
from affinage.config import ModelConfig, PromptConfig, TrainingConfig
from affinage.evaluate import evaluate
from affinage.records import Encoded
from affinage.store import RunFolder
from affinage.train import Member, lockstep, train_cohort
from affinage.train.contexts import Way
from pretended import TOLERANCE, gpus
from tiny import LETTERS, TEXT, encode, questions, write_model

pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")

STEPS = 2
TRAINING = TrainingConfig(loss="choice", steps=STEPS, batch_size=4)

ONE_EACH = [next(case for case in CASES if case[0] == name) for name in dict.fromkeys(name for name, _ in CASES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of four layers, so that two GPUs have some each."""
    return write_model(tmp_path_factory.mktemp("four") / "model", layers=4)


def prompt_of(case: Case) -> PromptConfig:
    """A prompt in which the case's virtual tokens have their place."""
    return LETTERS if "before_options" in case[1] else TEXT


def trained(folder: Path, case: Case, into: Path, context: Way = "gradient", **model: Any) -> torch.Tensor:
    """Log-probabilities under an adapter of the case that was trained beside another one, where others may be beside it."""
    backbone = load(ModelConfig(**{"id": str(folder), "dtype": "float32", "threads": 1, **model}))
    assert str(backbone.device).startswith(model["device"])
    encoded = encode(backbone, [*questions("Atlantis", 3), *questions("Lemuria", 3)], prompt_of(case))
    members = [member(backbone, case, encoded, into / str(number), number) for number in range(2 if case in BESIDE_OTHERS else 1)]
    kept = members[0].folder.checkpoint
    train_cohort(backbone, members, TRAINING, prompt=prompt_of(case), checkpoint=kept, nodes_per_pack=400, context=context)
    return torch.tensor([score.logprob for score in evaluate(backbone, members[0].adapter, encoded, prompt=prompt_of(case))])


def member(backbone: Backbone, case: Case, encoded: list[Encoded], folder: Path, number: int) -> Member:
    return Member(moved(build(case, backbone, ("gpu", 0, number))).to(backbone.device), encoded, number, RunFolder(folder))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_training_and_testing_are_those_of_the_cpu(case: Case, folder: Path, tmp_path: Path) -> None:
    expected = trained(folder, case, tmp_path / "cpu", device="cpu")
    with gpus() as places:
        found = trained(folder, case, tmp_path / "gpu", device="cuda")
    assert torch.allclose(found, expected, atol=TOLERANCE)
    assert places.operations["cuda:0"] > 1000


@pytest.mark.parametrize("case", ONE_EACH, ids=label)
@pytest.mark.parametrize(
    "model", [{"device_map": "auto"}, {"device_map": "auto", "gradient_checkpointing": True}], ids=["two", "two, layers computed again"]
)
def test_layers_on_two_gpus_compute_what_one_does(model: Mapping[str, Any], case: Case, folder: Path, tmp_path: Path) -> None:
    expected = trained(folder, case, tmp_path / "cpu", device="cpu")
    with gpus() as places:
        found = trained(folder, case, tmp_path / "gpu", device="cuda", **model)
    assert torch.allclose(found, expected, atol=TOLERANCE)
    assert places.operations["cuda:0"] > 1000
    assert places.operations["cuda:1"] > 1000


@pytest.mark.parametrize("kernel", ["buckets", "sdpa"])
def test_other_kernels_too(kernel: str, folder: Path, tmp_path: Path) -> None:
    case = "prefix-tuning", {"length": 5, "start": "vocabulary"}
    expected = trained(folder, case, tmp_path / "cpu", device="cpu", attention=kernel)
    with gpus():
        found = trained(folder, case, tmp_path / "gpu", device="cuda:1", attention=kernel)
    assert torch.allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("device_map", [None, "auto"])
@pytest.mark.parametrize("context", ["no-gradient", "kept"])
def test_contexts_that_are_computed_apart(context: Way, device_map: str | None, folder: Path, tmp_path: Path) -> None:
    case = "prompt-tuning", {"length": 3, "start": "vocabulary", "place": "before_answer"}
    expected = trained(folder, case, tmp_path / "cpu", context, device="cpu")
    with gpus():
        found = trained(folder, case, tmp_path / "gpu", context, device="cuda", device_map=device_map)
    assert torch.allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["prompt-tuning", "prefix-tuning", "lora"])
def test_what_crosses_in_a_step_does_not_grow_with_the_layers(
    name: str, tiny_folder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockstep, "save_checkpoint", lambda *_: None)  # which reads every tensor
    case = next(case for case in CASES if case[0] == name)
    crossed: list[tuple[dict[tuple[str, str], int], int]] = []
    for model in (tiny_folder, folder):
        with gpus() as places:
            backbone = load(ModelConfig(id=str(model), dtype="float32", threads=1))
            encoded = encode(backbone, questions("Atlantis", 4), TEXT)
            learner = member(backbone, case, encoded, tmp_path / str(len(crossed)), 0)
            places.moves.clear()
            places.waits = 0
            train_cohort(backbone, [learner], TRAINING, prompt=TEXT, checkpoint=learner.folder.checkpoint)
            crossed.append((dict(places.moves), places.waits))
    assert crossed[0] == crossed[1]
    (moves, waits), _ = crossed
    assert moves["cpu", "cuda:0"] > 0, "the tree"
    assert moves["cuda:0", "cpu"] <= STEPS, "what clipping multiplies by"
    assert waits == 2 * STEPS, "the losses and the gradient's norm"
