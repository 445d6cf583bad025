"""Backbones kept in 8 and 4 bits: gradients reach what is trained, nothing else moves, branches do not leak, and what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors, describe, load, quantised
from affinage.backbone.quantised import quantisation, require_full_weights
from affinage.config import ModelConfig
from affinage.pack import Branch, pack
from affinage.records import UserError
from tiny import write_model
from trees import doors_of, on_a_tree, tensors_of

needs_library = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install affinage[quantise])")
KINDS = ("8bit", "4bit")
FIELDS = [pytest.param(kind, dtype, marks=needs_library) for kind in KINDS for dtype in ("bfloat16", "float32")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("quantised") / "model")


def model_config(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(id=str(folder), **{"device": "cpu", "threads": 1, **values})


def frozen(backbone: Backbone) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the model, also those that quantised modules keep beside their weights."""
    yield from backbone.model.named_parameters()
    yield from backbone.model.named_buffers()
    for name, module in backbone.model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        scales = getattr(getattr(module, "state", None), "SCB", None) if state is None else state.absmax
        if scales is None:
            scales = getattr(getattr(module, "weight", None), "SCB", None)
        if scales is not None:
            yield f"{name} scales", scales


@pytest.mark.parametrize(("kind", "dtype"), FIELDS)
def test_a_step_moves_what_is_trained_and_nothing_else(kind: str, dtype: str, folder: Path) -> None:
    backbone = load(model_config(folder, dtype=dtype, quantisation=kind))
    changed = [module for _, module in backbone.model.named_modules() if isinstance(module, nn.Linear) and type(module) is not nn.Linear]
    assert len(changed) == len(backbone.shape.linears)
    assert backbone.dtype == getattr(torch, dtype)
    before = {name: tensor.clone() for name, tensor in frozen(backbone)}
    assert sum("scales" in name for name in before) == len(changed)
    for doors in (doors_of(backbone, ["vectors"]), doors_of(backbone, ["prefix"]), doors_of(backbone, ["updates"])):
        tensors = tensors_of(doors)
        optimiser = torch.optim.AdamW(tensors, lr=1e-2)
        start, gradients = on_a_tree(backbone, doors)
        assert all(torch.isfinite(gradient).all() and gradient.abs().max() > 0 for gradient in gradients)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = -gradient
        optimiser.step()
        assert on_a_tree(backbone, doors)[0].mean() > start.mean()
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen(backbone))


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_library) for kind in KINDS])
def test_gradients_still_flow_after_a_pass_without_any(kind: str, folder: Path) -> None:
    """The library would repack 4-bit weights for a CPU in such a pass; the packed product has no gradient."""
    backbone = load(model_config(folder, quantisation=kind))
    doors = doors_of(backbone, ["vectors"])
    expected = on_a_tree(backbone, doors)
    with torch.no_grad(), backbone.logits(pack([Branch((1, 2, 3), 1)])):
        pass
    found = on_a_tree(backbone, doors)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1][0], expected[1][0])


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_library) for kind in KINDS])
def test_branches_do_not_leak_and_the_answers_are_near_the_models_own(kind: str, folder: Path) -> None:
    plain, backbone = (load(model_config(folder, dtype="bfloat16", quantisation=value)) for value in ("none", kind))
    root, branch, other = (5, 6, 7, 8), (9, 10, 11, 12), (50, 60, 70, 80)
    with torch.no_grad():
        results = []
        for second in (branch, other):
            with backbone.logits(pack([Branch((*root, 20, 21, 22), 1), Branch((*root, 30, *second), 1)])) as logits:
                results.append(logits[: len(root) + 2].float())
        with plain.logits(pack([Branch((*root, 20, 21, 22), 1), Branch((*root, 30, *branch), 1)])) as logits:
            exact = logits[: len(root) + 2].float()
    assert torch.equal(*results)
    assert 1e-3 < float((results[0] - exact).abs().max() / exact.abs().max()) < (0.2 if kind == "8bit" else 0.9)


def test_a_quantised_model_is_another_model(folder: Path) -> None:
    digests = [describe(model_config(folder, quantisation=kind))[1].digest for kind in ("none", *KINDS)]
    assert len(set(digests)) == 3
    assert describe(model_config(folder))[1].digest == digests[0]


@pytest.mark.parametrize("missing", [("bitsandbytes",), ("bitsandbytes", "accelerate")])
def test_a_missing_library_is_named(missing: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None if name in missing else object())
    with pytest.raises(UserError, match=rf"model\.quantisation: found no {' and no '.join(missing)}; .* Run `pip install affinage\[quantise\]`"):
        load(model_config(folder, quantisation="4bit"))
    assert quantisation(model_config(folder)) == {}


@needs_library
def test_what_writes_into_the_weights_is_refused(folder: Path) -> None:
    for kind in ("none", "8bit"):
        backbone = load(model_config(folder, quantisation=kind))
        name, size = backbone.shape.weights[0]
        shifting = backbone.logits(pack([Branch((1, 2, 3), 1)]), [Doors(shifts={name: torch.zeros(size)})])
        if kind == "none":
            with shifting:
                require_full_weights(backbone.model, "merging")
            continue
        with pytest.raises(UserError, match=r"weights themselves: found quantised weights; .* Set `model\.quantisation` to none"), shifting:
            pass
        with pytest.raises(UserError, match="merging: found quantised weights"):
            require_full_weights(backbone.model, "merging")


def test_weights_that_come_quantised_are_not_quantised_again(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model") / "config.json"
    stored = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": stored}))
    with pytest.raises(UserError, match=r"model\.quantisation: found 4bit for quantised weights; .* Set it to none"):
        load(model_config(file.parent, quantisation="4bit"))
