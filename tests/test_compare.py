"""Two studies beside each other: paired where they tested the same questions, and said so where they did not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import scipy.stats
from typer.testing import CliRunner

from affinage.cli.root import app
from affinage.records import UserError
from affinage.report import read_evidence
from affinage.report.compare import Comparison, Difference, compare, tables, text, write_comparison
from affinage.report.language import speaking
from affinage.stats import Estimate, unpaired
from affinage.store import read_json, write_json
from plays import Play
from small_studies import BASE, Right, Small, everywhere

NAMES = ("before", "after")


def both(folder: Path, first: Small | Play, second: Small | Play) -> Comparison:
    written = [each.write(folder / name) for name, each in zip(NAMES, (first, second), strict=True)]
    return compare(read_evidence(written[0]), read_evidence(written[1]), NAMES)


def small(right: Mapping[tuple[str, str], Right], **values: Any) -> Small:
    return Small(right, **{"data": {"digest": "abc"}, **values})


def one(found: Comparison, quantity: str, label: str = "lora", culture: str = "") -> Difference:
    (chosen,) = [each for each in found.differences if (each.label, each.quantity, each.culture) == (label, quantity, culture)]
    return chosen


BETTER = {**BASE, ("lora", "Spain"): {"Spain": range(21), "Mexico": range(8)}}
"""The Spanish adapter knows three of 24 templates more."""


def test_the_same_questions_are_paired(tmp_path: Path) -> None:
    found = both(tmp_path, small(BASE), small(BETTER))
    assert found.splits == {"fold-0-of-2": "fold-0-of-2"}
    own = one(found, "own culture")
    assert own.first.value == pytest.approx(0.75)
    assert own.second.value == pytest.approx(0.75 + 3 / 48)
    assert own.change.value == pytest.approx(3 / 48)
    spain, mexico = (one(found, "own culture", culture=culture) for culture in ("Spain", "Mexico"))
    assert spain.change.value == pytest.approx(3 / 24)
    assert (mexico.change.value, mexico.change.low) == (0.0, 0.0)
    assert one(found, "untouched", "").change.value == 0.0
    assert one(found, "own culture − untouched").change.value == pytest.approx(3 / 48)
    # The other cultures' adapters are as before, so all of the change is the own one's.
    assert one(found, "own culture − other cultures").change.value == pytest.approx(3 / 48)


def test_the_interval_of_a_paired_difference_is_that_of_the_templates_differences(tmp_path: Path) -> None:
    change = one(both(tmp_path, small(BASE), small(BETTER)), "own culture", culture="Spain").change
    differences = [1.0] * 3 + [0.0] * 21
    low, high = scipy.stats.t.interval(0.95, 23, sum(differences) / 24, scipy.stats.sem(differences))
    assert change.low == pytest.approx(low)
    assert change.high == pytest.approx(high)
    assert change.templates == 24


def test_what_only_one_of_them_tested_is_in_neither_number(tmp_path: Path) -> None:
    first, second = small(BASE).write(tmp_path / "before"), small(BASE).write(tmp_path / "after")
    for file in (second / "runs").rglob("scores/Spain.parquet"):
        pl.read_parquet(file).filter(pl.col("template_id") < "T12").write_parquet(file)
    own = one(compare(read_evidence(first), read_evidence(second), NAMES), "own culture", culture="Spain")
    assert (own.first.value, own.second.value, own.change.templates) == (1.0, 1.0, 12)


def without_digest(study: Path, digest: str) -> Path:
    plan = read_json(study / "plan" / "plan.json")
    write_json(study / "plan" / "plan.json", {**plan, "data": {**plan["data"], "digest": digest}})
    return study


def test_other_data_are_not_paired_and_the_page_says_why(tmp_path: Path) -> None:
    first, second = Play().write(tmp_path / "before"), without_digest(Play(own=0.6).write(tmp_path / "after"), "another")
    found = compare(read_evidence(first), read_evidence(second), NAMES)
    assert not found.splits
    own = one(found, "own culture", "prompt-tuning")
    assert own.change == unpaired(own.second, own.first)
    assert own.change.above is False
    paired = one(both(tmp_path / "paired", Play(), Play(own=0.6)), "own culture", "prompt-tuning").change
    assert paired.value == pytest.approx(own.change.value)
    assert paired.error is not None
    assert own.change.error is not None
    assert paired.error < own.change.error  # what a question is worth cancels only in pairs
    page = text(found)
    assert "Not paired: their data differ (another digest)" in page
    assert ("data found: digest", "abc", "another") in found.keys


def test_other_splits_are_not_paired(tmp_path: Path) -> None:
    found = both(tmp_path, Play(folds=2), Play(folds=3))
    assert "no split of the one has the same sides" in found.why
    assert not math.isnan(one(found, "own culture", "prompt-tuning").change.value)


def test_two_numbers_that_share_nothing_have_the_interval_of_welch() -> None:
    rng_one, rng_two = [0.1 * k for k in range(12)], [0.05 * k * k for k in range(15)]
    estimates = []
    for values in (rng_one, rng_two):
        mean, error = sum(values) / len(values), float(scipy.stats.sem(values))
        estimates.append(Estimate(mean, error, 0.0, 0.0, len(values), float(len(values)), len(values), len(values)))
    found = unpaired(*estimates)
    interval = scipy.stats.ttest_ind(rng_one, rng_two, equal_var=False).confidence_interval(0.95)
    assert found.low == pytest.approx(interval.low)
    assert found.high == pytest.approx(interval.high)
    assert (found.groups, found.questions) == (12, 27)
    without = replace(estimates[0], error=None, low=None, high=None)
    assert unpaired(without, estimates[1]).low is None
    with pytest.raises(ValueError, match=r"intervals of 0\.9 and 0\.95"):
        unpaired(replace(estimates[0], level=0.9), estimates[1])


def test_sentences_say_higher_lower_or_not_shown(tmp_path: Path) -> None:
    worse = {**BASE, ("lora", "Spain"): {"Spain": range(4)}, ("lora", "Mexico"): {"Mexico": range(4)}}
    up, down, same = (
        both(tmp_path / "u", small(worse), small(BASE)),
        both(tmp_path / "d", small(BASE), small(worse)),
        both(tmp_path / "s", small(BASE), small(BETTER)),
    )
    sentences = [next(note for note in tables(found)[0].notes if note.startswith("LoRA, own culture:")) for found in (up, down, same)]
    assert sentences[0].startswith("LoRA, own culture: higher in after than in before, +58.3 points (95 % interval ")
    assert sentences[1].startswith("LoRA, own culture: lower in after than in before, −58.3 points")
    assert sentences[2].startswith("LoRA, own culture: before and after are not shown to differ, +6.2 points")
    assert "contains zero" in sentences[2]


def test_keys_methods_and_cultures_that_differ_are_named(tmp_path: Path) -> None:
    second = {**BASE, ("prompt-tuning", "Spain"): everywhere(12)}
    found = both(tmp_path, small(BASE), small(second))
    assert found.labels == ("lora",)
    assert found.only == ((), ("prompt-tuning",))
    assert found.keys == ()
    other = both(tmp_path / "other", Play(), Play(starts=1, cultures=("Spain", "Atlantis")))
    assert ("starts", 2, 1) in other.keys
    assert other.cultures == ("Spain", "Atlantis")
    assert other.only[0] == ("South_Korea",)
    assert "Only in before: South Korea." in text(other)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"data": {"name": "another source"}}, "a study of small and one of another source"),
        ({"missing": frozenset(BASE)}, "none finished"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        both(tmp_path, small(BASE), small(BASE, **second))


def test_studies_without_a_culture_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a culture that both tested"):
        both(tmp_path, Play(cultures=("Spain",)), Play(cultures=("Atlantis",)))


def test_the_files_hold_every_number(tmp_path: Path) -> None:
    found = both(tmp_path, small(BASE), small(BETTER))
    page, numbers, keys = write_comparison(found, tmp_path / "out")
    rows = pl.read_csv(numbers)
    assert rows.height == len(found.differences) == 3 * 4
    own = rows.filter((pl.col("quantity") == "own culture") & (pl.col("culture") == "Spain")).row(0, named=True)
    assert (own["first_value"], own["second_value"], own["paired"]) == (0.75, 0.875, True)
    assert own["difference_value"] == pytest.approx(0.125)
    assert pl.read_csv(keys).columns == ["key", *NAMES]
    assert "| LoRA, own culture, Spain | 75.0 | 87.5 | +12.5 |" in page.read_text(encoding="utf-8")
    with speaking("fr"):
        assert "| LoRA, culture propre, Spain | 75,0 | 87,5 | +12,5 |" in text(found)


def test_the_command_prints_the_table_and_writes_the_files(tmp_path: Path) -> None:
    first, second = small(BASE).write(tmp_path / "one"), small(BETTER).write(tmp_path / "two")
    result = CliRunner().invoke(app, ["compare", str(first), str(second)])
    assert result.exit_code == 0, result.output
    assert "LoRA, own culture" in result.output
    assert "not shown to differ" in result.output
    assert (second / "report" / "beside-one" / "compare.md").is_file()
    refused = CliRunner().invoke(app, ["compare", str(first), str(tmp_path / "nowhere")])
    assert refused.exit_code == 2
