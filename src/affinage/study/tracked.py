"""A study's events as a tracker hears them: loss and rate of every step, the accuracy on every culture at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

import polars as pl

from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.stats import per_run, with_credit
from affinage.store import StudyFolder, read_scores
from affinage.study.events import Event
from affinage.study.plan import Plan, PlannedRun
from affinage.tracking import Facts, Tracker, open_tracker

__all__ = ["opened", "tracked"]


def opened(config: StudyConfig, folder: StudyFolder) -> Tracker | None:
    """The tracker that a study asks for; None where it asks for none. Writes nothing yet.

    Args:
        config: the study.
        folder: its folder; a tracker writes below `tracking/` in it.

    Raises:
        UserError: the tracker's library is not installed.
    """
    return None if config.tracking == "none" else open_tracker(config.tracking, folder.path / "tracking" / config.tracking, config.name)


@contextmanager
def tracked(tracker: Tracker | None, made: Plan, folder: StudyFolder, watch: Callable[[Event], None]) -> Iterator[Callable[[Event], None]]:
    """The watcher of a study with a tracker beside it.

    A tracker changes no result and no run's name. What goes wrong in it fails the run that it was told of, with those of its cohort, and it is
    told no more of that run; the next command continues it, and may do so with `tracking: none`. A run that is finished stays so.

    Args:
        tracker: as `opened`.
        made: the study's plan.
        folder: its folder.
        watch: who is told in any case, first.
    """
    if tracker is None:
        yield watch
        return
    try:
        yield _Told(tracker, made, folder, watch).take
    finally:
        tracker.close()


@final
class _Told:
    """What a tracker was told so far."""

    def __init__(self, tracker: Tracker, made: Plan, folder: StudyFolder, watch: Callable[[Event], None]) -> None:
        self._tracker, self._made, self._folder, self._watch = tracker, made, folder, watch
        self._open: set[str] = set()
        self._refused: set[str] = set()

    def take(self, event: Event) -> None:
        """Tells an event on.

        Raises:
            UserError: the tracker did not take it; what else happens to this run it is not told.
        """
        self._watch(event)
        if event.run.path in self._refused:
            return
        try:
            self._pass_on(event)
        except Exception as error:  # whatever a tracker's library raises: a server that is away, a locked file, a full disk
            self._refused.add(event.run.path)
            found = f"{type(error).__name__}: {error}"
            todo = "Run the same command again; with `--set tracking=none` nothing is tracked."
            raise UserError(f"tracking of {event.run.path}", found, "a tracker that takes what it is told", todo) from error

    def _pass_on(self, event: Event) -> None:
        path, step = event.run.path, event.step
        if event.stage == "training" and step is not None:
            self._begin(event.run)
            values = {"loss": step.loss, "rate": step.rate, "gradient norm": step.norm, "nodes": float(step.nodes), "seconds": step.seconds}
            self._tracker.measure(path, step.step, values)
        elif event.stage == "finished":
            self._begin(event.run)
            self._end(path, self._reached(event.run))
        elif event.stage == "failed" and path in self._open:
            self._end(path, {}, event.note)

    def _begin(self, run: PlannedRun) -> None:
        """Opens a run with its first event: those of a cohort come in turns."""
        if run.path not in self._open:
            self._tracker.begin(run.path, _facts(run))
            self._open.add(run.path)

    def _end(self, path: str, values: Mapping[str, float], failure: str = "") -> None:
        self._open.discard(path)
        self._tracker.end(path, values, failure)

    def _reached(self, run: PlannedRun) -> Mapping[str, float]:
        """Accuracy by template on every studied culture, of what could be scored."""
        there = self._folder.run(run.path)
        rows = pl.concat(read_scores(there.scores(culture)) for culture in self._made.cultures)
        named = {"run": run.path, "label": run.label, "method": run.name, "trained_culture": run.trained_culture, "split": run.split.name}
        rows = rows.with_columns(pl.lit(run.start).alias("start"), **{name: pl.lit(value) for name, value in named.items()})
        found = per_run(with_credit(rows, self._made.config.prompt.score)).filter((pl.col("reading") == "choice") & (pl.col("average") == "template"))
        return {f"accuracy/{culture}": accuracy for culture, accuracy in found.select("culture", "accuracy").iter_rows()}


def _facts(run: PlannedRun) -> Facts:
    """What is known of a run before it begins."""
    facts: dict[str, str | int | float] = {
        "label": run.label,
        "method": run.name,
        "trained culture": run.trained_culture or "untouched",
        "split": run.split.name,
        "start": run.start,
    }
    if run.method is not None:
        facts |= {f"settings.{name}": _plain(value) for name, value in run.method.settings.model_dump(mode="json").items()}
        facts |= {f"training.{name}": _plain(value) for name, value in run.method.training.model_dump(mode="json").items()}
    return facts


def _plain(value: object) -> str | int | float:
    """A setting as every tracker holds it."""
    return value if isinstance(value, int | float | str) else str(value)
