"""What a test side can tell: standard errors and the smallest gain that it can show.

Questions of one template group are near copies of each other, so the group is what is drawn, and a mean over rows is only as precise as
Kish's effective number of groups says.
"""

from __future__ import annotations

import math

import polars as pl

from affinage.audit.base import Precision
from affinage.stats import Average, clustered, kish

__all__ = ["CORRELATION", "ERRORS_NEEDED", "paired_gain", "precision", "unpaired_gain"]

ERRORS_NEEDED = 2.8
"""A true difference of so many standard errors is found in four of five tests at the 5 % level: 1.96 + 0.84."""

CORRELATION = 0.5
"""Assumed correlation, over template groups, of what two models earn on the same test side."""

_LARGEST_DEVIATION = 0.5
"""Of a group's credit: where half the groups are right and the others wrong."""


def unpaired_gain(error: float) -> float:
    """The smallest gain that two accuracies on two independent test sides of this kind can show.

    Args:
        error: standard error of one accuracy.
    """
    return ERRORS_NEEDED * math.sqrt(2) * error


def paired_gain(error: float) -> float:
    """The smallest gain that two accuracies on the same questions can show, at a correlation of `CORRELATION`.

    Args:
        error: standard error of one accuracy.
    """
    return ERRORS_NEEDED * math.sqrt(2 * (1 - CORRELATION)) * error


def precision(earned: pl.DataFrame) -> tuple[Precision, ...]:
    """What each culture's test questions can tell, in the alphabet's order.

    Args:
        earned: a split's test questions; columns `mcq_id, culture, template_id, group` and `association`, its credit.
    """
    parts = earned.partition_by("culture", as_dict=True)
    return tuple(_precision(str(culture), parts[(culture,)]) for (culture,) in sorted(parts))


def _precision(culture: str, earned: pl.DataFrame) -> Precision:
    groups = earned.group_by("group").agg(pl.len().alias("rows"), pl.col("template_id").n_unique().alias("templates"))
    effective = kish(groups["rows"])
    return Precision(
        culture=culture,
        rows=earned.height,
        templates=int(groups["templates"].sum()),
        groups=groups.height,
        effective=effective,
        error_rows=_LARGEST_DEVIATION / math.sqrt(effective),
        error_templates=_LARGEST_DEVIATION / math.sqrt(kish(groups["templates"])),
        measured_rows=_measured(earned, "row"),
        measured_templates=_measured(earned, "template"),
    )


def _measured(earned: pl.DataFrame, average: Average) -> float | None:
    """Clustered standard error of the association's accuracy."""
    cells = earned.select(
        pl.lit(0).alias("cell"), pl.lit(1.0).alias("weight"), "group", "template_id", "mcq_id", pl.col("association").alias("choice")
    )
    return clustered(cells, average).error
