"""What runs answered on the same questions, as arrays, from the study's own score files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.analysis.measures import Floats, Ints, agreement, jensen_shannon, kappa, option_correlation, shares
from affinage.analysis.subject import Subject
from affinage.stats import with_credit
from affinage.store import RunRecord

__all__ = ["Answers", "Reader", "accuracies", "compare", "shared"]

FEWEST_QUESTIONS = 20
"""Questions that two adapters must have in common to be compared on."""


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """One run's answers to the questions that it could be scored on, sorted by (culture, question)."""

    keys: npt.NDArray[np.object_]
    """[Q] culture and question's id, as one text."""
    places: npt.NDArray[np.object_]
    """[Q] tested culture and template, as one text: what weighs alike."""
    scores: Floats
    """[Q, C] per option (source order) the score by which options are compared, mean over the orders asked; NaN behind the last option."""
    credit: Floats
    """[Q] what it earned, in [0, 1]."""
    shown: Ints
    """[Q, C] place at which the option was listed; the source's own place where several orders were asked."""

    @cached_property
    def chosen(self) -> Ints:
        """[Q] the option with the best score, the first of several."""
        return np.asarray(np.nanargmax(self.scores, axis=1), np.int64)

    @cached_property
    def category(self) -> Ints:
        """[Q] place at which the chosen option was listed (its letter, where letters are asked for)."""
        return np.asarray(np.take_along_axis(self.shown, self.chosen[:, None], axis=1)[:, 0], np.int64)

    @cached_property
    def shares(self) -> Floats:
        """[Q, C] softmax of the scores over the options."""
        return shares(self.scores)

    def at(self, index: Ints) -> Answers:
        """Some of the questions, in that order."""
        return Answers(self.keys[index], self.places[index], self.scores[index], self.credit[index], self.shown[index])

    @cached_property
    def weights(self) -> Floats:
        """[Q] every template of every tested culture alike; sums to 1."""
        _, place, count = np.unique(self.places.astype(str), return_inverse=True, return_counts=True)
        return np.asarray(1.0 / (count[place] * len(count)), np.float64)


@final
class Reader:
    """Answers of the runs that were asked for so far; runs on the same questions share the questions' names.

    Args:
        subject: the study.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._known: dict[str, Answers] = {}

    def of(self, run: RunRecord) -> Answers:
        """A run's answers on every studied culture.

        Raises:
            UserError: a score file is missing or damaged.
        """
        if run.run not in self._known:
            found = _answers(self._subject, run)
            alike = (each for each in self._known.values() if np.array_equal(each.keys, found.keys) and np.array_equal(each.places, found.places))
            named = next(alike, found)
            self._known[run.run] = replace(found, keys=named.keys, places=named.places)
        return self._known[run.run]


def _answers(subject: Subject, run: RunRecord) -> Answers:
    """Reads a run's answers."""
    rows = pl.concat([subject.scores(run, culture) for culture in subject.cultures])
    listed = rows.group_by("culture", "mcq_id").agg(pl.col("order").first(), pl.len().alias("asked"))
    found = with_credit(rows.with_columns(pl.lit(run.run).alias("run")), subject.prompt.score).filter(pl.col("state") == "scored")
    found = found.join(listed, on=["culture", "mcq_id"]).sort("culture", "mcq_id")
    most = max(found["values"].list.len().to_list(), default=0)
    padded = [pl.col("values").list.get(place, null_on_oob=True).alias(str(place)) for place in range(most)]
    order = [pl.col("order").list.get(place, null_on_oob=True).cast(pl.Int64).alias(str(place)) for place in range(most)]
    at = found.select(order).to_numpy().astype(np.float64)
    shown = np.tile(np.arange(most), (found.height, 1))
    one = (found["asked"].to_numpy() == 1)[:, None] & ~np.isnan(at)
    row, place = np.nonzero(one)
    shown[row, at[one].astype(np.int64)] = place
    joined = [pl.concat_str("culture", name, separator="\x1f").alias(name) for name in ("mcq_id", "template_id")]
    keys = found.select(joined)
    return Answers(
        keys["mcq_id"].to_numpy(),
        keys["template_id"].to_numpy(),
        found.select(padded).cast(pl.Float64).to_numpy(),
        found["choice"].to_numpy(),
        shown,
    )


def shared(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    """Both on the questions that both could be scored on."""
    if one.keys is other.keys or np.array_equal(one.keys, other.keys):
        return one, other
    _, left, right = np.intersect1d(one.keys.astype(str), other.keys.astype(str), return_indices=True)
    return one.at(left), other.at(right)


def compare(one: Answers, other: Answers) -> Mapping[str, float]:
    """Measure -> value, and what the values rest on; empty where both have too few questions in common.

    Returns:
        `agreement`, `kappa` (over the places at which the chosen options were listed), `correlation` and `jensen-shannon`; with `questions` and
        `templates`, how many they rest on (a template counts once per tested culture).
    """
    x, y = shared(one, other)
    if len(x.keys) < FEWEST_QUESTIONS:
        return {}
    weights = x.weights
    return {
        "correlation": option_correlation(x.scores, y.scores, weights),
        "agreement": agreement(x.chosen, y.chosen, weights),
        "kappa": kappa(x.category, y.category, weights),
        "jensen-shannon": jensen_shannon(x.shares, y.shares, weights),
        "questions": len(x.keys),
        "templates": len(np.unique(x.places.astype(str))),
    }


def accuracies(found: Answers, cultures: Sequence[str]) -> list[float]:
    """Per tested culture the mean over templates of the template's accuracy; NaN without a question."""
    tested = np.array([key.split("\x1f", 1)[0] for key in found.places.astype(str)])
    values = []
    for culture in cultures:
        index = np.flatnonzero(tested == culture)
        own = found.at(index)
        values.append(float(own.weights @ own.credit) if len(index) else float("nan"))
    return values
