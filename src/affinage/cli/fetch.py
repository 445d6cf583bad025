"""Models of the catalogue are fetched before they are needed, so that the fetching can be seen."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from affinage.cli.say import say

__all__ = ["fetch"]


def fetch(model: str) -> None:
    """Fetches a catalogue model that is not there yet and says so; any other name is left to who loads it."""
    from affinage.backbone.catalogue import CATALOGUE, pull

    if model in CATALOGUE:
        pull(model, report=say)
