"""What a bench ran on: processor, memory, device, versions, commit."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from affinage import backbone
from affinage.config import ModelConfig
from affinage.store import checkout, cores, provenance

__all__ = ["describe", "device_of"]

_PEERS = ("torch", "transformers", "peft", "accelerate", "trl", "lm_eval", "datasets")
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
"""What of the environment changes the speed of threads; the same for both sides, which inherit it."""


def device_of(model: ModelConfig) -> str:
    """The device that a configuration means on this machine."""
    return str(backbone.device_of(model.device))


def describe(model: ModelConfig) -> dict[str, Any]:
    """The machine and the versions, in words and plain values.

    Args:
        model: says on which device and with how many threads is computed.
    """
    device = device_of(model)
    named = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    made = provenance(device, model.threads or cores(), checkout())
    versions = {name: version for name in _PEERS if (version := _version(name)) is not None}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "device": f"{device}: {named}",
        "processor": f"{_processor()}, {cores()} cores used, {memory / 1e9:.0f} GB",
        "threads": made.threads,
        "environment": {name: os.environ[name] for name in _WAITING if name in os.environ},
        "affinage": f"{made.affinage}, commit {made.commit or 'unknown'}{' with changes' if made.dirty else ''}",
        "python": f"{made.python} on {made.platform}",
        "versions": versions,
    }


def _processor() -> str:
    """The processor's own name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
