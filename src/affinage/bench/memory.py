"""How much memory a process has taken at most, loading left out where it is to be.

Resident memory is what the system sees: pages, the C library's freed pieces among them. What tensors took is counted apart: on CUDA by torch's
own allocator, on a CPU from torch's profiler, which sees every allocation.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["Allocations", "forget_peaks", "peak_memory"]

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(device: str) -> dict[str, Any]:
    """Largest memory of this process so far, in bytes: `resident`, and `device` where that is a CUDA device (else null)."""
    allocated = torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None
    return {"resident": _resident(), "device": allocated}


def _resident() -> int:
    """Linux counts in `ru_maxrss` what the parent held when it started this process; its other count is this process's own."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peaks(device: str, *, resident: bool) -> None:
    """Peaks count from here on: what loading needed is not what training needs.

    Args:
        device: where is computed; on CUDA its peak is forgotten.
        resident: forget the process's own peak too, where the system can (Linux).
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    if resident and _FORGET.exists():
        _FORGET.write_text("5", encoding="ascii")


@final
class Allocations:
    """Bytes that torch allocates in this process's main memory from here on, tensors and temporary ones."""

    def __init__(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.start()

    def peak(self) -> int:
        """Ends the counting: the most bytes that were held at once beyond those held when it began."""
        self._profile.stop()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profile.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        changes = sorted((event["ts"], place) for place, event in enumerate(events) if event.get("name") == "[memory]")
        held = largest = 0
        for _, place in changes:
            held += int(events[place]["args"]["Bytes"])
            largest = max(largest, held)
        return largest
