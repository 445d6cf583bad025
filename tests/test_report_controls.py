"""Report: controls beside ordinary adapters, every number computed by head."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from affinage.controls.draws import set_name
from affinage.report import build_report, demo_table, read_evidence, verdicts
from affinage.report.cells import Cells
from affinage.report.sections import sections
from affinage.report.table import Table
from affinage.report.words import parted
from affinage.store import StudyFolder
from small_studies import BASE, CULTURES, TEMPLATES, Small, everywhere

CONTROLS = {
    ("lora", "format-control"): {**everywhere(2), "format-control": range(7)},
    ("lora", "general-format"): everywhere(7),
    ("lora", "other-cultures.Spain"): {"Spain": range(10), "Mexico": range(24)},
    ("lora", "other-cultures.Mexico"): {"Spain": range(24), "Mexico": range(14)},
    ("lora", "wrong-culture.Spain"): {"Spain": range(3), "wrong-culture.Spain": range(12)},
    ("lora", "wrong-culture.Mexico"): {"Mexico": range(5), "wrong-culture.Mexico": range(18)},
    ("none", "question-blind"): everywhere(4),
    ("lora", "question-blind.Spain"): {"Spain": range(16), "Mexico": range(1)},
    ("lora", "question-blind.Mexico"): {"Spain": range(1), "Mexico": range(16)},
    ("letter-bias", "Spain"): everywhere(9),
    ("letter-bias", "Mexico"): everywhere(9),
}
SETS = tuple(
    {"split": "s", "control": "other-cultures", "set": name, "questions": 90, "templates": 30, "own_test": 0, "dropped": {"too long": 2}}
    for name in ("other-cultures.Spain", "other-cultures.Mexico")
)
SMALL = Small({**BASE, **CONTROLS}, own_tests=frozenset({"format-control", "wrong-culture.Spain", "wrong-culture.Mexico"}), sets=SETS)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(SMALL.write(tmp_path_factory.mktemp("small"))).folder


@pytest.fixture(scope="module")
def found(report: Path) -> Mapping[str, Table]:
    return {table.key: table for section in sections(Cells(read_evidence(report.parent))) for table in section.tables}


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0].strip(): row[1:] for row in table.rows}


def line(report: Path, quantity: str, kind: str | None = None) -> dict[str, float]:
    with (report / "csv" / "controls.csv").open(encoding="utf-8") as file:
        (chosen,) = [row for row in csv.DictReader(file) if row["quantity"] == quantity and kind in {None, row["kind"]}]
    return {name: float(value) for name, value in chosen.items() if name in {"value", "low", "high", "questions", "runs", "expected_runs"}}


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("own culture", 18 / 24),
        ("own culture − untouched", 12 / 24),
        ("format-control", 2 / 24),
        ("format-control, own test set", 7 / 24),
        ("format-control − untouched", -4 / 24),
        ("general-format − untouched", 1 / 24),
        ("own culture − general-format", 11 / 24),
        ("other-cultures", (10 + 14) / 48),
        ("other-cultures − untouched", (10 + 14 - 12) / 48),
        ("own culture − other-cultures", (36 - 24) / 48),
        ("wrong-culture", (3 + 5) / 48),
        ("wrong-culture, own test set", (12 + 18) / 48),
        ("untouched, question-blind", 4 / 24),
        ("question-blind", 16 / 24),
        ("question-blind − untouched, put likewise", 12 / 24),
        ("own culture − question-blind", 2 / 24),
        ("letter-bias − untouched", 3 / 24),
        ("own culture − letter-bias", 9 / 24),
    ],
)
def test_each_pooled_number_is_the_one_computed_by_head(report: Path, quantity: str, value: float) -> None:
    assert line(report, quantity)["value"] == pytest.approx(value)


def test_a_difference_has_the_interval_of_its_pairs(report: Path) -> None:
    # One question per template and culture: the jackknife over templates is the t interval over their mean differences.
    own, control = (np.array([[k < r for k in range(TEMPLATES)] for r in right], dtype=float) for right in ((18, 18), (10, 14)))
    expected = scipy.stats.ttest_1samp((own - control).mean(0), 0).confidence_interval(0.95)
    number = line(report, "own culture − other-cultures")
    assert [number["low"], number["high"]] == pytest.approx([expected.low, expected.high])
    assert (number["questions"], number["runs"]) == (48, 2)


def test_a_control_with_one_set_per_culture_stands_on_its_own_culture_alone(found: Mapping[str, Table]) -> None:
    table = found["controls-lora"]
    assert table.header == ("", *CULTURES, "own test set", "runs")
    there = rows(table)
    assert there["Untouched model"] == ("25.0", "25.0", "", "1")
    assert there["own culture"] == ("75.0", "75.0", "", "1")
    assert there["own culture − untouched"][:2] == ("+50.0", "+50.0")
    assert there["other-cultures"] == ("41.7", "58.3", "", "1")
    assert there["other-cultures − untouched"] == ("+16.7", "+33.3", "", "1")
    assert there["wrong-culture"] == ("12.5", "20.8", "62.5 (17.7)", "1")
    assert there["general-format"] == ("29.2", "29.2", "", "1")
    assert there["letter-bias"] == ("37.5", "37.5", "", "1")


def test_a_blinded_adapter_stands_beside_the_untouched_model_put_likewise(found: Mapping[str, Table]) -> None:
    there = rows(found["controls-lora"])
    assert there["Untouched model, question-blind"][:2] == ("16.7", "16.7")
    assert there["question-blind"][:2] == ("66.7", "66.7")
    assert there["question-blind − untouched, put likewise"][:2] == ("+50.0", "+50.0")
    assert "question-blind − untouched" not in there


def test_the_study_s_control_is_reported_as_the_study_does(tmp_path: Path, report: Path, found: Mapping[str, Table]) -> None:
    assert not any("format-control" in row[0] and row[0].startswith("own culture −") for row in found["controls-lora-pooled"].rows)
    (said,) = [note for note in found["controls-lora-pooled"].notes if note.startswith("Format control")]
    assert "8.3 %" in said
    assert "29.2 % (95 % interval" in said
    assert "stands" not in said
    assert "loses 16.7 points against the untouched model (95 % interval −" in said
    assert "cannot be predicted from its inputs" in said
    assert "never the reference for a gain" in said
    # 55.08 - 42.37 and 68.06 - 45.65: the study's smallest and largest loss.
    assert "−12.7 to −22.4 points from its untouched model, 28.33 % on the control's own test set" in said
    # The study made its control with prompt-tuning.
    renamed = {("prompt-tuning" if label == "lora" else label, trained): right for (label, trained), right in SMALL.right.items()}
    evidence = read_evidence(Small(renamed, own_tests=SMALL.own_tests).write(tmp_path))
    tables = {table.key: table for section in sections(Cells(evidence)) for table in section.tables}
    by_row = rows(tables["controls-prompt-tuning-by-row"])
    assert by_row["study: format control"] == ("53.66 (11.56)", "50.17 (11.09)", "28.33", "")
    assert by_row["study: untouched"] == ("74.24 (8.57)", "72.37 (1.20)", "", "")
    assert "study: format control" not in rows(found["controls-lora-by-row"])
    assert "study: format control" not in rows(tables["controls-prompt-tuning"])


def test_each_control_says_one_sentence(found: Mapping[str, Table]) -> None:
    notes = found["controls-lora-pooled"].notes
    assert len(notes) == 6
    by_start = {note.split(":")[0]: note for note in notes}
    (other,) = [note for note in notes if "trained on other cultures" in note]
    assert other.startswith("What is format: trained on other cultures, lora gains 25.0 (95 % interval +")
    assert "of the 50.0 points (95 % interval +" in other
    assert "lora trained on its own culture minus this control: +25.0 points" in other
    (general,) = [note for note in notes if "about nothing cultural" in note]
    assert "lora is not shown to differ from the untouched model (+4.2 points, 95 % interval" in general
    assert "contains zero" in general
    assert "trained on its own culture lora gains 50.0 points" in general
    blind = by_start["What the options alone give"]
    assert "it is right in 66.7 % (95 % interval" in blind
    assert "the untouched model put likewise in 16.7 %" in blind
    assert "by such labels it is right in 62.5 %" in by_start["What wrong labels give"]
    assert "by the true ones in 16.7 %" in by_start["What wrong labels give"]
    assert (
        "and nothing trained, the untouched model is not shown to differ from itself without them (+12.5 points" in by_start["What needs no training"]
    )


def test_letter_bias_is_a_method_without_an_untrained_start_and_no_culture_is_claimed_for_it(report: Path) -> None:
    found = {verdict.label: verdict for verdict in verdicts(read_evidence(report.parent))}
    assert set(found) == {"lora", "letter-bias"}
    assert "trains nothing" in found["letter-bias"].conclusion
    names = [row[0] for row in demo_table(found.values()).rows]
    assert names.count("untouched") == 1
    assert "letter-bias, own culture" in names
    assert "letter-bias, untrained" not in names


def test_controls_enter_no_ordinary_table(report: Path) -> None:
    evidence = read_evidence(report.parent)
    assert evidence.labels == ("lora", "letter-bias")
    assert evidence.kinds() == (("none", ""), ("lora", "untrained"), *(("lora", c) for c in CULTURES), *(("letter-bias", c) for c in CULTURES))
    assert dict(evidence.control_kinds()).keys() == {"none", "lora"}
    assert verdicts(evidence)[0].rows[0].estimate.value == pytest.approx(0.25)


def test_the_sizes_of_the_training_sets_are_said(found: Mapping[str, Table]) -> None:
    table = found["control-sets"]
    assert rows(table)["other-cultures.Spain"] == ("90", "30", "0", "2")
    assert "too long (4)" in table.text


def test_missing_controls_are_said(tmp_path: Path) -> None:
    gone = frozenset({("lora", "other-cultures.Mexico"), ("lora", "format-control"), ("none", "question-blind")})
    evidence = read_evidence(Small(SMALL.right, own_tests=SMALL.own_tests, missing=gone).write(tmp_path))
    tables = {table.key: table for section in sections(Cells(evidence)) for table in section.tables}
    there = rows(tables["controls-lora"])
    assert there["other-cultures"] == ("41.7", "missing (1)", "", "0–1 of 1")
    assert there["format-control"] == ("missing (1)", "missing (1)", "missing (1)", "0 of 1")
    pooled = rows(tables["controls-lora-pooled"])
    assert pooled["other-cultures"][2] == "1 of 2"
    assert pooled["format-control − untouched"][0] == "missing"
    assert pooled["question-blind − untouched, put likewise"][0] == "nothing to compare"
    notes = tables["controls-lora-pooled"].notes
    assert any("trained on other cultures" in note and "1 run is missing: this will change." in note for note in notes)
    assert any(note.startswith("Format-control: nothing is scored yet. 1 run is missing") for note in notes)


def test_a_culture_without_a_test_set_of_its_own_lacks_no_run(tmp_path: Path) -> None:
    evidence = read_evidence(Small(SMALL.right, own_tests=frozenset({"wrong-culture.Spain"})).write(tmp_path))
    tables = {table.key: table for section in sections(Cells(evidence)) for table in section.tables}
    assert rows(tables["controls-lora"])["wrong-culture"] == ("12.5", "20.8", "50.0", "1")
    assert rows(tables["controls-lora-pooled"])["wrong-culture, own test set"][0] == "50.0"
    assert rows(tables["controls-lora-pooled"])["wrong-culture, own test set"][2] == "1"
    assert "format-control, own test set" not in rows(tables["controls-lora-pooled"])


def test_everything_is_on_the_page_in_latex_and_in_the_long_form(report: Path, found: Mapping[str, Table]) -> None:
    page = (report / "report.md").read_text()
    for table in found.values():
        assert f"### {table.title}\n\n{table.text}" in page
        assert all(f"* {note}" in page for note in table.notes)
        assert (report / "latex" / f"{table.key}.tex").exists()
        assert len({len(row) for row in (table.header, *table.rows)}) == 1
    assert "\nWhat is format" in (report / "latex" / "controls-lora-pooled.tex").read_text()
    with (report / "csv" / "cells.csv").open(encoding="utf-8") as file:
        own = [row for row in csv.DictReader(file) if row["tested_culture"] == "format-control" and row["reading"] == "choice"]
    assert [float(row["accuracy"]) for row in own] == pytest.approx([7 / 24, 7 / 24])


def test_a_study_without_controls_shows_none_of_it(tmp_path: Path) -> None:
    paths = build_report(Small(BASE).write(tmp_path))
    page = paths.page.read_text()
    for word in ("ontrol", "Swap", "Option orders", "Learning curve", "Figure 3"):
        assert word not in page.replace("study: format control", "")
    assert not (paths.folder / "csv" / "controls.csv").exists()
    assert not paths.curves
    assert StudyFolder(tmp_path).questions.exists()


@pytest.mark.parametrize("culture", ["Spain", "South Korea", "St. Lucia", "Côte d'Ivoire", "a/b%20"])
def test_a_training_set_s_name_tells_its_culture(culture: str) -> None:
    assert parted(set_name("other-cultures", culture)) == ("other-cultures", culture)


def test_a_training_set_may_stand_for_no_culture() -> None:
    assert parted("format-control") == ("format-control", "")
