"""Where everything of a study stands; the only place that knows the names of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from affinage.store.files import canonical_digest

__all__ = ["RunFolder", "StudyFolder", "run_path"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def state(self) -> Path:
        """`run.json`: configuration, provenance, plan, status."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """`train.jsonl`: step, loss, learning rate, seconds."""
        return self.path / "train.jsonl"

    @property
    def checkpoint(self) -> Path:
        """`checkpoint.safetensors`: the last complete state of the training in one file."""
        return self.path / "checkpoint.safetensors"

    @property
    def adapter(self) -> Path:
        """`adapter/`: loadable by PEFT where PEFT knows the method."""
        return self.path / "adapter"

    @property
    def calibration(self) -> Path:
        """`calibration.json`: the few numbers that a control added to the untouched model's scores."""
        return self.path / "calibration.json"

    @property
    def search(self) -> Path:
        """`search.json`: what each candidate of a baseline without training reached, and what it has seen."""
        return self.path / "search.json"

    def scores(self, culture: str) -> Path:
        """`scores/<culture>.parquet`: one row per question and option order of that culture's test side."""
        return self.path / "scores" / f"{file_name(culture)}.parquet"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one study."""

    path: Path

    @property
    def config(self) -> Path:
        """`study.yaml`: the resolved study, every default filled in."""
        return self.path / "study.yaml"

    @property
    def plan(self) -> Path:
        """`plan/plan.json`: splits, template groups and the runs with their paths, for the report."""
        return self.path / "plan" / "plan.json"

    @property
    def questions(self) -> Path:
        """`plan/questions.parquet`: the test questions by id, with what the report needs beside their scores."""
        return self.path / "plan" / "questions.parquet"

    @property
    def changes(self) -> Path:
        """`plan/changes.jsonl`: what of the plan changed while it ran, a line per change: packs that did not fit into memory and were cut."""
        return self.path / "plan" / "changes.jsonl"

    @property
    def costs(self) -> Path:
        """`plan/costs.jsonl`: what was measured of the machine and estimated from it, and what each command took beside it."""
        return self.path / "plan" / "costs.jsonl"

    def cohort(self, members: Sequence[str]) -> Path:
        """`cohorts/<hash8>/checkpoint.safetensors`: the state of adapters that are trained in lockstep, in one file.

        Args:
            members: paths of their runs, in order.
        """
        return self.path / "cohorts" / canonical_digest(list(members))[:8] / "checkpoint.safetensors"

    def run(self, path: str) -> RunFolder:
        """The folder of the run with that path below the study's (`run_path`)."""
        return RunFolder(self.path / path)


def run_path(label: str, culture: str, split: str, start: str, determinants: Mapping[str, Any]) -> str:
    """The path of a run below its study's folder: `runs/<label>/<culture>/<split>-<start>-<hash8>`.

    Args:
        label: the method's name in the study.
        culture: the culture that it is trained on, or what stands in its place.
        split: the split's name.
        start: the start's name.
        determinants: everything that determines the run's result; their digest is the name's last part.
    """
    return "/".join(("runs", file_name(label), file_name(culture), f"{file_name(split)}-{file_name(start)}-{canonical_digest(determinants)[:8]}"))


def file_name(name: str) -> str:
    """A name as one part of a path: letters, digits, `_ - . ~` stay, others are percent-encoded; a leading dot is, too."""
    quoted = quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted
