"""The draft of the reproducibility checklist: what it states comes from the study, what it cannot know is left open."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from affinage.report import Evidence, read_evidence
from affinage.report.checklist import checklist, items, write_checklist
from affinage.report.language import speaking
from affinage.store import read_json, write_json
from plays import Play


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = Play(templates=24, missing=(("Atlantis", 1),)).write(tmp_path_factory.mktemp("study"))
    log = next((folder / "runs/prompt-tuning/Spain").glob("fold-0*-0-*")) / "train.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": 1.0, "seconds": 90.0}) + "\n" for step in (1, 2)))
    run = read_json(log.parent / "run.json")
    write_json(
        log.parent / "run.json",
        {**run, "plan": {"cohort": [run["determinants"]["run"], "another"]}, "counts": {"questions": 4, "templates": 2, "refused": 0}},
    )
    return read_evidence(folder)


def answers(evidence: Evidence, key: str) -> str:
    (item,) = [each for each in items(evidence) if each.key == key]
    return "\n".join(item.answers)


def test_every_question_is_answered_or_left_to_the_authors(evidence: Evidence) -> None:
    found = list(items(evidence))
    assert [item.key for item in found if item.key[0] in "ABCDE"] == [
        *("A1", "A2", "B1", "B2", "B3", "B4", "B5", "B6", "C1", "C2", "C3", "C4", "D1–D5", "E1"),
    ]
    assert all(item.answers or item.unknown for item in found)
    page = checklist(evidence)
    assert page.count("**To be written**") == sum(len(item.unknown) for item in found)
    assert all(f"## {item.key}. {item.question}" in page for item in found)


def test_terms_sizes_and_statistics_are_the_studys(evidence: Evidence) -> None:
    assert "Nobody (2026)" in answers(evidence, "B1")
    assert "CC-BY-4.0" in answers(evidence, "B2")
    assert "illustrative" in answers(evidence, "B3")
    assert "Topics: food, work." in answers(evidence, "B5")
    assert "1,000 questions on the training side and 24 questions on the test side" in answers(evidence, "B6")
    assert "24 templates are tested" in answers(evidence, "B6")
    assert "over 2 splits and 2 starts per split" in answers(evidence, "C3")
    assert "2 runs of the plan are missing." in answers(evidence, "C3")
    assert "torch 2.13" in answers(evidence, "C4")


def test_hours_are_of_the_logs_shared_by_who_trained_together(evidence: Evidence) -> None:
    # Two steps of 90 s, of a cohort of two: 90 s are this run's.
    assert "Training took 0.03 hours, from the logs of 1 run (1 were trained)" in answers(evidence, "C1")
    assert "Machine: cpu, Linux x86_64, 2 CPU threads." in answers(evidence, "C1")


def test_settings_and_searches_are_listed(evidence: Evidence) -> None:
    found = answers(evidence, "C2")
    assert "loss `answer`, 30.0 epochs, 16 questions per step, AdamW with a peak rate of 0.001" in found
    assert "Prefix-tuning (`prefix-tuning`): preset `default`; settings as by default" in found
    assert "tried by hand" in checklist(evidence)


def test_a_trial_is_said_to_be_no_result(evidence: Evidence) -> None:
    assert "no result yet" not in checklist(evidence)
    assert "**The numbers are no result yet: --limit 8.**" in checklist(replace(evidence, trial=("--limit 8",)))


def test_the_draft_is_written_in_the_reports_language(evidence: Evidence, tmp_path: Path) -> None:
    english = write_checklist(evidence, tmp_path).read_text(encoding="utf-8")
    assert english.startswith("# Reproducibility checklist, a draft")
    with speaking("fr"):
        french = write_checklist(evidence, tmp_path).read_text(encoding="utf-8")
    assert french.startswith("# Liste de contrôle de la reproductibilité, ébauche")
    assert "**À rédiger**" in french
    assert "To be written" not in french
