"""`affinage tune`: the settings of a study's methods, searched with the same budget for each."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import DataFlag, LimitFlag, ModelFlag, SetFlag, announce, assignments, composed, without_none
from affinage.cli.say import complain, console, counted, duration, examples, say, table
from affinage.cli.study import located
from affinage.cli.terms import show_terms
from affinage.config import validated
from affinage.records import UserError

if TYPE_CHECKING:
    from rich.progress import Progress

    from affinage.tune import Outcome, SearchEvent

__all__ = ["add_to"]

TRIALS = 10
"""Whole trainings of each method where no budget is named."""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        name="tune",
        short_help="Search the settings of a study's methods.",
        epilog=examples(
            "affinage tune demo --trials 8                                 a shipped preset, into runs/demo-search",
            "affinage tune my-study.yaml --seconds 1800 --out runs/search  half an hour for each method and split",
            "affinage tune my-study.yaml --only training.rate --set data.cultures=[Spain]",
            "affinage tune my-study.yaml --set splits.side=development     train and choose on the development side, which no split tests",
        ),
    )(tune)


def tune(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The study: a YAML file, a preset, or a study's folder.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The search's folder. Default: runs/NAME-search.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", help=f"Budget per method and split, in whole trainings. Default: {TRIALS}.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Budget per method and split, in seconds of training and measuring.")] = None,
    share: Annotated[float, typer.Option("--share", help="Share of a split's training templates that becomes the validation side.")] = 0.2,
    every: Annotated[int | None, typer.Option("--every", help="Steps between two measurements. Default: a quarter of a training.")] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="`tpe` or `random`.")] = "tpe",
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Stop trials early that fall behind the others.")] = True,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="A value to search (training.rate). May be repeated.")] = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    setting: SetFlag = None,
    limit: LimitFlag = None,
) -> None:
    """Search rate, length, start, rank, ... of a study's methods: the same budget for each, chosen on a validation side that no test sees.

    A trial trains every culture's adapter in lockstep, so that it can be measured, and stopped, while it goes. A study that sets a smaller
    `model.cohort` of its own has so many trained at a time; a trial is then measured at its end alone.

    Each split's validation side is cut from its training templates, so each split has its own values; the presets that are written carry the
    templates that they have seen, and a study that tests on those refuses them. With `splits.side: development` there is one search for all splits,
    inside the development side. After any crash the same command continues.
    """
    place, folder = located(source, None)
    out = out or folder.parent / f"{folder.name}-search"
    overrides = {**assignments(setting), **without_none(model__id=model, data__path=data, limit=limit)}
    budget = {"trials": TRIALS if trials is None and seconds is None else trials, "seconds": seconds}
    given = {**budget, "share": share, "every": every, "sampler": sampler, "prune": prune, "only": tuple(only or ())}
    _require_optuna()
    outcome = _searched(place, out, overrides, given)
    _tell(outcome)
    for (split, label), reason in outcome.failures.items():
        complain(f"{label} on {split}: {reason}")
    say(f"Presets: {out / 'presets'}. All trials: {out / 'trials.csv'}. Page: {out / 'search.md'}")
    say(f"Next: affinage study run {shlex.quote(str(out / 'tuned.yaml'))} --out {shlex.quote(str(folder.parent / f'{folder.name}-tuned'))}")
    if outcome.failures:
        raise typer.Exit(1)


def _require_optuna() -> None:
    """Refuses, before anything is loaded, where the search's library is not there.

    Raises:
        UserError: naming the extra.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("affinage tune", "no Optuna", "the library that chooses what to try", "Install it: pip install 'affinage[tune]'") from None


def _searched(place: str, out: Path, overrides: dict[str, Any], given: dict[str, Any]) -> Outcome:
    """Runs the search.

    Raises:
        typer.Exit: 130 when it was interrupted.
    """
    from affinage.tune import SearchConfig
    from affinage.tune import tune as search_settings

    search = validated(SearchConfig, given, "flags")
    config = composed(place, overrides)
    show_terms(config.data.source)
    fetch(config.model.id)
    announce(config, place, overrides)
    say(f"Each method has {search.budget()} on each split.")
    try:
        with _watching() as watch:
            return search_settings(config, out, search, watch=watch)
    except KeyboardInterrupt:
        complain("Stopped; every trial so far is kept, and the one in hand goes on from its checkpoint. The same command continues.")
        raise typer.Exit(130) from None


def _tell(outcome: Outcome) -> None:
    """The spread over trials, then what was chosen."""
    rows = []
    for each in outcome.found:
        scores = sorted(trial.score.value for trial in each.trials if trial.score is not None)
        spread = f"{scores[0]:.1%} to {scores[-1]:.1%}" if scores else ""
        counts = f"{len(scores)} complete, {each.count('pruned')} stopped early"
        best = each.best
        rows.append((each.split, each.label, _values(best.values) if best else "", counts, spread))
    table(("split", "method", "chosen", "trials", "accuracy on the validation side"), rows, words=4)


def _values(values: Any) -> str:
    """`training.rate 0.0031, settings.length 12`."""
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


@contextmanager
def _watching() -> Iterator[Callable[[SearchEvent], None]]:
    """Shows a search's trials until the block ends: a bar on a terminal, a line per trial everywhere."""
    from affinage.cli.watch import bars

    screen = console()
    with bars(screen, silent=not screen.is_terminal) as progress:
        yield _Watch(progress, say if not screen.is_terminal else lambda line: progress.console.print(line, soft_wrap=True)).show


@final
class _Watch:
    """A bar for the trial in hand.

    Args:
        progress: where it stands.
        tell: prints a line.
    """

    def __init__(self, progress: Progress, tell: Callable[[str], None]) -> None:
        self._progress, self._tell = progress, tell
        self._bar = progress.add_task("loading", total=None)

    def show(self, event: SearchEvent) -> None:
        """Moves the bar; a line when a trial is over."""
        trial = event.trial
        name = f"{event.label} on {event.split}, trial {trial.number}"
        self._progress.update(self._bar, description=name, total=event.whole, completed=trial.steps)
        if trial.state == "running":
            return
        accuracy = f", accuracy {trial.score.value:.1%}" if trial.score is not None else ""
        reason = f": {trial.reason}" if trial.reason else ""
        ended = f"{trial.state} after {counted(trial.steps, 'step')}{accuracy}{reason}"
        self._tell(f"{name}: {_values(trial.values)}: {ended}, {duration(trial.seconds)}")
