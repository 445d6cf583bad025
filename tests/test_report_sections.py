"""Report: strata, swap pairs, option orders and learning curve, every number computed by head."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from affinage.records import ItemScore
from affinage.report import build_report, figures, read_evidence
from affinage.report.cells import Cells
from affinage.report.curve import points_of
from affinage.report.sections import sections
from affinage.report.table import Table
from small_studies import BASE, CULTURES, TEMPLATES, Small, everywhere, item

Rows = dict[str, tuple[str, ...]]


def tables(study: Small, folder: Path) -> dict[str, Table]:
    evidence = read_evidence(study.write(folder))
    return {table.key: table for section in sections(Cells(evidence)) for table in section.tables}


def rows(table: Table) -> Rows:
    assert len({row[0] for row in table.rows}) == len(table.rows)
    return {row[0].strip(): row[1:] for row in table.rows}


# Strata -----------------------------------------------------------------------------------------------------------------------------------


def strata_values(culture: str, number: int) -> dict[str, Any]:
    """Answer seen on the first 12 templates; association right on 0 to 7, tie on 8 to 15; agreement by thirds, unknown for Mexico."""
    agreement = (0.5, 0.6, 1.0)[number // 8] if culture == "Spain" else None
    return {
        "answer_seen": number < 12,
        "association": (1.0, 1 / 3, 0.0)[number // 8],
        "agreement": agreement,
        "topic": "food" if number % 2 else "work",
    }


@pytest.mark.parametrize(
    ("stratum", "numbers", "questions", "templates"),
    [
        # Untouched, own culture, gain: untouched is right on templates 0 to 5, an adapter of the own culture on 0 to 17; chance is 25.
        ("all questions", ("25.0", "75.0", "+50.0"), 48, 24),
        ("answer seen", ("50.0", "100.0", "+50.0"), 24, 12),
        ("answer new", ("0.0", "50.0", "+50.0"), 24, 12),
        ("association right", ("75.0", "100.0", "+25.0"), 16, 8),
        ("association tie", ("0.0", "100.0", "+100.0"), 16, 8),
        ("association wrong", ("0.0", "25.0", "+25.0"), 16, 8),
        ("half of the annotators or fewer gave the answer", ("75.0", "100.0", "+25.0"), 8, 8),
        ("more than half, not all", ("0.0", "100.0", "+100.0"), 8, 8),
        ("all annotators gave it", ("0.0", "25.0", "+25.0"), 8, 8),
        ("topic food", ("25.0", "75.0", "+50.0"), 24, 12),
        ("topic work", ("25.0", "75.0", "+50.0"), 24, 12),
    ],
)
def test_each_stratum_is_the_one_computed_by_head(strata: Rows, stratum: str, numbers: tuple[str, ...], questions: int, templates: int) -> None:
    found = strata[stratum]
    before, after, gain = numbers
    assert (*found[:2], found[3]) == numbers
    assert float(found[2].replace("−", "-")) == pytest.approx((float(after) - 25) / 0.75, abs=0.06)
    assert float(found[5]) == pytest.approx(100 * float(gain) / (100 - float(before)), abs=0.06)
    # A stratum without a question of Mexico lacks no run.
    assert found[6:] == ("2", str(questions), str(templates))
    assert (found[4] == "too few templates") == (templates < 10)


@pytest.fixture(scope="module")
def strata(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    table = tables(Small(BASE, values=strata_values), tmp_path_factory.mktemp("strata"))["strata-lora"]
    assert "For 24 questions the annotators' agreement is unknown" in table.text
    assert table.rules == (1, 3, 6, 9)
    return rows(table)


def test_a_gain_in_a_stratum_has_the_interval_of_its_pairs(strata: Rows) -> None:
    # Of the 12 new answers, none was right before and templates 12 to 17 are now, in both cultures.
    expected = scipy.stats.ttest_1samp(np.repeat([1.0, 0.0], 6), 0).confidence_interval(0.95)
    assert strata["answer new"][4] == f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}"


def test_a_division_that_the_source_does_not_know_is_left_out_and_said(tmp_path: Path) -> None:
    table = tables(Small(BASE), tmp_path)["strata-lora"]
    assert set(rows(table)) == {"all questions", "answer new"}
    assert "The source does not tell how far its annotators agreed." in table.text


# Swap pairs -------------------------------------------------------------------------------------------------------------------------------

SWAPPED = {
    **BASE,
    ("none", ""): {"Spain": range(6), "Mexico": range(2, 24)},
    ("lora", "Spain"): {"Spain": range(18), "Mexico": range(8)},
    ("lora", "Mexico"): {"Spain": range(10), "Mexico": range(4, 22)},
}


def same_options(culture: str, number: int) -> dict[str, Any]:
    """Every template has the same options for both cultures, and each culture its own right one."""
    return {"swap": f"s{number}", "right": culture}


SWAPS = Small(SWAPPED, values=same_options, answers={"Spain": 0, "Mexico": 1})


def test_swap_pairs_are_counted_by_head(tmp_path: Path) -> None:
    table = tables(SWAPS, tmp_path)["swap-pairs"]
    found = rows(table)
    assert found["Untouched model"][0] == "16.7"  # 2 to 5
    assert found["LoRA, own adapters"][0] == "58.3"  # 4 to 17
    assert found["LoRA, one adapter"][0] == "29.2"  # 0 to 7 by Spain's, 4 to 9 by Mexico's: (8 + 6) / 48
    assert found["own adapters − one adapter"][0] == "+29.2"
    assert found["own adapters − untouched"][0] == "+41.7"
    assert found["chance"][0] == "6.2"  # 1/16
    assert found["LoRA, own adapters"][2:] == ("1", "24", "24")
    assert table.title == "Swap pairs: 24 pairs"
    assert "Spain and Mexico 24" in table.text
    numbers = np.array([(4 <= k < 18) - ((k < 8) + (4 <= k < 10)) / 2 for k in range(TEMPLATES)])
    expected = scipy.stats.ttest_1samp(numbers, 0).confidence_interval(0.95)
    assert found["own adapters − one adapter"][1] == f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}"


def test_the_same_right_option_or_another_set_of_options_is_no_pair(tmp_path: Path) -> None:
    same_answer = Small(SWAPPED, values=lambda culture, number: {"swap": f"s{number}", "right": "one"})
    assert "swap-pairs" not in tables(same_answer, tmp_path / "same")
    others = Small(
        SWAPPED,
        answers=SWAPS.answers,
        values=lambda culture, number: {"swap": f"s{number}" if number < 3 else f"{culture}{number}", "right": culture},
    )
    table = tables(others, tmp_path / "few")["swap-pairs"]
    assert table.title == "Swap pairs: 3 pairs"
    assert rows(table)["LoRA, own adapters"] == ("0.0", "too few templates", "1", "3", "3")


def test_who_ignores_the_culture_has_both_right_never(tmp_path: Path) -> None:
    def chooses_first(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
        return [item(tested, number, chosen=0, answer=SWAPS.answers[tested])]

    blind = Small(SWAPPED, values=same_options, answers=SWAPS.answers, items=chooses_first)
    found = rows(tables(blind, tmp_path)["swap-pairs"])
    assert {found[name][0] for name in ("Untouched model", "LoRA, own adapters", "LoRA, one adapter")} == {"0.0"}


def test_a_pair_needs_both_adapters(tmp_path: Path) -> None:
    missing = Small(SWAPPED, values=same_options, answers=SWAPS.answers, missing=frozenset({("lora", "Mexico")}))
    found = rows(tables(missing, tmp_path)["swap-pairs"])
    assert found["LoRA, own adapters"][0] == "missing"
    assert found["LoRA, own adapters"][2] == "0 of 1"
    assert found["LoRA, one adapter"][0] == "missing"
    assert found["Untouched model"][0] == "16.7"


# Orders of the options --------------------------------------------------------------------------------------------------------------------


def in_two_orders(label: str, trained: str, tested: str, number: int) -> list[ItemScore]:
    """Untouched: right in both orders on 0 to 5, in the first alone on 6 to 11, the same wrong one on the others. Own adapters: 0 to 17 in both."""
    first, second = (0, 1, 2, 3), (1, 0, 2, 3)
    if label == "none" or trained != tested:
        chosen = (0, 0) if number < 6 else (0, 2) if number < 12 else (3, 3)
    else:
        chosen = (0, 0) if number < 18 else (1, 2)
    return [item(tested, number, one, order) for one, order in zip(chosen, (first, second), strict=True)]


def test_what_survives_every_order_is_counted_by_head(tmp_path: Path) -> None:
    table = tables(Small(BASE, items=in_two_orders), tmp_path)["orders"]
    found = rows(table)
    names = ("", "over all orders", "in one order", "survives every order", "95 % interval")
    assert table.header == (*names, "runs", "questions", "templates")
    # Where two orders differ, the two options tie over both of them: 6/24 + (6/24) / 2 over all orders, as in one.
    untouched = found["Untouched model"]
    assert untouched[:3] == ("37.5", "37.5", "25.0")
    own = found["LoRA, own culture"]
    assert own[:3] == ("75.0", "75.0", "75.0")
    assert untouched[4:] == ("1", "48", "24")
    assert "Each question was asked in 2 orders of its options." in table.text
    assert "Every order could be scored." in table.text


def test_answers_that_flip_are_counted_by_head(tmp_path: Path) -> None:
    found = tables(Small(BASE, items=in_two_orders), tmp_path)
    numbers, right = rows(found["flips"]), rows(found["orders"])
    untouched, own = numbers["Untouched model"], numbers["LoRA, own culture"]
    # Changes, interval, right in some orders, the same wrong answer.
    assert (untouched[0], untouched[2], untouched[3]) == ("25.0", "25.0", "50.0")
    assert (own[0], own[2], own[3]) == ("25.0", "0.0", "0.0")
    assert untouched[4:6] == ("", "")
    difference = np.array([float(k >= 18) - float(6 <= k < 12) for k in range(24)])
    interval = scipy.stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    assert own[4] == "0.0"
    assert own[5] == f"−{-100 * interval.low:.1f} to +{100 * interval.high:.1f}"
    for head, values in numbers.items():
        assert float(right[head][2]) + float(values[0]) + float(values[3]) == 100
    assert not {name for name in found["orders"].header if name in found["flips"].header} - {"", "95 % interval", "runs", "questions", "templates"}


def test_one_order_has_no_table_of_orders(tmp_path: Path) -> None:
    assert not {"orders", "flips"} & set(tables(Small(BASE), tmp_path))


# Learning curve ---------------------------------------------------------------------------------------------------------------------------

CURVE = Small(
    {
        **BASE,
        ("lora", "learning-curve-40.Spain"): {"Spain": range(14)},
        ("lora", "learning-curve-40.Mexico"): {"Mexico": range(16)},
        ("lora", "learning-curve-10.Spain"): {"Spain": range(9)},
        ("lora", "learning-curve-10.Mexico"): {"Mexico": range(9), "Spain": range(24)},
    }
)


def test_the_curve_goes_from_the_untouched_model_to_all_templates(tmp_path: Path) -> None:
    paths = build_report(CURVE.write(tmp_path))
    found = {row[0]: row[1:] for row in tables(CURVE, tmp_path / "again")["learning-curve"].rows}
    assert list(found) == [f"LoRA, {name}" for name in ("untouched model", "learning-curve-10", "learning-curve-40", "all")]
    assert [row[0] for row in found.values()] == ["0", "10", "40", "80"]
    assert [row[1] for row in found.values()] == ["25.0", "37.5", "62.5", "75.0"]
    assert [row[3] for row in found.values()] == ["", "+12.5", "+37.5", "+50.0"]
    with (paths.folder / "csv" / "learning-curve.csv").open(encoding="utf-8") as file:
        values = {row["quantity"]: float(row["value"]) for row in csv.DictReader(file)}
    assert values["learning-curve-40"] == pytest.approx((14 + 16) / 48)
    page = paths.page.read_text()
    assert "## Figure 3. Learning curve" in page
    assert "(figures/figure-3-learning-curve.png)" in page
    assert [path.suffix for path in paths.curves] == [".svg", ".png"]
    assert "Controls" not in page


def test_the_figure_shows_each_point_and_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    evidence = read_evidence(CURVE.write(tmp_path))
    curve = points_of(evidence, "lora")
    for name in ("a.svg", "b.svg"):
        figures.save(figures.learning_curve({"lora": curve, "other": curve}), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    axes = figures.learning_curve({"lora": curve}).axes[0]
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [0, 10, 40, 80]  # type: ignore[union-attr]
    assert line.get_ydata().tolist() == pytest.approx([25.0, 37.5, 62.5, 75.0])  # type: ignore[union-attr]


def test_a_size_that_a_culture_has_not_is_said(tmp_path: Path) -> None:
    right = {kind: right for kind, right in CURVE.right.items() if kind[1] != "learning-curve-40.Mexico"}
    table = tables(Small(right), tmp_path)["learning-curve"]
    assert "a mean over fewer cultures than `all`: learning-curve-40 Spain." in table.text
    (row,) = [row for row in table.rows if "40" in row[0]]
    assert row[2] == "58.3"  # 14/24
    assert "fewer cultures" not in tables(CURVE, tmp_path / "whole")["learning-curve"].text


def test_a_part_that_is_missing_is_said_and_not_drawn(tmp_path: Path) -> None:
    gone = frozenset({("lora", f"learning-curve-10.{culture}") for culture in CULTURES})
    evidence = read_evidence(Small(CURVE.right, missing=gone).write(tmp_path))
    curve = points_of(evidence, "lora")
    assert [point.mean for point in curve] == [0.0, 40.0, 80.0, None]
    (line,) = figures.learning_curve({"lora": curve}).axes[0].lines
    assert len(line.get_xdata()) == 3  # type: ignore[arg-type]
    (table,) = [table for section in sections(Cells(evidence)) for table in section.tables if table.key == "learning-curve"]
    assert table.rows[-1][:3] == ("LoRA, learning-curve-10", "missing", "missing")
    assert table.rows[-1][-3] == "0 of 2"


# Terms ------------------------------------------------------------------------------------------------------------------------------------


def test_what_may_not_be_passed_on_is_said(tmp_path: Path) -> None:
    data = {"licence": "no licence stated", "passing_on": "files derived from it may not be uploaded or passed on", "restrictions": ""}
    page = build_report(Small({("none", ""): everywhere(6)}, data=data).write(tmp_path)).page.read_text()
    terms = page[page.index("## Terms of the data") :]
    assert "* licence: no licence stated" in terms
    assert "* passing on: files derived from it may not be uploaded or passed on" in terms
    assert "restrictions" not in terms


def test_the_terms_of_a_control_s_own_data_set_stand_beside_those_of_the_study(tmp_path: Path) -> None:
    source = {"name": "neutral", "citation": "Somebody (2026)", "licence": "CC-BY-4.0", "url": "", "restrictions": "", "passing_on": ""}
    row = {"split": "s", "control": "general-format", "set": "general-format", "questions": 9, "templates": 9, "own_test": 0, "dropped": {}}
    study = Small({**BASE, ("lora", "general-format"): everywhere(7)}, sets=({**row, "source": source},))
    paths = build_report(study.write(tmp_path))
    terms = paths.page.read_text().partition("## Terms of the data")[2]
    assert "* general-format: name: neutral" in terms
    assert "* general-format: citation: Somebody (2026)" in terms
    with (paths.folder / "csv" / "control-sets.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert (line["source"], line["questions"], line["dropped"]) == ("neutral", "9", "0")
