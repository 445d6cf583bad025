"""Differences of two numbers that share nothing."""

from __future__ import annotations

import math

from affinage.stats.intervals import Estimate, student

__all__ = ["unpaired"]


def unpaired(one: Estimate, other: Estimate) -> Estimate:
    """`one` minus `other` where no question of the one is a question of the other.

    Standard error sqrt(a^2 + b^2) of the two standard errors a and b; Student's t at (a^2 + b^2)^2 / (a^4/m + b^4/n) degrees of freedom (Welch
    1947; Satterthwaite 1946), where m and n are each estimate's own, its effective number of template groups minus one. Where the two share
    templates after all, what is common to them does not cancel, and the interval is wider than it need be.

    Args:
        one: with the interval of `clustered`, or without.
        other: at the same level.

    Returns:
        The difference, resting on the smaller number of groups, and on the questions and templates of both; without interval where either has
        none.

    Raises:
        ValueError: intervals of two levels.
    """
    if one.level != other.level:
        raise ValueError(f"intervals of {one.level} and {other.level}")
    value = one.value - other.value
    numbers = (
        min(one.groups, other.groups),
        min(one.effective, other.effective),
        one.questions + other.questions,
        one.templates + other.templates,
        one.level,
    )
    if one.error is None or other.error is None:
        return Estimate(value, None, None, None, *numbers)
    ours, theirs = one.error**2, other.error**2
    error = math.sqrt(ours + theirs)
    if error == 0:
        return Estimate(value, 0.0, value, value, *numbers)
    freedom = (ours + theirs) ** 2 / (ours**2 / (one.effective - 1) + theirs**2 / (other.effective - 1))
    low, high = student(value, error, freedom, one.level)
    return Estimate(value, error, float(low), float(high), *numbers)
