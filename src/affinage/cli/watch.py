"""A study's progress: moving bars on a terminal, a line per finished run elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from affinage.cli.say import complain, console, duration, say
from affinage.store import UNTOUCHED

if TYPE_CHECKING:
    from affinage.study import Event, PlannedRun
    from affinage.train import StepRecord

__all__ = ["Tally", "bars", "named", "watching"]


def named(run: PlannedRun) -> str:
    """A run in words: `lora on Spain, fold-0-of-2, start 1`."""
    if run.trained_culture == UNTOUCHED:
        return f"untouched model, {run.split.name}"
    if run.prompted is not None:
        return f"{run.label}, nothing trained, {run.split.name}"
    if run.method is None and run.calibration is None:
        return f"untouched model put as {run.trained_culture} puts it, {run.split.name}"
    return f"{run.label} on {run.trained_culture}, {run.split.name}, start {run.start}"


@final
@dataclass
class Tally:
    """What this process has seen of a study; a line per run that it finished."""

    made: int = 0
    """Runs that this process finished."""
    began: float = 0.0
    losses: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    """Path of a run -> its steps, first and last loss; those of a cohort come in turns, and are told when their run is finished."""
    tested: dict[str, int] = field(default_factory=dict)
    """Questions of the run in hand that were tested, by culture."""

    def take(self, event: Event) -> str | None:
        """Takes an event; a line to print when it ends a run."""
        if event.stage == "started":
            self.began, self.tested = time.monotonic(), {}
        elif event.stage == "training" and event.step is not None:
            _, first, _ = self.losses.get(event.run.path, (0, event.step.loss, 0.0))
            self.losses[event.run.path] = (event.step.step, first, event.step.loss)
        elif event.stage == "testing":
            self.tested[event.note] = event.done
        elif event.stage == "finished":
            self.made += 1
            return f"{_place(event)} {named(event.run)}: {'; '.join(self._parts(event.run.path))}"
        elif event.stage == "failed":
            return f"{_place(event)} {named(event.run)}: FAILED: {event.note}"
        return None

    def _parts(self, path: str) -> Iterator[str]:
        if path in self.losses:
            steps, first, last = self.losses[path]
            yield f"{steps:,} steps, loss {first:.3f} to {last:.3f}"
        yield f"{sum(self.tested.values()):,} questions tested"
        yield duration(time.monotonic() - self.began)


def _place(event: Event) -> str:
    number, total = event.place
    return f"[{number:>{len(str(total))}}/{total}]"


@contextmanager
def watching(tally: Tally) -> Iterator[Callable[[Event], None]]:
    """Shows a study's events until the block ends."""
    screen = console()
    if not screen.is_terminal:
        yield lambda event: _tell(tally.take(event), failed=event.stage == "failed")
        return
    with bars(screen) as progress:
        yield _Bars(progress, tally).show


def _tell(line: str | None, *, failed: bool) -> None:
    if line is not None:
        (complain if failed else say)(line)


@contextmanager
def bars(screen: Console, *, silent: bool = False) -> Iterator[Progress]:
    """Progress bars with what is done, the time so far and the time that is left by the mean so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=screen, speed_estimate_period=math.inf, disable=silent) as progress:
        yield progress


@final
class _Bars:
    """Two bars: the study's runs, and the run in hand.

    Args:
        progress: where they stand.
        tally: what was seen so far.
    """

    def __init__(self, progress: Progress, tally: Tally) -> None:
        self._progress, self._tally = progress, tally
        self._runs: TaskID | None = None
        self._run = progress.add_task("loading", total=None)

    def show(self, event: Event) -> None:
        """Moves the bars."""
        number, total = event.place
        if self._runs is None:
            self._runs = self._progress.add_task("runs", total=total, completed=number - 1)
        name = named(event.run)
        if event.stage == "started":
            self._progress.reset(self._run, description=name, total=None)
        elif event.stage == "training" and event.step is not None:
            step: StepRecord = event.step
            self._progress.update(self._run, description=f"{name}: training, loss {step.loss:.3f}", total=step.total, completed=step.step)
        elif event.stage == "testing":
            self._progress.update(self._run, description=f"{name}: testing on {event.note}", total=event.total, completed=event.done)
        elif event.stage == "waiting":
            self._progress.update(self._run, description=f"{name}: waiting for {event.note}", total=None)
        else:
            self._progress.update(self._runs, completed=number)
        line = self._tally.take(event)
        if line is not None:
            self._progress.console.print(line, soft_wrap=True)
