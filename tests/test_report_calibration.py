"""Report: calibration, and what accuracy and gain are worth, every number computed by head."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.special
import scipy.stats

from affinage.records import ItemScore
from affinage.report import read_evidence
from affinage.report.cells import Cells
from affinage.report.figures import save
from affinage.report.sections import sections
from affinage.report.table import Section
from small_studies import BASE, Small, everywhere, item

SURE = float(scipy.special.softmax([-0.5, -4.0, -4.0, -4.0])[0])
"""The probability of the chosen option of every question of a small study."""


def found(study: Small, folder: Path, name: str = "calibration") -> Section:
    (section,) = [each for each in sections(Cells(read_evidence(study.write(folder)))) if each.name == name]
    return section


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Section:
    return found(Small(BASE), tmp_path_factory.mktemp("calibration"))


def columns(section: Section) -> dict[str, dict[str, str]]:
    """Row head -> header -> cell; a column of intervals has the number before it in its name."""
    (table,) = section.tables
    names = [f"{table.header[place - 1]}, interval" if name == "95 % interval" else name for place, name in enumerate(table.header)]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in table.rows}


def test_confidence_brier_score_and_calibration_error_by_head(section: Section) -> None:
    numbers = columns(section)
    untouched, own = numbers["Untouched model"], numbers["LoRA, own culture"]
    wrong = (1 - SURE) / 3
    right_brier, wrong_brier = (1 - SURE) ** 2 + 3 * wrong**2, SURE**2 + (1 - wrong) ** 2 + 2 * wrong**2
    for row, accuracy in ((untouched, 0.25), (own, 0.75)):
        assert row["accuracy"] == f"{100 * accuracy:.1f}"
        assert row["confidence"] == f"{100 * SURE:.1f}"
        assert row["confidence − accuracy"] == f"{100 * (SURE - accuracy):+.1f}"
        assert row["Brier score"] == f"{accuracy * right_brier + (1 - accuracy) * wrong_brier:.3f}"
        # One confidence, so one bin: the whole distance, by both kinds of bins.
        assert row["calibration error, equal widths"] == row["equal masses"] == f"{100 * (SURE - accuracy):.1f}"
        assert row["of a calibrated model"] == f"{100 * math.sqrt(2 * SURE * (1 - SURE) / 48 / math.pi):.1f}"
        squared = (SURE - accuracy) ** 2 - accuracy * (1 - accuracy) / 47
        assert row["debiased"] == f"{100 * math.sqrt(squared):.1f}"
        assert row["letter mass"] == "90.0"
        assert row["questions"] == "48"


def test_the_interval_of_over_confidence_is_that_of_its_templates(section: Section) -> None:
    numbers = columns(section)["Untouched model"]
    expected = scipy.stats.ttest_1samp(SURE - np.repeat([1.0, 0.0], [6, 18]), 0).confidence_interval(0.95)
    assert numbers["confidence − accuracy, interval"] == f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}"


def test_the_sentences_say_what_the_intervals_show(section: Section, tmp_path: Path) -> None:
    (table,) = section.tables
    assert table.notes[0].startswith("Untouched model is more confident than right: +66.7 points")
    assert table.notes[1].startswith("LoRA, own culture is not shown to be more or less confident than right: +16.7 points")
    assert table.notes[2].startswith("LoRA has better probabilities than the untouched model: Brier score −0.8")
    notes = found(Small({**BASE, ("none", ""): everywhere(24)}), tmp_path).tables[0].notes
    assert "LoRA has worse probabilities than the untouched model: Brier score +0.4" in notes[2]
    assert "less confident than right" in notes[0]


def test_few_templates_have_no_verdict(tmp_path: Path) -> None:
    def values(culture: str, number: int) -> dict[str, str]:
        return {"group": f"g{number % 4}"}

    notes = found(Small(BASE, values=values), tmp_path).tables[0].notes
    assert all("4.0 effective template groups, 10 are needed" in note for note in notes)
    assert not any("better" in note or "more confident than" in note for note in notes)


def test_a_model_without_letters_has_no_letter_mass(tmp_path: Path) -> None:
    def without(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
        return [replace(item(tested, number, number % 4), letter_mass=None, free=None)]

    section = found(Small(BASE, items=without), tmp_path)
    assert "letter mass" not in section.tables[0].header
    assert "Letter mass" not in section.tables[0].text


def test_an_order_s_probabilities_are_of_the_mean_over_orders(tmp_path: Path) -> None:
    def orders(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
        both = (item(tested, number, 0), item(tested, number, 1, order=(1, 0, 2, 3)))
        return [replace(each, letter_mass=mass) for each, mass in zip(both, (0.6, 0.8), strict=True)]

    numbers = columns(found(Small(BASE, items=orders), tmp_path))["Untouched model"]
    tied = float(scipy.special.softmax([-2.25, -2.25, -4.0, -4.0])[0])
    assert numbers["confidence"] == f"{100 * tied:.1f}"
    assert numbers["accuracy"] == "50.0"
    assert numbers["letter mass"] == "70.0"


def test_the_curves_stand_in_a_file_and_the_same_numbers_draw_the_same_picture(section: Section, tmp_path: Path) -> None:
    (frame,) = (content for name, content in section.frames if name == "calibration-curves")
    one = frame.filter(pl.col("quantity") == "lora, own culture", pl.col("bins") == "width")
    assert one.select("confidence", "right", "share", "count").row(0) == pytest.approx((SURE, 0.75, 1.0, 48))
    (picture,) = section.pictures
    for name in ("a.svg", "b.svg"):
        save(picture.draw(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    diagonal, untouched, own = picture.draw().axes[0].lines
    dots = [[np.asarray(values).tolist() for values in (each.get_xdata(), each.get_ydata())] for each in (diagonal, untouched, own)]
    assert dots == [[[0, 100], [0, 100]], [pytest.approx([100 * SURE]), pytest.approx([25.0])], [pytest.approx([100 * SURE]), pytest.approx([75.0])]]
    assert (untouched.get_marker(), untouched.get_color()) != (own.get_marker(), own.get_color())
    assert "LoRA, own culture: confidence 91.7 to 91.7 %, right 75.0 to 75.0 %" in picture.alternative


# What it is worth -------------------------------------------------------------------------------------------------------------------------


def test_the_gain_is_a_share_of_what_was_left_and_chance_is_nought(tmp_path: Path) -> None:
    section = found(Small(BASE), tmp_path, "strata")
    worth = section.tables[0]
    assert worth.key == "worth"
    template, row = worth.rows
    assert template[:4] == ("LoRA, by template (headline)", "75.0", "+66.7", "+50.0")
    # 18 of 24 were left, 12 of these are gained.
    assert template[5] == "+66.7"
    assert template[7:] == ("2", "48", "24")
    assert row[0] == "LoRA, by row (as in the reference study)"
    assert row[1:] == template[1:]
    values = {each.name: each.estimate.value for each in section.lines}
    assert values["chance-centred, by template"] == pytest.approx((0.75 - 0.25) / 0.75)
    assert values["share of what was left, by row"] == pytest.approx(2 / 3)
