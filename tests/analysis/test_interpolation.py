"""Interpolation of a study's adapters: which places are tested, that the ends are the study's own tests, and barriers computed by head."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from affinage.analysis import AnalysisSettings, Subject, make
from affinage.analysis.interpolation import ANSWERS, DRAWS, SHARES, WAYS, chosen_pairs
from affinage.records import UserError
from affinage.report import read_evidence
from affinage.report.around import around
from affinage.report.cells import Cells
from affinage.report.interpolation import barriers, section
from affinage.report.language import speaking
from affinage.report.places import read_places
from affinage.stats import clustered, with_credit
from affinage.store import analysis_folder, read_analysis
from study_fakes import CLEAN, CULTURES
from trained_study import TESTED, shared_study

SETTINGS = AnalysisSettings(only=("interpolation",), steps=2)


def subject(out: Path, settings: AnalysisSettings = SETTINGS) -> Subject:
    return replace(Subject.of(out, settings), standing=CLEAN)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = shared_study(tmp_path_factory)
    assert make(subject(made))[0].now
    return made


@pytest.fixture(scope="module")
def frames(out: Path) -> Mapping[str, pl.DataFrame]:
    read = read_analysis(subject(out).record.folder, "interpolation")
    assert read is not None
    return read[1]


def test_every_place_is_tested_on_its_cultures(frames: Mapping[str, pl.DataFrame]) -> None:
    answers = frames["answers"]
    assert answers.columns == list(ANSWERS)
    assert set(answers["label"]) == {"prompt-tuning", "prefix-tuning", "lora"}
    assert answers["group"].null_count() == 0
    points = answers.select("label", "path", "one", "other", "at", "draw", "culture").unique()
    for label, tokens in (("prompt-tuning", 3), ("prefix-tuning", 2), ("lora", 0)):
        counts = dict(points.filter(pl.col("label") == label).group_by("path").agg(pl.len()).iter_rows())
        pairs, tests = 3, 2
        expected = {"straight": pairs * tests * 5, "spherical": pairs * tests, "mean": 3, "noise": 3 * (1 + len(SHARES) * DRAWS)}
        assert counts == {**expected, **({"without": 3 * tokens, "first": 3 * tokens} if tokens else {})}
    straight = points.filter(pl.col("path") == "straight")
    assert sorted(straight["at"].unique()) == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert set(answers.group_by(points.columns).agg(pl.len())["len"]) == {TESTED}


def test_the_ends_are_what_the_study_itself_found(out: Path, frames: Mapping[str, pl.DataFrame]) -> None:
    study = subject(out)
    for run in study.runs():
        for culture in CULTURES:
            rows = study.scores(run, culture).with_columns(pl.lit("x").alias("run"))
            expected = dict(with_credit(rows, study.prompt.score).select("mcq_id", "choice").iter_rows())
            one = (pl.col("one") == run.trained_culture) & (pl.col("at") == 0) & pl.col("path").is_in(["straight", "noise"])
            other = (pl.col("other") == run.trained_culture) & (pl.col("at") == 1) & (pl.col("path") == "straight")
            own = frames["answers"].filter((pl.col("label") == run.label) & (pl.col("culture") == culture) & (one | other))
            assert own.height or run.label == "lora-mixture"
            assert all(choice == expected[mcq_id] for mcq_id, choice in own.select("mcq_id", "choice").iter_rows())


def test_ways_tell_angles_and_lengths(frames: Mapping[str, pl.DataFrame]) -> None:
    ways = frames["ways"]
    assert ways.columns == list(WAYS)
    assert ways.height == 9
    assert ways["degrees"].is_between(1, 179).all()
    assert (ways["length_one"] > 0).all()


def test_a_method_whose_adapters_cannot_be_added_up_is_named_and_the_others_go_on(frames: Mapping[str, pl.DataFrame]) -> None:
    ((label, reason),) = frames["refused"].iter_rows()
    assert label == "lora-mixture"
    assert "updates behind a router" in reason


def test_it_is_made_once_and_other_steps_repeat_only_the_ways(out: Path, tmp_path: Path) -> None:
    out = shutil.copytree(out, tmp_path / "runs")
    assert not make(subject(out))[0].now
    units = analysis_folder(subject(out).record.folder, "interpolation").unit("any").parent
    before = {file.name: file.stat().st_mtime_ns for file in units.glob("*.parquet")}
    assert len(before) == 3 * (3 + 3 + 1)
    assert make(subject(out, SETTINGS.model_copy(update={"steps": 3, "pairs": ("Spain:Iran",)})))[0].now
    after = {file.name: file.stat().st_mtime_ns for file in units.glob("*.parquet")}
    assert {name: before[name] for name in after if name in before} == {name: after[name] for name in after if name in before}
    assert len(set(after) - set(before)) == 3  # a way per method
    assert len(set(after) & set(before)) == 3 * (3 + 1)


def test_pairs_are_all_or_those_asked_for() -> None:
    assert chosen_pairs((), ("Spain", "Mexico", "Iran")) == (("Spain", "Mexico"), ("Spain", "Iran"), ("Mexico", "Iran"))
    assert chosen_pairs(("Iran:Spain", "Iran:Spain"), ("Spain", "Iran")) == (("Iran", "Spain"),)
    for wrong, todo in (("Spain:Iron", "Iran"), ("Spain", ""), ("Spain:Spain", "Name two")):
        with pytest.raises(UserError, match=rf"--pair: found '{wrong}'; expected two different cultures of the study, one:other.*{todo}"):
            chosen_pairs((wrong,), ("Spain", "Iran"))


# The report --------------------------------------------------------------------------------------------------------------------------------


def answers(right: Mapping[tuple[str, str, str, float, str], int], templates: int = 20) -> pl.DataFrame:
    """Places of prompt-tuning that are right on their first so many templates; key: path, one, other, at, culture."""
    rows = [
        {
            **{"label": "prompt-tuning", "split": "s", "start": 0, "draw": 0, "path": path, "one": one, "other": other, "at": at, "culture": culture},
            **{"mcq_id": f"{culture} {k}", "template_id": f"T{k}", "group": f"T{k}", "choice": float(k < count)},
        }
        for (path, one, other, at, culture), count in right.items()
        for k in range(templates)
    ]
    return pl.DataFrame(rows, schema=ANSWERS)


def way(counts: Mapping[float, int], path: str = "straight") -> dict[tuple[str, str, str, float, str], int]:
    return {(path, "Spain", "Iran", at, "Spain"): count for at, count in counts.items()}


def test_a_barrier_is_the_largest_shortfall_below_the_line() -> None:
    # Of 20: the line from 16 to 8 is at 14, 12, 10; the places have 13, 4, 9: 1, 8 and 1 fewer.
    found = read_places(answers(way({-0.5: 0, 0.0: 16, 0.25: 13, 0.5: 4, 0.75: 9, 1.0: 8, 1.5: 20})))
    (wall,) = barriers(found)
    assert wall.at == 0.5
    assert wall.shortfall.value == pytest.approx(8 / 20)
    assert [end.value for end in wall.ends] == pytest.approx([16 / 20, 8 / 20])
    assert wall.halfway is not None
    assert wall.halfway.value == pytest.approx(4 / 20)
    # From the definition: three cells with weights 1/2, 1/2 and -1, and the level of three places.
    rows = found.points.join(answers(way({0.0: 16, 0.5: 4, 1.0: 8})), on=["path", "at", "culture"], how="inner")
    weighted = rows.with_columns(pl.when(pl.col("at") == 0.5).then(-1.0).otherwise(0.5).alias("weight"))
    expected = clustered(weighted, level=1 - 0.05 / 3)
    assert wall.shortfall.low == pytest.approx(expected.low)
    assert wall.shortfall.high == pytest.approx(expected.high)
    assert wall.shortfall.above


def test_a_way_above_the_line_has_no_barrier_and_few_groups_no_interval() -> None:
    (wall,) = barriers(read_places(answers(way({0.0: 4, 0.5: 12, 1.0: 4}))))
    assert wall.shortfall.value == pytest.approx(-8 / 20)
    assert not wall.shortfall.above
    (few,) = barriers(read_places(answers(way({0.0: 4, 0.5: 1, 1.0: 4}), templates=8)))
    assert few.shortfall.low is None


def test_places_around_are_compared_with_the_adapters_as_trained() -> None:
    right = {("noise", "Spain", "", 0.0, "Spain"): 10, ("noise", "Iran", "", 0.0, "Iran"): 14}
    right |= {("noise", "Spain", "", 0.5, "Spain"): 6, ("noise", "Iran", "", 0.5, "Iran"): 12}
    right |= {("without", culture, "", at, culture): 8 for culture in ("Spain", "Iran") for at in (0.0, 1.0)}
    right |= {("straight", "Spain", "Iran", at, culture): 10 for at in (-0.5, 1.5) for culture in ("Spain", "Iran")}
    found = {(place.kind, place.at): place for place in around(read_places(answers(right)), "prompt-tuning")}
    assert found["trained", 0.0].accuracy.value == pytest.approx(12 / 20)
    assert found["trained", 0.0].difference is None
    for key, accuracy, difference in (
        (("noise", 0.5), 9 / 20, -3 / 20),
        (("without", 0.0), 8 / 20, -4 / 20),
        (("token", 1.0), 8 / 20, -4 / 20),
        (("beyond", 0.5), 10 / 20, -2 / 20),
    ):
        assert found[key].accuracy.value == pytest.approx(accuracy)
        assert found[key].difference is not None
        assert found[key].difference.value == pytest.approx(difference)  # type: ignore[union-attr]
        assert found[key].accuracy.questions == 40
        assert found[key].accuracy.templates == 20
    assert found["token", 0.0].accuracy.level == pytest.approx(1 - 0.05 / 2)


def test_the_report_shows_what_was_analysed_in_both_languages(out: Path) -> None:
    cells = Cells(read_evidence(out))
    found = section(cells)
    assert found is not None
    assert [table.key for table in found.tables] == ["interpolation-ways", "interpolation-around"]
    ways = found.tables[0]
    assert len(ways.rows) == 3 * 3 * 2 * 2
    assert found.text.endswith("Left out, since their adapters cannot be added up: Lora-mixture.")
    for picture in found.pictures:
        assert picture.draw().axes
    names = dict(found.frames)
    assert names["interpolation-ways"]["accuracy"].is_between(0, 1).all()
    assert {"trained", "beyond", "mean", "noise", "first", "without", "token"} == set(names["interpolation-around"]["place"])
    with speaking("fr"):
        french = section(cells)
        assert french is not None
        assert french.tables[0].header != ways.header
        assert french.tables[0].title == "Chemins entre adaptateurs, et barrières"
        assert [len(row) for row in french.tables[0].rows] == [len(ways.header)] * len(ways.rows)
        for picture in french.pictures:
            picture.draw()


def test_a_study_without_the_analysis_has_no_such_section(tmp_path: Path, out: Path) -> None:
    cells = Cells(read_evidence(out))
    bare = replace(cells.evidence, study=replace(cells.evidence.study, folder=type(cells.evidence.study.folder)(tmp_path)))
    assert section(Cells(bare)) is None
