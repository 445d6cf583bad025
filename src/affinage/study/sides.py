"""Which questions a run is trained on and tested on."""

from __future__ import annotations

import polars as pl

from affinage import seeds
from affinage.config import StudyConfig
from affinage.data import Dataset
from affinage.data.base import cap
from affinage.records import Split

__all__ = ["tested_frame", "trained_frame"]


def trained_frame(dataset: Dataset, split: Split, culture: str, config: StudyConfig) -> pl.DataFrame:
    """The training side of one culture, in the source's order."""
    frame = dataset.select(cultures=(culture,), templates=split.train_templates).frame
    return _limited(frame, config.limit)


def tested_frame(dataset: Dataset, split: Split, culture: str, config: StudyConfig) -> pl.DataFrame:
    """The tested side of one culture, in the source's order; the same for every run of the split."""
    frame = dataset.select(cultures=(culture,), templates=split.test_templates).frame
    return _limited(cap(frame, config.evaluation.rows_per_template), config.limit)


def _limited(frame: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """At most `limit` rows, chosen by a hash of the question's id; they keep their order."""
    if limit is None:
        return frame
    draw = pl.Series(seeds.uniforms(("limit",), frame["mcq_id"]), dtype=pl.Float64)
    return frame.filter(draw.rank("ordinal") <= limit)
