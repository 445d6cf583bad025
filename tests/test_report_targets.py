"""Report: the two targets of an interval, every number computed from its definition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from affinage import seeds
from affinage.config import StudyConfig
from affinage.records import ItemScore, Split
from affinage.report import read_evidence, targets
from affinage.report.cells import Cells
from affinage.report.language import speaking
from affinage.report.table import Section, Table
from affinage.store import QUESTION_SCHEMA, PlanRecord
from plays import lay, planned_run, question
from small_studies import BASE, CULTURES, Small, template

STARTS = 2
POOL = 40


def drawn_study(folder: Path, *, splits: int = 3, kind: str = "search", tested: int = 20, rows: int = 1, starts: int = STARTS) -> Path:
    """Splits that share templates; in split s the adapters of the own culture are the better the higher s is. Template 0 has `rows` questions."""
    ids = [template(number) for number in range(POOL)]
    sides = [frozenset(seeds.generator("targets", split).permutation(ids)[:tested].tolist()) for split in range(splits)]
    made = tuple(Split(f"s{number}", frozenset(ids) - side, side) for number, side in enumerate(sides))
    kinds = [("none", "", 1), *(("lora", culture, starts) for culture in CULTURES)]
    runs = tuple(planned_run(label, trained, split.name, start) for label, trained, count in kinds for split in made for start in range(count))
    config = StudyConfig.model_validate({"name": "targets", "starts": starts, "splits": {"kind": kind, "count": splits}})
    record = PlanRecord(made, CULTURES, runs, (), {split.name: 0.0 for split in made}, {"name": "small", "licence": "CC-BY-4.0"}, {"id": "tiny"})

    def asked(split: Split, culture: str) -> list[tuple[str, str]]:
        return [(each, f"{each}-{culture}-{row}") for each in sorted(split.test_templates) for row in range(rows if each == min(sides[0]) else 1)]

    def scores(run: Any, tested_culture: str) -> list[ItemScore]:
        split = next(each for each in made if each.name == run["split"])
        found = []
        for each, name in asked(split, tested_culture):
            skill = 0.3
            if run["trained_culture"]:
                skill = 0.7 + 0.05 * int(split.name[1:]) if run["trained_culture"] == tested_culture else 0.4
            noise = seeds.uniform("own", name, run["run"]) if run["trained_culture"] else 0.0
            chosen = 0 if 0.7 * seeds.uniform("easy", name) + 0.3 * noise < skill else 3
            options = tuple(-0.5 if option == chosen else -4.0 for option in range(4))
            found.append(ItemScore(name, each, tested_culture, 0, (0, 1, 2, 3), options, (1,) * 4, (1,) * 4, (), 0.9, 5, 0.8, chosen == 0))
        return found

    questions = [question(split.name, culture, name, each) for split in made for culture in CULTURES for each, name in asked(split, culture)]
    return lay(folder, config, record, pl.DataFrame(questions, schema=QUESTION_SCHEMA, orient="row"), scores)


def section_of(study: Path) -> Section:
    found = targets.section(Cells(read_evidence(study)))
    assert found is not None
    return found


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    assert len({row[0] for row in table.rows}) == len(table.rows)
    assert {len(row) for row in table.rows} == {len(table.header)}
    return {row[0]: row[1:] for row in table.rows}


def long_of(section: Section) -> dict[tuple[str, str], dict[str, Any]]:
    """The CSV's lines, by difference and interval."""
    ((name, frame),) = section.frames
    assert name == "targets"
    return {(row["difference"], row["interval"]): row for row in frame.to_dicts()}


KINDS = ("(a) by template", "(a) by row", "(b)", "(b), corrected")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_study(tmp_path_factory.mktemp("targets"))


def split_means(study: Path, others: bool) -> list[float]:
    """Own minus untouched, or minus the other culture's adapter of the same start: mean over (run, culture) of each split, question by question."""
    evidence = read_evidence(study)
    credit = {(row["run"], row["mcq_id"]): row["choice"] for row in evidence.rows.iter_rows(named=True)}
    by_kind = {(run.label, run.trained_culture, run.split, run.start): run.run for run in evidence.study.runs}
    means = []
    for split in evidence.study.plan.splits:
        runs = []
        for culture, other in (CULTURES, CULTURES[::-1]):
            for start in range(STARTS):
                own = by_kind["lora", culture, split.name, start]
                against = by_kind["lora", other, split.name, start] if others else by_kind["none", "", split.name, 0]
                names = [f"{each}-{culture}-0" for each in split.test_templates]
                runs.append(np.mean([credit[own, name] - credit[against, name] for name in names]))
        means.append(float(np.mean(runs)))
    return means


@pytest.mark.parametrize(("key", "head"), [("untouched", "LoRA, own − untouched"), ("others", "LoRA, own − other cultures")])
def test_the_differences_and_the_corrected_interval_are_those_of_the_splits_means(study: Path, key: str, head: str) -> None:
    found = section_of(study)
    means = split_means(study, key == "others")
    lines = {interval: row for (difference, interval), row in long_of(found).items() if difference == f"own - {key}"}
    assert len(lines) == 4
    # One question per template: by template and by row are the same number.
    assert [row["value"] for row in lines.values()] == pytest.approx([np.mean(means)] * 4)
    error = math.sqrt((1 / 3 + 20 / 20) * float(np.var(means, ddof=1)))
    corrected = lines["corrected resampled variance"]
    assert corrected["error"] == pytest.approx(error)
    half = float(scipy.stats.t.ppf(0.975, 2)) * error
    text = rows(found.tables[0])[f"{head}: (b), corrected"]
    value = float(np.mean(means))
    assert text[1] == f"{100 * (value - half):+.1f} to {100 * (value + half):+.1f}".replace("-", "−")
    assert text[3] == "3"


def test_every_difference_stands_under_every_target(study: Path) -> None:
    found = section_of(study)
    heads = ("LoRA, own − untouched", "LoRA, own − other cultures")
    assert list(rows(found.tables[0])) == [f"{head}: {kind}" for head in heads for kind in KINDS]
    assert found.tables[0].rules == (4,)
    for key in ("untouched", "others"):
        one, other = (long_of(found)[f"own - {key}", interval] for interval in ("jackknife", "templates crossed with splits"))
        assert other["error"] >= one["error"]
        assert other["refused"] is None
        assert other["lower_bound"]
        assert one["lower_bound"] is None
    assert any("lower bound of the uncertainty" in note for note in found.tables[0].notes)


def test_the_components_show_what_differs_from_split_to_split(tmp_path: Path, study: Path) -> None:
    table = section_of(study).tables[1]
    assert table.key == "targets-components"
    parts = long_of(section_of(study))["own - untouched", "templates crossed with splits"]
    shown = rows(table)["LoRA, own − untouched"]
    names = ("template_deviation", "split_deviation", "start_deviation", "rest_deviation")
    assert shown == tuple(f"{100 * parts[name]:.1f}" for name in names)
    assert parts["template_deviation"] > 0.1


@pytest.mark.parametrize(
    ("made", "cell", "note"),
    [
        ({"splits": 2}, "too few splits", "(b) needs 3 splits or more"),
        ({"kind": "folds"}, "not for folds or topics", "Folds are parts of one division"),
        ({"tested": 3}, "too few templates", None),
    ],
)
def test_a_number_without_interval_says_why(tmp_path: Path, made: dict[str, Any], cell: str, note: str | None) -> None:
    table = section_of(drawn_study(tmp_path, starts=1, **made)).tables[0]
    found = rows(table)
    for kind in KINDS[2:]:
        value, interval, *_ = found[f"LoRA, own − untouched: {kind}"]
        assert interval == cell
        assert value.startswith("+")
    assert note is None or any(each.startswith(note) for each in table.notes)
    assert not any("lower bound" in each for each in table.notes)
    by_template = found["LoRA, own − untouched: (a) by template"][1]
    assert (by_template == "too few templates") == (cell == "too few templates")


def test_rows_in_a_few_templates_are_said(tmp_path: Path) -> None:
    even, uneven = (section_of(drawn_study(tmp_path / str(rows), tested=36, rows=rows, starts=1)) for rows in (1, 8))
    assert not any(note.startswith("By row") for note in even.tables[0].notes)
    (note,) = [note for note in uneven.tables[0].notes if note.startswith("By row")]
    effective = long_of(uneven)["own - untouched", "studentised bootstrap"]["effective_groups"]
    assert 10 < effective < 30
    assert f"the fewest: {math.floor(10 * effective) / 10:.1f}" in note


def test_one_split_of_a_small_study_has_the_numbers_of_the_verdict(tmp_path: Path) -> None:
    found = section_of(Small(BASE).write(tmp_path))
    assert len(found.tables) == 1
    table = rows(found.tables[0])
    # Own 75 %, untouched 25 %, other cultures' adapters 8 and 10 of 24.
    assert [table[f"LoRA, own − untouched: {kind}"][0] for kind in KINDS] == ["+50.0"] * 4
    assert [table[f"LoRA, own − other cultures: {kind}"][0] for kind in KINDS] == ["+37.5"] * 4
    differences = np.repeat([0.0, 1.0, 0.0], [6, 12, 6])
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert table["LoRA, own − untouched: (a) by template"][1] == f"+{100 * expected.low:.1f} to +{100 * expected.high:.1f}"


def test_a_study_that_trained_nothing_has_no_such_section(tmp_path: Path) -> None:
    assert targets.section(Cells(read_evidence(Small({("none", ""): BASE["none", ""]}).write(tmp_path)))) is None


def test_the_sides_are_those_of_the_plan(study: Path, tmp_path: Path) -> None:
    sides = targets.sides_of(read_evidence(study))
    assert (sides.drawn, sides.test, sides.train, sides.overlap) == (True, 20, 20, True)
    alone = targets.sides_of(read_evidence(Small(BASE).write(tmp_path)))
    assert (alone.drawn, alone.test, alone.train, alone.overlap) == (False, 24, 2, False)


def test_draws_are_the_same_however_many_there_are(study: Path) -> None:
    evidence = read_evidence(study)
    few, many = targets.drawn(evidence, 20), targets.drawn(evidence, 100)
    assert few.groups == many.groups
    assert np.array_equal(few.counts, many.counts[:20])
    assert len(few.groups) == evidence.rows["group"].n_unique()


def test_in_french_too(study: Path) -> None:
    with speaking("fr"):
        found = section_of(study)
    assert found.tables[0].title.endswith("ce dont parle chaque intervalle")
    assert [head.partition(",")[2][:16] for head in rows(found.tables[0])] == [" propre − intact"] * 4 + [" propre − autres"] * 4
