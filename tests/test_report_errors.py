"""Report: whose option is chosen, pull, topics, templates, worst and best questions, every number computed by head."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from affinage.records import DUMMY_CULTURE, ItemScore
from affinage.report import build_report, read_evidence
from affinage.report.cells import Cells
from affinage.report.sections import sections
from affinage.report.table import Section, Table
from affinage.store import StudyFolder
from small_studies import BASE, Small, item

OTHER = {"Spain": "Mexico", "Mexico": "Spain"}


def owners(culture: str, number: int) -> dict[str, Any]:
    """The right option first, then the other culture's, one of Iran, an invented one."""
    return {"option_cultures": [culture, OTHER[culture], "Iran", DUMMY_CULTURE]}


def choose(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
    """Untouched: right on 0 to 5, the other culture's on 6 to 11, Iran's on 12 to 19, then the invented one. At home: right on 0 to 17, the other
    culture's on 18 to 20, then the invented one. Elsewhere: the own culture's on 0 to 15 (Spain's adapter) or 0 to 9 (Mexico's), then right.
    """
    if label == "none" or trained == "untrained":
        chosen = 0 if number < 6 else 1 if number < 12 else 2 if number < 20 else 3
    elif trained == tested:
        chosen = 0 if number < 18 else 1 if number < 21 else 3
    else:
        chosen = int(number < (16 if trained == "Spain" else 10))
    return [item(tested, number, chosen)]


STUDY = Small(BASE, items=choose, values=owners)


def found(study: Small, folder: Path) -> dict[str, Section]:
    return {section.name: section for section in sections(Cells(read_evidence(study.write(folder))))}


def table(section: Section, key: str) -> Table:
    (one,) = [each for each in section.tables if each.key == key]
    return one


def rows(content: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in content.rows}


# Whose option -----------------------------------------------------------------------------------------------------------------------------


def test_whose_option_is_counted_by_head(tmp_path: Path) -> None:
    section = found(STUDY, tmp_path)["errors"]
    assert rows(table(section, "whose-option-lora")) == {
        # Untouched: 18 wrong answers about each culture; at home: 6.
        "Spain": ("18", "33.3", "33.3", "6", "50.0", "33.3"),
        "Mexico": ("18", "33.3", "33.3", "6", "50.0", "33.3"),
        "Iran": ("36", "44.4", "33.3", "12", "0.0", "33.3"),
        "nobody (invented)": ("36", "22.2", "33.3", "12", "50.0", "33.3"),
    }
    (frame,) = (content for name, content in section.frames if name == "whose-option")
    one = frame.filter(pl.col("label") == "lora", pl.col("tested_culture") == "Spain", pl.col("option_culture") == "Mexico")
    assert one.rows() == [("lora", "Spain", "Spain", "Mexico", 6, 3.0, pytest.approx(2.0))]


def test_an_older_study_says_why_it_does_not_tell_whose_and_what_to_do(tmp_path: Path) -> None:
    folder = STUDY.write(tmp_path)
    questions = StudyFolder(folder).questions
    pl.read_parquet(questions).drop("option_cultures").write_parquet(questions)
    section = {each.name: each for each in sections(Cells(read_evidence(folder)))}["errors"]
    assert "Run `affinage study run` on the study again" in section.text
    assert not section.tables
    assert "Run `affinage study run` on the study again" in build_report(folder).page.read_text()


def test_a_source_that_does_not_know_whose_options_they_are_is_named_as_such(tmp_path: Path) -> None:
    unknown = Small(BASE, items=choose, values=lambda culture, number: {"option_cultures": ["", "", "", ""]})
    section = found(unknown, tmp_path)["errors"]
    assert "the source does not say" in section.text
    assert not section.tables


# Pull -------------------------------------------------------------------------------------------------------------------------------------


def test_pull_is_counted_by_head_and_has_the_interval_of_its_pairs(tmp_path: Path) -> None:
    pull = table(found(STUDY, tmp_path)["errors"], "pull")
    numbers = rows(pull)
    assert numbers["LoRA, Spain"][:3] == ("66.7", "25.0", "+41.7")
    assert numbers["LoRA, Mexico"][:3] == ("41.7", "25.0", "+16.7")
    pooled = numbers["LoRA, all adapters"]
    assert pooled[:3] == ("54.2", "25.0", "+29.2")
    assert pooled[4:] == ("2", "48", "24")
    differences = np.array([((k < 16) + (k < 10)) / 2 - (6 <= k < 12) for k in range(24)])
    interval = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert pooled[3] == f"+{100 * interval.low:.1f} to +{100 * interval.high:.1f}"
    (note,) = pull.notes
    assert note.startswith(
        "LoRA adapters choose their own culture's option about other cultures more often than the untouched model does: +29.2 points"
    )


def test_a_pull_that_is_not_shown_is_not_said(tmp_path: Path) -> None:
    def alike(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
        shift = 0 if label == "none" else 1
        return [item(tested, number, int(6 + shift <= number < 12 + shift))]

    (note,) = table(found(Small(BASE, items=alike, values=owners), tmp_path)["errors"], "pull").notes
    assert "are not shown to choose" in note
    assert "the interval contains zero" in note


def test_the_right_option_is_no_pull(tmp_path: Path) -> None:
    # A source may list one culture twice; the right option never counts.
    def twice(culture: str, number: int) -> dict[str, Any]:
        return {"option_cultures": [OTHER[culture], culture, "Iran", "Iran"]}

    section = found(Small(BASE, items=choose, values=twice), tmp_path)["errors"]
    assert not [each for each in section.tables if each.key == "pull"]


# Topics and templates ---------------------------------------------------------------------------------------------------------------------


def test_topics_stand_in_the_order_of_their_gains_and_few_templates_have_no_interval(tmp_path: Path) -> None:
    def topics(culture: str, number: int) -> dict[str, Any]:
        return {"topic": "before" if number < 6 else "learned" if number < 18 else "never"}

    section = found(Small(BASE, values=topics), tmp_path)["topics"]
    by_topic = table(section, "topics-lora")
    assert [row[:3] for row in by_topic.rows] == [
        ("learned", "+100.0", "+100.0 to +100.0"),
        ("before", "0.0", "too few templates"),
        ("never", "0.0", "too few templates"),
    ]
    (note,) = by_topic.notes
    assert note.startswith("1 topic with an interval; of these 1 gained and 0 lost")
    ends = table(section, "templates-lora")
    assert ends.text.startswith("Of 24 templates 12 have a difference above zero, 0 one below zero and 12 none.")
    assert [row[0] for row in ends.rows] == [f"T{k:02d}" for k in range(6, 14)]
    assert ends.rows[0][1:] == ("learned", "0.0", "100.0", "+100.0", "2", "2")


def test_a_template_that_is_named_by_its_text_is_shown_by_a_question_s_id(tmp_path: Path) -> None:
    def texts(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
        return [replace(each, template_id=f"What is {each.template_id}?") for each in choose(label, trained, tested, number)]

    folder = Small(BASE, items=texts, values=owners).write(tmp_path)
    sections_ = {each.name: each for each in sections(Cells(read_evidence(folder)))}
    assert table(sections_["topics"], "templates-lora").rows[0][0] == "that of T06_Mexico"
    for name in ("topics", "questions"):
        assert all("What is" not in str(content.rows()) for _, content in sections_[name].frames)


def test_one_topic_is_no_table(tmp_path: Path) -> None:
    section = found(STUDY, tmp_path)["topics"]
    assert [each.key for each in section.tables] == ["templates-lora"]


# Worst and best questions -----------------------------------------------------------------------------------------------------------------


def test_the_worst_and_the_best_questions_come_with_their_probabilities(tmp_path: Path) -> None:
    folder = STUDY.write(tmp_path)
    section = {each.name: each for each in sections(Cells(read_evidence(folder)))}["questions"]
    (content,) = section.tables
    # Nothing lost: the second list is empty.
    assert content.rules == (8,)
    # The best option has exp(-0.5) against three times exp(-4): 91.7 % and 2.8 % each.
    assert content.rows[0] == (
        *("up most", "T06_Mexico", "Mexico", "Mexico / Spain / Iran / nobody (invented)", "1"),
        *("2.8 / 91.7 / 2.8 / 2.8", "91.7 / 2.8 / 2.8 / 2.8", "+88.9", "1"),
    )
    assert {row[1].partition("_")[0] for row in content.rows[:8]} == {f"T{k:02d}" for k in range(6, 14)}
    assert content.rows[8][0] == "surest and wrong"
    assert {row[1].partition("_")[0] for row in content.rows[8:]} == {f"T{k:02d}" for k in range(18, 24)}
    paths = build_report(folder)
    with (paths.folder / "csv" / "questions.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert (first["list"], first["mcq_id"], first["option"], first["option_culture"], first["right"]) == (
        "gained most",
        "T06_Mexico",
        "1",
        "Mexico",
        "true",
    )
    assert float(first["untouched"]) == pytest.approx(np.exp(-4) / (np.exp(-0.5) + 3 * np.exp(-4)))
