"""From scores to numbers: credit per question, accuracy per run, spread over runs, intervals clustered by template group.

Every number of a report comes through here, from frames with one row per run and question. Accuracies and differences are fractions,
not percent. Two readings: `choice` (the best-scored option) and `free` (the greedy first token is the right letter). Two averages:
`template` (the headline: mean over templates of the template's accuracy) and `row` (the reference study: mean over question rows).
"""

from affinage.stats.credit import with_credit
from affinage.stats.intervals import MINIMUM_EFFECTIVE, Estimate, clustered, kish
from affinage.stats.runs import AVERAGES, READINGS, RUN, Average, Reading, Spread, paired, per_run, spread
from affinage.stats.transfer import column_specificity

__all__ = [
    "AVERAGES",
    "MINIMUM_EFFECTIVE",
    "READINGS",
    "RUN",
    "Average",
    "Estimate",
    "Reading",
    "Spread",
    "clustered",
    "column_specificity",
    "kish",
    "paired",
    "per_run",
    "spread",
    "with_credit",
]
