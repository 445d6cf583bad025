"""Which questions a run is trained on and tested on, how many they are, and what the report needs to know of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from affinage import data, seeds
from affinage.config import StudyConfig
from affinage.controls import TrainingSet
from affinage.data import Dataset
from affinage.data.base import cap
from affinage.data.baselines import baselines
from affinage.records import BASELINES, Split, UserError
from affinage.store import PROMPTED, QUESTION_SCHEMA, UNTRAINED
from affinage.study.wordings import reworded

__all__ = ["check_cultures", "question_table", "row_range", "sizes", "tested_frame", "trained_frame", "validation_templates"]


def trained_frame(dataset: Dataset, split: Split, culture: str, config: StudyConfig) -> pl.DataFrame:
    """The training side of one culture, in the source's order."""
    frame = dataset.select(cultures=(culture,), templates=split.train_templates).frame
    return _limited(frame, config.limit)


def validation_templates(dataset: Dataset, split: Split, *, share: float, seed: int) -> frozenset[str]:
    """The templates of a split's training side on which settings, or the wordings of a baseline, are chosen.

    They are the share of the training side's template groups with the smallest u(seed, group): a function of seed and group, the same for every
    method, baseline and culture.

    Args:
        dataset: the questions.
        split: of the study.
        share: of the training side's template groups.
        seed: the study's.

    Raises:
        UserError: the training side has fewer than two template groups.
    """
    group_of = data.template_groups(dataset)
    groups = {group_of[template] for template in split.train_templates}
    if len(groups) < 2:
        found = f"{len(groups)} template groups on the training side"
        raise UserError(f"split {split.name}", found, "at least two, one to learn from and one to choose by", "Use more templates.")
    order = sorted(groups, key=lambda group: (seeds.uniform("validation side", seed, group), group))
    held_out = set(order[: min(len(groups) - 1, max(1, round(share * len(groups))))])
    return frozenset(template for template in split.train_templates if group_of[template] in held_out)


def tested_frame(dataset: Dataset, split: Split, culture: str, config: StudyConfig) -> pl.DataFrame:
    """The tested side of one culture, in the source's order; the same for every run of the split."""
    frame = dataset.select(cultures=(culture,), templates=split.test_templates).frame
    if config.evaluation.questions == "swap-pairs":
        return _paired(dataset, frame, split, config)
    return _limited(cap(frame, config.evaluation.rows_per_template), config.limit)


def _limited(frame: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """At most `limit` rows, chosen by a hash of the question's id; they keep their order."""
    if limit is None:
        return frame
    draw = pl.Series(seeds.uniforms(("limit",), frame["mcq_id"]), dtype=pl.Float64)
    return frame.filter(draw.rank("ordinal") <= limit)


def _paired(dataset: Dataset, frame: pl.DataFrame, split: Split, config: StudyConfig) -> pl.DataFrame:
    """The questions whose very options are also asked about another studied culture, with another right one.

    Caps and limits count sets of options and draw by the set's digest, so that both questions of a pair stay or go together.
    """
    found = _swaps(dataset, split.test_templates, tuple(config.data.cultures or dataset.cultures))
    for most, over in ((config.evaluation.rows_per_template, ["template_id"]), (config.limit, [])):
        if most is not None:
            rank = pl.col("draw").rank("ordinal")
            found = found.filter((rank.over(over) if over else rank) <= most)
    return frame.filter(swap_digests(frame).is_in(found["swap"].to_list()))


@lru_cache(maxsize=8)
def _swaps(dataset: Dataset, templates: frozenset[str], cultures: tuple[str, ...]) -> pl.DataFrame:
    """Sets of options of a side that at least two cultures are asked with different right ones: columns `template_id, swap, draw`."""
    frame = dataset.select(cultures=cultures, templates=templates).frame
    right = pl.col("options").list.get(pl.col("answer"))
    asked = frame.with_columns(swap_digests(frame).alias("swap"), right.alias("right"))
    found = asked.group_by("template_id", "swap").agg(pl.col("right").n_unique().alias("right"), pl.col("culture").n_unique().alias("cultures"))
    found = found.filter((pl.col("right") > 1) & (pl.col("cultures") > 1)).sort("template_id", "swap")
    return found.select("template_id", "swap", pl.Series("draw", seeds.uniforms(("swap",), found["swap"]), dtype=pl.Float64))


def swap_digests(frame: pl.DataFrame) -> pl.Series:
    """Per question a digest of its template and of its options, whatever their order: equal for the same options asked of several cultures."""
    keys = frame.select(pl.concat_str("template_id", pl.col("options").list.sort().list.join("\x1f"), separator="\x1e").alias("key"))["key"]
    return _digests(keys).alias("swap")


def _digests(texts: pl.Series) -> pl.Series:
    """A digest of each text: what is kept of a question beside its scores names no text."""
    return pl.Series([hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts], dtype=pl.String)


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
    for name, stands_for in {UNTRAINED: "starts after zero steps", PROMPTED: "baselines without training"}.items():
        if name in cultures:
            faults.append(UserError("data.cultures", repr(name), f"another name: it stands for {stands_for}", "Rename the culture."))
    for split in splits:
        for culture in cultures:
            for side, frame in {"training": trained_frame, "tested": tested_frame}.items():
                if frame(dataset, split, culture, config).is_empty():
                    todo = "Leave the culture out (`data.cultures`), or change `splits` (share, folds)."
                    if side == "tested" and config.evaluation.questions == "swap-pairs":
                        todo = "Study more cultures, or set `evaluation.questions: all`."
                    faults.append(UserError(f"split {split.name}", f"no question of {culture} on the {side} side", "at least one", todo))
    if faults:
        raise UserError.join(faults)


def question_table(
    dataset: Dataset, splits: Iterable[Split], cultures: Sequence[str], sets: Sequence[tuple[str, TrainingSet]], config: StudyConfig
) -> pl.DataFrame:
    """The tested questions by id, with what the report needs beside their scores; columns of `store.QUESTION_SCHEMA`.

    Args:
        dataset: the studied questions.
        splits: of the study.
        cultures: studied ones; under further instructions (`evaluation.instructions`) they are listed once more each.
        sets: split's name and training set of each control; those with a test set of their own are listed under the set's name.
        config: the study.
    """
    group = pl.DataFrame(list(data.template_groups(dataset).items()), schema={"template_id": pl.String, "group": pl.String}, orient="row")
    tables = []
    for split in splits:
        train = dataset.select(templates=split.train_templates).frame
        tested = pl.concat([tested_frame(dataset, split, culture, config) for culture in cultures])
        beside = tested.with_columns(*baselines(train, tested), pl.Series("answer_seen", data.answer_seen(train, tested)))
        tables.append(_described(beside, dataset, group, split))
        nothing = [pl.lit(None, QUESTION_SCHEMA[column]).alias(column) for column in ("answer_seen", *BASELINES)]
        for name, made in sets:
            if name == split.name and made.own_test is not None:
                tables.append(_described(made.own_test.with_columns(nothing), dataset, group, split, under=made.name))
        for name, culture, _ in reworded(config, tuple(cultures)):
            frame = tested_frame(dataset, split, culture, config)
            tables.append(_described(frame.with_columns(nothing), dataset, group, split, under=name))
    return pl.concat(tables)


def _described(tested: pl.DataFrame, dataset: Dataset, group: pl.DataFrame, split: Split, *, under: str | None = None) -> pl.DataFrame:
    """A test set with the columns of `store.QUESTION_SCHEMA`; `under` stands for its culture where it is a control's."""
    table = tested.join(group, on="template_id", how="left", maintain_order="left").with_columns(
        pl.lit(split.name).alias("split"),
        swap_digests(tested),
        _digests(tested.select(pl.col("options").list.get(pl.col("answer")))["options"]).alias("right"),
    )
    if dataset.agreement is None:
        table = table.with_columns(pl.lit(None, pl.Float64).alias("agreement"))
    else:
        share = dataset.agreement.select("culture", "template_id", (pl.col("votes") / pl.col("annotators")).alias("agreement"))
        table = table.join(share, on=["culture", "template_id"], how="left", maintain_order="left")
    if under is not None:
        table = table.with_columns(pl.lit(under).alias("culture"))
    return table.select(*QUESTION_SCHEMA)
