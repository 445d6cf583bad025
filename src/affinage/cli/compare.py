"""`affinage compare`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.say import examples, say, table

if TYPE_CHECKING:
    from affinage.report.compare import Comparison

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="Put two studies beside each other.",
        epilog=examples(
            "affinage compare runs/plain runs/long-prompts",
            "affinage compare runs/smollm2 runs/qwen --out runs/two-models",
        ),
    )(compare)


def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR1", help="The folder of a study, finished or not.")],
    second: Annotated[Path, typer.Argument(metavar="DIR2", help="The folder of another one; differences are this one minus the first.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write. Default: DIR2/report/beside-NAME of DIR1.")] = None,
) -> None:
    """Put two studies beside each other: how their configurations differ, and how their numbers do, with intervals.

    Paired by question where both tested the same questions on the same side of a split; otherwise not, and the page says why. Writes Markdown
    and CSV. Two studies of different data, or without a culture in common, are refused.
    """
    from affinage.report import read_evidence
    from affinage.report.compare import compare as compare_studies
    from affinage.report.compare import write_comparison

    folder = out or second / "report" / f"beside-{first.resolve().name}"
    found = compare_studies(read_evidence(first), read_evidence(second), _names(first, second))
    written = write_comparison(found, folder)
    _show(found)
    for path in written:
        say(f"Written: {path}")


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What two studies are called: the names of their folders, their paths where those are the same."""
    names = first.resolve().name, second.resolve().name
    return names if names[0] != names[1] else (str(first), str(second))


def _show(found: Comparison) -> None:
    """The pooled table, its sentences and the keys that differ."""
    from affinage.report.compare import tables

    pool = tables(found)[0]
    table(pool.header, pool.rows, title=pool.title, rules=pool.rules)
    say(pool.text)
    say()
    for note in pool.notes:
        say(f"* {note}")
    say()
    for key, here, there in found.keys:
        say(f"{key}: {here} -> {there}")
    for name, alone in zip(found.names, found.only, strict=True):
        if alone:
            say(f"Only in {name}: {', '.join(alone)}")
    for reason in found.trial:
        say(f"No result: {reason}")
    say()
