"""From a study's folder to tables, figures and sentences; rebuilt at will, never edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affinage.report import figures, latex, longform, markdown
from affinage.report.cells import Cells
from affinage.report.evidence import Evidence, read_evidence, slug
from affinage.report.tables import Table, tables
from affinage.report.verdict import Verdict, demo_table, verdicts

__all__ = ["Evidence", "ReportPaths", "Verdict", "build_report", "demo_table", "read_evidence", "verdicts", "write_report"]


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What a report wrote."""

    folder: Path
    page: Path
    """`report.md`: everything, with the pictures."""
    csv: tuple[Path, ...]
    latex: tuple[Path, ...]
    figures: tuple[Path, ...]
    """SVG and PNG of each heat map."""
    verdicts: tuple[Verdict, ...]
    """The pooled numbers and sentences, for who prints them."""


def build_report(study: Path) -> ReportPaths:
    """Reads a study's folder and writes `<study>/report/` anew.

    Args:
        study: the folder that `affinage study run --out` wrote.

    Raises:
        UserError: no study stands there, no run is finished, or a file is damaged.
    """
    return write_report(read_evidence(study), study / "report")


def write_report(evidence: Evidence, folder: Path) -> ReportPaths:
    """Writes every format of the report.

    Args:
        evidence: what the study measured.
        folder: of the report; files of the same names are replaced.
    """
    cells, found = Cells(evidence), verdicts(evidence)
    all_tables = tables(cells)
    for name in ("csv", "latex", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    csv = []
    for name, frame in longform.frames(evidence, cells, found):
        csv.append(folder / "csv" / f"{name}.csv")
        frame.write_csv(csv[-1])
    drawn = _draw(cells, folder / "figures")
    page = folder / "report.md"
    pictures = [(label, f"figures/{paths[1].name}") for label, paths in drawn]
    page.write_text(markdown.page(evidence, found, all_tables, pictures), encoding="utf-8")
    written = _latex((*all_tables, *([demo_table(found)] if found else [])), folder / "latex")
    return ReportPaths(folder, page, tuple(csv), written, tuple(path for _, paths in drawn for path in paths), found)


def _draw(cells: Cells, folder: Path) -> list[tuple[str, tuple[Path, Path]]]:
    """Each method's heat map as SVG and PNG."""
    scale = figures.heat_scale(cells)
    drawn = []
    for number, label in enumerate(cells.evidence.labels, start=1):
        figure = figures.heat_map(cells, label, scale)
        name = f"figure-2-{number}-{slug(label)}"
        paths = (folder / f"{name}.svg", folder / f"{name}.png")
        for path in paths:
            figures.save(figure, path)
        drawn.append((label, paths))
    return drawn


def _latex(content: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    """One file per table."""
    paths = []
    for table in content:
        paths.append(folder / f"{table.key}.tex")
        paths[-1].write_text(latex.table(table), encoding="utf-8")
    return tuple(paths)
