"""How large a difference is: in deviations between template groups, as a share of what was left to gain, beside what would have shown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["POWER", "remaining_share", "smallest_detectable", "standardised"]

POWER = 2.8
"""Standard errors from zero at which a two-sided test at 5 % has a power of 80 %: 1.96 + 0.84 (Gelman and Hill 2007, chapter 20)."""

_EXACT = 1e-12
"""Fractions that differ by less do so by rounding alone."""


def standardised(contributions: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Differences divided by their deviation between template groups: Cohen's d of paired values (Cohen 1988, d_z).

    A group's own difference is e_g = contribution_g / share_g; the deviation is sqrt(sum_g w_g (e_g - D)^2 / (1 - sum_g w_g^2)) with weights w_g =
    share_g / sum of shares. With equal shares it is the sample deviation (n - 1).

    Args:
        contributions: [k, groups], each row sums to a difference D.
        shares: [k, groups], the weight of each group in a difference, not below zero; a row sums to 1.

    Returns:
        [k]; NaN where the groups do not differ or fewer than two have a share.

    Raises:
        ValueError: shapes that do not match.
    """
    if contributions.shape != shares.shape or contributions.ndim != 2:
        raise ValueError(f"contributions and shares of the same groups are needed, got shapes {contributions.shape} and {shares.shape}")
    difference = contributions.sum(1)
    own = np.divide(contributions, shares, out=np.zeros_like(contributions), where=shares > 0)
    spread = (shares * (own - difference[:, None]) ** 2).sum(1)
    freedom = 1 - (shares**2).sum(1)
    known = (freedom > _EXACT) & (spread > _EXACT)
    deviation = np.sqrt(np.divide(spread, freedom, out=np.ones_like(spread), where=known))
    return np.where(known, difference / deviation, np.nan)


def remaining_share(difference: float, left: float) -> float | None:
    """A difference as a share of what the reference left to gain, difference / left: Hake's (1998) normalised gain.

    Args:
        difference: of accuracies, a fraction.
        left: 1 minus the reference's accuracy on the same questions, a fraction.

    Returns:
        The share, below zero for a loss and then without lower limit; None where nothing was left, the reference being always right.

    Raises:
        ValueError: less than nothing was left, or it is no number.
    """
    if not left >= -_EXACT:
        raise ValueError(f"a reference that is right more than always leaves {left}")
    return difference / left if left > _EXACT else None


def smallest_detectable(error: float) -> float:
    """The smallest difference that a test at 5 % would have shown with a power of 80 %: 2.8 clustered standard errors.

    Args:
        error: the clustered standard error of the difference.

    Raises:
        ValueError: below zero or no number.
    """
    if not error >= 0:
        raise ValueError(f"a standard error is not below zero, got {error}")
    return POWER * error
