"""The page: what stands on it, in which order."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from affinage.report.answers import Answer
from affinage.report.charts import Forest, HeatMap
from affinage.report.evidence import Evidence
from affinage.report.language import current
from affinage.report.page.labels import labels
from affinage.report.page.meaning import limits, meaning
from affinage.report.page.text import inline, paragraphs
from affinage.report.provenance import provenance, terms
from affinage.report.state import state
from affinage.report.table import Picture, Section, Table
from affinage.report.verdict import Verdict, demo_table
from affinage.report.words import named, slug

__all__ = ["Content", "Drawing", "drawings", "page"]


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that the page shows, said in the report's language."""

    evidence: Evidence
    answers: tuple[Answer, ...]
    verdicts: tuple[Verdict, ...]
    forests: tuple[Forest, ...]
    tables: tuple[Table, ...]
    """The study's own, in order."""
    maps: tuple[HeatMap, ...]
    sections: tuple[Section, ...]
    curves: tuple[Picture, ...]
    """The learning curves, where the study has them."""
    drawn: Mapping[str, Path]
    """Key of a picture -> its SVG file."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture as the page holds it."""

    title: str
    text: str
    alternative: str
    source: str
    """The SVG file as a data URI."""
    wide: bool
    """Whether it needs the page's whole width to be read."""


@dataclass(frozen=True, slots=True)
class _Chapter:
    """A section as the page shows it."""

    id: str
    title: str
    """Empty where its tables' titles are enough."""
    text: str
    tables: tuple[Table, ...]
    pictures: tuple[Drawing, ...]


_TRAINING, _COST = ("learning-curve", "training"), ("cost",)
"""Sections that have a place of their own on the page."""

_LONG = 24
"""A table of more rows is folded."""

_HALF = 560.0
"""Points; a wider figure has panels side by side, whose letters could not be read in half of a page."""


def page(content: Content) -> str:
    """The whole report as one HTML page.

    Args:
        content: what it shows; said inside the same `speaking` as this.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("affinage.report"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline, "paragraphs": paragraphs, "named": named, "slug": slug}
    chapters = [_chapter(section, content.drawn) for section in content.sections]
    main = [table for table in content.tables if not table.appendix]
    template = environment.get_template("report.html.j2")
    return template.render(
        words=labels(),
        language=current(),
        content=content,
        name=content.evidence.study.config.name,
        state=state(content.evidence),
        pooled=demo_table(content.verdicts) if content.verdicts else None,
        tables=[table for table in main if not _by_row(table)],
        by_row=[table for table in main if _by_row(table)],
        greedy=[table for table in content.tables if table.appendix],
        curves=tuple(drawings(content.curves, content.drawn)),
        training=[chapter for chapter in chapters if chapter.id in _TRAINING],
        cost=[chapter for chapter in chapters if chapter.id in _COST],
        beside=[chapter for chapter in chapters if chapter.id not in (*_TRAINING, *_COST)],
        meaning=meaning(content.evidence),
        limits=limits(content.evidence),
        provenance=tuple(provenance(content.evidence)),
        terms=tuple(terms(content.evidence)),
        long=_LONG,
    )


def _by_row(table: Table) -> bool:
    """Whether it repeats a table of the headline average by row."""
    return table.key.endswith("-by-row")


def _chapter(section: Section, drawn: Mapping[str, Path]) -> _Chapter:
    """A section with its pictures."""
    return _Chapter(section.name, section.title, section.text, section.tables, tuple(drawings(section.pictures, drawn)))


def drawings(pictures: Sequence[Picture], drawn: Mapping[str, Path]) -> Iterator[Drawing]:
    """Pictures with their files inside."""
    for picture in pictures:
        svg = drawn[picture.key].read_bytes()
        width = re.search(rb'<svg [^>]*?\bwidth="([\d.]+)pt"', svg)
        coded = base64.b64encode(svg).decode("ascii")
        wide = width is not None and float(width[1]) > _HALF
        yield Drawing(picture.title, picture.text, picture.alternative, f"data:image/svg+xml;base64,{coded}", wide)
