"""A table as text, ready for any format, and the cells that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import polars as pl
from matplotlib.figure import Figure

from affinage.report.cells import Cell
from affinage.report.language import say
from affinage.report.pooled import Line
from affinage.report.words import bounds, number, percent, points, span
from affinage.stats import Average, Reading, Spread

__all__ = [
    "LINE",
    "Picture",
    "Section",
    "Table",
    "averaged",
    "cell_text",
    "counted",
    "line_text",
    "missing_of",
    "missing_runs",
    "quantity",
    "row_text",
    "runs_of",
    "runs_text",
    "spread_text",
]


class _Header(Sequence[str]):
    """Words of a header, said when they are read: only then is the report's language known."""

    def _said(self) -> tuple[str, ...]:
        return say("95 % interval"), say("runs"), say("questions"), say("templates")

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        return self._said()[place]

    def __len__(self) -> int:
        return len(self._said())


LINE: Sequence[str] = _Header()
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


def averaged(average: Average) -> str:
    """The average of a table in words."""
    return say("by template (headline)") if average == "template" else say("by row (as in the reference study)")


def cell_text(cell: Cell) -> str:
    """Mean and deviation; where runs are missing the cell says so itself."""
    if cell.accuracy is None:
        return missing_runs(cell.expected) if cell.expected else ""
    return spread_text(cell.accuracy) + (missing_of(cell.missing, cell.expected) if cell.missing else "")


def missing_runs(expected: int) -> str:
    """What stands for a number none of whose runs is there."""
    return say("missing ({expected})", expected=expected)


def missing_of(missing: int, expected: int) -> str:
    """What stands behind a number some of whose runs are not there."""
    return say(" [{missing} of {expected} missing]", missing=missing, expected=expected)


def spread_text(found: Spread, form: Callable[[float], str] = percent) -> str:
    """Mean (deviation)."""
    return form(found.mean) + ("" if found.deviation is None else f" ({percent(found.deviation)})")


def row_text(head: str, row: Sequence[Cell]) -> tuple[str, ...]:
    """One row of cells with its number of runs."""
    return (head, *map(cell_text, row), runs_text(row))


def runs_text(row: Sequence[Cell]) -> str:
    """Number of runs of a table row, and of how many where some are missing."""
    there = sorted({len(cell.runs) for cell in row})
    text = "–".join(str(count) for count in dict.fromkeys((there[0], there[-1]))) if there else ""
    most = max((cell.expected for cell in row), default=0)
    return say("{there} of {expected}", there=text, expected=most) if any(cell.missing for cell in row) else text


def quantity(reading: Reading, average: Average) -> str:
    """The quantity in a cell."""
    return say(
        "Accuracy in percent ({reading}), {average}, mean (sample deviation n − 1) over runs.",
        reading=say("best-scored option") if reading == "choice" else say("greedy first token"),
        average=averaged(average),
    )


def counted(chosen: Sequence[Cell]) -> str:
    """Questions, templates, missing runs and unscored questions behind a table."""
    filled = [cell for cell in chosen if cell.runs]
    if not filled:
        return say("No run is finished.")
    questions, templates = span((cell.questions for cell in filled), "question"), span((cell.templates for cell in filled), "template")
    text = say("A cell rests on {questions} of {templates}. ", questions=questions, templates=templates)
    missing = sum(cell.missing > 0 for cell in chosen)
    unscored = sum(cell.unscored for cell in filled)
    text += say("In {count} cells runs are missing: their numbers will change. ", count=missing) if missing else ""
    return text + (
        say("{count} rows could not be scored and are in no mean.", count=number(unscored)) if unscored else say("Every row could be scored.")
    )


def line_text(line: Line) -> tuple[str, ...]:
    """A pooled number, and under `LINE` its interval and what it rests on."""
    estimate, form = line.estimate, points if line.quantity == "difference" else percent
    if math.isnan(estimate.value):
        nothing = say("no question") if line.quantity == "accuracy" else say("nothing to compare")
        return (say("missing") if line.missing else nothing, "", runs_of(line), "", "")
    return (form(estimate.value), bounds(estimate, form), runs_of(line), number(estimate.questions), number(estimate.templates))


def runs_of(line: Line) -> str:
    """Number of runs behind a pooled number, and of how many where some are missing."""
    return say("{there} of {expected}", there=line.runs, expected=line.expected) if line.missing else str(line.runs)
