"""From score rows to credit: one row per run and question, over every order in which its options were listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from affinage.records import Score
from affinage.stats.numbers import numbered

__all__ = ["with_credit"]

_QUESTION = ("run", "culture", "mcq_id")
_OF_ONE_ORDER = ("order", "logprob", "tokens", "characters", "empty_logprob", "letter_mass", "greedy_token", "greedy_probability")
"""Columns that a question has once per order; they end here."""

_DECIMALS = 9
"""Sums of the same log-probabilities, added in another order, must stay a tie."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def with_credit(scores: pl.DataFrame, score: Score = "total") -> pl.DataFrame:
    """What each question earned in both readings, over the orders in which it was asked.

    An option's score is its mean over the orders (each lists its scores in the source's order of the options). The best-scored option wins; k
    options that tie for best share the credit, 1/k each, as a coin would. Scores: `total` log p(option), mean `per-token`
    (lm-evaluation-harness's `acc_norm` idea), mean `per-character` (Gao 2021, "Multiple choice normalization"), `pmi` log p(option | question) -
    log p(option | empty question) (Holtzman et al. 2021, "Surface form competition"). A question counts as scored only if every order is.

    Args:
        scores: one row per run, question and order with `records.ItemScore`'s fields.
        score: how options are compared.

    Returns:
        One row per run, tested culture and question, scored ones first, without the columns that belong to a single order; `state` is that of
        the first order that could not be scored. Added: `choice` and `free` as credit in [0, 1] (null: unscored, or no letters were asked
        for; `free` is the mean over the orders), `chance` = 1/options; `orders` asked; `one_order`, the mean over the orders of the credit that
        `choice` would have with that order alone; `same`, 1 where one option alone is best in every order, the same one, else 0; `survives`, 1
        where it is also the right one; `values`, per option (source order) the mean over the orders by which options are compared. All but
        `orders` are null where the question is unscored. `letter_mass`, where the rows have it, is its mean over the orders.

    Raises:
        ValueError: a scored row has no options, lists of different lengths, a score that is no number, or an answer outside its options; or
            the orders of a question differ in the answer or in the number of options.
    """
    number, first = numbered(scores, _QUESTION)
    unscored = (scores["state"] != "scored").fill_null(value=True).to_numpy()
    lost = np.bincount(number, unscored, minlength=len(first)) > 0
    kept = [name for name in scores.columns if name not in {*_OF_ONE_ORDER, "free"}]
    whole = _credited(scores, number, lost, score, kept)
    if not lost.any():
        return whole
    rows = scores.filter(lost[number])
    told = rows.filter(pl.col("state") != "scored")
    reason = told.select(*_QUESTION, "state").unique(_QUESTION, keep="first")
    left = scores[first[lost]].select(kept).drop("state").join(reason, on=_QUESTION, how="left", maintain_order="left")
    asked = np.bincount(number, minlength=len(first))[lost]
    nothing = {name: dtype for name, dtype in whole.schema.items() if name not in {*kept, "orders"}}
    missing = left.with_columns(pl.Series("orders", asked, pl.Int64), *(pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()))
    return pl.concat([whole, missing.select(whole.columns)])


def _credited(scores: pl.DataFrame, number: Integers, lost: npt.NDArray[np.bool_], score: Score, kept: Sequence[str]) -> pl.DataFrame:
    """The questions that are scored in every order; `number` is each row's question, `lost` tells of a question that it is not among them."""
    rows = scores if not lost.any() else scores.filter(~lost[number])
    orders = _Orders.of(number[~lost[number]])
    compared = _compared(rows, score)
    answer = rows["answer"].to_numpy().astype(np.int64)
    alone, credit = _best(compared, answer)
    options = compared.lengths
    firsts = orders.firsts
    if orders.single:
        means, choice, always = compared, credit, alone
    else:
        differ = (orders.largest(answer) != orders.smallest(answer)) | (orders.largest(options) != orders.smallest(options))
        _refuse(rows[firsts], differ, "its orders differ in the answer or in the number of options")
        always = np.where(orders.largest(alone) == orders.smallest(alone), alone[firsts], -1)
        means = _Compared(np.round(orders.mean(compared.values), _DECIMALS), options[firsts])
        means = _Compared(np.where((orders.counts == 1)[:, None], compared.values[firsts], means.values), means.lengths)
        choice = _best(means, answer[firsts])[1]
    found = rows.select(kept) if orders.single else rows.select(kept)[firsts]
    earned = [
        pl.Series("orders", orders.counts, pl.Int64),
        pl.Series("choice", choice),
        _mean("free", rows["free"].cast(pl.Float64), orders, whole=True),
        pl.Series("chance", 1.0 / options[firsts]),
        pl.Series("one_order", orders.mean(credit)),
        pl.Series("same", (always >= 0).astype(np.float64)),
        pl.Series("survives", (always == answer[firsts]).astype(np.float64)),
        means.series("values"),
    ]
    mass = [_mean("letter_mass", rows["letter_mass"].cast(pl.Float64), orders, whole=False)] if "letter_mass" in rows.columns else []
    return found.with_columns(*earned, *mass)


@dataclass(frozen=True, slots=True)
class _Orders:
    """The rows of each question, together."""

    sorted: Integers
    """Rows by question, those of one question as they come; shape [rows]."""
    begins: Integers
    """Where each question begins in `sorted`; shape [questions]."""
    counts: Integers
    """Orders in which each was asked; shape [questions]."""
    single: bool
    """Whether each was asked once, in the order of the rows."""

    @classmethod
    def of(cls, number: Integers) -> _Orders:
        """Questions in the order of their numbers."""
        rising = bool((np.diff(number) >= 0).all())
        order = np.arange(len(number)) if rising else np.argsort(number, kind="stable")
        begins = np.flatnonzero(np.diff(number[order], prepend=-1))
        return cls(order, begins, np.diff(begins, append=len(number)), single=rising and len(begins) == len(number))

    @property
    def firsts(self) -> Integers:
        """Each question's first row."""
        return self.sorted[self.begins]

    def mean(self, values: Floats) -> Floats:
        """Of each question's rows; shape [questions, ...]."""
        if self.single:
            return values
        sums = np.add.reduceat(values[self.sorted], self.begins, axis=0)
        return np.asarray(sums / self.counts.reshape(-1, *[1] * (values.ndim - 1)))

    def largest(self, values: Integers) -> Integers:
        """Of each question's rows."""
        return np.asarray(np.maximum.reduceat(values[self.sorted], self.begins))

    def smallest(self, values: Integers) -> Integers:
        """Of each question's rows."""
        return np.asarray(np.minimum.reduceat(values[self.sorted], self.begins))


def _mean(name: str, values: pl.Series, orders: _Orders, *, whole: bool) -> pl.Series:
    """Mean over each question's orders; null where nothing is known, with `whole` where anything is not."""
    known = values.is_not_null().to_numpy().astype(np.float64)
    share = orders.mean(known)
    mean = orders.mean(np.where(known > 0, values.fill_null(0.0).to_numpy(), 0.0)) / np.where(share > 0, share, 1.0)
    return pl.DataFrame({name: mean, "known": share == 1.0 if whole else share > 0}).select(pl.when("known").then(name).alias(name)).to_series()


@dataclass(frozen=True, slots=True)
class _Compared:
    """The scores by which options are compared."""

    values: Floats
    """Shape [rows, most options]; -inf behind a row's last option."""
    lengths: Integers
    """Options of each row; shape [rows]."""

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which places hold an option; shape of `values`."""
        return np.asarray(np.arange(self.values.shape[1]) < self.lengths[:, None])

    def series(self, name: str) -> pl.Series:
        """A list per row."""
        flat = self.values.ravel() if (self.lengths == self.values.shape[1]).all() else self.values[self.there]
        offsets = np.concatenate(([0], np.cumsum(self.lengths)))
        return pl.Series(name, pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat)), dtype=pl.List(pl.Float64))


def _compared(rows: pl.DataFrame, score: Score) -> _Compared:
    """Per option the score by which options are compared; rows that make no sense are refused."""
    partner = {"total": "logprob", "per-token": "tokens", "per-character": "characters", "pmi": "empty_logprob"}[score]
    options = rows["logprob"].list.len().fill_null(0).to_numpy().astype(np.int64)
    _refuse(rows, options < 2, "fewer than two options have a score")
    _refuse(rows, options != rows[partner].list.len().fill_null(0).to_numpy(), f"`logprob` and `{partner}` differ in length")
    answer = rows["answer"].fill_null(-1).to_numpy()
    _refuse(rows, (answer < 0) | (answer >= options), "the answer is outside the options")
    row = np.repeat(np.arange(rows.height), options)
    flat = _flat(rows["logprob"])
    if score != "total":
        beside = _flat(rows[partner])
        if score != "pmi":
            _refuse(rows, _any(row, ~(beside >= 1), rows.height), f"`{partner}` below 1")
        with np.errstate(invalid="ignore"):
            flat = flat - beside if score == "pmi" else flat / beside
    _refuse(rows, _any(row, np.isnan(flat), rows.height), "a score that is no number")
    most = int(options.max(initial=0))
    if (options == most).all():
        return _Compared(flat.reshape(rows.height, most), options)
    values = np.full((rows.height, most), -np.inf)
    values[np.arange(most) < options[:, None]] = flat
    return _Compared(values, options)


def _flat(lists: pl.Series) -> Floats:
    """The numbers of all lists, one after the other; what is no number is NaN."""
    return np.asarray(lists.explode().cast(pl.Float64).to_numpy() if len(lists) else np.zeros(0), np.float64)


def _any(row: Integers, fault: npt.NDArray[np.bool_], rows: int) -> npt.NDArray[np.bool_]:
    """Which rows have a faulty option."""
    return np.bincount(row[fault], minlength=rows) > 0


def _best(compared: _Compared, answer: Integers) -> tuple[Integers, Floats]:
    """Per row the option that alone is best (-1 for a tie), and the credit."""
    best = compared.values.max(1, initial=-np.inf)
    among = (compared.values == best[:, None]) & compared.there
    ties = among.sum(1)
    alone = np.where(ties == 1, among.argmax(1) if among.size else 0, -1)
    credit = among[np.arange(len(answer)), answer] / np.maximum(ties, 1)
    return alone, credit


def _refuse(rows: pl.DataFrame, fault: npt.NDArray[np.bool_], reason: str) -> None:
    """Raises a ValueError that names the first row at fault."""
    if fault.any():
        first = rows.row(int(fault.argmax()), named=True)
        raise ValueError(f"run {first['run']!r}, question {first['mcq_id']!r}: {reason} ({int(fault.sum())} such rows)")
