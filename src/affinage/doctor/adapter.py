"""Is an adapter alive and well: its files, its tensors, what it does to the model, and that nobody else computes something else with it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from affinage.adapters import CARD, CONFIG, PICKLE, TENSORS, AdapterCard, load, read_card, read_tensors, settings_of
from affinage.adapters.logits import apart, has_peft, read, read_peft, sequences
from affinage.backbone import Backbone
from affinage.doctor.base import Check, tried
from affinage.methods import Adapter, registry
from affinage.methods.base import normal
from affinage.store import read_json

__all__ = ["files", "living"]

_AGAIN = "Train the adapter again, or copy it again."
_MOVED = 0.01
"""Size of the random step after which gradients are looked at: an update that begins at zero hides the gradient of its other half."""


def files(folder: Path) -> Iterator[Check]:
    """What can be said of an adapter without its model: its files and the values of its tensors."""
    pickle = f"; a pickle ({PICKLE}) stands there, which is never loaded" if (folder / PICKLE).exists() else ""
    missing = [name for name in (CARD, CONFIG, TENSORS) if not (folder / name).is_file()]
    if missing:
        todo = "For one that PEFT wrote: `affinage adapters import`." if missing == [CARD] else _AGAIN
        yield Check("files", "wrong", f"{', '.join(missing)} missing in {folder}{pickle}", todo)
        return
    yield tried("files", lambda: _readable(folder), _AGAIN)
    yield tried("tensors", lambda: _values(folder), _AGAIN)


def _readable(folder: Path) -> Check:
    """Card and configuration can be read and agree."""
    card, config = read_card(folder), read_json(folder / CONFIG)
    if registry.get(card.method).in_peft(settings_of(card, folder)) != bool(config.get("peft_type")):
        return Check("files", "wrong", f"{CONFIG} says peft_type {config.get('peft_type')!r}, {CARD} says {card.method}", _AGAIN)
    seen = f"seen templates: {len(card.seen):,}" if card.seen_known else "seen templates unknown, so it is tested on nothing"
    return Check("files", "ok", f"{card.method} for {card.culture or 'no culture'}, {seen}")


def _values(folder: Path) -> Check:
    """Every value is a number, and no tensor is empty of content."""
    tensors = read_tensors(folder)
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        count = sum(int((~torch.isfinite(tensors[name])).sum()) for name in broken)
        return Check(
            "tensors", "wrong", f"{count:,} values that are no numbers (NaN or infinite) in {_some(broken)}", f"{_AGAIN} A lower rate may help."
        )
    zero = [name for name, value in tensors.items() if not bool(value.any())]
    if zero and read_card(folder).culture:
        return Check("tensors", "wrong", f"nothing but zeros in {_some(zero)}", "It was never trained, or its training was lost. Train it again.")
    largest = max(float(value.abs().max()) for value in tensors.values())
    return Check("tensors", "ok", f"{sum(value.numel() for value in tensors.values()):,} numbers, the largest {largest:.3g}")


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more tensors' if len(names) > 3 else ''}"


@dataclass(frozen=True, slots=True)
class _Patient:
    """An adapter in its model."""

    folder: Path
    card: AdapterCard
    adapter: Adapter
    backbone: Backbone

    def read(self, adapters: int = 1, moved: Adapter | None = None) -> list[Tensor]:
        """The logits of its sequences, in a batch, or in a cohort with another adapter that reads the same sequences."""
        cohort = [self.adapter, *([moved] if moved is not None else [])]
        own = sequences(self.backbone.shape.vocabulary)
        others = [replace(branch, adapter=1) for branch in own] if moved is not None else []
        with torch.no_grad():
            return read(self.backbone, [*own, *others], cohort)[: len(own)]


def living(folder: Path, backbone: Backbone) -> Iterator[Check]:
    """What an adapter does in its model.

    Args:
        folder: the adapter's.
        backbone: the model that it was made for, in float32.
    """
    found: list[_Patient] = []

    def fits() -> Check:
        adapter = load(folder, backbone, seen_may_be_unknown=True)
        found.append(_Patient(folder, read_card(folder), adapter, backbone))
        return Check("backbone", "ok", f"{backbone.identity.id}, digest {backbone.identity.digest[:12]}, and the tensors fit it")

    fitting = tried("backbone", fits, _AGAIN)
    yield fitting
    checks: tuple[tuple[str, Callable[[_Patient], Check]], ...] = (
        ("alive", _alive), ("one = batch = cohort", _company), ("ours = PEFT", _peft), ("gradient", _gradient),
    )  # fmt: skip
    for name, check in checks:
        if found:
            yield tried(name, lambda check=check: check(found[0]), _AGAIN)  # type: ignore[misc]
        else:
            yield Check(name, "not checked", "the adapter could not be loaded into this model")


def _alive(patient: _Patient) -> Check:
    """The adapter changes the logits by more than rounding."""
    with torch.no_grad():
        base = read(patient.backbone, sequences(patient.backbone.shape.vocabulary))
    inside = patient.read()
    if not all(bool(torch.isfinite(logits).all()) for logits in inside):
        return Check("alive", "wrong", "the logits with the adapter are no numbers", _AGAIN)
    change = apart(inside, [base], torch.float32)
    if not change.equal:
        return Check("alive", "ok", f"it moves the logits by {change.distance:.2g} of the largest")
    if not patient.card.culture:
        return Check("alive", "not checked", "it is an untrained start, which may well begin as the untouched model")
    return Check("alive", "wrong", f"the logits are those of the untouched model ({change})", "It does nothing. Train it again, with a higher rate.")


def _company(patient: _Patient) -> Check:
    """A sequence has the same logits alone, in a batch, and beside another adapter."""
    name = "one = batch = cohort"
    batch = patient.read()
    with torch.no_grad():
        alone = [read(patient.backbone, [branch], [patient.adapter])[0] for branch in sequences(patient.backbone.shape.vocabulary)]
    found = [apart(batch, [alone], torch.float32)]
    shared = not registry.get(patient.card.method).alone
    if shared:
        found.append(apart(patient.read(moved=_moved(patient.adapter)), [alone], torch.float32))
    worst = max(found, key=lambda each: each.distance)
    if not worst.equal:
        return Check(name, "wrong", f"logits {worst}", "Run `affinage doctor` without an adapter: the token tree computes something else here.")
    return Check(name, "ok", f"logits {worst}{'' if shared else '; its method shares no pass with others, so no cohort'}")


def _peft(patient: _Patient) -> Check:
    """PEFT computes the same logits from the same folder."""
    name = "ours = PEFT"
    if not registry.get(patient.card.method).in_peft(settings_of(patient.card, patient.folder)):
        return Check(name, "not checked", f"PEFT's format cannot hold the method {patient.card.method} with these settings")
    if not has_peft():
        return Check(name, "not checked", "PEFT is not installed", "pip install 'affinage[peft]'")
    branches = sequences(patient.backbone.shape.vocabulary)
    found = apart(patient.read(), [read_peft(patient.backbone, patient.folder, branches, "eager")], torch.float32)
    if not found.equal:
        return Check(name, "wrong", f"logits {found}", "One of the two reads the files otherwise: compare the versions above with constraints.txt.")
    return Check(name, "ok", f"logits {found}")


def _gradient(patient: _Patient) -> Check:
    """A training step would reach every tensor."""
    adapter = _moved(patient.adapter)
    torch.cat(read(patient.backbone, sequences(patient.backbone.shape.vocabulary), [adapter])).square().mean().backward()  # type: ignore[no-untyped-call]
    named = dict(adapter.named_parameters())
    dead = [name for name, value in named.items() if value.grad is None or not bool(value.grad.any())]
    broken = [name for name in named if name not in dead and not bool(torch.isfinite(named[name].grad).all())]  # type: ignore[arg-type]
    if broken:
        return Check("gradient", "wrong", f"no numbers in the gradient of {_some(broken)}", _AGAIN)
    if dead:
        return Check(
            "gradient", "wrong", f"no gradient reaches {_some(dead)}", "Training would leave it as it is: is it a module that the model uses?"
        )
    return Check("gradient", "ok", f"reaches every tensor ({len(named):,})")


def _moved(adapter: Adapter) -> Adapter:
    """A copy one small random step away."""
    other = copy.deepcopy(adapter)
    with torch.no_grad():
        for name, value in other.named_parameters():
            value.add_(normal(value.shape, "doctor", name, deviation=_MOVED).to(value.device))
    return other
