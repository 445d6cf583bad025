"""Root-mean-square norms on a CPU in a fraction of the passes over memory.

An architecture's own code computes such a norm step by step in float32, and so does its gradient: some twenty operations, each of which reads and
writes every value. Forward, batch normalisation with given variances does the same to rows in one pass, if rows take the place of its channels.
Backward, the chain rule is written out, and nothing is kept for it but the input and one number a row.

A norm is replaced only if it passes a trial with its own weights; every other one (weights that start from zero and count from one, weights
multiplied before values are rounded) stays as it is, and so does every norm on another device and in compiled layers, which fuse by themselves.

Letters: N rows, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor, nn

__all__ = ["rms_norm", "shorten_norms"]

_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_EXACT = 0.99
"""Part of a trial's values that must be equal to the last bit where rounding is coarse: another order of rounding changes more of them."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The norm x / sqrt(mean(x^2) + eps), rounded to the type of x, times the weight (Zhang and Sennrich 2019, equation 4).

    Rows do not touch each other, neither forward nor backward. The weight gets no gradient.

    Args:
        x: [..., H] on a CPU.
        weight: [H], of the same type.
        eps: what is added to the mean square.
    """
    return cast(Tensor, _RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]


@final
class _RMSNorm(torch.autograd.Function):
    """x [..., H], weight [H], eps -> [..., H]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Keeps its input and one number a row."""
        rows = x.reshape(-1, x.shape[-1])
        wide = rows.float()
        square = (wide * wide).mean(-1)
        normed, _, _ = torch.native_batch_norm(rows[None], None, None, torch.zeros_like(square), square, False, 0.0, eps)
        ctx.save_for_backward(rows, weight, square.add_(eps).rsqrt_()[:, None])
        return normed.mul_(weight).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """With r = 1 / sqrt(mean(x^2) + eps), y = x r and h = gradient * weight: r (h - y mean(h y)), in float32 from h on.

        A kernel of layer normalisation could do it in one pass, but takes mean(h) off too; with it added again, digits are lost wherever one
        column is much larger than the others.
        """
        rows, weight, scale = ctx.saved_tensors
        x, h = rows.float(), (gradient.reshape(rows.shape) * weight).float()
        along = (h * x).sum(-1, keepdim=True).mul_(scale).mul_(scale).div_(rows.shape[1])
        return h.sub_(x * along).mul_(scale).to(rows.dtype).view(gradient.shape), None, None


def shorten_norms(model: nn.Module) -> int:
    """Has the root-mean-square norms of a model computed by `rms_norm` where that is what they are.

    Args:
        model: frozen, on its devices; its modules' `forward` is replaced, nothing else.

    Returns:
        How many were replaced.
    """
    found = [(module, eps) for module in model.modules() if (eps := _recognised(module)) is not None]
    for module, eps in found:
        module.forward = _forward(module, module.forward, eps)
    return len(found)


def _forward(module: nn.Module, own: Callable[..., Tensor], eps: float) -> Callable[..., Tensor]:
    """The module's new `forward`; where its weight is being trained, types differ or more is handed over, its own."""

    def forward(x: Tensor, *others: Any, **named: Any) -> Tensor:
        weight = cast(Tensor, module.weight)
        plain = not (others or named or weight.requires_grad) and weight.dtype == x.dtype
        return rms_norm(x, weight, eps) if plain else own(x, *others, **named)

    return forward


def _recognised(module: nn.Module) -> float | None:
    """What the module adds to the mean square, where it is a norm that `rms_norm` computes; None elsewhere."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    named = type(module).__name__.endswith("RMSNorm") and [name for name, _ in module.named_parameters()] == ["weight"]
    if not named or not isinstance(weight, Tensor) or not isinstance(eps, float):
        return None
    if weight.dim() != 1 or weight.dtype not in _TYPES or weight.device.type != "cpu":
        return None
    with torch.no_grad():
        x = _trial(len(weight), eps).to(weight.dtype)
        own, ours = module(x), rms_norm(x, weight, eps)
    if own.shape != ours.shape or own.dtype != ours.dtype:
        return None
    tolerance = 8 * torch.finfo(weight.dtype).eps
    near = torch.allclose(own.float(), ours.float(), rtol=tolerance, atol=tolerance * float(own.float().abs().mean()))
    exact = weight.dtype == torch.float32 or float((own == ours).float().mean()) >= _EXACT
    return eps if near and exact else None


def _trial(width: int, eps: float) -> Tensor:
    """[1, 4, H] rows of very different sizes; in the second the mean square is about eps."""
    spread = torch.linspace(-3.0, 3.0, width).sin() + 0.25 * torch.linspace(0.0, 400.0, width).cos()
    return torch.stack([spread * size for size in (1.0, eps**0.5, 30.0, 0.05)])[None]
