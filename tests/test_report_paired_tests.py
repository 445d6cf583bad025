"""Report: paired tests and transfer, every number computed by head; families that no result changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats

from affinage.report import Evidence, paired_tests, read_evidence, transfer
from affinage.report.cells import Cells
from affinage.report.language import speaking
from affinage.report.ranks import leading, rank_draws
from affinage.report.sections import _SECTIONS
from affinage.report.table import Section, Table
from affinage.stats import Comparison, holm, sign_draws, sign_flip
from plays import Play
from small_studies import BASE, TEMPLATES, Right, Small, everywhere

TWO: dict[tuple[str, str], Right] = {
    **BASE,
    ("prompt-tuning", "Spain"): {"Spain": range(9), "Mexico": range(6)},
    ("prompt-tuning", "Mexico"): {"Spain": range(6), "Mexico": range(9)},
}
"""Beside LoRA, 75 % on the own culture, a method with 37.5 %; untouched 25 %."""


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    assert len({row[0] for row in table.rows}) == len(table.rows)
    assert {len(row) for row in table.rows} == {len(table.header)}
    return {row[0]: row[1:] for row in table.rows}


def paired_of(study: Small | Play, folder: Path) -> dict[str, Table]:
    found = paired_tests.section(Cells(read_evidence(study.write(folder))))
    assert found is not None
    return {table.key: table for table in found.tables}


def transfer_of(study: Small | Play, folder: Path) -> dict[str, Table]:
    found = transfer.section(Cells(read_evidence(study.write(folder))))
    assert found is not None
    return {table.key: table for table in found.tables}


# Paired tests --------------------------------------------------------------------------------------------------------------------------


def gained(count: int, first: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """What each template group adds to a difference: so many of 24 templates became right."""
    return np.array([float(first <= k < first + count) for k in range(TEMPLATES)]) / TEMPLATES


def test_own_culture_is_the_one_computed_by_head(tmp_path: Path) -> None:
    table = paired_of(Small(TWO), tmp_path)["paired-tests-own"]
    found = rows(table)
    assert list(found) == ["LoRA, Spain", "LoRA, Mexico", "Prompt-tuning, Spain", "Prompt-tuning, Mexico"]
    # Templates 6 to 17 became right, of 18 that were left; the template groups are the templates.
    gains = 24 * gained(12, 6)
    expected = scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    p = sign_flip(np.stack([gained(12, 6)] * 2 + [gained(3, 6)] * 2), sign_draws(24, ("paired tests", "own", 0)))
    error = gains.std(ddof=1) / math.sqrt(24)
    for name in ("LoRA, Spain", "LoRA, Mexico"):
        numbers = ("+50.0", f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}", f"{p[0]:.4f}", f"{holm(p)[0]:.4f}")
        assert found[name][:4] == numbers
        assert found[name][5:8] == (f"+{0.5 / gains.std(ddof=1):.2f}", "+66.7", f"{280 * error:.1f}")
        assert found[name][8:] == ("1", "24", "24")
    # Three templates of 24 can be reached by chance: 2 of 8 combinations of their signs.
    assert p[2] == pytest.approx(0.25, abs=0.02)
    assert found["Prompt-tuning, Spain"][0] == "+12.5"
    assert found["Prompt-tuning, Spain"][2] == f"{p[2]:.4f}"
    assert table.notes[0] == "Above zero, both by the interval and by Holm's p below 0.05: LoRA, Spain; LoRA, Mexico."
    assert table.notes[1].startswith("Not shown to differ from zero: 2 of 4.")
    assert table.notes[2].startswith("Behind 4 of 4 stand fewer than 30 effective template groups")
    assert len(table.notes) == 3


def test_methods_are_compared_on_their_own_cultures(tmp_path: Path) -> None:
    table = paired_of(Small(TWO), tmp_path)["paired-tests-methods"]
    (row,) = table.rows
    # 18 against 9 of 24, in both cultures on the same templates; 15 of 24 were left.
    assert (row[0], row[1], row[7], row[9]) == ("LoRA − Prompt-tuning", "+37.5", "+60.0", "2")
    assert row[2] == "{:+.1f} to {:+.1f}".format(*(100 * x for x in scipy.stats.ttest_1samp(24 * gained(9), 0).confidence_interval(0.95)))
    assert table.notes[-1] == (
        "Highest on the own cultures that all methods share: LoRA with 75.0 %, first in 100 % of the draws of template groups; then Prompt-tuning "
        "with 37.5 % (0 %)."
    )


def test_other_cultures_are_one_family_over_all_methods(tmp_path: Path) -> None:
    found = paired_of(Small(TWO), tmp_path)
    lora, prompt = found["paired-tests-transfer-lora"], found["paired-tests-transfer-prompt-tuning"]
    # Two and four templates more than untouched, nothing, nothing: p of about 2/4 and 2/16, 1, 1.
    p = sign_flip(np.stack([gained(2, 6), gained(4, 6), gained(0), gained(0)]), sign_draws(24, ("paired tests", "transfer", 0)))
    corrected = holm(p)
    assert rows(lora) == {"Spain": ("", f"+8.3 [{corrected[0]:.4f}]"), "Mexico": (f"+16.7 [{corrected[1]:.4f}]", "")}
    assert rows(prompt) == {"Spain": ("", "0.0 [1.0000]"), "Mexico": ("0.0 [1.0000]", "")}
    assert "family of all 4 such comparisons" in lora.text
    assert not any("Above zero" in note for note in (*lora.notes, *prompt.notes))


def test_what_is_compared_depends_on_the_plan_alone(tmp_path: Path) -> None:
    better = {kind: everywhere(24 if kind[0] == "prompt-tuning" else 1) for kind in TWO}
    gone = frozenset({("lora", "Spain"), ("prompt-tuning", "Mexico")})
    studies = {"some": Small(TWO), "others": Small(better), "fewer": Small(TWO, missing=gone)}
    found = {name: paired_tests.families(read_evidence(study.write(tmp_path / name))) for name, study in studies.items()}
    assert found["some"] == found["others"] == found["fewer"]
    assert {name: len(family) for name, family in found["some"].items()} == {"own": 4, "methods": 1, "transfer": 4}
    assert Comparison("transfer", "lora", "Spain", "Mexico") in found["some"]["transfer"]


def test_a_missing_run_stays_in_the_family(tmp_path: Path) -> None:
    table = paired_of(Small(TWO, missing=frozenset({("prompt-tuning", "Mexico")})), tmp_path)["paired-tests-own"]
    found = rows(table)
    assert found["Prompt-tuning, Mexico"] == ("missing", *[""] * 7, "0 of 1", "", "")
    p = sign_flip(np.stack([gained(12, 6)] * 2 + [gained(3, 6)]), sign_draws(24, ("paired tests", "own", 0)))
    assert found["LoRA, Spain"][3] == f"{holm([*p, math.nan])[0]:.4f}" == f"{4 * p[0]:.4f}"
    assert table.notes[-1] == "Not tested, for want of runs or of template groups: 1 of 4."


def test_few_template_groups_are_a_number_without_verdict(tmp_path: Path) -> None:
    # Twelve templates in each of two groups.
    table = paired_of(Small(BASE, values=lambda culture, number: {"group": f"g{number % 2}"}), tmp_path)["paired-tests-own"]
    assert rows(table)["LoRA, Spain"][:8] == ("+50.0", "too few templates", "", "", "", "", "+66.7", "")
    assert table.notes == ("Not tested, for want of runs or of template groups: 2 of 2.",)


def test_a_difference_that_is_not_shown_is_never_called_one(tmp_path: Path) -> None:
    little = {**BASE, ("lora", "Spain"): everywhere(8), ("lora", "Mexico"): everywhere(5)}
    for table in paired_of(Small(little), tmp_path).values():
        assert not any("zero, both" in note or "away from zero" in note for note in table.notes)
        assert any(note.startswith("Not shown to differ from zero: 2 of 2.") for note in table.notes)


def test_letters_are_no_method_and_without_training_there_is_no_family(tmp_path: Path) -> None:
    letters = {("none", ""): everywhere(6), ("letter-bias", "Spain"): everywhere(20), ("letter-bias", "Mexico"): everywhere(20)}
    cells = Cells(read_evidence(Small(letters).write(tmp_path)))
    assert paired_tests.section(cells) is None
    assert transfer.section(cells) is None


# Transfer ------------------------------------------------------------------------------------------------------------------------------


def test_specificity_is_the_one_computed_by_head(tmp_path: Path) -> None:
    table = transfer_of(Small(BASE), tmp_path)["specificity-lora"]
    found = rows(table)
    # 24 M is 18, 8 / 10, 18.
    assert [found[name][:2] for name in ("Spain", "Mexico", "mean")] == [("75.0", "41.7"), ("75.0", "33.3"), ("75.0", "37.5")]
    assert [found[name][2] for name in found] == ["+33.3", "+41.7", "+37.5"]
    assert [found[name][4] for name in found] == ["+41.7", "+33.3", "+37.5"]
    assert [found[name][6] for name in found] == ["+18.8", "+18.8", "+18.8"]
    # Spain: templates 10 to 17 are right by the own adapter alone.
    expected = scipy.stats.ttest_1samp(24 * gained(8), 0).confidence_interval(0.95)
    assert found["Spain"][3] == f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}"
    assert table.rules == (2,)
    assert table.notes[0].startswith("LoRA is specific: on the same culture the own adapter leads the others by 37.5 points (+")
    assert "): 1.000. Adapters that are all the same score 1" in table.notes[1]


def test_the_study_s_specificity_stands_beside_its_methods(tmp_path: Path) -> None:
    right = {(label.replace("lora", "prompt-tuning"), trained): right for (label, trained), right in BASE.items()}
    table = transfer_of(Small(right), tmp_path)["specificity-prompt-tuning"]
    assert table.header[-1] == "study, by column"
    assert [row[-1] for row in table.rows] == ["+6.2", "+6.8", "+6.5"]


def test_adapters_that_are_all_the_same_are_not_specific_and_score_one(tmp_path: Path) -> None:
    same = {**BASE, ("lora", "Spain"): everywhere(12), ("lora", "Mexico"): everywhere(12)}
    notes = transfer_of(Small(same), tmp_path)["specificity-lora"].notes
    assert (
        notes[0] == "LoRA is not shown to be specific: own adapter minus the others 0.0 points (0.0 to 0.0) on average, the interval contains zero."
    )
    assert "): 1.000." in notes[1]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return read_evidence(Play(labels=("lora",)).write(tmp_path_factory.mktemp("play")))


def test_a_split_that_an_adapter_lacks_is_in_no_table_of_pairs(play: Evidence, tmp_path: Path) -> None:
    def specificity(evidence: Evidence) -> Table:
        found = transfer.section(Cells(evidence))
        assert found is not None
        return found.tables[0]

    gone = (pl.col("trained_culture") == "Spain") & (pl.col("start") == 1)
    runs = tuple(run for run in play.runs if (run.trained_culture, run.start) != ("Spain", 1))
    part = specificity(replace(play, rows=play.rows.filter(~gone), runs=runs))
    assert "from 12 runs: those splits and starts that every adapter has (4 of 4)" in specificity(play).text
    assert "from 6 runs: those splits and starts that every adapter has (2 of 4)" in part.text
    none = transfer_of(Small(BASE, missing=frozenset({("lora", "Mexico")})), tmp_path / "none")
    assert list(none) == ["gains-lora"]


def with_credit_of(evidence: Evidence, trained: str, tested: str, credit: float) -> Evidence:
    """The study with one cell's answers replaced."""
    cell = (pl.col("trained_culture") == trained) & (pl.col("culture") == tested)
    return replace(evidence, rows=evidence.rows.with_columns(pl.when(cell).then(credit).otherwise("choice").alias("choice")))


def test_the_closest_culture_has_the_probability_of_its_place(play: Evidence) -> None:
    def closest(evidence: Evidence) -> Table:
        found = transfer.section(Cells(evidence))
        assert found is not None
        (table,) = [table for table in found.tables if table.key == "closest-lora"]
        return table

    # Adapters of other cultures answer alike: nobody is the closest.
    table = closest(play)
    assert {row[5] for row in table.rows} == {"50"}
    assert table.notes == ("No culture's closest one is first in 95 % of the draws: which one is the closest is not settled by these templates.",)
    table = closest(with_credit_of(play, "Atlantis", "Spain", 1.0))
    row = rows(table)["Spain"]
    assert (row[0], row[1], row[4:]) == ("Atlantis", "100.0", ("100", "South Korea", "0"))
    assert rows(table)["South Korea"][4] == "50"
    assert table.notes == ("First in 95 % of the draws or more: Atlantis → Spain.",)


def test_a_rank_needs_every_candidate_and_ten_groups(play: Evidence) -> None:
    rows = play.rows.filter(pl.col("culture") == "Spain", pl.col("trained_culture") != "").with_columns(pl.col("trained_culture").alias("candidate"))
    candidates, drawn = ["South_Korea", "Atlantis"], rank_draws(play)
    some = rows.filter(pl.col("candidate").is_in(candidates))
    order = leading(drawn, some, candidates)
    assert sum(each.probability for each in order) == pytest.approx(1)
    assert leading(drawn, some.filter(pl.col("candidate") == "Atlantis"), candidates) == ()
    assert leading(drawn, some, ["South_Korea"]) == ()
    few = sorted(some["group"].unique())[:9]
    assert leading(drawn, some.filter(pl.col("group").is_in(few)), candidates) == ()


CONTROLLED: dict[tuple[str, str], Right] = {
    **BASE,
    ("letter-bias", "Spain"): {"Spain": range(8)},
    ("letter-bias", "Mexico"): {"Mexico": range(10)},
    ("lora", "format-control"): everywhere(2),
    ("lora", "other-cultures.Spain"): {"Spain": range(14), "Mexico": range(24)},
    ("lora", "other-cultures.Mexico"): {"Mexico": range(12)},
}


def test_a_gain_is_taken_over_each_baseline_and_never_over_the_format_control(tmp_path: Path) -> None:
    values = {"association": 1.0, "letter": 0.0}
    study = Small(CONTROLLED, values=lambda culture, number: {name: float(number < 15) * value for name, value in values.items()})
    table = transfer_of(study, tmp_path)["gains-lora"]
    found = rows(table)
    assert {name: row[0] for name, row in found.items()} == {
        "own culture − untouched": "+50.0",
        "own culture − word-country association": "+12.5",  # 18 against 15 of 24
        "own culture − untrained": "+50.0",
        "own culture − letter bias": "+37.5",  # against 8 and 10
        "own culture − adapters of other cultures": "+37.5",  # against 10 and 8
        "own culture − one adapter of all other cultures": "+20.8",  # against 14 and 12
        "untouched": "25.0",
        "format control": "8.3",
        "format control − untouched": "−16.7",
    }
    assert table.rules == (6,)
    assert any(note.startswith("Of the programs without a language model word-country association is right most often") for note in table.notes)
    # Four templates of 24 were lost, in both cultures.
    lost = scipy.stats.ttest_1samp(-24 * gained(4), 0).confidence_interval(0.95)
    span = f"{100 * lost.low:+.1f} to {100 * lost.high:+.1f}".replace("-", "−")
    assert table.notes[-1] == f"format control − untouched: −16.7 points ({span}), below zero."
    assert "so it is no reference for any gain" in table.text
    assert not any("own" in name and "format" in name for name in found)


def test_every_number_is_in_the_csv_files(play: Evidence) -> None:
    cells = Cells(play)
    tested, moved = paired_tests.section(cells), transfer.section(cells)
    assert tested is not None
    assert moved is not None
    (frame,) = [frame for name, frame in tested.frames if name == "paired-tests"]
    assert frame["family"].to_list() == ["own"] * 3 + ["transfer"] * 6
    assert {"p", "p_holm", "p_max_t", "effect", "smallest_detectable", "low", "high", "effective_groups"} <= set(frame.columns)
    assert (frame["p"] <= frame["p_max_t"]).all()
    names = [line.name for line in moved.lines]
    assert {"specificity by column, Spain", "specificity by row, mean", "interaction, Atlantis", "own culture − untouched"} <= set(names)
    assert len(set(names)) == len(names)
    ((name, ranks),) = moved.frames
    assert (name, ranks.height) == ("closest-cultures", 6)
    assert ranks.group_by("tested_culture").agg(pl.col("probability_of_first").sum())["probability_of_first"].to_list() == pytest.approx([1.0] * 3)


def test_the_sections_are_part_of_the_report() -> None:
    assert {paired_tests.section, transfer.section} <= set(_SECTIONS)


@pytest.mark.parametrize("module", [paired_tests, transfer])
def test_it_is_said_in_french_with_the_same_numbers(play: Evidence, module: object) -> None:
    def said(language: str) -> Section:
        with speaking(language):  # type: ignore[arg-type]
            found = module.section(Cells(play))  # type: ignore[attr-defined]
        assert isinstance(found, Section)
        return found

    english, french = said("en"), said("fr")
    assert [table.key for table in english.tables] == [table.key for table in french.tables]
    for ours, theirs in zip(english.tables, french.tables, strict=True):
        assert ours.title != theirs.title
        assert [row[1].replace(".", ",") for row in ours.rows] == [row[1] for row in theirs.rows]
    for (_, ours_), (_, theirs_) in zip(english.frames, french.frames, strict=True):
        assert ours_.equals(theirs_)
