"""How much memory a device has left, and what it says when there is none."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import torch

__all__ = ["device_name", "free_memory", "out_of_memory", "release"]

_MEMINFO = Path("/proc/meminfo")

_SAYS = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What PyTorch's CPU allocator says, with and without POSIX, and what CUDA and cuBLAS say where PyTorch's own allocator did not ask."""


def device_name(device: str) -> str:
    """What a device is: `cpu`, or the GPU's name.

    Args:
        device: as `model.device` names it; `auto` takes CUDA where there is one.
    """
    if device != "cpu" and torch.cuda.is_available():
        return str(torch.cuda.get_device_name("cuda" if device == "auto" else device))
    return "cpu"


def free_memory(device: str, *, spread: bool = False) -> tuple[str, int]:
    """Kind of a device (`cpu` or `cuda`) and the bytes that this process may still take on it.

    Args:
        device: as `model.device` names it; `auto` takes CUDA where there is one.
        spread: whether the model's layers are spread over all visible GPUs, whose bytes are then summed.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and torch.cuda.is_available():
        if spread:
            return "cuda", sum(int(torch.cuda.mem_get_info(number)[0]) for number in range(torch.cuda.device_count()))
        return "cuda", int(torch.cuda.mem_get_info(torch.device(device))[0])
    if _MEMINFO.exists():
        values = dict(line.split(":", 1) for line in _MEMINFO.read_text(encoding="ascii").splitlines() if ":" in line)
        return "cpu", int(values["MemAvailable"].split()[0]) * 1024
    # Elsewhere the system tells the whole memory only; half of it is a guess on the safe side.
    return "cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation did not succeed: on CUDA an exception of its own, on the CPU a message."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAYS)


def release() -> None:
    """Gives back what PyTorch's allocator keeps for later, so that a smaller step finds memory in one piece."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
