"""`affinage doctor`: what is wrong here, or with an adapter, and what to do."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.adapters import config_of
from affinage.cli.exchange import adapter_folder
from affinage.cli.fetch import fetch
from affinage.cli.say import counted, examples, say, table

if TYPE_CHECKING:
    from affinage.backbone import Backbone
    from affinage.doctor import Check

__all__ = ["add_to"]

_TRIED = "llama"
"""Kind of the tiny model that is tried without an adapter."""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="Find what is wrong here, or with an adapter.",
        epilog=examples("affinage doctor", "affinage doctor runs/demo/runs/lora/Spain/RUN/adapter"),
    )(doctor)


def doctor(
    adapter: Annotated[
        Path | None, typer.Argument(metavar="[ADAPTER]", help="The folder `adapter` of a run, or the run's. Default: this machine.")
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="Where the adapter's model is, when it is not where it was: a name, hub id or folder.")
    ] = None,
) -> None:
    """Check the versions of the libraries, and then this machine or one adapter; say what is wrong and what to do.

    Without ADAPTER: devices, memory, cache folders, a tiny random model through the probe that every model must pass, and one training step, on the
    CPU and on a GPU where there is one.
    With it: its files and tensors; that it fits its model, changes the logits, scores a question the same alone, in a batch and in a cohort, is
    read by PEFT as here, and can be trained. The exit code is 1 where something is wrong.
    """
    found = list(_machine() if adapter is None else _adapter(adapter_folder(adapter), model))
    table(("check", "", "found", "what to do"), [(check.name, check.state, check.found, check.todo) for check in found], words=4)
    wrong = sum(check.state == "wrong" for check in found)
    unknown = sum(check.state == "not checked" for check in found)
    say(f"{counted(len(found), 'check')}: {wrong} wrong, {unknown} not checked.")
    if wrong:
        raise typer.Exit(1)


def _machine() -> Iterator[Check]:
    """Everything that needs no adapter."""
    import torch
    from transformers import AutoConfig

    from affinage.doctor import machine, tiny_model, versions

    yield from versions()
    yield from machine()
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        yield from tiny_model(AutoConfig.for_model(_TRIED), device)


def _adapter(folder: Path, model: str | None) -> Iterator[Check]:
    """One adapter; its model is loaded only where its files are sound."""
    from affinage.adapters import read_card
    from affinage.backbone import load
    from affinage.doctor import Check, files, living, tried, versions

    yield from versions()
    sound = True
    for check in files(folder):
        # An adapter whose values are broken can still be looked at in its model; one that cannot be read cannot.
        sound = sound and (check.state == "ok" or check.name == "tensors")
        yield check
    if not sound:
        return
    loaded: list[Backbone] = []

    def loads() -> Check:
        config = config_of(read_card(folder), id=model)
        fetch(config.id)
        loaded.append(load(config.model_copy(update={"dtype": "float32"})))
        return Check("backbone", "ok", config.id)

    found = tried("backbone", loads, "Run `affinage doctor` without an adapter: is it this machine?")
    if loaded:
        yield from living(folder, loaded[0])
    else:
        yield found
