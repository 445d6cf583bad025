"""A trial on disk: its values, what was measured, how it ended. Everything that a search knows is in these files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from affinage.records import UserError
from affinage.stats import Estimate
from affinage.store import RunFolder, read_json, write_json
from affinage.store.folder import file_name

__all__ = ["Score", "Trial", "TrialFolder", "TrialState", "read_trials", "search_folder", "write_trial"]

TrialState = Literal["running", "complete", "pruned", "failed", "out of time"]
"""`pruned`: stopped early, since others were better at the same step; `failed`: by an error, a loss that is not finite among them."""


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy on the validation side: mean over cultures of the mean over templates."""

    value: float
    """A fraction."""
    low: float | None
    """Lower end of the 95 % interval over template groups; None where there are too few of them."""
    high: float | None
    groups: int
    templates: int
    questions: int
    """Distinct questions that could be scored."""

    @classmethod
    def of(cls, estimate: Estimate) -> Score:
        """From an estimate."""
        return cls(estimate.value, estimate.low, estimate.high, estimate.groups, estimate.templates, estimate.questions)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training with values that the search chose."""

    number: int
    """In the order in which a method's trials were begun on a split, from 0."""
    values: Mapping[str, Any]
    """Dotted name -> value."""
    state: TrialState = "running"
    steps: int = 0
    """Steps made."""
    seconds: float = 0.0
    """Of training and measuring, up to the last time that the trial was written."""
    measured: Mapping[int, float] = field(default_factory=dict)
    """Step -> accuracy on the validation side."""
    score: Score | None = None
    """At the end; None unless complete."""
    reason: str = ""
    """Why it failed."""
    cuts: tuple[int, ...] = ()
    """Node budgets of a pack to which steps that did not fit into memory were cut, in order."""


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The files of one trial."""

    path: Path

    @property
    def record(self) -> Path:
        """`trial.json`."""
        return self.path / "trial.json"

    @property
    def checkpoint(self) -> Path:
        """`checkpoint.safetensors`; gone when the trial is over."""
        return RunFolder(self.path).checkpoint

    def forget(self) -> None:
        """Removes the checkpoints of a trial that is over."""
        for checkpoint in self.path.rglob(self.checkpoint.name):
            checkpoint.unlink(missing_ok=True)

    def culture(self, name: str) -> RunFolder:
        """Where a culture's training log goes."""
        return RunFolder(self.path / file_name(name))


def search_folder(out: Path, split: str, label: str) -> Path:
    """The folder of one method's trials on one split."""
    return out / "trials" / file_name(split) / file_name(label)


def write_trial(folder: TrialFolder, trial: Trial) -> Trial:
    """Puts a trial on disk, atomically, and gives it back.

    Raises:
        UserError: as `write_json`.
    """
    write_json(folder.record, asdict(trial))
    return trial


def read_trials(folder: Path) -> tuple[Trial, ...]:
    """The trials in a folder, in order.

    Raises:
        UserError: a file is damaged.
    """
    return tuple(_read(path) for path in sorted(folder.glob("[0-9]*/trial.json"), key=lambda path: int(path.parent.name)))


def _read(path: Path) -> Trial:
    value = read_json(path)
    try:
        measured = {int(step): float(score) for step, score in value.pop("measured").items()}
        score, cuts = value.pop("score"), tuple(value.pop("cuts"))
        trial = Trial(**value, cuts=cuts, measured=measured, score=None if score is None else Score(**score))
    except (KeyError, TypeError, ValueError) as error:
        todo = "Remove the trial's folder and run the same command again."
        raise UserError(str(path), f"{type(error).__name__}: {error}", "a trial as affinage writes it", todo) from None
    if trial.state not in get_args(TrialState):
        raise UserError(str(path), repr(trial.state), "a trial's state", "Remove the trial's folder and run the same command again.")
    return trial
