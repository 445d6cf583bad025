"""`affinage logs`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from affinage.cli.say import counted, examples, say

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="Write a study's answers as another tool's logs.",
        epilog=examples(
            "affinage logs runs/mine --form lm-eval --out logs",
            "affinage logs runs/mine --form inspect --runs 'lora/Spain/*' --out logs && inspect view --log-dir logs",
        ),
    )(logs)


def logs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study, finished or not.")],
    *,
    form: Annotated[Literal["lm-eval", "inspect"], typer.Option("--form", help="Whose log: lm-evaluation-harness's or Inspect's.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    runs: Annotated[str, typer.Option("--runs", metavar="PATTERN", help="Runs by their path below `runs/`, as in a shell.")] = "*",
    texts: Annotated[bool, typer.Option("--texts", help="With the questions' texts, where the data's terms let them be passed on.")] = False,
) -> None:
    """Write what every finished run answered, question by question, as lm-evaluation-harness's or Inspect's log.

    Ids and numbers; with --texts the questions and options too, which is refused where the data's terms do not let them be passed on.
    """
    from affinage.report.logs import write_logs

    written = write_logs(folder, form, out, runs, texts=texts)
    say(f"{counted(len(written), 'file')} in {out}")
