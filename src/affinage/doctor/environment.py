"""What this machine and its libraries can do: versions, devices, memory, caches, a tiny model probed, one training step."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import constants
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from affinage.adapters.logits import sequences
from affinage.backbone import Backbone, Identity, free_memory
from affinage.backbone.catalogue import cache_folder
from affinage.backbone.probe import probe, random_model, tiny
from affinage.backbone.shape import shape_of
from affinage.doctor.base import Check, tried
from affinage.methods.lora import Lora, LoraSettings
from affinage.pack import pack
from affinage.scoring import branch_logprobs
from affinage.store import cores

__all__ = ["machine", "tiny_model", "versions"]

_OPTIONAL = ("peft",)
"""Extras whose libraries are looked at too."""

_REINSTALL = "Install a version in that range, or make the environment anew."


def versions() -> Iterator[Check]:
    """Python and every library that the package's own metadata names, each against the range that is claimed there."""
    claimed = metadata.metadata("affinage")["Requires-Python"] or ""
    yield _in_range("Python", platform.python_version(), SpecifierSet(claimed))
    for line in metadata.requires("affinage") or ():
        requirement = Requirement(line)
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not needed and not any(requirement.marker is not None and requirement.marker.evaluate({"extra": extra}) for extra in _OPTIONAL):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if needed:
                yield Check(requirement.name, "wrong", f"not installed; {requirement.specifier} is needed", _REINSTALL)
            else:
                why = f"not installed, and optional ({requirement.specifier}): exports are then checked by our own reading of PEFT's files"
                yield Check(requirement.name, "not checked", why, f"pip install 'affinage[{_OPTIONAL[0]}]'")
            continue
        yield _in_range(requirement.name, found, requirement.specifier)


def _in_range(name: str, found: str, claimed: SpecifierSet) -> Check:
    if claimed.contains(found, prereleases=True):
        return Check(name, "ok", f"{found} ({claimed or 'any version'})")
    return Check(name, "wrong", f"{found}, which is outside of what is tested ({claimed})", _REINSTALL)


def machine() -> Iterator[Check]:
    """Devices, memory, and the folders that models are kept in."""
    yield Check(
        "CPU", "ok", f"{cores()} cores for this process, {torch.get_num_threads()} threads in torch, {free_memory('cpu')[1] / 1e9:.1f} GB free"
    )
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Check("CUDA", "ok", f"{names}; {free_memory('cuda')[1] / 1e9:.1f} GB free on the first")
    else:
        yield Check("CUDA", "not checked", "no CUDA device that torch can use; everything computes on the CPU")
    for name, folder, variable in (
        ("cache of models", cache_folder(), "AFFINAGE_CACHE"),
        ("cache of the hub", Path(constants.HF_HUB_CACHE), "HF_HOME"),
    ):
        yield _writable(name, folder, variable)


def _writable(name: str, folder: Path, variable: str) -> Check:
    """Whether a folder can be written to, or be made."""
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        return Check(name, "wrong", f"{folder} cannot be written", f"Make it writable, or set {variable} to another folder.")
    return Check(name, "ok", f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free")


def tiny_model(configuration: Any, device: str = "cpu") -> Iterator[Check]:
    """A tiny random model of a configuration's kind: the probe that every model must pass, and one training step.

    Args:
        configuration: of transformers.
        device: where it computes.
    """
    todo = "This torch or transformers computes something else than the tested ones: install those of constraints.txt."
    if device != "cpu":
        todo += " Does torch fit the GPU's driver? Until it does, set `model.device` to cpu."
    for check in (
        tried("token tree", lambda: _probed(configuration, device, todo), todo),
        tried("one training step", lambda: _step(configuration, device, todo), todo),
    ):
        yield check if device == "cpu" else replace(check, name=f"{check.name} on {device.upper()}")


def _probed(configuration: Any, device: str, todo: str) -> Check:
    small = tiny(configuration)
    found = probe(random_model(small).to(device), small)
    if not found.passed:
        return Check("token tree", "wrong", f"{found.architecture}: {found.reason}", todo)
    return Check("token tree", "ok", f"a tiny {found.architecture} computes on it what it computes one by one, to {found.difference:.1e}")


def _step(configuration: Any, device: str, todo: str) -> Check:
    """One step of AdamW on a LoRA of the tiny model must lower its loss."""
    small = tiny(configuration)
    # Nothing is tokenised here: the sequences are ids already.
    backbone = Backbone(random_model(small).to(device), cast(Any, None), shape_of(small), Identity("tiny", "", ""))
    adapter = Lora().build(LoraSettings(rank=2), backbone, ("doctor",)).to(backbone.device)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    branches = sequences(backbone.shape.vocabulary)
    packed = pack(branches)
    losses = []
    for _ in range(2):
        optimiser.zero_grad()
        with backbone.logits(packed, [adapter.doors()]) as logits:
            loss = -branch_logprobs(logits, packed, len(branches)).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    if not losses[1] < losses[0]:
        return Check("one training step", "wrong", f"the loss went from {losses[0]:.4f} to {losses[1]:.4f}", todo)
    return Check("one training step", "ok", f"the loss went from {losses[0]:.4f} to {losses[1]:.4f}")
