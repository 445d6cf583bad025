"""GPUs that are none: tensors lie in main memory, but each knows its device, and what a real GPU would refuse is refused.

PyTorch without CUDA has no tensors on a GPU, so that a forgotten `.to(device)` would first show on a user's. Here a tensor's device is that of its
storage, kept in a list beside it. Two modes keep the list true: one below autograd sees every operation, forward and backward, and refuses those over
tensors of two devices; one above it answers for what names a device (`x.device`, `x.to("cuda")`, `torch.zeros(..., device="cuda")`).

Values are the CPU's. What a GPU rounds otherwise, which kernels it has for which types and how much memory it takes is not tried, nor what runs
in other threads than the block's own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from transformers.utils import is_torch_cuda_available

__all__ = ["GPU", "TOLERANCE", "Gpus", "gpus"]

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TOLERANCE = 1e-3
"""Of log-probabilities near -20 after a few steps: on CUDA an optimiser goes another way through the same sums, and steps make rounding larger."""

_PRETENDED = ("cpu", "cuda")
"""Kinds of device whose tensors are really the CPU's; others are left alone."""

_ATEN = torch.ops.aten
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._unsafe_index.Tensor, _ATEN._index_put_impl_.default}
"""Operations of CUDA that take their indices from main memory too."""
_COPIES = {_ATEN.copy_.default, _ATEN._foreach_copy_.default, _ATEN.set_.source_Storage_storage_offset, _ATEN.set_.source_Tensor}
"""Operations whose tensors may lie anywhere; the result lies where the first one does."""
_WAITS = {
    *(_ATEN._local_scalar_dense.default, _ATEN.nonzero.default, _ATEN.bincount.default),
    *(_ATEN.masked_select.default, _ATEN._unique2.default, _ATEN.equal.default),
}
"""Operations that make the CPU wait for a GPU, beside copies to main memory and `tolist`."""


class Gpus:
    """Where tensors lie, and what passed between the devices.

    Args:
        count: of GPUs.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # A weak reference keeps a storage's number from being given to another one.
        self._places: dict[int, tuple[StorageWeakRef, torch.device | None]] = {}
        self.moves: Counter[tuple[str, str]] = Counter()
        """How many tensors went from a device to another."""
        self.waits = 0
        """How often the CPU waited for a value of a GPU."""
        self.operations: Counter[str] = Counter()
        """How many operations each device was given."""

    def where(self, tensor: Tensor) -> torch.device:
        """The device of a tensor; main memory where nothing else is known."""
        return self.place(tensor) or CPU

    def place(self, tensor: Tensor) -> torch.device | None:
        """As `where`, but None for what PyTorch's own code made without an operand, in a gradient's formula say.

        On a GPU it would ask for the device at hand, which here is the CPU's. It lies where the first operand beside it does.
        """
        with torch._C.DisableTorchFunction():
            if tensor.device.type != "cpu":
                return tensor.device
            known = self._places.get(tensor.untyped_storage()._cdata)
            return CPU if known is None else known[1]

    def put(self, tensor: Tensor, device: torch.device | None) -> None:
        """Notes that a tensor's storage lies there."""
        with torch._C.DisableTorchFunction():
            if tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._places[storage._cdata] = StorageWeakRef(storage), device  # type: ignore[no-untyped-call]

    def named(self, device: Any) -> torch.device:
        """A device as CUDA numbers it: `cuda` is its first.

        Raises:
            RuntimeError: there are fewer.
        """
        found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        found = GPU if found.type == "cuda" and found.index is None else found
        if found.type == "cuda" and found.index >= self._count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return found


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


class _Generator(torch.Generator):
    """A stream of random numbers on a device; those of the CPU, as values are."""

    kind: str

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.kind = torch.device(device).type
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device(self.kind)


def _require_own(values: Any, kind: str) -> None:
    """Refuses a random stream of the other kind of device."""
    for each in tree_leaves(values):
        if isinstance(each, torch._C.Generator) and each.device.type != kind:
            raise RuntimeError(f"Expected a '{kind}' device type for generator but found '{each.device.type}'")


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


class _Computing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd."""

    def __init__(self, places: Gpus) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        with torch._C.DisableTorchFunction():
            given = _tensors((args, named))
            place = self._place(func, args, named)
            if place is not None:
                _require_own((args, named), place.type)
                self.places.operations[str(place)] += 1
            if place is not None and place.type == "cuda":
                self.places.waits += func in _WAITS or (func in _INDEXING and any(each.dtype == torch.bool for each in _tensors(args[1])))
            if named.get("pin_memory"):  # for which a build without CUDA has no allocator
                named["pin_memory"] = False
            result = func(*args, **named)
            known = {each.untyped_storage()._cdata for each in given if each.device.type == "cpu"}
            for each in given:
                if self.places.place(each) is None:
                    self.places.put(each, place)
            for made in _tensors(result):
                if made.device.type == "cpu" and made.untyped_storage()._cdata not in known:
                    self.places.put(made, place)
            return result

    def _place(self, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> torch.device | None:
        """Where the result lies; None where no operand tells.

        Raises:
            RuntimeError: the operands lie on several devices.
        """
        first, *others = [self.places.place(each) for each in _tensors((args, named))] or [None]
        if func in _COPIES:
            for other in others:
                if other is not None and first is not None and other != first:
                    self.places.moves[str(other), str(first)] += 1
            return first
        by_element = torch.Tag.pointwise in func.tags or func._schema.name.startswith("aten::_foreach")
        bound = {}
        for at, argument in enumerate(func._schema.arguments):
            for each in _tensors(args[at] if at < len(args) else named.get(argument.name)):
                place = self.places.place(each)
                written = argument.alias_info is not None and argument.alias_info.is_write
                # Indices may come from main memory, and so may a number into an operation element by element, but not out of it.
                free = (func in _INDEXING and argument.name == "indices") or (by_element and each.dim() == 0 and not written)
                if place is not None and not (free and place == CPU):
                    bound[str(place)] = place
        if len(bound) > 1:
            found = " and ".join(sorted(bound))
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found at least two devices, {found}!")
        return next(iter(bound.values()), first)


class _Naming(TorchFunctionMode):
    """Answers for what names a device."""

    def __init__(self, places: Gpus) -> None:
        super().__init__()
        self.places = places
        where, on = places.where, self._on
        self._own: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: lambda x, *_: where(x),
            Tensor.is_cuda.__get__: lambda x, *_: where(x).type == "cuda",  # type: ignore[attr-defined]
            Tensor.is_cpu.__get__: lambda x, *_: where(x).type == "cpu",  # type: ignore[attr-defined]
            Tensor.get_device: lambda x: -1 if where(x) == CPU else where(x).index,
            Tensor.cpu: lambda x, **_: on(x, CPU, x),
            Tensor.cuda: lambda x, device="cuda", **_: on(x, places.named(device), x),
            Tensor.to: self._to,
            Tensor.type_as: self._to,
            Tensor.tolist: self._listed,
            Tensor.numpy: lambda x, *of, **named: self._in_main_memory(x).numpy(*of, **named),
            Tensor.__array__: lambda x, *of, **named: self._in_main_memory(x).__array__(*of, **named),  # type: ignore[no-untyped-call]
            Tensor.__deepcopy__: self._copied,
            Tensor.new_tensor: self._new,
            torch.as_tensor: self._as_tensor,
            torch.device: self._device,
        }

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        if func in self._own:
            return self._own[func](*args, **named)
        device = None if named.get("device") is None else self.places.named(named["device"])
        if device is not None and device.type not in _PRETENDED:
            return func(*args, **named)
        if device is not None or not _tensors((args, named)):
            _require_own((args, named), (device or CPU).type)
        result = func(*args, **(named if device is None else {**named, "device": CPU}))
        for made in _tensors(result):
            if device is not None or self.places.place(made) is None:
                self.places.put(made, device or CPU)
        if func is torch.tensor and device is not None and device != CPU:
            self.places.moves["cpu", str(device)] += 1
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
        if device is not None and self.places.named(device).type not in _PRETENDED:
            return x.to(device, **named)
        converted = x.to(**{"dtype": x.dtype, **named})
        return converted if device is None else self._on(converted, self.places.named(device), x)

    def _on(self, converted: Tensor, device: torch.device, origin: Tensor) -> Tensor:
        return converted if device == self.places.where(origin) else cast(Tensor, _Move.apply(converted, self.places, device))  # type: ignore[no-untyped-call]

    def _in_main_memory(self, x: Tensor) -> Tensor:
        if self.places.where(x).type == "cuda":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
        return x

    def _listed(self, x: Tensor) -> Any:
        self.places.waits += self.places.where(x).type == "cuda"
        return x.tolist()

    def _copied(self, x: Tensor, memo: Any) -> Tensor:
        copy = cast(Tensor, x.__deepcopy__(memo))  # type: ignore[no-untyped-call]
        self.places.put(copy, self.places.where(x))
        return copy

    def _new(self, x: Tensor, data: Any, device: Any = None, **named: Any) -> Tensor:
        made = x.new_tensor(data, **named)
        self.places.put(made, self.places.where(x) if device is None else self.places.named(device))
        return made

    def _as_tensor(self, data: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """What shares its memory with the data is moved, not marked."""
        made = torch.as_tensor(data, dtype=dtype)
        origin = data if isinstance(data, Tensor) else made
        if device is None:
            device = self.places.where(origin)
        return self._to(origin, device, made.dtype)

    @staticmethod
    def _device(*named: Any, **more: Any) -> torch.device:
        """A number alone is a GPU's."""
        return torch.device("cuda", *named) if named and isinstance(named[0], int) else torch.device(*named, **more)


@contextmanager
def gpus(count: int = 2, free: int = 64_000_000_000) -> Iterator[Gpus]:
    """So many GPUs with so many free bytes each, until the block ends."""
    places = Gpus(count)
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
        is_torch_cuda_available.cache_clear()
        stack.callback(is_torch_cuda_available.cache_clear)
        stack.enter_context(_Computing(places))
        stack.enter_context(naming)
        yield places
