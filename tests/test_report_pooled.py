"""Pooled numbers of many parts at once are those of each part by itself."""

from __future__ import annotations

import math
from dataclasses import astuple

import polars as pl
import pytest

from affinage.report import read_evidence
from affinage.report.pooled import pooled, pooled_by
from plays import Play


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Several runs on several cultures, a few rows without credit."""
    evidence = read_evidence(Play(templates=80).write(tmp_path_factory.mktemp("play")))
    own = evidence.rows
    return own.with_columns(pl.when(pl.arange(pl.len()) % 7 == 0).then(None).otherwise(pl.col("choice")).alias("choice"))


@pytest.mark.parametrize("average", ["template", "row"])
@pytest.mark.parametrize("by", ["culture", "run"])
def test_each_part_is_pooled_as_if_it_were_alone(rows: pl.DataFrame, by: str, average: str) -> None:
    found = pooled_by(rows, by, average="template" if average == "template" else "row")
    assert set(found) == set(rows[by])
    assert len({estimate.value for estimate in found.values()}) > 1
    for name, estimate in found.items():
        alone = pooled(rows.filter(pl.col(by) == name), average="template" if average == "template" else "row")
        assert alone.low is not None
        assert astuple(estimate) == pytest.approx(astuple(alone), abs=1e-12)


def test_a_part_with_few_templates_has_no_interval(rows: pl.DataFrame) -> None:
    few = rows.filter(pl.col("template_id").is_in(sorted(set(rows["template_id"]))[:5]))
    for estimate in pooled_by(few, "culture").values():
        assert (estimate.error, estimate.low, estimate.high) == (None, None, None)
        assert math.isfinite(estimate.value)


def test_nothing_scored_gives_nothing(rows: pl.DataFrame) -> None:
    assert pooled_by(rows.with_columns(pl.lit(None, pl.Float64).alias("choice")), "culture") == {}
