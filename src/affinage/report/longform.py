"""Every number as CSV in long form, one number per line with what it rests on; accuracies are fractions, not percent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from affinage.prompting import Found, chosen
from affinage.report import reference
from affinage.report.cells import Cell, Cells
from affinage.report.evidence import Evidence
from affinage.report.pooled import Line
from affinage.report.prompting import searches
from affinage.report.table import Section
from affinage.report.verdict import Verdict
from affinage.stats import RUN, Estimate

__all__ = ["frames"]


def frames(evidence: Evidence, cells: Cells, found: Iterable[Verdict], sections: Iterable[Section]) -> Iterator[tuple[str, pl.DataFrame]]:
    """File name without ending, and content, of every CSV file."""
    yield "cells", pl.DataFrame([_cell(cell) for cell in cells.all()])
    yield "runs", cells.runs.select(*RUN, "culture", "reading", "average", "accuracy", "chance", "questions", "templates", "unscored")
    yield "pooled", pl.DataFrame([line for verdict in found for line in _pooled(verdict)])
    for section in sections:
        if section.lines:
            yield section.name, pl.DataFrame([_line(line) for line in section.lines])
        yield from section.frames
    if evidence.searches:
        yield "searches", pl.DataFrame([row for label, split, found in searches(evidence) for row in _search(label, split, found)])
    if evidence.study.plan.sets:
        yield "control-sets", pl.DataFrame([_set(row) for row in evidence.study.plan.sets])
    yield "split-sizes", pl.DataFrame(list(evidence.study.plan.sizes))
    yield "reference-study", pl.DataFrame(list(_reference()))


def _cell(cell: Cell) -> dict[str, object]:
    """A cell as one line."""
    return {
        "label": cell.kind[0],
        "method": cell.method,
        "trained_culture": cell.kind[1],
        "tested_culture": cell.tested,
        "reading": cell.reading,
        "average": cell.average,
        "accuracy": None if cell.accuracy is None else cell.accuracy.mean,
        "deviation": None if cell.accuracy is None else cell.accuracy.deviation,
        "runs": len(cell.runs),
        "expected_runs": cell.expected,
        "missing_runs": cell.missing,
        "gain": None if cell.gain is None else cell.gain.mean,
        "gain_deviation": None if cell.gain is None else cell.gain.deviation,
        "gain_runs": None if cell.gain is None else cell.gain.count,
        "chance": cell.chance,
        "questions": cell.questions,
        "templates": cell.templates,
        "unscored_rows": cell.unscored,
        "run_paths": " ".join(cell.runs),
    }


def _pooled(verdict: Verdict) -> Iterator[dict[str, object]]:
    """Pooled accuracies and differences of one method."""
    for row in verdict.rows:
        yield {"label": verdict.label, "quantity": row.name, "kind": "accuracy", **_estimate(row.estimate)}
    for claim in (*verdict.claims, *([verdict.program] if verdict.program else [])):
        yield {"label": verdict.label, "quantity": claim.key, "kind": "difference", **_estimate(claim.estimate)}


def _search(label: str, split: str, found: Found) -> Iterator[dict[str, object]]:
    """Every candidate of a baseline's search."""
    best = chosen(found.tried)
    for number, tried in enumerate(found.tried):
        values = {name: value for name, value in asdict(tried).items() if name != "cultures"}
        about = {"label": label, "split": split, "side": found.side, "questions": found.questions, "candidate": number + 1, "chosen": number == best}
        yield {**about, **values, **{f"accuracy on {culture}": value for culture, value in tried.cultures.items()}}


def _set(row: Mapping[str, Any]) -> dict[str, object]:
    """A control's training set as one line."""
    return {**row, "dropped": sum(row["dropped"].values()), "source": (row.get("source") or {}).get("name", "")}


def _line(line: Line) -> dict[str, object]:
    """A pooled number as one line."""
    about = {"label": line.label, "quantity": line.name, "kind": line.quantity}
    return {**about, **_estimate(line.estimate), "runs": line.runs, "expected_runs": line.expected}


def _estimate(estimate: Estimate) -> dict[str, object]:
    """An estimate as columns."""
    return {
        "value": estimate.value,
        "error": estimate.error,
        "low": estimate.low,
        "high": estimate.high,
        "level": estimate.level,
        "questions": estimate.questions,
        "templates": estimate.templates,
        "groups": estimate.groups,
        "effective_groups": estimate.effective,
    }


def _reference() -> Iterator[dict[str, object]]:
    """The study's own numbers, percent as published."""
    rows = {("none", ""): reference.UNTOUCHED, ("prompt-tuning", "format control"): reference.FORMAT_CONTROL}
    rows |= {(method, trained): row for method, pairs in reference.PAIRS.items() for trained, row in pairs.items()}
    for (method, trained), row in rows.items():
        for tested, (mean, deviation) in row.items():
            yield {
                "method": method,
                "trained_culture": trained,
                "tested_culture": tested,
                "percent": mean,
                "deviation": deviation,
                "source": reference.SOURCE,
            }
