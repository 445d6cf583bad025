"""The columns that differences and ranks are made of: of a study of millions of rows nothing else is copied."""

from __future__ import annotations

from dataclasses import replace

from affinage.report.evidence import Evidence
from affinage.stats import READINGS, RUN

__all__ = ["credits_alone"]

_COLUMNS = (*RUN, "culture", "mcq_id", "template_id", "group", *READINGS)


def credits_alone(evidence: Evidence) -> Evidence:
    """The same study, its rows without what strata, swaps and calibration need."""
    return replace(evidence, rows=evidence.rows.select(_COLUMNS))
