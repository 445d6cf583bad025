"""How much memory a device has left, and what it says when there is none."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from affinage.backbone.device import device_of

__all__ = ["free_memory", "out_of_memory", "release"]

_MEMINFO = Path("/proc/meminfo")
_OWN, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""The control groups that this process is in, and where Linux shows them."""
_SECOND = ("memory.max", "memory.current", "inactive_file")
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Names of a group's limit, of what it uses, and, in `memory.stat`, of cached files that make room when asked to: in version 2 and 1."""

_SAYS = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What PyTorch's CPU allocator says, with and without POSIX, and what CUDA and cuBLAS say where PyTorch's own allocator did not ask."""


def free_memory(device: str, *, spread: bool = False) -> tuple[str, int]:
    """Kind of a device (`cpu` or `cuda`) and the bytes that this process may still take on it: of a machine's main memory, what its job may.

    Args:
        device: as `model.device` names it; `auto` takes CUDA where there is one.
        spread: whether the model's layers are spread over all visible GPUs, whose bytes are then summed.

    Raises:
        UserError: no such device on this machine.
    """
    found = device_of(device)
    if found.type == "cuda":
        if spread:
            return "cuda", sum(int(torch.cuda.mem_get_info(number)[0]) for number in range(torch.cuda.device_count()))
        return "cuda", int(torch.cuda.mem_get_info(found)[0])
    if _MEMINFO.exists():
        values = dict(line.split(":", 1) for line in _MEMINFO.read_text(encoding="ascii").splitlines() if ":" in line)
        return "cpu", min([int(values["MemAvailable"].split()[0]) * 1024, *_left_to_job()])
    # Elsewhere the system tells the whole memory only; half of it is a guess on the safe side.
    return "cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_to_job() -> Iterator[int]:
    """Bytes that each limited control group around this process leaves it: a SLURM job's, a container's. Whoever passes one is killed."""
    for line in _OWN.read_text(encoding="utf-8").splitlines() if _OWN.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (_GROUPS / "memory", _FIRST) if controllers else (_GROUPS, _SECOND)
        own = root / path.lstrip("/")
        # In a container the path may be the host's, of which nothing is seen but the root.
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left(group, *names)


def _left(group: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    """Bytes that a control group leaves; nothing where it has no limit."""
    if not (group / limit).exists() or (allowed := (group / limit).read_text(encoding="ascii").strip()) == "max":
        return
    kept = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    yield max(0, int(allowed) - int((group / used).read_text(encoding="ascii")) + int(kept.get(cached, 0)))


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
