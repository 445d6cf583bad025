"""Compiled decoder layers: the same results with few compilations, and what is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface

from affinage.backbone import Backbone, Doors, compiled, load
from affinage.backbone.attention import attend
from affinage.backbone.compiled import MOST_COMPILATIONS, compilations, refuse_uncompilable, require_compilable
from affinage.backbone.doors import Routed
from affinage.config import ModelConfig
from affinage.pack import Branch, pack
from affinage.records import UserError
from affinage.scoring import token_logprobs
from tiny import write_model
from trees import BATCH, assert_close, doors_of, on_a_tree, placed, tensors_of


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile from a clean start, attention as `load` registers it, and the process as it was afterwards."""
    AttentionInterface.register("affinage", torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
    monkeypatch.setattr(compiled, "_made", type(compiled._made)())
    torch._dynamo.reset()
    kept = torch._dynamo.config.skip_nnmodule_hook_guards, torch._dynamo.config.recompile_limit
    yield
    torch._dynamo.config.skip_nnmodule_hook_guards, torch._dynamo.config.recompile_limit = kept
    torch._dynamo.reset()
    AttentionInterface.register("affinage", attend)


def model_config(folder: Path, **values: Any) -> ModelConfig:
    return ModelConfig(id=str(folder), **{"dtype": "float32", "device": "cpu", "threads": 1, **values})


def together(backbone: Backbone, doors: Sequence[Doors], batch: Sequence[Branch] = BATCH) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities and gradients of a cohort."""
    branches = [replace(placed(branch, each), adapter=r) for r, each in enumerate(doors) for branch in batch[r:]]
    packed = pack(branches, len(doors))
    with backbone.logits(packed, doors) as logits:
        found = token_logprobs(logits, packed)
        return found.detach(), list(torch.autograd.grad(found.sum(), [tensor for each in doors for tensor in tensors_of(each)]))


def alike(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]]) -> None:
    assert_close(one[0], other[0])
    for mine, theirs in zip(one[1], other[1], strict=True):
        assert_close(mine, theirs, 1e-4)


def compare(folder: Path) -> dict[str, int]:
    """Trains and evaluates under several set-ups and batches, plain and compiled; the number of compilations."""
    plain, fast = load(model_config(folder)), load(model_config(folder, compile=True))
    assert compilations() == {}
    batch: tuple[Branch, ...]
    for kinds in (["vectors"], ["prefix"], ["updates"], ["vectors", "prefix", "updates"]):
        for key, batch in (("one", BATCH), ("two", BATCH[:4])):
            doors = doors_of(plain, kinds, key=key)
            alike(on_a_tree(fast, doors, batch), on_a_tree(plain, doors, batch))
    for batch in (BATCH, BATCH[1:]):
        cohort = [doors_of(plain, ["vectors", "prefix"], key=key) for key in ("one", "two")]
        alike(together(fast, cohort, batch), together(plain, cohort, batch))
    with torch.no_grad(), fast.logits(pack(BATCH)) as found, plain.logits(pack(BATCH)) as expected:
        assert_close(found, expected)
    return compilations()


@pytest.mark.slow
@pytest.mark.usefixtures("compiling")
@pytest.mark.filterwarnings("ignore")  # torch.compile's own modules warn
def test_compiled_layers_compute_the_same_and_share_their_compilations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # traced and differentiated alike; only machine code is left out
    made = compare(write_model(tmp_path / "model", layers=3))
    assert set(made) == {"decoder layers"}
    assert 0 < made["decoder layers"] <= 2 * MOST_COMPILATIONS


@pytest.mark.slow
@pytest.mark.usefixtures("compiling")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_machine_code_computes_the_same(tmp_path: Path) -> None:
    plain = load(model_config(write_model(tmp_path / "model")))
    fast = load(model_config(tmp_path / "model", compile=True))
    doors = doors_of(plain, ["vectors", "prefix"])
    for batch in (BATCH, BATCH[:4]):
        alike(on_a_tree(fast, doors, batch), on_a_tree(plain, doors, batch))
    assert compilations()["decoder layers"] <= MOST_COMPILATIONS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compile": "reduce-overhead"}, r"model\.compile: found 'reduce-overhead' \(CUDA graphs\); expected true or false: a pack's sizes change"),
        ({"compile": True, "gradient_checkpointing": True}, r"model\.compile: found true beside `model\.gradient_checkpointing`"),
        ({"compile": True, "quantisation": "8bit"}, r"model\.compile: found true beside `model\.quantisation`"),
    ],
)
def test_values_that_do_not_go_together_are_refused_before_weights_are_read(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load(model_config(tmp_path / "nothing there", **values))
    require_compilable(model_config(tmp_path, **{name: value for name, value in values.items() if name != "compile"}))


def test_adapters_that_would_be_compiled_for_every_pack_are_refused(backbone: Backbone) -> None:
    updated, soft = doors_of(backbone, ["updates"]), doors_of(backbone, ["vectors", "prefix"])
    refuse_uncompilable([updated])
    refuse_uncompilable([soft, soft])
    name, update = next(iter(updated.updates.items()))
    routed = Routed(update.a, update.b, 1.0, router=None)  # type: ignore[arg-type]
    for doors, found in [
        ([updated, updated], "updates of modules in a cohort"),
        ([replace(soft, gates=torch.zeros(1))], "gates"),
        ([Doors(shifts={name: torch.zeros(1)})], "shifted weights"),
        ([Doors(updates={name: routed})], "routed updates"),
    ]:
        with pytest.raises(UserError, match=rf"model\.compile: found an adapter with {found}; expected virtual tokens, prefixes"):
            refuse_uncompilable(doors)


def test_a_compiled_backbone_refuses_them_before_it_computes(backbone: Backbone) -> None:
    doors = replace(doors_of(backbone, ["prefix"]), gates=torch.zeros(2, 64, 3), scales=torch.ones(2))
    packed = pack(BATCH)
    with pytest.raises(UserError, match="an adapter with gates"), replace(backbone, compiled=True).logits(packed, [doors]):
        pass
    with backbone.logits(packed, [doors]):
        pass
