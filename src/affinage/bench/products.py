"""The matrix products of a step: which they are, what they take by themselves, and how fast this machine multiplies at its best.

A step is watched below autograd, where every product that it performs passes by, forward and backward, with the very operands that the library is
given. The same products are then done alone: same operation, shapes, strides, type and threads, each with an output that it allocates itself. What
outlives a step (the frozen weights, whatever a library has packed of them) is read where it lies; what a step makes is replaced by random values,
one buffer for each layout. That buffer is often in the cache where the step's own tensor was not, so the time alone is rather too small than too
large. What compiled code fuses into kernels of its own may not pass by.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

from affinage.bench.sides.base import Step, stopwatch
from affinage.methods.base import normal

__all__ = ["Call", "Replay", "Stepping", "operations", "peak_rate", "recorded", "timed_products"]

_OWN = frozenset({"aten", "prim", "prims", "profiler", "debugprims"})
"""Namespaces of torch's own operations; whoever computes elsewhere (oneDNN, a custom operation) is watched more closely."""
_NAMED = re.compile(
    r"(^|_)((b|addb?|baddb)?(mm|mv)|v?dot|tensordot|matmul|linear|bilinear|trilinear|einsum|attention|conv\w*n(d|\dd)?|lstm|gru|rnn)(_|$)"
)
"""Operations that multiply matrices, by their names."""
_SQUARES: Mapping[str, tuple[int, ...]] = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Sides of the square products that the peak is measured with; the fastest counts."""
_IN_A_ROW = {"cpu": 1, "cuda": 8}
"""Square products timed together, so that starting them is no part of their time."""


class Stepping(Protocol):
    """A side whose steps are watched."""

    device: str

    def step(self, index: int) -> Step:
        """A whole optimiser step on batch `index`."""
        ...


@dataclass(frozen=True, slots=True)
class Operand:
    """The layout of a tensor that a step makes."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def span(self) -> int:
        """Values of memory from the first to the last, both counted."""
        return 0 if 0 in self.shape else 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


@dataclass(frozen=True, slots=True)
class Call:
    """One product of a step."""

    operation: Any
    """The overload that was called."""
    arguments: tuple[Any, ...]
    """As they were given, an `Operand` for each tensor that the step made."""
    keywords: Mapping[str, Any]
    multiplications: int | None
    """None where it is not known how many the operation does."""
    batched: bool
    """Whether it is a batch of products, as attention's are."""

    @property
    def name(self) -> str:
        """For instance `aten.mm.default`."""
        return str(self.operation)


@final
class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every product that passes.

    Args:
        lasting: addresses of the memory that was there before the step.
    """

    supports_higher_order_operators = True

    def __init__(self, lasting: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._lasting = lasting

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Does what was asked, and notes it."""
        given = kwargs or {}
        result = func(*args, **given)
        if _multiplies(func, args, given):
            schema = getattr(func, "_schema", None)  # torch's higher-order operations have none, and write to nothing
            written = {place for place, taken in enumerate(schema.arguments if schema else ()) if taken.alias_info and taken.alias_info.is_write}
            described = tuple(tree_map_only(Tensor, self._describe(place in written), value) for place, value in enumerate(args))
            named = {name: tree_map_only(Tensor, self._describe(name == "out"), value) for name, value in given.items()}
            batched = any(isinstance(value, Tensor) and value.dim() > 2 for value in args) and "linear" not in str(func)
            self.calls.append(Call(func, described, named, _multiplications(func, args, given, result), batched))
        return result

    def _describe(self, written: bool) -> Callable[[Tensor], Operand | Tensor]:
        def describe(value: Tensor) -> Operand | Tensor:
            if value.layout != torch.strided or not value.is_floating_point():
                return value  # packed by a library, or indices: no random value stands for it
            if not written and value.untyped_storage().data_ptr() in self._lasting:
                return value.detach()
            return Operand(tuple(value.shape), tuple(value.stride()), value.dtype, value.device)

        return describe


def _multiplies(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation is a matrix product: by its name, or, outside torch's own, by two floating-point matrices among its operands."""
    namespace, _, name = operation.name().partition("::")
    if _NAMED.search(name.partition(".")[0]):
        return True
    if namespace in _OWN:
        return False
    matrices = [value for value in tree_leaves((args, dict(kwargs))) if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1]
    return len(matrices) > 1


def _multiplications(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int | None:
    """How many multiplications a call does, where that is known: by torch's own counter, for linear layers of other libraries by their shapes."""
    name = operation.name().partition("::")[2].partition(".")[0]
    # What works in place multiplies as what does not.
    packet = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") else getattr(operation, "overloadpacket", operation)
    known = flop_registry.get(packet)
    if known is not None:
        return int(known(*args, **kwargs, out_val=result)) // 2
    if "linear" in name and "backward" not in name and isinstance(result, Tensor):
        return result.numel() * int(args[0].shape[-1])
    return None


def recorded(step: Callable[[], object]) -> list[Call]:
    """The products of whatever `step` does, in their order.

    Args:
        step: a whole step.
    """
    kinds = (Tensor, nn.Parameter)
    alive = (value for value in gc.get_objects() if type(value) in kinds and value.layout == torch.strided and value.device.type != "meta")
    watch = _Watch(frozenset(value.untyped_storage().data_ptr() for value in alive))
    with watch:
        step()
    return watch.calls


@final
class Replay:
    """A step's products by themselves.

    Args:
        calls: what `recorded` saw.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self._buffers: dict[Operand, Tensor] = {}
        self._calls = [
            (call.operation, tree_map_only(Operand, self._filled, call.arguments), tree_map_only(Operand, self._filled, dict(call.keywords)))
            for call in calls
        ]

    def _filled(self, operand: Operand) -> Tensor:
        """Random values in an operand's layout."""
        if operand not in self._buffers:
            values = normal((operand.span,), "products", *operand.shape).to(operand.device, operand.dtype)
            self._buffers[operand] = values.as_strided(operand.shape, operand.stride)
        return self._buffers[operand]

    def run(self) -> None:
        """Does them all, in the step's order; each result is let go at once."""
        with torch.no_grad():
            for operation, arguments, keywords in self._calls:
                operation(*arguments, **keywords)


def operations(calls: Iterable[Call]) -> dict[str, dict[str, int | None]]:
    """Per name of an operation its `calls` and `multiplications`; None where one call's are not known."""
    found: dict[str, dict[str, int | None]] = {}
    for call in calls:
        own = found.setdefault(call.name, {"calls": 0, "multiplications": 0})
        own["calls"] = (own["calls"] or 0) + 1
        so_far = own["multiplications"]
        own["multiplications"] = None if so_far is None or call.multiplications is None else so_far + call.multiplications
    return found


def peak_rate(dtype: torch.dtype, device: str) -> float:
    """Multiplications per second of the fastest square product, done once more than it is timed."""
    kind = device.partition(":")[0]
    rates = []
    for side in _SQUARES[kind]:
        left, right = (normal((side, side), "square", name).to(device, dtype) for name in ("left", "right"))
        torch.mm(left, right)
        with stopwatch(device) as clock:
            for _ in range(_IN_A_ROW[kind]):
                torch.mm(left, right)
        rates.append(_IN_A_ROW[kind] * side**3 / clock.seconds)
    return max(rates)


def timed_products(
    side: Stepping, needed: Callable[[int], Mapping[str, int]], dtype: torch.dtype, indices: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Whole steps and their products alone, in turns.

    Args:
        side: does the steps.
        needed: the multiplications that batch `index` needs, by part, with their `total`.
        dtype: of the peak's products.
        indices: of the batches.
        rounds: how often each of both is timed, per batch.

    Returns:
        `batches`: per batch `step` and `alone` (seconds of each round), `performed` (multiplications; `linear`, `batched`), `needed`,
        `operations` by name and `uncounted` (names whose multiplications are not known). `peak`: multiplications per second in each round.
    """
    found, peak = [], []
    for index in indices:
        calls = recorded(lambda index=index: side.step(index))  # type: ignore[misc]
        alone = Replay(calls)
        alone.run()
        steps, products = [], []
        for place in range(rounds):
            for whole in (True, False) if place % 2 == 0 else (False, True):
                if whole:
                    steps.append(side.step(index).seconds)
                    continue
                with stopwatch(side.device) as clock:
                    alone.run()
                products.append(clock.seconds)
            peak.append(peak_rate(dtype, side.device))
        performed = {
            "linear": sum(call.multiplications or 0 for call in calls if not call.batched),
            "batched": sum(call.multiplications or 0 for call in calls if call.batched),
        }
        uncounted = sorted({call.name for call in calls if call.multiplications is None})
        seen = operations(calls)
        found.append(
            {"step": steps, "alone": products, "performed": performed, "needed": dict(needed(index)), "operations": seen, "uncounted": uncounted}
        )
    return {"batches": found, "peak": peak, "median_peak": median(peak)}
