"""`affinage analyse`: what a study's adapters have in common, and what they do to the model."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import announce_model
from affinage.cli.say import complain, console, counted, examples, say
from affinage.config import validated

if TYPE_CHECKING:
    from affinage.analysis import Made, Told

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        name="analyse",
        short_help="Analyse a study's adapters.",
        epilog=examples(
            "affinage analyse runs/mine                                      everything; the same command again continues",
            "affinage analyse runs/mine --only similarity                    one analysis",
            "affinage analyse runs/mine --only similarity --distances km.csv beside distances of your own",
            "affinage analyse runs/mine --only interpolation --pair Spain:Algeria",
            "affinage analyse runs/mine --limit 200                          with few questions, where the model is needed",
        ),
    )(analyse)


def analyse(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study, finished or not.")],
    *,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="An analysis. May be repeated. Default: all.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many questions per split and culture where the model is needed.")] = None,
    distances: Annotated[
        Path | None, typer.Option("--distances", metavar="FILE", help="CSV: culture_a, culture_b, and one or more columns of distances.")
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="A:B", help="Cultures between whose adapters the way is gone. May be repeated. Default: all."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Steps from one adapter to the other; half as many are gone beyond each end.")] = 4,
    neutral: Annotated[
        Path | None, typer.Option("--neutral", metavar="FILE", help="CSV of questions about no culture: question, answer, wrong, wrong_2, ...")
    ] = None,
    text: Annotated[Path | None, typer.Option("--text", metavar="FILE", help="Neutral text, blank lines between its passages.")] = None,
    stereotypes: Annotated[
        Path | None, typer.Option("--stereotypes", metavar="FILE", help="CSV of pairs of sentences that differ in a stereotype: more, less, kind.")
    ] = None,
) -> None:
    """Analyse the adapters of a study, into DIR/analysis; the report shows what is there.

    What was done before is not done again, also after a crash; other settings, or further finished runs, have an analysis made anew.
    """
    from affinage.analysis import AnalysisSettings, Subject, analyses, make

    asked = {"only": tuple(only or ()), "limit": limit, "distances": distances, "pairs": tuple(pair or ()), "steps": steps}
    asked |= {"neutral": neutral, "text": text, "stereotypes": stereotypes}
    settings = validated(AnalysisSettings, asked, "flags")
    for name in settings.only:
        analyses.get(name)
    subject = Subject.of(folder, settings)
    announce_model(subject.record.config.model)
    fetch(subject.record.config.model.id)
    try:
        with _watching() as watch:
            made = make(subject, watch)
    except KeyboardInterrupt:
        complain("Stopped; what was done so far is kept. The same command continues.")
        raise typer.Exit(130) from None
    _tell(made)
    say(f"Results: {folder / 'analysis'}. Next: affinage report {shlex.quote(str(folder))}")


def _tell(made: tuple[Made, ...]) -> None:
    """A line per analysis."""
    for each in made:
        tables = counted(len(each.tables), "table")
        say(f"{each.name}: {tables} ({', '.join(each.tables) or 'nothing to show'}){'' if each.now else ', there already'}.")


@contextmanager
def _watching() -> Iterator[Callable[[Told], None]]:
    """A bar per analysis on a terminal until the block ends; a line per piece of work everywhere else."""
    from affinage.cli.watch import bars

    screen = console()
    if not screen.is_terminal:
        yield lambda told: say(f"[{told.done}/{told.total}] {told.analysis}: {told.what}")
        return
    with bars(screen) as progress:
        known = {}

        def show(told: Told) -> None:
            if told.analysis not in known:
                known[told.analysis] = progress.add_task(told.analysis, total=told.total)
            progress.update(known[told.analysis], description=f"{told.analysis}: {told.what}", total=told.total, completed=told.done)

        yield show
