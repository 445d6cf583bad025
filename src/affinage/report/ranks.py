"""Who is first among candidates, with the probability of that rank over draws of template groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from affinage.report.evidence import Evidence
from affinage.report.targets import drawn
from affinage.stats import MINIMUM_EFFECTIVE, Draws, Ranked, cell_sums, contrasts, credited, ranked, template_means, weights_of

__all__ = ["RANK_DRAWS", "leading", "rank_draws"]

RANK_DRAWS = 2_000
"""Draws behind a rank: a probability is known to about one point in a hundred."""


def rank_draws(evidence: Evidence) -> Draws:
    """The draws of the study's template groups that every rank of a report uses: the first of those behind its intervals."""
    return drawn(evidence, RANK_DRAWS)


def leading(draws: Draws, rows: pl.DataFrame, candidates: Sequence[str]) -> tuple[Ranked, ...]:
    """Candidates by accuracy, each (run, tested culture) alike, with their probability of being first.

    Args:
        draws: of `rank_draws`.
        rows: of `Evidence.rows`, with a column `candidate` beside.
        candidates: their names.

    Returns:
        From the first to the last; empty where there is nothing to rank: fewer than two candidates, one without a scored question, or fewer than
        `MINIMUM_EFFECTIVE` effective template groups.
    """
    scored = credited(rows, "choice")
    if len(candidates) < 2 or set(candidates) != set(scored["candidate"].unique()):
        return ()
    units, cells = template_means(scored, ("candidate", "run", "culture"))
    candidate = np.array([candidates.index(name) for name in cells["candidate"]], np.int64)
    share = 1.0 / np.bincount(candidate)[candidate]
    weights = weights_of(candidate, np.arange(cells.height), share, (len(candidates), cells.height))
    sums = cell_sums(units, groups=draws.groups)
    found = contrasts(sums, weights)
    if float(found.effective.min()) < MINIMUM_EFFECTIVE:
        return ()
    return ranked(candidates, found.values, np.asarray(weights @ draws.means(sums).T).T)
