"""GPUs that are none: tensors lie in main memory, but each knows its device, and what a real GPU would refuse is refused.

PyTorch without CUDA has no tensors on a GPU, so that a forgotten `.to(device)` would first show on a user's. Here a tensor's device is that of its
storage, kept in a list beside it. Two modes keep the list true: one below autograd sees every operation, forward and backward, and refuses those over
tensors of two devices; one above it answers for what names a device (`x.device`, `x.to("cuda")`, `torch.zeros(..., device="cuda")`).

Values are the CPU's. What a GPU rounds otherwise, which kernels it has for which types and how much memory it takes is not tried.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Gpus", "gpus"]

CPU = torch.device("cpu")
_ANYWHERE = torch.device("meta")
"""Of what PyTorch's own code made without an operand, in a gradient's formula say: on a GPU it would ask for the device at hand, which here is the
CPU's. It lies where the first operand beside it does."""
_PRETENDED = ("cpu", "cuda")
"""Kinds of device whose tensors are really the CPU's; others are left alone."""

_ATEN = torch.ops.aten
_COPIES = {_ATEN.copy_.default, _ATEN._foreach_copy_.default, _ATEN.set_.source_Storage_storage_offset}
"""Operations whose tensors may lie anywhere; the result lies where the first one does."""
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._unsafe_index.Tensor, _ATEN._index_put_impl_.default}
"""Operations of CUDA that take their indices from main memory too."""
_INDICES = {torch.int64, torch.bool}
_WAITS = {_ATEN._local_scalar_dense.default, _ATEN.nonzero.default, _ATEN.bincount.default}
"""Operations that make the CPU wait for a GPU, beside copies to main memory."""


class Gpus:
    """Where tensors lie, and what passed between the devices."""

    def __init__(self) -> None:
        # A weak reference keeps a storage's number from being given to another one.
        self._places: dict[int, tuple[StorageWeakRef, torch.device]] = {}
        self.moves: Counter[tuple[str, str]] = Counter()
        """How many tensors went from a device to another."""
        self.waits = 0
        """How often the CPU waited for a value of a GPU."""
        self.operations: Counter[str] = Counter()
        """How many operations each device was given."""

    def where(self, tensor: Tensor) -> torch.device:
        """The device of a tensor; main memory where nothing else is known."""
        with torch._C.DisableTorchFunction():
            if tensor.device.type != "cpu":
                return tensor.device
            known = self._places.get(tensor.untyped_storage()._cdata)
            return CPU if known is None else known[1]

    def put(self, tensor: Tensor, device: torch.device) -> None:
        """Notes that a tensor's storage lies there."""
        with torch._C.DisableTorchFunction():
            if tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._places[storage._cdata] = StorageWeakRef(storage), device  # type: ignore[no-untyped-call]


def _device(named: Any) -> torch.device:
    """As CUDA numbers it: `cuda` is its first device."""
    found = torch.device("cuda", named) if isinstance(named, int) else torch.device(named)
    return torch.device("cuda", 0) if found.type == "cuda" and found.index is None else found


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


class _Generator(torch.Generator):
    """A stream of random numbers on a device; those of the CPU, as values are."""

    place: torch.device

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.place = _device(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place


def _require_own(values: Iterable[Any]) -> None:
    """Refuses a random stream of the CPU among what a GPU is given."""
    if any(isinstance(each, torch.Generator) and each.device.type == "cpu" for each in values):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


class _Move(torch.autograd.Function):
    """A copy on another device, whose gradient goes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Gpus, target: torch.device) -> Tensor:
        ctx.places, ctx.origin, ctx.target = places, places.where(x), target
        return _moved(x, places, ctx.origin, target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _moved(gradient, ctx.places, ctx.target, ctx.origin), None, None


def _moved(x: Tensor, places: Gpus, origin: torch.device, target: torch.device) -> Tensor:
    places.moves[str(origin), str(target)] += 1
    copy = x.detach().clone()
    places.put(copy, target)
    return copy


class _Computing(TorchDispatchMode):
    """Sees every operation below autograd."""

    def __init__(self, places: Gpus) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        with torch._C.DisableTorchFunction():
            given = _tensors((args, named))
            at = [self.places.where(each) for each in given]
            place = self._place(func, given, at)
            if place.type == "cuda":
                _require_own(tree_leaves((args, named)))
            if named.get("pin_memory"):  # for which a build without CUDA has no allocator
                named["pin_memory"] = False
            result = func(*args, **named)
            self.places.operations[str(place)] += 1
            self.places.waits += func in _WAITS and place.type == "cuda"
            for each, device in zip(given, at, strict=True):
                if device == _ANYWHERE:
                    self.places.put(each, place)
            known = {each.untyped_storage()._cdata for each in given if each.device.type == "cpu"}
            for made in _tensors(result):
                if made.device.type == "cpu" and made.untyped_storage()._cdata not in known:
                    self.places.put(made, place)
            return result

    @staticmethod
    def _place(func: Any, given: Sequence[Tensor], at: Sequence[torch.device]) -> torch.device:
        """Where the result lies.

        Raises:
            RuntimeError: the operands lie on several devices.
        """
        if func in _COPIES:
            return at[0]
        # Indices may come from main memory, and so may a number into an operation element by element.
        by_element = torch.Tag.pointwise in func.tags or func._schema.name.startswith("aten::_foreach")
        free = [(func in _INDEXING and each.dtype in _INDICES) or (by_element and each.dim() == 0) for each in given]
        bound = [device for device, may in zip(at, free, strict=True) if not (may and device == CPU)] or at
        found = sorted({str(device) for device in bound if device != _ANYWHERE})
        if len(found) > 1:
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found at least two devices, {' and '.join(found)}!")
        return torch.device(found[0]) if found else _ANYWHERE


class _Naming(TorchFunctionMode):
    """Answers for what names a device."""

    def __init__(self, places: Gpus) -> None:
        super().__init__()
        self.places = places
        self._own: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: lambda x, *_: places.where(x),
            Tensor.is_cuda.__get__: lambda x, *_: places.where(x).type == "cuda",  # type: ignore[attr-defined]
            Tensor.is_cpu.__get__: lambda x, *_: places.where(x).type == "cpu",  # type: ignore[attr-defined]
            Tensor.get_device: lambda x: -1 if places.where(x) == CPU else places.where(x).index,
            Tensor.cpu: lambda x, **_: self._on(x, CPU, x),
            Tensor.cuda: lambda x, device="cuda", **_: self._on(x, _device(device), x),
            Tensor.to: self._to,
            Tensor.numpy: lambda x, **named: self._in_main_memory(x).numpy(**named),
            Tensor.__array__: lambda x, *of: self._in_main_memory(x).__array__(*of),  # type: ignore[no-untyped-call]
            torch.device: lambda *of, **named: torch.device("cuda", *of) if isinstance((*of, "")[0], int) else torch.device(*of, **named),
        }

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        if func in self._own:
            return self._own[func](*args, **named)
        device = None if named.get("device") is None else _device(named["device"])
        if device is not None and device.type not in _PRETENDED:
            return func(*args, **named)
        if device is not None:
            named["device"] = CPU
            if device.type == "cuda":
                _require_own(named.values())
        result = func(*args, **named)
        for made in _tensors(result):
            if device is not None or self.places.where(made) == _ANYWHERE:
                self.places.put(made, device or CPU)
        return result

    def _to(self, x: Tensor, *args: Any, **named: Any) -> Tensor:
        """`Tensor.to`: a device, a type, both, or another tensor that has them."""
        device = named.pop("device", None)
        for value in args:
            if isinstance(value, Tensor):
                device, named["dtype"] = self.places.where(value), value.dtype
            elif isinstance(value, torch.dtype):
                named["dtype"] = value
            elif not (value is None or isinstance(value, bool)):
                device = value
        if device is not None and _device(device).type not in _PRETENDED:
            return x.to(device, **named)
        converted = x.to(**{"dtype": x.dtype, **named})
        return converted if device is None else self._on(converted, _device(device), x)

    def _on(self, converted: Tensor, device: torch.device, origin: Tensor) -> Tensor:
        return converted if device == self.places.where(origin) else cast(Tensor, _Move.apply(converted, self.places, device))  # type: ignore[no-untyped-call]

    def _in_main_memory(self, x: Tensor) -> Tensor:
        if self.places.where(x).type == "cuda":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
        return x


@contextmanager
def gpus(count: int = 2, free: int = 64_000_000_000) -> Iterator[Gpus]:
    """So many GPUs with so many free bytes each, until the block ends."""
    places = Gpus()
    naming = _Naming(places)
    histogram, engine = torch.histc, torch.autograd.graph._engine_run_backward

    def backward(*args: Any, **named: Any) -> Any:
        # Within an operation, as `Tensor.backward` is one, the mode is off.
        with ExitStack() as again:
            if naming not in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
                again.enter_context(naming)
            return engine(*args, **named)

    replaced: list[tuple[Any, dict[str, Any]]] = [
        (
            torch.cuda,
            {
                "is_available": lambda: True,
                "device_count": lambda: count,
                "current_device": lambda: 0,
                "set_device": lambda device: None,
                "get_device_capability": lambda device=None: (7, 0),  # too old for the kernels of one architecture alone
                "get_device_name": lambda device=None: "a pretended GPU",
                "mem_get_info": lambda device=None: (free, free),
                "synchronize": lambda device=None: None,
                "empty_cache": lambda: None,
                "max_memory_allocated": lambda device=None: 0,
                "reset_peak_memory_stats": lambda device=None: None,
            },
        ),
        # Counting whole numbers: transformers' experts do so on CUDA, and a CPU has no kernel for it.
        (torch, {"Generator": _Generator, "histc": lambda x, *bins, **named: histogram(x.float(), *bins, **named).to(x.dtype)}),
        (torch.autograd, {"_engine_run_backward": backward}),
        (torch.autograd.graph, {"_engine_run_backward": backward}),
    ]
    with ExitStack() as stack:
        for module, values in replaced:
            for name, value in values.items():
                stack.enter_context(mock.patch.object(module, name, value))
        # Libraries that find a CUDA device import what a build without CUDA lacks.
        stack.enter_context(mock.patch.object(torch._C, "_cuda_getCurrentRawStream", create=True))
        stack.enter_context(mock.patch.dict(os.environ, HF_DEACTIVATE_ASYNC_LOAD="1"))  # modes are a thread's own
        # Layers that are computed again are told the CPU as a device where they were told the GPU before, or the other way round: not compared.
        stack.enter_context(mock.patch.dict(checkpoint._allowed_determinism_checks_to_fns, default=lambda x: {"shape": x.shape, "dtype": x.dtype}))
        stack.enter_context(_Computing(places))
        stack.enter_context(naming)
        yield places
