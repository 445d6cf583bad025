"""Pieces of work: kept once, made once, and those inside a piece gone when it is there."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from affinage.analysis import Analysis, AnalysisSettings, Progress, Told
from affinage.store import AnalysisFolder, AnalysisRecord, StudyFolder, analysis_folder, read_analysis, write_analysis


def one(value: int) -> pl.DataFrame:
    return pl.DataFrame({"value": [value]})


def test_a_piece_is_made_once_and_known_by_its_key_and_the_version(tmp_path: Path) -> None:
    told: list[Told] = []
    progress = Progress("looking", 1, AnalysisFolder(tmp_path), told.append)
    progress.expect(3)
    assert progress.unit("first", ["run", 1], lambda: one(1)).item() == 1
    assert progress.unit("first", ["run", 1], lambda: one(2)).item() == 1
    assert progress.unit("first", ["run", None], lambda: one(3)).item() == 3
    assert [(each.done, each.total) for each in told] == [(1, 3), (2, 3), (3, 3)]
    assert Progress("looking", 2, AnalysisFolder(tmp_path)).unit("first", ["run", 1], lambda: one(4)).item() == 4


def test_pieces_inside_a_piece_outlive_a_stop_and_not_the_piece(tmp_path: Path) -> None:
    folder = AnalysisFolder(tmp_path)
    made: list[int] = []

    def inner(number: int) -> pl.DataFrame:
        made.append(number)
        return one(number)

    def stopped(progress: Progress) -> pl.DataFrame:
        progress.unit("inside", ["in", 1], lambda: inner(1))
        raise KeyboardInterrupt

    def whole(progress: Progress) -> pl.DataFrame:
        return pl.concat([progress.unit("inside", ["in", number], lambda: inner(number)) for number in (1, 2)])  # noqa: B023

    first, second = Progress("looking", 1, folder), Progress("looking", 1, folder)
    with pytest.raises(KeyboardInterrupt):
        first.unit("outside", ["out"], lambda: stopped(first))
    assert second.unit("outside", ["out"], lambda: whole(second))["value"].to_list() == [1, 2]
    assert made == [1, 2]
    assert len(list((tmp_path / "units").iterdir())) == 1
    assert len(second.kept) == 1


def test_an_analysis_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    folder = analysis_folder(study, "looking")
    assert read_analysis(study, "looking") is None
    record = AnalysisRecord("looking", "digest", ("runs/a",), {"limit": None}, ("one",), {}, 1.0)
    write_analysis(folder, record, {"one": one(1)})
    assert read_analysis(study, "looking") is not None
    write_analysis(folder, record, {"one": one(2)})
    found = read_analysis(study, "looking")
    assert found is not None
    assert found[0] == record
    assert found[1]["one"].item() == 2
    folder.table("one").unlink()
    assert read_analysis(study, "looking") is None
    write_analysis(folder, AnalysisRecord("looking", "digest", (), {}, ("two",), {}, 1.0), {"two": one(3)})
    assert not folder.table("one").exists()


def test_an_analysis_names_the_settings_that_it_reads() -> None:
    analysis = Analysis("looking", "Looks.", lambda subject, progress: {}, reads=("distances",))
    assert analysis.values(AnalysisSettings(limit=4, distances=Path("km.csv"))) == {"distances": "km.csv"}
