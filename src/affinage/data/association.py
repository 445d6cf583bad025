"""Word-country association: how far one gets by knowing which words go with which country, blind to the question.

It is part of cultural knowledge, the cheap part, so every result of the package stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.data.base import as_frame, cap
from affinage.records import MCQ

__all__ = ["answer_seen", "association"]

ROWS_PER_PAIR = 5
"""At most so many training questions per (culture, template) are looked at."""


def association(train: pl.DataFrame | Sequence[MCQ], test: pl.DataFrame | Sequence[MCQ]) -> npt.NDArray[np.float64]:
    """What the association earns on each test question.

    Training: of at most five questions per (culture, template) each (culture, template, option) counts once, as right or as wrong, for
    every word in it (runs of letters and digits, lower case). An option's score for a culture is the sum over its known words of
    log((right + 0.5) / (right + wrong + 1)) - log(1 / C), C being the question's options; a word is known that training met with this
    culture. So a word that was right as often as chance says nothing, and neither does an unknown one; without the second term every
    known word would count against its option. The highest score wins.

    Args:
        train: questions whose templates are not in `test`.
        test: questions to answer; B of them.

    Returns:
        Per test question 1 where the right option alone scores highest, 1/k where k options share the highest score and the right one is
        among them, else 0; shape [B].
    """
    words = _training_words(cap(as_frame(train), ROWS_PER_PAIR))
    asked = as_frame(test).select("culture", "options", "answer").with_row_index("question")
    options = _options(asked, "question", "culture")
    scores = (
        _words(options.select("culture", "option").unique())
        .join(words, on=["culture", "word"], how="inner")
        .group_by("culture", "option")
        .agg(pl.col("weight").sum().alias("weight"), pl.len().alias("known"))
    )
    score = pl.col("weight") + pl.col("known") * pl.len().over("question").log()
    # Rounding keeps two sums of the same terms, added in another order, a tie.
    scored = options.join(scores, on=["culture", "option"], how="left").with_columns(score.fill_null(0.0).round(9).alias("score"))
    best = scored.with_columns((pl.col("score") == pl.col("score").max().over("question")).alias("wins"))
    credit = (
        best.group_by("question")
        .agg((pl.col("wins") & pl.col("is_right")).any().alias("right"), pl.col("wins").sum().alias("winners"))
        .sort("question")
    )
    return credit.select(pl.when("right").then(1.0 / pl.col("winners")).otherwise(0.0).alias("credit"))["credit"].to_numpy()


def answer_seen(train: pl.DataFrame | Sequence[MCQ], test: pl.DataFrame | Sequence[MCQ]) -> npt.NDArray[np.bool_]:
    """Whether a test question's right answer was already right for its culture in a training question; shape [B].

    Where it was, naming the culture's favourite answers is enough; what a method earns on the others it did not learn by heart.
    """
    known = _right(as_frame(train)).unique().with_columns(pl.lit(True).alias("seen"))
    asked = _right(as_frame(test)).with_row_index("question")
    found = asked.join(known, on=["culture", "right"], how="left").sort("question")
    return found["seen"].fill_null(False).to_numpy().astype(np.bool_)


def _right(frame: pl.DataFrame) -> pl.DataFrame:
    """Culture and right answer of each row, lower case."""
    return frame.select("culture", pl.col("options").list.get(pl.col("answer")).str.to_lowercase().alias("right"))


def _options(frame: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """One row per option in the frame's order: `keys`, `option`, and whether it is right."""
    places = pl.int_ranges(0, pl.col("options").list.len()).alias("place")
    long = frame.select(*keys, "answer", pl.col("options").alias("option"), places).explode("option", "place")
    return long.select(*keys, "option", (pl.col("place") == pl.col("answer")).alias("is_right"))


def _words(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with one row for each distinct word of `option`, as `word`."""
    found = pl.col("option").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+").list.unique().alias("word")
    return frame.with_columns(found).explode("word").drop_nulls("word")


def _training_words(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns `culture, word, weight`: log((right + 0.5) / (right + wrong + 1)) of each word that training met with the culture."""
    once = _options(frame, "culture", "template_id").unique()
    counted = _words(once).group_by("culture", "word").agg(pl.col("is_right").sum().alias("right"), pl.len().alias("met"))
    return counted.select("culture", "word", ((pl.col("right") + 0.5) / (pl.col("met") + 1)).log().alias("weight"))
