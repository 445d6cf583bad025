"""Which device a configuration means on this machine."""

from __future__ import annotations

import torch

from affinage.records import UserError

__all__ = ["device_name", "device_of"]


def device_of(name: str) -> torch.device:
    """The device that a name means here.

    Args:
        name: as `model.device`: `auto` takes CUDA where there is one.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError("model.device", repr(name), "cpu, cuda, cuda:1, ... or auto", "") from None
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= there:
        found = f"{name!r}, and {there or 'no'} CUDA device{'s' if there > 1 else ''} that this PyTorch ({torch.__version__}) sees"
        raise UserError("model.device", found, "a device of this machine", "Run it where the GPU is, or set `model.device` to cpu.")
    return device


def device_name(name: str) -> str:
    """What a device is: `cpu`, or the GPU's name.

    Args:
        name: as `model.device`.

    Raises:
        UserError: no such device on this machine.
    """
    device = device_of(name)
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type
