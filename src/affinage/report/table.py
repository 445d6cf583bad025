"""A table as text, ready for any format, and the cells that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from affinage.report.cells import Cell
from affinage.report.pooled import Line
from affinage.report.words import bounds, percent, points, span
from affinage.stats import Average, Reading, Spread

__all__ = [
    "AVERAGE",
    "LINE",
    "MISSING",
    "Picture",
    "Section",
    "Table",
    "cell_text",
    "counted",
    "line_text",
    "quantity",
    "row_text",
    "runs_of",
    "runs_text",
    "spread_text",
]

AVERAGE = {"template": "by template (headline)", "row": "by row (as in the reference study)"}
_READING = {"choice": "best-scored option", "free": "greedy first token"}
MISSING = "missing"

LINE = ("95 % interval", "runs", "questions", "templates")
"""Header of what `line_text` puts behind a pooled number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text."""

    key: str
    """File name without ending."""
    title: str
    text: str
    """What it shows, with n, questions and templates."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rules: tuple[int, ...] = ()
    """Rows before which a line is drawn."""
    notes: tuple[str, ...] = ()
    """What it says, one sentence each, below it."""
    appendix: bool = False
    """Whether it stands in the report's appendix."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, drawn when it is written."""

    key: str
    """File name without ending."""
    title: str
    text: str
    """What it shows, with what it rests on."""
    alternative: str
    """What it says, for who cannot see it."""
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Section:
    """One thing that a report says beside the study's own tables, where the study has the runs for it."""

    name: str
    """File name of its CSV, without ending."""
    lines: tuple[Line, ...]
    """Every pooled number of it, for the CSV."""
    tables: tuple[Table, ...]
    title: str = ""
    """Its heading on the page; empty where its tables' titles are enough."""
    text: str = ""
    """What is said before its tables, Markdown paragraphs."""
    pictures: tuple[Picture, ...] = ()
    frames: tuple[tuple[str, pl.DataFrame], ...] = ()
    """Further CSV files in long form: name without ending, content."""


def cell_text(cell: Cell) -> str:
    """Mean and deviation; where runs are missing the cell says so itself."""
    if cell.accuracy is None:
        return f"{MISSING} ({cell.expected})" if cell.expected else ""
    return spread_text(cell.accuracy) + (f" [{cell.missing} of {cell.expected} {MISSING}]" if cell.missing else "")


def spread_text(number: Spread, form: Callable[[float], str] = percent) -> str:
    """Mean (deviation)."""
    return form(number.mean) + ("" if number.deviation is None else f" ({percent(number.deviation)})")


def row_text(head: str, row: Sequence[Cell]) -> tuple[str, ...]:
    """One row of cells with its number of runs."""
    return (head, *map(cell_text, row), runs_text(row))


def runs_text(row: Sequence[Cell]) -> str:
    """Number of runs of a table row, and of how many where some are missing."""
    there = sorted({len(cell.runs) for cell in row})
    text = "–".join(str(count) for count in dict.fromkeys((there[0], there[-1]))) if there else ""
    return f"{text} of {max(cell.expected for cell in row)}" if any(cell.missing for cell in row) else text


def quantity(reading: Reading, average: Average) -> str:
    """The quantity in a cell."""
    return f"Accuracy in percent ({_READING[reading]}), {AVERAGE[average]}, mean (sample deviation n − 1) over runs."


def counted(chosen: Sequence[Cell]) -> str:
    """Questions, templates, missing runs and unscored questions behind a table."""
    filled = [cell for cell in chosen if cell.runs]
    if not filled:
        return "No run is finished."
    text = f"A cell rests on {span((c.questions for c in filled), 'question')} of {span((c.templates for c in filled), 'template')}. "
    missing = sum(cell.missing > 0 for cell in chosen)
    unscored = sum(cell.unscored for cell in filled)
    text += f"In {missing} cells runs are missing: their numbers will change. " if missing else ""
    return text + (f"{unscored:,} rows could not be scored and are in no mean." if unscored else "Every row could be scored.")


def line_text(line: Line) -> tuple[str, ...]:
    """A pooled number, and under `LINE` its interval and what it rests on."""
    estimate, form = line.estimate, points if line.quantity == "difference" else percent
    if math.isnan(estimate.value):
        nothing = "no question" if line.quantity == "accuracy" else "nothing to compare"
        return (MISSING if line.missing else nothing, "", runs_of(line), "", "")
    return (form(estimate.value), bounds(estimate, form), runs_of(line), f"{estimate.questions:,}", f"{estimate.templates:,}")


def runs_of(line: Line) -> str:
    """Number of runs behind a pooled number, and of how many where some are missing."""
    return f"{line.runs} of {line.expected}" if line.missing else str(line.runs)
