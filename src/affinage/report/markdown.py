"""Tables and the whole report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from affinage.report.evidence import Evidence, named, provenance
from affinage.report.tables import Table
from affinage.report.verdict import Verdict, demo_table

__all__ = ["page", "table"]


def table(content: Table) -> str:
    """One table with its sentence; numbers are aligned to the right."""
    lines = [_line(content.header), "|".join(("", ":--", *["--:"] * (len(content.header) - 1), ""))]
    return "\n".join([f"### {content.title}", "", content.text, "", *lines, *map(_line, content.rows), ""])


def _line(cells: Iterable[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"


def page(evidence: Evidence, found: Sequence[Verdict], tables: Sequence[Table], figures: Sequence[tuple[str, str]]) -> str:
    """The report.

    Args:
        evidence: the study.
        found: pooled numbers and sentences per method.
        tables: in the order of the report.
        figures: label and file name (PNG, beside the page) of each heat map.
    """
    parts = [f"# {'Provisional: ' if evidence.trial else ''}{evidence.study.config.name}", "", *_state(evidence)]
    if found:
        parts += ["## What was found", ""]
        for verdict in found:
            parts += [f"**{named(verdict.label)}**", ""]
            parts += [f"{place}. {claim.sentence}" for place, claim in enumerate(verdict.claims, start=1)]
            parts += ["", verdict.conclusion, ""]
        parts += [table(demo_table(found))]
    parts += ["## Tables", "", *(table(content) for content in tables if not content.appendix)]
    parts += ["## Figure 2. Every adapter on every culture", ""]
    for label, name in figures:
        parts += [f"![{_alternative(label, evidence)}]({name})", ""]
    rest = [content for content in tables if content.appendix]
    if rest:
        parts += ["## Appendix: right only if the greedy first token is the right letter", "", *(table(content) for content in rest)]
    parts += ["## What made these numbers", "", *(f"* {name}: {value}" for name, value in provenance(evidence)), ""]
    parts += ["## Terms of the data", "", *_terms(evidence), ""]
    return "\n".join(parts)


def _state(evidence: Evidence) -> list[str]:
    """What the reader must know before the first number."""
    study = evidence.study
    data = study.plan.data.get("name", study.config.data.source)
    lines = [f"Model: {study.config.model.id}. Data: {data}. {len(evidence.runs)} of {len(study.runs)} planned runs are in this report.", ""]
    if evidence.trial:
        lines += [f"**Provisional, no result: {'; '.join(evidence.trial)}.**", ""]
    if evidence.set_aside:
        lines += [f"Finished, but provisional and therefore left out: {evidence.set_aside} runs.", ""]
    return lines


def _terms(evidence: Evidence) -> list[str]:
    """Source, authors, licence and restrictions of the data."""
    data = evidence.study.plan.data
    lines = [f"* {name}: {data[name]}" for name in ("name", "citation", "url", "licence", "restrictions") if data.get(name)]
    return [*lines, "* This report holds numbers only, none of the data's text."]


def _alternative(label: str, evidence: Evidence) -> str:
    """What the figure shows, for who cannot see it."""
    return (
        f"Heat map of {named(label)}: accuracy of adapters of {len(evidence.trained(label))} cultures on {len(evidence.cultures)} cultures, "
        f"untouched model on top; the numbers are those of the table of every pair"
    )
