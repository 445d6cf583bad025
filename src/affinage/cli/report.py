"""`affinage report`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.say import examples, say, table
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.report import ReportPaths

__all__ = ["add_to", "write"]


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="Write a study's tables and figures.",
        epilog=examples("affinage report runs/demo", "affinage report runs/mine --language fr"),
    )(report)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study, finished or not.")],
    language: Annotated[str, typer.Option(help="Of everything that is said: en or fr.")] = "en",
) -> None:
    """Write a study's page, tables and figures (HTML, Markdown, CSV, JSON, LaTeX, SVG, PNG) into DIR/report, and print what was found."""
    write(folder, language)


def write(folder: Path, language: str = "en") -> None:
    """Writes a study's report and says what was found and where the files are.

    Args:
        folder: the study's.
        language: of the report and of what is said of its findings.

    Raises:
        UserError: no study stands there, no run is finished, a file is damaged, or the language is not known.
    """
    from affinage.report import LANGUAGES, build_report, speaking

    spoken = next((known for known in LANGUAGES if known == language), None)
    if spoken is None:
        raise UserError("--language", repr(language), f"one of {', '.join(LANGUAGES)}", "Choose one of these.")
    written = build_report(folder, spoken)
    with speaking(spoken):
        _findings(written)
    if written.provisional:
        say(written.provisional)
    _places(written)


def _findings(written: ReportPaths) -> None:
    """The study's three questions answered, the pooled table and the sentences of each method."""
    from affinage.report import demo_table

    if not written.verdicts:
        say("No trained run is finished: there is nothing to compare yet.")
        return
    pooled = demo_table(written.verdicts)
    table(pooled.header, pooled.rows, title=pooled.title, rules=pooled.rules)
    say(pooled.text)
    say()
    for number, answer in enumerate(written.answers, start=1):
        say(f"{number}. {answer.question} {answer.sentence}")
    for verdict in written.verdicts:
        say()
        say(f"{verdict.label}:")
        for number, claim in enumerate(verdict.claims, start=1):
            say(f"  {number}. {claim.sentence}")
        if verdict.program is not None:
            say(f"  {verdict.program.sentence}")
        say(f"  {verdict.conclusion}")
    say()


def _places(written: ReportPaths) -> None:
    """Where the files are."""
    say(f"Page:     {written.html}")
    say(f"Report:   {written.page}")
    for figure in written.figures:
        if figure.suffix == ".png":
            say(f"Heat map: {figure}")
    for curve in written.curves:
        if curve.suffix == ".png":
            say(f"Curve:    {curve}")
    say(f"Tables:   {written.folder / 'csv'}, {written.json}, {written.folder / 'latex'}")
