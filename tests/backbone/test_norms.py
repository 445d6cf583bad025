"""Root-mean-square norms in fewer passes: the architecture's own values, gradients as close to the true ones as its own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from affinage.backbone import load
from affinage.backbone.norms import rms_norm, shorten_norms
from affinage.config import ModelConfig
from affinage.pack import pack
from trees import BATCH, backbone_of, doors_of, on_a_tree, placed, small

EPS = 1e-2
"""Large, so that leaving it out would be seen."""


def norm_of(model: str, name: str, width: int, dtype: torch.dtype) -> nn.Module:
    """An architecture's norm with weights that differ from column to column."""
    made = getattr(import_module(f"transformers.models.{model}.modeling_{model}"), name)(width, eps=EPS)
    made.weight.data = torch.linspace(0.4, 1.7, width)
    return made.to(dtype).requires_grad_(False)  # type: ignore[no-any-return]


def llama_norm(width: int = 48, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    return norm_of("llama", "LlamaRMSNorm", width, dtype)


def values(width: int, dtype: torch.dtype, *, seed: int = 3) -> Tensor:
    """[2, 7, H], rows of different sizes."""
    drawn = torch.randn(2, 7, width, generator=torch.Generator().manual_seed(seed))
    return (drawn * torch.linspace(0.05, 20.0, 7)[:, None]).to(dtype)


def exact(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in float64, by the definition."""
    leaf = x.double().requires_grad_()
    (leaf / (leaf.pow(2).mean(-1, keepdim=True) + EPS).sqrt() * weight.double()).backward(gradient.double())  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return leaf.grad


def gradient_of(run: Any, x: Tensor, gradient: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    run(leaf).backward(gradient)
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [7, 48, 576])
def test_values_and_gradients_are_those_of_the_architecture(width: int, dtype: torch.dtype) -> None:
    norm, x, gradient = llama_norm(width, dtype), values(width, dtype), values(width, dtype, seed=4)
    weight = norm.weight
    assert isinstance(weight, Tensor)
    ours, own = rms_norm(x, weight, EPS), norm(x)
    assert ours.dtype == own.dtype
    assert ours.shape == own.shape
    assert torch.allclose(ours.double(), own.double(), rtol=1e-6 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps)
    true = exact(x, weight, gradient)
    mistakes = [
        (float((gradient_of(run, x, gradient).double() - true).norm() / true.norm())) for run in (lambda leaf: rms_norm(leaf, weight, EPS), norm)
    ]
    assert mistakes[0] <= 1.15 * mistakes[1] + 1e-7
    assert float((exact(x, weight, gradient) - exact(x, weight, gradient.flip(0))).norm() / true.norm()) > 0.1  # the measure sees something


def test_rows_do_not_touch_each_other() -> None:
    weight = llama_norm().weight
    assert isinstance(weight, Tensor)
    whole, gradient = values(48, torch.bfloat16), values(48, torch.bfloat16, seed=4)
    broken, spoiled = whole.clone(), gradient.clone()
    broken[0, 2], spoiled[1, 5] = float("nan"), float("inf")

    def both(x: Tensor, incoming: Tensor) -> tuple[Tensor, Tensor]:
        return rms_norm(x, weight, EPS), gradient_of(lambda leaf: rms_norm(leaf, weight, EPS), x, incoming)

    for found, expected in zip(both(broken, spoiled), both(whole, gradient), strict=True):
        differs = (found != expected).any(-1)
        assert {tuple(place) for place in differs.nonzero().tolist()} <= {(0, 2), (1, 5)}
        assert bool(differs[0, 2])


@pytest.mark.parametrize(("model", "name"), [("llama", "LlamaRMSNorm"), ("qwen3", "Qwen3RMSNorm"), ("mistral", "MistralRMSNorm")])
def test_recognised_norms_are_replaced(model: str, name: str) -> None:
    norm, x = norm_of(model, name, 48, torch.bfloat16), values(48, torch.bfloat16)
    before = norm(x)
    assert shorten_norms(nn.Sequential(norm)) == 1
    leaf = x.clone().requires_grad_()
    assert type(norm(leaf).grad_fn).__name__ == "_RMSNormBackward"
    assert torch.equal(norm(x), before)


class SquaredRMSNorm(nn.Module):
    """Calls itself a norm, and computes something else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), EPS

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x / (x.pow(2).mean(-1, keepdim=True) + self.eps))


@pytest.mark.parametrize(
    "norm",
    [
        norm_of("gemma2", "Gemma2RMSNorm", 48, torch.bfloat16),  # 1 + weight
        norm_of("olmo2", "Olmo2RMSNorm", 48, torch.bfloat16),  # weighted before it is rounded
        SquaredRMSNorm(48).requires_grad_(False),
        nn.RMSNorm(48, eps=None).requires_grad_(False),
        nn.LayerNorm(48, eps=EPS).requires_grad_(False),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_what_is_something_else_stays_as_it_is(norm: nn.Module) -> None:
    assert shorten_norms(nn.Sequential(norm)) == 0
    assert "forward" not in vars(norm)


def test_a_weight_in_training_gets_its_gradient() -> None:
    norm = llama_norm(dtype=torch.float32)
    assert shorten_norms(nn.Sequential(norm)) == 1
    weight = norm.weight
    assert isinstance(weight, Tensor)
    weight.requires_grad_()
    norm(values(48, torch.float32)).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


def test_values_of_another_type_go_the_old_way() -> None:
    norm = llama_norm()
    x = values(48, torch.float32)
    before = norm(x)
    assert shorten_norms(nn.Sequential(norm)) == 1
    assert norm(x).dtype == before.dtype
    assert torch.equal(norm(x), before)


def test_a_tree_reads_the_same_with_replaced_norms() -> None:
    backbone = backbone_of(*small("qwen3"))
    doors = doors_of(backbone, ["vectors", "updates"])
    packed = pack([placed(branch, doors) for branch in BATCH])
    assert packed.nodes > 8
    before = on_a_tree(backbone, doors)
    layers = len(backbone.model.model.layers)
    assert shorten_norms(backbone.model) == 4 * layers + 1  # two of each layer, those of queries and keys, the last one
    after = on_a_tree(backbone, doors)
    for here, there in zip([after[0], *after[1]], [before[0], *before[1]], strict=True):
        assert (here - there).abs().max() <= 1e-5 * there.abs().max()
        assert there.abs().max() > 0


def test_a_loaded_model_has_them_unless_its_layers_are_compiled(tiny_folder: Path) -> None:
    def replaced(**values: Any) -> int:
        model = load(ModelConfig(id=str(tiny_folder), dtype="bfloat16", threads=1, device="cpu", **values)).model
        return sum("forward" in vars(module) for module in model.modules() if type(module).__name__ == "LlamaRMSNorm")

    assert replaced() == 5
    assert replaced(compile=True) == 0
