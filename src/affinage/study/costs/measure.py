"""A machine's rates with one model: a few products at its shapes, in its type and threads, in a second or two.

Weights are not loaded: the products are of random values, with so many copies of a weight that none waits in a cache.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from affinage.backbone import device_of
from affinage.config import ModelConfig
from affinage.records import BackboneShape
from affinage.store import cores
from affinage.study.costs.formulas import Rates

__all__ = ["measure"]

_NODES = (32, 128, 512)
"""Nodes of the measured products: few, where the weight counts, and enough."""

_COLD = 1 << 26
"""Bytes of the copies of one weight, at least: more than a cache holds."""

_ENOUGH = 0.06
"""Seconds after which a measurement is not repeated; the smallest of the repetitions counts, which other processes disturb least."""

_REPEATED = 7


def measure(shape: BackboneShape, model: ModelConfig) -> Rates:
    """The rates of the machine that this process runs on.

    Args:
        shape: the model's.
        model: device, type and threads.
    """
    device = device_of(model.device)
    dtype: torch.dtype = getattr(torch, model.dtype)
    with _threads(model.threads), torch.no_grad():
        weight, product = _products(shape, device, dtype)
        batched = _batched(shape, device, dtype)
        traffic = _traffic(shape, device, dtype)
        call = _call(device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {_threads_in_words(model.threads or cores())}"
    return Rates(weight, product, batched, traffic, call, overlapped=device.type == "cuda", source=f"measured on {where}, {model.dtype}")


def _products(shape: BackboneShape, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds per parameter, and per parameter and node, of the linear modules' products, forward and backward alike.

    Least squares of relative errors over the measured sizes; neither is below zero.
    """
    shapes = Counter((inputs, outputs) for _, inputs, outputs in shape.linears) or Counter({(shape.width, 4 * shape.width): 1})
    parameters = sum(inputs * outputs * count for (inputs, outputs), count in shapes.items())
    total = np.zeros(len(_NODES))
    for (inputs, outputs), count in shapes.items():
        copies = max(1, min(64, _COLD // (inputs * outputs * dtype.itemsize)))
        weights = _noise(device, dtype, copies, outputs, inputs)
        for place, nodes in enumerate(_NODES):
            x, g = _noise(device, dtype, nodes, inputs), _noise(device, dtype, nodes, outputs)
            use = _turns(copies)
            total[place] += count / 2 * _fastest(lambda: (torch.nn.functional.linear(x, weights[next(use)]), g @ weights[next(use)]), device)  # noqa: B023
    rows = np.stack([np.ones(len(_NODES)), np.asarray(_NODES, float)], axis=1) / total[:, None]
    fixed, slope = np.linalg.lstsq(rows, np.ones(len(_NODES)), rcond=None)[0]
    if fixed < 0 or slope <= 0:
        fixed, slope = 0.0, float(total[-1]) / _NODES[-1]
    return float(fixed) / parameters, float(slope) / parameters


def _batched(shape: BackboneShape, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds per multiply-add of products of 32 queries with 96 keys, as strips have them."""
    strips, queries, keys = 64 * shape.kv_heads, 32, 96
    q, k = _noise(device, dtype, strips, queries, shape.head_width), _noise(device, dtype, strips, shape.head_width, keys)
    return _fastest(lambda: q @ k, device) / (strips * queries * keys * shape.head_width)


def _traffic(shape: BackboneShape, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds per byte of element-wise work with fresh memory: of a gate two values are read and two written, then one read again."""
    gate, up = _noise(device, dtype, 512, 4 * shape.width), _noise(device, dtype, 512, 4 * shape.width)
    return _fastest(lambda: torch.nn.functional.silu(gate) * up, device) / (5 * gate.numel() * dtype.itemsize)


def _call(device: torch.device) -> float:
    """Seconds of an operation on one value."""
    one = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(200):
            one.add(1)

    return _fastest(many, device) / 200


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest repetition, the first one not counted."""
    work()
    _finish(device)
    best, spent = float("inf"), 0.0
    for _ in range(_REPEATED):
        began = time.perf_counter()
        work()
        _finish(device)
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
        if spent > _ENOUGH:
            break
    return best


def _finish(device: torch.device) -> None:
    """Waits for what was begun."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _turns(copies: int) -> Iterator[int]:
    """0, 1, ..., over and over."""
    at = 0
    while True:
        yield at % copies
        at += 1


def _noise(device: torch.device, dtype: torch.dtype, *size: int) -> torch.Tensor:
    """Values like a layer's; the same in every process."""
    return torch.randn(size, generator=torch.Generator(device).manual_seed(0), device=device).mul_(0.02).to(dtype)


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """The threads that the study will use, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _threads_in_words(number: int) -> str:
    return f"{number} thread{'' if number == 1 else 's'}"
