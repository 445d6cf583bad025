"""MLflow, local: one SQLite file; `mlflow ui --backend-store-uri sqlite:///FILE` shows it."""

# ruff: noqa: PLC0415  (an optional library, imported where it is used)

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from affinage.tracking.base import Facts, Kind, Tracker, trackers

__all__ = ["MLflow"]

_AT_ONCE = 100
"""Numbers that are kept in memory and written in one transaction; a transaction takes as long as a training step of a small model."""

_TAG = "affinage.run"


@final
class MLflow(Tracker):
    """Runs of one experiment in one SQLite file.

    Args:
        folder: for `mlflow.db`.
        study: the study's name, which is the experiment's.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder, self._study = folder, study
        self._runs: dict[str, str] = {}
        self._kept: dict[str, list[Any]] = {}
        self._client: Any = None

    def begin(self, run: str, facts: Facts) -> None:
        """Opens a run; one that is continued is found again by its path."""
        if self._client is None:
            self._client = self._begin()
        experiment = self._client.get_experiment_by_name(self._study).experiment_id
        known = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{run}'", max_results=1)
        if known:
            self._runs[run] = known[0].info.run_id
            self._client.update_run(self._runs[run], status="RUNNING")
        else:
            made = self._client.create_run(experiment, run_name=run.removeprefix("runs/"), tags={_TAG: run})
            self._runs[run] = made.info.run_id
            for name, value in facts.items():
                self._client.log_param(self._runs[run], name, value)
        self._kept[run] = []

    def measure(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Keeps the numbers, and writes them from time to time."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._kept[run] += [Metric(name, value, now, step) for name, value in values.items()]
        if len(self._kept[run]) >= _AT_ONCE:
            self._write(run)

    def end(self, run: str, values: Mapping[str, float], failure: str = "") -> None:
        """Writes the rest and ends the run."""
        self.measure(run, 0, values)
        self._write(run)
        there = self._runs.pop(run)
        del self._kept[run]
        if failure:
            self._client.set_tag(there, "failure", failure)
        self._client.set_terminated(there, "FAILED" if failure else "FINISHED")

    def close(self) -> None:
        """Ends every run that is open, as killed."""
        for run, there in self._runs.items():
            self._write(run)
            self._client.set_terminated(there, "KILLED")
        self._runs.clear()

    def _write(self, run: str) -> None:
        """Puts a run's kept numbers into the file."""
        if self._kept[run]:
            self._client.log_batch(self._runs[run], metrics=self._kept[run])
        self._kept[run] = []

    def _begin(self) -> Any:
        """A client of the file, with the study's experiment in it."""
        from mlflow import MlflowClient

        self._folder.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=f"sqlite:///{(self._folder / 'mlflow.db').resolve()}")
        if client.get_experiment_by_name(self._study) is None:
            client.create_experiment(self._study, artifact_location=(self._folder / "artifacts").resolve().as_uri())
        return client


def _open(folder: Path, study: str) -> MLflow:
    return MLflow(folder, study)


def _quiet() -> None:
    """Sets what the library reads when it is imported: by itself it tells its makers over the network how it is used."""
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})


trackers.add("mlflow", Kind("mlflow", "One SQLite file; look at it with `mlflow ui`.", ("mlflow", "sqlalchemy", "alembic"), _open, _quiet))
