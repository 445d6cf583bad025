"""From scores to numbers: credit per question, accuracy per run, spread over runs, intervals clustered by template group.

Every number of a report comes through here, from frames with one row per run and question. Accuracies and differences are fractions,
not percent. Two readings: `choice` (the best-scored option) and `free` (the greedy first token is the right letter). Two averages:
`template` (the headline: mean over templates of the template's accuracy) and `row` (the reference study: mean over question rows).
"""

from affinage.stats.bootstrap import CellSums, Draws, cell_sums, draw, draw_groups
from affinage.stats.choices import NOBODY, codes, option_matrix, option_shares, picks, whose
from affinage.stats.contrasts import Contrasts, contrasts, template_means, weights_of
from affinage.stats.credit import with_credit
from affinage.stats.families import FAMILIES, Comparison, Family, holm, max_t, planned_families
from affinage.stats.intervals import MINIMUM_EFFECTIVE, Estimate, clustered, kish
from affinage.stats.numbers import different, enumerated, numbered
from affinage.stats.paired_tests import ROUGH_BELOW, PairedTest, paired_tests, sign_draws, sign_flip
from affinage.stats.procedure import MINIMUM_SPLITS, Procedure, Sides, procedure
from affinage.stats.ranks import Ranked, first_probabilities, ranked
from affinage.stats.resampling import DRAWS, TIE
from affinage.stats.runs import AVERAGES, READINGS, RUN, Average, Reading, Spread, credited, paired, per_run, spread
from affinage.stats.scores import Binning, Curve, brier, brier_binary, chance_centred, reliability, share_of_left, template_weights
from affinage.stats.studentised import FEW_EFFECTIVE, studentised
from affinage.stats.transfer import (
    SPECIFICITIES,
    Specificities,
    Specificity,
    c_dist,
    column_specificity,
    interaction,
    row_specificity,
    specificities,
    specificity_weights,
)
from affinage.stats.unpaired import unpaired

__all__ = [
    "AVERAGES",
    "DRAWS",
    "FAMILIES",
    "FEW_EFFECTIVE",
    "MINIMUM_EFFECTIVE",
    "MINIMUM_SPLITS",
    "NOBODY",
    "READINGS",
    "ROUGH_BELOW",
    "RUN",
    "SPECIFICITIES",
    "TIE",
    "Average",
    "Binning",
    "CellSums",
    "Comparison",
    "Contrasts",
    "Curve",
    "Draws",
    "Estimate",
    "Family",
    "PairedTest",
    "Procedure",
    "Ranked",
    "Reading",
    "Sides",
    "Specificities",
    "Specificity",
    "Spread",
    "brier",
    "brier_binary",
    "c_dist",
    "cell_sums",
    "chance_centred",
    "clustered",
    "codes",
    "column_specificity",
    "contrasts",
    "credited",
    "different",
    "draw",
    "draw_groups",
    "enumerated",
    "first_probabilities",
    "holm",
    "interaction",
    "kish",
    "max_t",
    "numbered",
    "option_matrix",
    "option_shares",
    "paired",
    "paired_tests",
    "per_run",
    "picks",
    "planned_families",
    "procedure",
    "ranked",
    "reliability",
    "row_specificity",
    "share_of_left",
    "sign_draws",
    "sign_flip",
    "specificities",
    "specificity_weights",
    "spread",
    "studentised",
    "template_means",
    "template_weights",
    "unpaired",
    "weights_of",
    "whose",
    "with_credit",
]
