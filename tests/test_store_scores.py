"""Score files hold what evaluation said, to the last bit, and damage to them is named."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from affinage.records import ItemScore, UserError
from affinage.store import SCORE_SCHEMA, read_scores, write_scores

SCORED = ItemScore(
    mcq_id="Al-en-01_3",
    template_id="Al-en-01",
    culture="Algeria",
    answer=2,
    order=(3, 1, 0, 2),
    logprob=(-0.1, -2.0000000000000004, -1e-300, float("-inf")),
    tokens=(1, 1, 1, 1),
    characters=(1, 1, 1, 1),
    letter_mass=0.97,
    greedy_token=151_643,
    greedy_probability=0.5,
    free=False,
)
REFUSED = ItemScore("Al-en-01_4", "Al-en-01", "Algeria", 0, (), (), (), (), state="the letter 'A' merges with the blank before it")


def test_scores_travel_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "Algeria.parquet"
    write_scores(path, [SCORED, REFUSED])
    frame = read_scores(path)
    assert dict(frame.schema) == SCORE_SCHEMA
    first, second = frame.to_dicts()
    for name in SCORE_SCHEMA:
        value = getattr(SCORED, name)
        assert first[name] == (list(value) if isinstance(value, tuple) else value)
    assert second["state"] == REFUSED.state
    assert second["logprob"] == []
    assert second["letter_mass"] is None
    assert second["free"] is None
    assert math.isnan(second["greedy_probability"])


def test_the_same_scores_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scores(tmp_path / name, [SCORED, REFUSED])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_question_is_a_score_file_too(tmp_path: Path) -> None:
    write_scores(tmp_path / "empty.parquet", [])
    frame = read_scores(tmp_path / "empty.parquet")
    assert frame.height == 0
    assert dict(frame.schema) == SCORE_SCHEMA


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "Algeria.parquet"
    write_scores(path, [SCORED, REFUSED])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"Algeria\.parquet: found a damaged file.*Remove the file and run `affinage study run`"):
        read_scores(path)


def test_an_absent_file_and_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Spain\.parquet: found No such file"):
        read_scores(tmp_path / "Spain.parquet")
    pl.DataFrame({"mcq_id": ["a"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="found columns mcq_id; expected mcq_id, template_id"):
        read_scores(tmp_path / "other.parquet")
