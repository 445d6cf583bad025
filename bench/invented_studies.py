"""Studies that are invented, so that the truth about them is known: what bench/coverage.py and bench/false_positives.py count on.

    worthwhile       runs whose worth is drawn (does an interval hold it?). A row's difference is drawn as such, so that two rows of a template have
                     exactly the correlation that was asked for
    worthless        adapters that change nothing, six cultures, one untouched model that all are compared with (is a difference named all the same?).
                     Every model's answers are drawn, so that models answer as alike as trained ones do and a difference may be skewed

Templates are as uneven as BLEnD's in both. What comes back are sums per template group, as `affinage.stats` makes them of a study's rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.stats

from affinage import data, seeds
from affinage.config import DataConfig
from affinage.stats.bootstrap import CellSums, Floats

# Rows of a template --------------------------------------------------------------------------------------------------------------------

EQUAL, MOST_ROWS = 8, 1092
"""Rows per template where all have the same; of BLEnD's largest."""


@dataclass(frozen=True)
class Uneven:
    """Log-normal rows per template, from 1 to `MOST_ROWS`."""

    mean: float
    """Of the logarithm."""
    deviation: float
    whole: Callable[[Floats], Floats]
    """Makes them whole numbers."""

    def drawn(self, rng: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
        """As many as the shape says."""
        return np.clip(self.whole(rng.lognormal(self.mean, self.deviation, shape)), 1, MOST_ROWS)


POOLED = Uneven(3.284, 1.638, np.round)
"""Fitted to BLEnD's rows per template over its 16 cultures."""

OF_A_CULTURE = Uneven(math.log(35), 1.13, np.ceil)
"""Of one culture. The top tenth of the templates holds 44 % of the rows, as in BLEnD's questions when they are made again."""


def sizes_of(kind: str, blend: str) -> Callable[[np.random.Generator, int], Floats]:
    """How many rows each template has: all the same, or drawn from the counts of BLEnD's templates in all cultures."""
    if kind == "equal":
        return lambda rng, pool: np.full(pool, float(EQUAL))
    if not blend:
        return POOLED.drawn
    real = data.load(DataConfig(source="blend", path=blend)).row_counts["rows"].to_numpy().astype(np.float64)
    return lambda rng, pool: rng.choice(real, pool)


# Runs that are worth something ---------------------------------------------------------------------------------------------------------

STARTS, SHARE = 2, 0.2
"""Runs per split; the test side's share of the pool of templates."""

GAIN, RIGHT, WRONG = 0.10, 0.25, 0.15
"""A row's difference is +1 with probability RIGHT plus what its run is worth, -1 with probability WRONG, else 0; its mean is GAIN."""

OF_SPLIT, OF_START, SAME = 0.03, 0.02, 0.8
"""Deviations of a run's worth; the probability that a template answers in a run as it does in general."""


@dataclass(frozen=True)
class Design:
    """What a study is like: one place of the grid of bench/coverage.py."""

    templates: int
    rows: str
    correlation: float
    splits: int
    shared: bool = False
    """Whether a run's worth is made by the templates that it was trained on, which splits of one pool share."""

    @property
    def name(self) -> str:
        """Key of its random streams, and in the result."""
        return f"{self.templates} {self.rows} {self.correlation} {self.splits}" + (" shared" if self.shared else "")


@dataclass(frozen=True)
class Studies:
    """Studies with the same sides and rows; arrays as `stats.CellSums` has them, a cell being a run."""

    total: Floats
    """Sums of differences; shape [studies, runs, groups]."""
    count: Floats
    """Rows; shape [runs, groups]."""
    split: npt.NDArray[np.int64]
    worth: Floats
    """The runs' true mean differences; shape [studies, runs]."""


def worthwhile(design: Design, sizes: Callable[[np.random.Generator, int], Floats], number: int, studies: int) -> Studies:
    """Draws studies whose rows of one template have exactly the wanted correlation within a run.

    Each template has a uniform number, each run takes it over with probability `SAME` or draws another, and each row takes its run's over
    with probability sqrt(correlation) or draws its own; where the number falls says whether the row is +1, -1 or 0.
    """
    rng = seeds.generator("coverage", design.name, number)
    pool = round(design.templates / SHARE)
    tested = np.stack([rng.permutation(pool) < design.templates for _ in range(design.splits)])
    rows = sizes(rng, pool)
    if design.shared:
        trained = ~tested
        of_split = rng.normal(0, OF_SPLIT, (studies, pool)) @ trained.T / np.sqrt(trained.sum(1))
    else:
        of_split = rng.normal(0, OF_SPLIT, (studies, design.splits))
    worth = np.repeat(of_split, STARTS, axis=1) + rng.normal(0, OF_START, (studies, design.splits * STARTS))
    worth = np.clip(worth, -RIGHT, 1 - RIGHT - WRONG)
    union = np.flatnonzero(tested.any(0))
    general = rng.random((studies, pool))
    split = np.repeat(np.arange(design.splits), STARTS)
    total, count = np.zeros((studies, len(split), len(union))), np.zeros((len(split), len(union)))
    for run, side in enumerate(split):
        here = np.flatnonzero(tested[side])
        columns = np.searchsorted(union, here)
        taken = np.where(rng.random((studies, len(here))) < SAME, general[:, here], rng.random((studies, len(here))))
        right = (RIGHT + worth[:, run])[:, None]
        whole = (taken < right).astype(np.int64) - (taken > 1 - WRONG)
        many = np.broadcast_to(rows[here].astype(np.int64), taken.shape)
        alike = rng.binomial(many, math.sqrt(design.correlation))
        plus = rng.binomial(many - alike, right)
        minus = rng.binomial(many - alike - plus, np.minimum(1.0, WRONG / (1 - right)))
        total[:, run, columns] = alike * whole + plus - minus
        count[run, columns] = rows[here]
    return Studies(total, count, split, GAIN + worth)


def about(blend: str) -> dict[str, object]:
    """What `worthwhile` makes its studies of, in words."""
    drawn = "its own counts" if blend else f"log-normal ({POOLED.mean}, {POOLED.deviation}), at most {MOST_ROWS}"
    return {
        "starts": STARTS,
        "test side": f"{SHARE} of the pool",
        "rows": f"equal: {EQUAL}; blend: {drawn}",
        "a row": f"+1 with probability {RIGHT} plus its run's worth, -1 with {WRONG}; mean {GAIN}",
        "a run's worth": f"deviation {OF_SPLIT} by split, {OF_START} by start",
        "template in run as in general": SAME,
    }


# Adapters that are worth nothing -------------------------------------------------------------------------------------------------------

ACCURACIES = (0.742, 0.724, 0.681, 0.662, 0.620, 0.551)
"""Of every model on each culture: the reference study's untouched model."""

ALIKE, UNLIKE = "alike", "equal mean"
NULLS = (ALIKE, UNLIKE)
AVERAGES = ("template", "row")

PRESENT = 0.8
"""Share of the templates that a culture has a question of."""

PAIRED = 0.15
"""Share of the templates that have a near-duplicate: the two are one group."""

ACROSS_CULTURES = 0.5
"""Share of a template's difficulty that all cultures have in common."""

WITH_UNTOUCHED, AMONG_ADAPTERS = 0.6, 0.8
"""Correlations between the models' answers to a question, before they are right or wrong."""


def worthless(templates: int, correlation: float, null: str, number: int) -> dict[str, CellSums]:
    """Paired differences of every adapter on every culture (cell 6 * adapter + culture), by each average.

    An answer is right where a normal number lies above the culture's threshold. The number is sqrt(r) * (the template's) + sqrt(1 - r) * (the
    question's), r the correlation inside a template; the models' numbers are correlated with each other. Alike: adapters and the untouched model
    have the same r, so any two of them could change places. Equal mean: adapters have 1.1 - r, so that they are right as often, but not on the same
    kind of template, and a group's difference is not symmetric around zero.
    """
    rng = seeds.generator("false positives", templates, correlation, null, number)
    cultures = len(ACCURACIES)
    rows = OF_A_CULTURE.drawn(rng, (templates, cultures)).astype(np.int64)
    rows *= rng.random((templates, cultures)) < PRESENT
    right = _answers(rng, rows, correlation, null)
    difference = (right[1:] - right[0]).reshape(cultures, templates, cultures)
    twins = int(PAIRED * templates / 2)
    group = np.concatenate([np.repeat(np.arange(twins), 2), np.arange(twins, templates - twins)])
    member = (group[:, None] == np.arange(group.max() + 1)).astype(np.float64)
    names = tuple(f"g{k}" for k in range(member.shape[1]))
    found = {}
    for average in AVERAGES:
        count = rows.astype(np.float64) if average == "row" else (rows > 0).astype(np.float64)
        earned = difference if average == "row" else np.divide(difference, rows, out=np.zeros_like(difference), where=rows > 0)
        total = np.einsum("atc,tg->acg", earned, member).reshape(cultures * cultures, -1)
        counts = np.broadcast_to((count.T @ member)[None], (cultures, cultures, member.shape[1])).reshape(total.shape)
        found[average] = CellSums(total, counts, pl.Series(range(len(total))), names)
    return found


def _answers(rng: np.random.Generator, rows: npt.NDArray[np.int64], correlation: float, null: str) -> Floats:
    """How many rows of each template and culture the untouched model and every adapter answer right; shape [1 + adapters, templates * cultures]."""
    templates, cultures = rows.shape
    threshold = scipy.stats.norm.ppf(1 - np.array(ACCURACIES))
    shared, own = mixed(rng, (templates, 1)), mixed(rng, (templates, cultures))
    template = math.sqrt(ACROSS_CULTURES) * shared + math.sqrt(1 - ACROSS_CULTURES) * own
    sizes = rows.ravel()
    place = np.repeat(np.arange(sizes.size), sizes)
    question = mixed(rng, (place.size,))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[sizes > 0]
    right = np.zeros((1 + len(ACCURACIES), sizes.size))
    for model in range(len(right)):
        r = correlation if model == 0 or null == ALIKE else 1.1 - correlation
        bar = (threshold - math.sqrt(r) * template[model]).ravel()[place] / math.sqrt(1 - r)
        right[model, sizes > 0] = np.add.reduceat((question[model] > bar).astype(np.float64), starts)
    return right


def mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal numbers of the untouched model and of every adapter, correlated; shape [1 + adapters, *shape]."""
    adapters = len(ACCURACIES)
    drawn = rng.standard_normal((3 + adapters, *shape), np.float32)
    found = math.sqrt(1 - AMONG_ADAPTERS) * drawn[2:]
    found += math.sqrt(WITH_UNTOUCHED) * drawn[0]
    found[1:] += math.sqrt(AMONG_ADAPTERS - WITH_UNTOUCHED) * drawn[1]
    found[0] += (math.sqrt(1 - WITH_UNTOUCHED) - math.sqrt(1 - AMONG_ADAPTERS)) * drawn[2]
    return np.asarray(found, np.float32)
