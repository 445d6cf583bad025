"""How commands speak: plain lines and tables on standard output, complaints on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["complain", "console", "counted", "duration", "examples", "say", "table"]

_WIDE = 200
"""Columns of a table where no terminal says how many fit."""


def console() -> Console:
    """Standard output: a terminal's own width and colours, or plain text without control codes."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE)


def say(text: str = "") -> None:
    """One line or paragraph on standard output, never broken or shortened."""
    typer.echo(text)


def complain(text: str) -> None:
    """What went wrong, on standard error."""
    typer.echo(text, err=True)


def examples(*lines: str) -> str:
    r"""A command's worked examples as the end of its help; `\b` keeps the lines as they are."""
    return "\n".join(("\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", rules: Iterable[int] = (), words: int = 1) -> None:
    """A table.

    Args:
        header: names of the columns.
        rows: cells as text.
        title: a line above it.
        rules: rows before which a line is drawn.
        words: how many columns, from the left, hold words; the others hold numbers and are aligned to the right.
    """
    lines, before = list(rows), set(rules)
    drawn = Table(title=title or None, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(header):
        drawn.add_column(name, justify="left" if place < words else "right", overflow="fold")
    for place, row in enumerate(lines, start=1):
        drawn.add_row(*map(Text, row), end_section=place in before)
    console().print(drawn)


def counted(number: int, thing: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
