"""What was chosen: which option, and whose culture's option it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["NOBODY", "codes", "option_matrix", "option_shares", "picks", "whose"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

NOBODY = -1
"""Code of an option of a culture that was not asked for, and of a place behind a question's last option."""


def option_matrix(lists: pl.Series) -> Floats:
    """Lists of one number per option as an array.

    Args:
        lists: of numbers; [questions].

    Returns:
        Shape [questions, most options], NaN behind the last option of a question with fewer.

    Raises:
        ValueError: a question without a list, or with an empty one.
    """
    lengths = lists.list.len().to_numpy()
    if lists.null_count() or (len(lengths) and lengths.min() < 1):
        raise ValueError("a question without options")
    matrix = np.full((len(lists), int(lengths.max()) if len(lengths) else 0), np.nan)
    matrix[_places(lengths)] = lists.to_arrow().flatten().to_numpy(zero_copy_only=False)
    return matrix


def option_shares(values: Floats) -> Floats:
    """The model's probabilities over the options: the softmax of what options are compared by.

    Args:
        values: natural logarithms (`stats.with_credit`'s `values`), NaN where there is no option; shape [questions, options].

    Returns:
        The same shape; a row sums to 1, NaN where there is no option.

    Raises:
        ValueError: a question without an option that is finite.
    """
    if not values.size:
        return values
    best = np.max(np.where(np.isnan(values), -np.inf, values), axis=1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError("a question none of whose options has a finite score")
    shares = np.exp(values - best)
    return np.asarray(shares / np.nansum(shares, axis=1, keepdims=True))


def picks(values: Floats) -> Floats:
    """The share of each option in the choice: 1 for the best-scored one; k options that tie for best have 1/k each, as a coin would choose.

    Args:
        values: as `option_shares`.

    Returns:
        The same shape; a row sums to 1, 0 where there is no option.
    """
    if not values.size:
        return values
    best = values == np.nanmax(values, axis=1, keepdims=True)
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def codes(lists: pl.Series, names: Sequence[str]) -> Codes:
    """Lists of one name per option as numbers.

    Args:
        lists: of names; [questions].
        names: code k stands for `names[k]`.

    Returns:
        Shape [questions, most options]; `NOBODY` for another name and behind the last option.
    """
    known = pl.DataFrame({"name": list(names), "code": range(len(names))}, schema={"name": pl.String, "code": pl.Float64})
    long = pl.DataFrame({"row": pl.int_range(len(lists), eager=True), "name": lists}).explode("name")
    coded = long.join(known, on="name", how="left", maintain_order="left").with_columns(pl.col("code").fill_null(float(NOBODY)))
    matrix = option_matrix(coded.group_by("row", maintain_order=True).agg("code")["code"])
    return np.where(np.isnan(matrix), NOBODY, matrix).astype(np.int32)


def whose(values: Floats, owner: Codes, answer: npt.NDArray[np.int64], count: int) -> pl.DataFrame:
    """Whose option is chosen when the answer is wrong, and how often it was there to be chosen.

    A question is answered wrongly where the right option is not among the best-scored ones; each of its wrong options was offered once.

    Args:
        values: as `option_shares`.
        owner: `codes` of the options' cultures; shape [questions, options] or wider.
        answer: index of the right option; shape [questions].
        count: cultures that have a code.

    Returns:
        One row per code: `code`; `offered`, options of that culture in wrongly answered questions; `chosen`, of these (ties in shares); `blind`, of
        these where each wrong option of a question is as likely as the next.

    Raises:
        ValueError: shapes that do not match.
    """
    if owner.shape[0] != values.shape[0] or owner.shape[1] < values.shape[1] or answer.shape != values.shape[:1]:
        raise ValueError(f"values, cultures and answers of the same questions are needed, got shapes {values.shape}, {owner.shape}, {answer.shape}")
    chosen, rows = picks(values), np.arange(len(answer))
    owners = owner[:, : values.shape[1]]
    wrong = ~np.isnan(values)
    wrong[rows, answer] = False
    failed = chosen[rows, answer] == 0
    counted = wrong & failed[:, None] & (owners != NOBODY)
    blind = np.broadcast_to(1 / np.maximum(wrong.sum(axis=1, keepdims=True), 1), values.shape)
    code = owners[counted]
    return pl.DataFrame(
        {
            "code": np.arange(count),
            "offered": np.bincount(code, minlength=count),
            "chosen": np.bincount(code, chosen[counted], minlength=count),
            "blind": np.bincount(code, blind[counted], minlength=count),
        }
    )


def _places(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which places of a matrix are filled by lists of these lengths."""
    return np.asarray(np.arange(int(lengths.max()) if len(lengths) else 0)[None, :] < lengths[:, None])
