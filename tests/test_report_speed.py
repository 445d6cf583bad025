"""What makes a report quick on millions of rows gives the numbers of the plain way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from affinage import seeds
from affinage.data.baselines import BASELINE_NAMES
from affinage.records import BASELINES, UserError
from affinage.report import Evidence, read_evidence
from affinage.report.cells import Cells
from affinage.stats import credited, different, enumerated, numbered, paired, per_run, with_credit
from affinage.store import SCORE_SCHEMA, read_all_scores, read_scores, read_study
from plays import Play
from scale import Scale

SMALL = Scale(cultures=3, labels=("prompt-tuning", "lora"), folds=2, templates=24, rows=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.write(tmp_path_factory.mktemp("scale"))


@pytest.fixture(scope="module")
def evidence(folder: Path) -> Evidence:
    return read_evidence(folder)


# Numbers in place of names -----------------------------------------------------------------------------------------------------------------


def slowly_numbered(rows: pl.DataFrame, keys: list[str]) -> tuple[list[int], list[int]]:
    """The definition, row by row."""
    seen: dict[tuple[Any, ...], tuple[int, int]] = {}
    numbers = [seen.setdefault(row, (len(seen), place))[0] for place, row in enumerate(rows.select(keys).iter_rows())]
    return numbers, [first for _, first in seen.values()]


@pytest.mark.parametrize("keys", [["run"], ["run", "culture"], ["run", "culture", "question"], ["share", "question"], ["wide", "question"]])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("names", ["strings", "enumerations"])
def test_numbers_are_those_of_the_first_appearances(keys: list[str], shuffled: bool, names: str) -> None:
    draw = seeds.generator("numbers", *keys)
    rows = pl.DataFrame(
        {
            "run": np.repeat([f"a run of a long name {k}" for k in (3, 1, 2)], 40),
            "culture": [None if k == 5 else f"C{k}" for k in np.tile(np.repeat(np.arange(8), 5), 3).tolist()],
            "question": draw.integers(0, 12, 120),
            "share": draw.choice([0.25, -1.5, math.nan], 120),
            "wide": draw.choice([-(1 << 40), 1 << 40, 7], 120),
        }
    )
    rows = rows.sample(fraction=1.0, shuffle=True, seed=1) if shuffled else rows
    number, first = numbered(enumerated(rows, {"run": (), "culture": ()}) if names == "enumerations" else rows, keys)
    expected = slowly_numbered(rows.fill_nan(None), keys)
    assert (number.tolist(), first.tolist()) == expected
    assert len(first) > 1


def test_names_become_numbers_and_stay_names() -> None:
    rows = pl.DataFrame({"a": ["y", None, "x", "y"], "b": ["z", "x", "x", "x"], "c": [1, 2, 3, 4]})
    alone, alike = enumerated(rows, {"a": "w", "b": ()}), enumerated(rows, {"a": (), "b": ()}, alike=("a", "b"))
    assert alone.dtypes == [pl.Enum(["w", "x", "y"]), pl.Enum(["x", "z"]), pl.Int64]
    assert alike.dtypes == [pl.Enum(["x", "y", "z"]), pl.Enum(["x", "y", "z"]), pl.Int64]
    assert alone.rows() == alike.rows() == rows.rows()
    assert alike.filter(pl.col("a") == pl.col("b"))["c"].to_list() == [3]
    assert alone.sort("a", nulls_last=True)["c"].to_list() == rows.sort("a", nulls_last=True)["c"].to_list() == [3, 1, 4, 2]


@pytest.mark.parametrize("values", [["b", "a", "b"], ["a", None, None], [3, 1, 3], [1 << 40, 0], [0.5, 0.5], [], [None, None]])
def test_different_values_are_counted(values: list[Any]) -> None:
    column = pl.Series("a", values)
    assert different(column) == len(set(values))
    if column.dtype == pl.String:
        assert different(enumerated(column.to_frame(), {"a": "z"})["a"]) == len(set(values))


def test_only_rows_with_a_credit_are_credited() -> None:
    rows = pl.DataFrame({"credit": [1.0, None, 0.0], "row": [1, 2, 3]})
    assert credited(rows, "credit")["row"].to_list() == [1, 3]
    assert credited(rows, "row") is rows


def test_nothing_has_no_number() -> None:
    number, first = numbered(pl.DataFrame({"a": []}, schema={"a": pl.String}), ["a"])
    assert (len(number), len(first)) == (0, 0)


# Reading -----------------------------------------------------------------------------------------------------------------------------------


def test_all_files_at_once_are_each_file_with_its_origin(folder: Path) -> None:
    study = read_study(folder)
    together = read_all_scores(folder)
    assert together.height == SMALL.scored
    parts = [
        read_scores(study.folder.run(run.run).scores(culture)).select(
            pl.lit(run.run).alias("run"), pl.lit(run.start, pl.Int64).alias("start"), *SCORE_SCHEMA
        )
        for run in study.runs
        for culture in study.plan.cultures
    ]
    assert together.select("run", "start", *SCORE_SCHEMA).equals(pl.concat(parts))
    assert set(together.select("run", "label", "split").unique().rows()) == {(run.run, run.label, run.split) for run in study.runs}


def test_only_the_wanted_columns_and_runs_are_read(folder: Path) -> None:
    some = read_all_scores(folder, ("mcq_id", "culture", "answer"), lambda run: run.label == "none")
    whole = read_all_scores(folder).filter(pl.col("label") == "none")
    assert some.columns == ["run", "label", "method", "trained_culture", "split", "start", "mcq_id", "culture", "answer"]
    assert some.equals(whole.select(some.columns))


@pytest.mark.parametrize("fault", ["missing", "cut short", "other columns"])
def test_the_file_at_fault_is_named(tmp_path: Path, fault: str) -> None:
    folder = Play(cultures=("Spain",), templates=4).write(tmp_path / "a study [1]*")
    file = sorted((folder / "runs").rglob("Spain.parquet"))[3]
    assert read_all_scores(folder).height
    if fault == "missing":
        file.unlink()
    elif fault == "cut short":
        file.write_bytes(file.read_bytes()[:100])
    else:
        read_scores(file).drop("free").write_parquet(file)
    with pytest.raises(UserError) as raised:
        read_all_scores(folder)
    assert raised.value.where == str(file)


# Rows of a study ---------------------------------------------------------------------------------------------------------------------------


def test_the_rows_are_the_score_files_joined_with_the_question_table(folder: Path, evidence: Evidence) -> None:
    rows = with_credit(read_all_scores(folder).drop("order", "letter_mass"))
    columns = ["group", "topic", "answer_seen", "agreement", "swap", "right", "association"]
    keys = ["split", "culture", "mcq_id"]
    joined = rows.join(evidence.study.questions.select(*keys, *columns), on=keys, how="left", maintain_order="left")
    programs = set(BASELINE_NAMES.values())
    ours = evidence.rows.filter(~pl.col("label").is_in(programs))
    assert ours.select(joined.columns).cast(dict(joined.schema)).equals(joined)  # type: ignore[arg-type]
    assert [name for name, dtype in evidence.rows.schema.items() if dtype == pl.String] == ["state"]
    for name in BASELINES:
        earned = evidence.rows.filter(pl.col("label") == BASELINE_NAMES[name])
        expected = evidence.study.questions.select(*keys, pl.col(name).alias("choice"))
        assert earned.select(pl.col(keys).cast(pl.String), "choice").sort(keys).equals(expected.sort(keys))
        assert earned["values"].null_count() == earned.height


@pytest.mark.parametrize("unscored", [0, 1])
def test_a_part_is_what_a_filter_finds(tmp_path: Path, unscored: int) -> None:
    evidence = read_evidence(Play(templates=8, unscored=unscored).write(tmp_path))
    rows, label, trained = evidence.rows, pl.col("label"), pl.col("trained_culture")
    own = (label == "prompt-tuning") & (trained == pl.col("culture"))
    others = (label == "prompt-tuning") & (trained != pl.col("culture")) & trained.is_in(evidence.cultures)
    assert evidence.own("prompt-tuning").equals(rows.filter(own))
    assert evidence.others("prompt-tuning").equals(rows.filter(others))
    assert evidence.of(("none", "")).equals(rows.filter((label == "none") & (trained == "")))
    assert evidence.own("prompt-tuning").height
    assert evidence.others("prompt-tuning").height
    nothing = evidence.part(lambda *names: False)
    assert (nothing.height, nothing.columns) == (0, rows.columns)


def test_cells_are_those_of_plain_grouping(evidence: Evidence) -> None:
    cells = Cells(evidence)
    keys = ["label", "trained_culture", "culture"]
    by_template = evidence.rows.group_by(*keys, "run", "template_id").agg(pl.col("choice").mean())
    by_run = by_template.group_by(*keys, "run").agg(pl.col("choice").mean())
    counted = {
        name: frame.row(0)
        for name, frame in evidence.rows.group_by(keys)
        .agg(pl.col("mcq_id").n_unique(), pl.col("template_id").n_unique())
        .partition_by(keys, as_dict=True, include_key=False)
        .items()
    }
    found = 0
    for name, frame in by_run.group_by(keys):
        kind = (str(name[0]), str(name[1]))
        cell = cells.cell(kind, str(name[2]), "choice", "template")
        assert cell.accuracy is not None
        assert cell.accuracy.mean == pytest.approx(float(np.mean(frame["choice"].to_numpy())), abs=1e-12)
        assert (cell.questions, cell.templates) == counted[name]
        found += 1
    assert found == 3 * (1 + len(BASELINES) + 2 * (1 + 3))


def test_gains_are_those_of_runs_paired_one_by_one(evidence: Evidence) -> None:
    cells = Cells(evidence)
    untouched = evidence.of(evidence.untouched)
    for kind in (("lora", "Culture_01"), ("lora", "untrained"), ("prompt-tuning", "Culture_00")):
        alone = per_run(paired(evidence.of(kind), untouched)).filter((pl.col("reading") == "choice") & (pl.col("culture") == "Culture_01"))
        for average in ("template", "row"):
            gain = cells.cell(kind, "Culture_01", "choice", average).gain
            assert gain is not None
            assert gain.mean == pytest.approx(alone.filter(pl.col("average") == average)["accuracy"].mean(), abs=1e-12)
    assert cells.cell(evidence.untouched, "Culture_01", "choice", "row").gain is None


@pytest.mark.parametrize("label", ["lora", "prompt-tuning"])
def test_pairs_are_made_once_and_are_those_of_a_pairing_of_the_whole(evidence: Evidence, label: str) -> None:
    here = pl.col("culture").is_in(evidence.trained(label))
    own, untouched, others = evidence.own(label), evidence.of(evidence.untouched).filter(here), evidence.others(label)
    assert evidence.gain(label).equals(paired(own, untouched))
    assert evidence.lead(label).equals(paired(own, others, beside=("start",)))
    assert not evidence.lead(label).equals(evidence.gain(label))
    assert evidence.gain(label) is evidence.gain(label)
    assert evidence.lead(label) is evidence.lead(label)


def test_numbers_do_not_depend_on_the_order_of_the_rows(evidence: Evidence) -> None:
    rows = evidence.rows.drop("values")
    ordered = per_run(rows)
    mixed = per_run(rows.sample(fraction=1.0, shuffle=True, seed=3))
    assert ordered.drop("accuracy", "chance").equals(mixed.drop("accuracy", "chance"))
    for name in ("accuracy", "chance"):
        assert np.abs(ordered[name].to_numpy() - mixed[name].to_numpy()).max() < 1e-12
