"""What stands in a report beside the reference study's own tables, where the study has the runs for it."""

from __future__ import annotations

from affinage.report import (
    attention,
    calibration,
    controls,
    costs,
    curve,
    errors,
    interpolation,
    orders,
    paired_tests,
    prompting,
    questions,
    side_effects,
    similarity,
    strata,
    swaps,
    targets,
    topics,
    training,
    transfer,
    wordings,
)
from affinage.report.cells import Cells
from affinage.report.table import Section

__all__ = ["sections"]

_SECTIONS = (
    prompting.section,
    controls.section,
    targets.section,
    transfer.section,
    paired_tests.section,
    strata.section,
    topics.section,
    errors.section,
    calibration.section,
    questions.section,
    wordings.section,
    swaps.section,
    orders.section,
    curve.section,
    similarity.section,
    interpolation.section,
    attention.section,
    side_effects.section,
    training.section,
    costs.section,
)
"""In the order of the report."""


def sections(cells: Cells) -> tuple[Section, ...]:
    """Every section that the study has the runs for."""
    return tuple(found for section in _SECTIONS if (found := section(cells)) is not None)
