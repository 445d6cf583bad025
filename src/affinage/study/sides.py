"""Which questions a run is trained on and tested on, how many they are, and what the report needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from affinage import data, seeds
from affinage.config import StudyConfig
from affinage.data import Dataset
from affinage.data.base import cap
from affinage.records import Split, UserError
from affinage.store import QUESTION_SCHEMA, UNTRAINED

__all__ = ["check_cultures", "question_table", "row_range", "sizes", "tested_frame", "trained_frame"]


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


def sizes(dataset: Dataset, splits: Sequence[Split], cultures: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Per split and culture the source's questions on each side, before any cap."""
    for split in splits:
        for culture in cultures:
            rows = dataset.row_counts.filter(pl.col("culture") == culture)
            sides = {"train": split.train_templates, "test": split.test_templates, "development": split.development_templates}
            counts = {name: int(rows.filter(pl.col("template_id").is_in(list(side)))["rows"].sum()) for name, side in sides.items()}
            yield {"split": split.name, "culture": culture, **counts}


def row_range(dataset: Dataset, templates: frozenset[str]) -> float:
    """The largest minus the smallest share of a culture's question rows that is tested, over all cultures of the source."""
    tested = pl.col("rows").filter(pl.col("template_id").is_in(list(templates))).sum()
    shares = dataset.row_counts.group_by("culture").agg((tested / pl.col("rows").sum()).alias("share"))["share"].to_list()
    return float(max(shares) - min(shares))


def check_cultures(dataset: Dataset, splits: Iterable[Split], cultures: Sequence[str], config: StudyConfig) -> None:
    """Refuses a culture with an empty side: its cells would be empty, or its adapters untrained under its name.

    Raises:
        UserError: all of them together.
    """
    faults = []
    if UNTRAINED in cultures:
        faults.append(UserError("data.cultures", repr(UNTRAINED), "another name: it stands for starts after zero steps", "Rename the culture."))
    for split in splits:
        for culture in cultures:
            for side, frame in {"training": trained_frame, "tested": tested_frame}.items():
                if frame(dataset, split, culture, config).is_empty():
                    todo = "Leave the culture out (`data.cultures`), or change `splits` (share, folds)."
                    faults.append(UserError(f"split {split.name}", f"no question of {culture} on the {side} side", "at least one", todo))
    if faults:
        raise UserError.join(faults)


def question_table(dataset: Dataset, splits: Iterable[Split], cultures: Sequence[str], config: StudyConfig) -> pl.DataFrame:
    """The tested questions by id, with what the report needs beside their scores; columns of `store.QUESTION_SCHEMA`."""
    group = pl.DataFrame(list(data.template_groups(dataset).items()), schema={"template_id": pl.String, "group": pl.String}, orient="row")
    tables = []
    for split in splits:
        train = dataset.select(templates=split.train_templates).frame
        tested = pl.concat([tested_frame(dataset, split, culture, config) for culture in cultures])
        table = tested.join(group, on="template_id", how="left", maintain_order="left").with_columns(
            pl.lit(split.name).alias("split"),
            pl.Series("association", data.association(train, tested)),
            pl.Series("answer_seen", data.answer_seen(train, tested)),
        )
        tables.append(table.select(*QUESTION_SCHEMA))
    return pl.concat(tables)
