"""Tables and the whole report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from affinage.report.answers import Answer
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.page.meaning import limits, meaning
from affinage.report.provenance import provenance, terms
from affinage.report.state import state
from affinage.report.table import Section, Table
from affinage.report.verdict import Verdict, demo_table
from affinage.report.words import named

__all__ = ["curves_text", "page", "table"]


def table(content: Table) -> str:
    """One table with its sentence; numbers are aligned to the right."""
    lines = [_line(content.header), "|".join(("", ":--", *["--:"] * (len(content.header) - 1), ""))]
    notes = [*(f"* {note}" for note in content.notes), ""] if content.notes else []
    return "\n".join([f"### {content.title}", "", content.text, "", *lines, *map(_line, content.rows), "", *notes])


def _line(cells: Iterable[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"


def curves_text() -> str:
    """What the figure of the learning curves shows."""
    return say(
        "Accuracy on the own culture against the number of training templates, one line per method; the numbers are those of the table of that name"
    )


def page(
    evidence: Evidence,
    found: Sequence[Verdict],
    tables: Sequence[Table],
    figures: Sequence[tuple[str, str]],
    curves: Sequence[str] = (),
    *,
    answers: Sequence[Answer] = (),
    sections: Sequence[Section] = (),
) -> str:
    """The report.

    Args:
        evidence: the study.
        found: pooled numbers and sentences per method.
        tables: the study's own, in the order of the report.
        figures: label and file name (PNG, beside the page) of each heat map.
        curves: file name of the learning curves' figure, where there is one.
        answers: the study's three questions, answered.
        sections: what stands beside; their pictures lie in `figures/` as PNG.
    """
    standing = state(evidence)
    title = evidence.study.config.name
    parts = [f"# {say('Provisional: {name}', name=title) if evidence.trial else title}", "", standing.about, ""]
    parts += [f"**{standing.provisional}**", ""] if standing.provisional else []
    parts += [standing.left_out, ""] if standing.left_out else []
    if answers:
        parts += [f"## {say('Three questions, three sentences')}", ""]
        parts += [f"{place}. **{answer.question}** {answer.sentence}" for place, answer in enumerate(answers, start=1)]
        parts += [""]
    if found:
        parts += [f"## {say('What was found')}", ""]
        for verdict in found:
            parts += [f"**{named(verdict.label)}**", ""]
            parts += [f"{place}. {claim.sentence}" for place, claim in enumerate(verdict.claims, start=1)]
            parts += ["", *([verdict.program.sentence, ""] if verdict.program else []), verdict.conclusion, ""]
        parts += [table(demo_table(found))]
    parts += [f"## {say('Tables')}", "", *(table(content) for content in tables if not content.appendix)]
    parts += [part for section in sections for part in _section(section)]
    parts += [f"## {say('Figure 2. Every adapter on every culture')}", ""]
    for label, name in figures:
        parts += [f"![{_alternative(label, evidence)}]({name})", ""]
    if curves:
        parts += [f"## {say('Figure 3. Learning curve')}", "", *(f"![{curves_text()}]({name})" for name in curves), ""]
    rest = [content for content in tables if content.appendix]
    if rest:
        parts += [f"## {say('Appendix: right only if the greedy first token is the right letter')}", "", *(table(content) for content in rest)]
    parts += [f"## {say('What a culture means here')}", ""]
    parts += [each for line in meaning(evidence) for each in (line, "")]
    parts += [f"## {say('What a score does not say')}", "", *(f"* {line}" for line in limits(evidence)), ""]
    parts += [f"## {say('What made these numbers')}", "", *(_pair(*each) for each in provenance(evidence)), ""]
    numbers_only = say("This report holds numbers only, none of the data's text.")
    parts += [f"## {say('Terms of the data')}", "", *(_pair(*each) for each in terms(evidence)), f"* {numbers_only}", ""]
    return "\n".join(parts)


def _section(section: Section) -> Iterator[str]:
    """A section with its tables and pictures; one without title stands among the tables before it."""
    if section.title:
        yield f"## {section.title}\n"
    if section.text:
        yield f"{section.text}\n"
    yield from map(table, section.tables)
    for picture in section.pictures:
        yield f"![{picture.alternative}](figures/{picture.key}.png)\n"
        yield f"{picture.text}\n"


def _pair(name: str, value: str) -> str:
    """A name and its value."""
    return say("* {name}: {value}", name=name, value=value)


def _alternative(label: str, evidence: Evidence) -> str:
    """What the figure shows, for who cannot see it."""
    return say(
        "Heat map of {label}: accuracy of adapters of {trained} cultures on {tested} cultures, untouched model on top; the numbers are those of the "
        "table of every pair",
        label=named(label),
        trained=len(evidence.trained(label)),
        tested=len(evidence.cultures),
    )
