"""What everything that draws or relabels has in common: how often, and when two of its numbers are a tie."""

from __future__ import annotations

__all__ = ["DRAWS", "TIE"]

DRAWS = 10_000
"""Random draws behind a p-value or an interval where nothing else is said: bootstrap samples, signs, relabellings."""

TIE = 1e-9
"""Numbers no farther apart are equal: sums of the same terms in another order differ by rounding alone, and accuracies are ratios of small counts."""
