"""What stands in a report beside the reference study's own tables, where the study has the runs for it."""

from __future__ import annotations

from affinage.report import controls, curve, orders, prompting, strata, swaps, wordings
from affinage.report.cells import Cells
from affinage.report.table import Section

__all__ = ["sections"]

_SECTIONS = (prompting.section, controls.section, strata.section, wordings.section, swaps.section, orders.section, curve.section)
"""In the order of the report."""


def sections(cells: Cells) -> tuple[Section, ...]:
    """Every section that the study has the runs for."""
    return tuple(found for section in _SECTIONS if (found := section(cells)) is not None)
