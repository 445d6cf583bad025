"""Weights & Biases, offline: a folder per run that nothing sends anywhere; `wandb sync` does, when somebody types it."""

# ruff: noqa: PLC0415  (an optional library, imported where it is used)

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from affinage.tracking.base import Facts, Kind, Tracker, trackers

__all__ = ["WeightsAndBiases"]

_QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "WANDB_MODE": "offline"}
"""Read when the library is imported: without the first it reports its own errors over the network, offline or not."""


@final
class WeightsAndBiases(Tracker):
    """Offline runs below a folder.

    Args:
        folder: for the runs' folders.
        study: the study's name, which is the project's.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder, self._study = folder, study
        self._runs: dict[str, Any] = {}

    def begin(self, run: str, facts: Facts) -> None:
        """Opens an offline run; a run that is continued becomes a second one of the same name."""
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(console="off", disable_git=True, save_code=False, silent=True, x_disable_stats=True, x_disable_meta=True)
        self._runs[run] = wandb.init(
            project=self._study,
            name=run.removeprefix("runs/"),
            group=str(facts.get("label", "")),
            config=dict(facts),
            dir=str(self._folder),
            mode="offline",
            reinit="create_new",
            settings=settings,
        )

    def measure(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Logs one step."""
        self._runs[run].log(dict(values), step=step)

    def end(self, run: str, values: Mapping[str, float], failure: str = "") -> None:
        """Writes the summary and finishes the run."""
        there = self._runs.pop(run)
        there.summary.update({**values, **({"failure": failure} if failure else {})})
        there.finish(exit_code=1 if failure else 0)

    def close(self) -> None:
        """Finishes every run that is open, as crashed."""
        for there in self._runs.values():
            there.finish(exit_code=255)
        self._runs.clear()


def _open(folder: Path, study: str) -> WeightsAndBiases:
    return WeightsAndBiases(folder, study)


def _quiet() -> None:
    """Sets what the library reads when it is imported, whatever stands there: the study asked for a tracker, not for a connection."""
    os.environ.update(_QUIET)


trackers.add("wandb", Kind("wandb", "Offline runs; `wandb sync` sends them, if you want that.", ("wandb",), _open, _quiet))
