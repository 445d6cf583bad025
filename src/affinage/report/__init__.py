"""From a study's folder to tables, figures and sentences; rebuilt at will, never edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import polars.selectors as cs
from matplotlib.figure import Figure

from affinage.report import figures, latex, longform, markdown
from affinage.report.answers import Answer, answers
from affinage.report.cells import Cells
from affinage.report.charts import Forest, forest_figure, forests, heat_maps
from affinage.report.checklist import write_checklist
from affinage.report.curve import points_of
from affinage.report.evidence import Evidence, read_evidence
from affinage.report.language import LANGUAGES, Language, say, speaking
from affinage.report.page import Content
from affinage.report.page import page as write_page
from affinage.report.sections import sections
from affinage.report.state import state
from affinage.report.table import Picture, Table
from affinage.report.tables import tables
from affinage.report.verdict import Verdict, demo_table, verdicts
from affinage.report.words import slug

__all__ = [
    "LANGUAGES",
    "Answer",
    "Evidence",
    "Language",
    "ReportPaths",
    "Verdict",
    "build_report",
    "demo_table",
    "read_evidence",
    "speaking",
    "verdicts",
    "write_report",
]


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What a report wrote."""

    folder: Path
    html: Path
    """`report.html`: the page that needs nothing else."""
    page: Path
    """`report.md`: everything, with the pictures."""
    json: Path
    """`report.json`: every number of the CSV files in one."""
    csv: tuple[Path, ...]
    latex: tuple[Path, ...]
    figures: tuple[Path, ...]
    """SVG and PNG of each heat map."""
    curves: tuple[Path, ...]
    """SVG and PNG of the learning curve; empty where the study has none."""
    pictures: tuple[Path, ...]
    """SVG and PNG of every other figure."""
    provisional: str
    """Why these numbers are no result, as a sentence; empty where they are one."""
    answers: tuple[Answer, ...]
    """The study's three questions, answered."""
    verdicts: tuple[Verdict, ...]
    """The pooled numbers and sentences, for who prints them."""


def build_report(study: Path, language: Language = "en") -> ReportPaths:
    """Reads a study's folder and writes `<study>/report/` anew.

    Args:
        study: the folder that `affinage study run --out` wrote.
        language: of everything that is said.

    Raises:
        UserError: no study stands there, no run is finished, or a file is damaged.
    """
    return write_report(read_evidence(study), study / "report", language)


def write_report(evidence: Evidence, folder: Path, language: Language = "en") -> ReportPaths:
    """Writes every format of the report.

    Args:
        evidence: what the study measured.
        folder: of the report; files of the same names are replaced.
        language: of everything that is said; names from the data stay as they are.
    """
    with speaking(language):
        return _written(evidence, folder)


def _written(evidence: Evidence, folder: Path) -> ReportPaths:
    """Every format, in the language that is spoken."""
    cells, found = Cells(evidence), verdicts(evidence)
    beside, own = sections(cells), tables(cells)
    answered = answers(evidence, found, next((section.title for section in beside if section.name in _LINKS), ""))
    for name in ("csv", "latex", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames = list(longform.frames(evidence, cells, found, beside))
    forest = forests(found)
    drawn = _draw(cells, folder / "figures")
    curves = _curves(evidence)
    further = (*(_forest_picture(each) for each in forest), *(picture for section in beside for picture in section.pictures))
    files = {picture.key: _save(picture.draw(), folder / "figures" / picture.key) for picture in (*curves, *further)}
    content = Content(evidence, answered, found, forest, own, heat_maps(cells), beside, curves, {key: paths[0] for key, paths in files.items()})
    html, page = folder / "report.html", folder / "report.md"
    html.write_text(write_page(content), encoding="utf-8")
    pictures = [(label, f"figures/{paths[1].name}") for label, paths in drawn]
    text = markdown.page(evidence, found, own, pictures, [f"figures/{files[each.key][1].name}" for each in curves], answers=answered, sections=beside)
    page.write_text(text, encoding="utf-8")
    write_checklist(evidence, folder, found)
    all_tables = (*own, *(table for section in beside for table in section.tables), *([demo_table(found)] if found else []))
    return ReportPaths(
        folder=folder,
        html=html,
        page=page,
        json=_json(evidence, answered, frames, folder / "report.json"),
        csv=_csv(frames, folder / "csv"),
        latex=_latex(all_tables, folder / "latex"),
        figures=tuple(path for _, paths in drawn for path in paths),
        curves=tuple(path for picture in curves for path in files[picture.key]),
        pictures=tuple(path for picture in further for path in files[picture.key]),
        provisional=state(evidence).provisional,
        answers=answered,
        verdicts=found,
    )


_LINKS = {"links", "similarity"}
"""Sections that compare transfer with links between the cultures."""


def _csv(frames: Sequence[tuple[str, pl.DataFrame]], folder: Path) -> tuple[Path, ...]:
    """One file per frame."""
    paths = []
    for name, frame in frames:
        paths.append(folder / f"{name}.csv")
        frame.write_csv(paths[-1])
    return tuple(paths)


def _json(evidence: Evidence, answered: Sequence[Answer], frames: Sequence[tuple[str, pl.DataFrame]], path: Path) -> Path:
    """Every frame in one file: a list of records each; a number that is none is null."""
    about = {
        "study": evidence.study.config.name,
        "provisional": list(evidence.trial),
        "answers": [{"key": each.key, "question": each.question, "sentence": each.sentence} for each in answered],
    }
    numbers = {name: frame.with_columns(cs.float().fill_nan(None)).to_dicts() for name, frame in frames}
    path.write_text(json.dumps({**about, "frames": numbers}, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
    return path


def _draw(cells: Cells, folder: Path) -> list[tuple[str, tuple[Path, Path]]]:
    """Each method's heat map as SVG and PNG."""
    scale = figures.heat_scale(cells)
    return [
        (label, _save(figures.heat_map(cells, label, scale), folder / f"figure-2-{number}-{slug(label)}"))
        for number, label in enumerate(cells.evidence.labels, start=1)
    ]


def _curves(evidence: Evidence) -> tuple[Picture, ...]:
    """Every method's learning curve in one picture; nothing where the study has none."""
    curves = {label: found for label in evidence.labels if (found := points_of(evidence, label))}
    if not curves:
        return ()
    title, text = say("Learning curve"), markdown.curves_text()
    return (Picture("figure-3-learning-curve", title, "", text, partial(figures.learning_curve, curves)),)


def _forest_picture(drawn: Forest) -> Picture:
    """A comparison of the forest plot as a figure for papers."""
    return Picture(f"figure-1-{drawn.key}", drawn.title, "", drawn.title, partial(forest_figure, drawn))


def _save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """A figure as SVG and PNG."""
    paths = (path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png"))
    engine = figure.get_layout_engine()
    if engine is not None:
        # Once for both: a figure with an engine is drawn twice for each file, the first time for the layout alone.
        engine.execute(figure)
        figure.set_layout_engine("none")
    for each in paths:
        figures.save(figure, each)
    return paths


def _latex(content: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    """One file per table."""
    paths = []
    for table in content:
        paths.append(folder / f"{table.key}.tex")
        paths[-1].write_text(latex.table(table), encoding="utf-8")
    return tuple(paths)
