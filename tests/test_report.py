"""Report: from score files on disk to tables, figures and sentences."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from affinage.config import MethodConfig
from affinage.data.baselines import BASELINE_NAMES
from affinage.records import BASELINES, UserError
from affinage.report import Evidence, build_report, demo_table, figures, markdown, read_evidence, reference, verdicts, words
from affinage.report.cells import Cells
from affinage.report.latex import table as latex_table
from affinage.report.tables import tables
from affinage.report.words import points
from affinage.stats import Estimate
from plays import CULTURES, Play


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Play().write(tmp_path_factory.mktemp("play"))


@pytest.fixture(scope="module")
def evidence(played: Path) -> Evidence:
    return read_evidence(played)


@pytest.fixture(scope="module")
def report(played: Path) -> Path:
    return build_report(played).folder


def cell_lines(report: Path) -> list[dict[str, str]]:
    with (report / "csv" / "cells.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def one(lines: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    (found,) = [line for line in lines if all(line[key] == value for key, value in wanted.items())]
    return found


HEADLINE = {"reading": "choice", "average": "template"}


# What is computed ----------------------------------------------------------------------------------------------------------------------


def test_every_cell_equals_a_count_over_the_score_files(played: Path, report: Path) -> None:
    lines = cell_lines(report)
    assert len(lines) == 3 * (2 * (1 + 1 + 6 + 3) + 2 * (1 + 1 + 3))
    for trained, tested in [("Spain", "Spain"), ("Spain", "Atlantis"), ("", "Spain"), ("untrained", "South_Korea")]:
        folder = f"runs/{'prompt-tuning' if trained else 'none'}/{trained or 'untouched'}"
        files = sorted((played / folder).glob(f"*/scores/{tested}.parquet"))
        assert len(files) == (4 if trained else 2)
        shares = []
        for file in files:
            rows = pl.read_parquet(file).to_dicts()
            shares.append(sum(max(range(4), key=row["logprob"].__getitem__) == row["answer"] for row in rows) / len(rows))
        mean = sum(shares) / len(shares)
        deviation = (sum((share - mean) ** 2 for share in shares) / (len(shares) - 1)) ** 0.5
        label = "prompt-tuning" if trained else "none"
        line = one(lines, label=label, trained_culture=trained, tested_culture=tested, reading="choice", average="row")
        assert float(line["accuracy"]) == pytest.approx(mean)
        assert float(line["deviation"]) == pytest.approx(deviation)
        assert (line["questions"], line["templates"], line["missing_runs"], line["unscored_rows"]) == ("96", "48", "0", "0")
        assert len(line["run_paths"].split()) == int(line["runs"]) == len(files)


def test_a_gain_is_paired_by_run_and_test_side(evidence: Evidence) -> None:
    cell = Cells(evidence).cell(("prompt-tuning", "Spain"), "Spain", "choice", "row")
    by_run = {(row["label"], row["trained_culture"], row["split"], row["start"]): row["accuracy"] for row in _by_row(evidence, "Spain")}
    gains = [by_run["prompt-tuning", "Spain", s, k] - by_run["none", "", s, 0] for s in evidence.splits for k in (0, 1)]
    assert cell.gain is not None
    assert cell.gain.mean == pytest.approx(sum(gains) / 4)
    assert cell.gain.count == 4
    assert cell.gain.mean > 0.3


def _by_row(evidence: Evidence, tested: str) -> list[dict[str, Any]]:
    wanted = (pl.col("culture") == tested) & (pl.col("average") == "row") & (pl.col("reading") == "choice")
    return Cells(evidence).runs.filter(wanted).to_dicts()


@pytest.mark.parametrize("program", BASELINES)
def test_each_program_is_a_row_computed_on_the_same_split(evidence: Evidence, report: Path, program: str) -> None:
    questions = evidence.study.questions.filter(pl.col("culture") == "Spain")
    by_split = questions.group_by("split").agg(pl.col(program).mean())[program].to_list()
    line = one(cell_lines(report), label=BASELINE_NAMES[program], tested_culture="Spain", reading="choice", average="row")
    assert float(line["accuracy"]) == pytest.approx(sum(by_split) / 2)
    assert line["runs"] == "2"


def test_the_tables_end_with_every_program_the_association_first(evidence: Evidence) -> None:
    names = [BASELINE_NAMES[program] for program in BASELINES]
    assert names[0] == "word-country association"
    for table in tables(Cells(evidence)):
        if "table-2" not in table.key and "table-3" not in table.key and "reference" not in table.key and not table.appendix:
            assert [row[0] for row in table.rows[-7:]] == [*names, "chance"]


def test_a_method_stands_beside_the_program_that_is_right_most_often(evidence: Evidence) -> None:
    cells = Cells(evidence)
    (found,) = verdicts(evidence)
    programs = {row.name: row.estimate.value for row in found.rows if row.name in BASELINE_NAMES.values()}
    assert len(programs) == 6
    best = max(programs, key=programs.__getitem__)
    assert found.program is not None
    assert f"Prompt-tuning is better than {best} (of the programs" in found.program.sentence
    own, program = (next(row.estimate.value for row in found.rows if row.name == name) for name in ("prompt-tuning, own culture", best))
    assert found.program.estimate.value == pytest.approx(own - program)
    table = tables(cells)[0]
    (line,) = [row for row in table.rows if row[0].startswith("  own − ") and "untouched" not in row[0]]
    assert line[0] == f"  own − {best}, paired"
    ours = cells.cell(("prompt-tuning", "Spain"), "Spain", "choice", "template").accuracy
    theirs = cells.cell((best, ""), "Spain", "choice", "template").accuracy
    assert ours is not None
    assert theirs is not None
    assert line[1].startswith(points(ours.mean - theirs.mean))


def test_unscored_questions_are_counted_and_in_no_mean(tmp_path: Path) -> None:
    evidence = read_evidence(Play(unscored=1).write(tmp_path))
    cell = Cells(evidence).cell(("prompt-tuning", "Spain"), "Spain", "choice", "row")
    assert cell.unscored == 4
    assert cell.questions == 94
    text = tables(Cells(evidence))[0].text
    assert "30 rows could not be scored and are in no mean" in text


# What is missing, and what is no result ---------------------------------------------------------------------------------------------------


def test_missing_runs_are_said_in_the_cell(tmp_path: Path) -> None:
    missing = (("Spain", 1), ("Atlantis", 0), ("Atlantis", 1))
    evidence = read_evidence(Play(missing=missing).write(tmp_path))
    own = next(table for table in tables(Cells(evidence)) if table.key == "table-4-prompt-tuning")
    rows = {row[0]: row for row in own.rows}
    assert all(cell.endswith("[2 of 4 missing]") for cell in rows["Spain"][1:4])
    assert rows["Spain"][-1] == "2 of 4"
    assert set(rows["Atlantis"][1:4]) == {"missing (4)"}
    assert "missing" not in "".join(rows["South Korea"])
    assert "runs are missing: their numbers will change" in own.text
    figures.heat_map(Cells(evidence), "prompt-tuning", (20.0, 80.0))
    found = verdicts(evidence)[0]
    assert all("6 runs are missing: this will change." in claim.sentence for claim in found.claims)
    assert found.conclusion == "6 of 12 runs are missing: no conclusion yet."
    assert ("prompt-tuning, own culture", "6 of 12") in {(row[0], row[3]) for row in demo_table([found]).rows}


def test_provisional_runs_are_never_mixed_with_results(tmp_path: Path) -> None:
    folder = Play(missing=(("Spain", 1),)).write(tmp_path)
    trial = next((folder / "runs/prompt-tuning/Spain").glob("*/run.json"))
    trial.write_text(trial.read_text().replace('"provisional": []', '"provisional": ["--limit 8"]'))
    evidence = read_evidence(folder)
    assert (evidence.set_aside, evidence.trial) == (1, ())
    assert Cells(evidence).cell(("prompt-tuning", "Spain"), "Spain", "choice", "row").missing == 3
    assert "provisional and therefore left out: 1 run." in build_report(folder).page.read_text()


@pytest.mark.parametrize(
    ("play", "reason"),
    [(Play(provisional=("--limit 8",)), "--limit 8"), (Play(side="development"), "tested on the development side")],
)
def test_a_report_of_trials_says_so_first(tmp_path: Path, play: Play, reason: str) -> None:
    page = build_report(play.write(tmp_path)).page.read_text()
    assert page.startswith("# Provisional: a play")
    assert f"**Provisional, no result: {reason}" in page


def test_nothing_finished_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    none = tuple((trained, start) for trained in ("", "untrained", *CULTURES) for start in (0, 1))
    with pytest.raises(UserError, match=r"18 planned runs, none finished.*affinage study plan"):
        read_evidence(Play(missing=none).write(tmp_path))


def test_a_study_of_the_untouched_model_alone_has_a_report(tmp_path: Path) -> None:
    paths = build_report(Play(labels=()).write(tmp_path))
    assert not paths.verdicts
    assert not paths.figures
    assert "### Table 3." in paths.page.read_text()


def test_a_label_of_odd_characters_makes_plain_file_names(tmp_path: Path) -> None:
    paths = build_report(Play(labels=("lora r=8/all %",)).write(tmp_path))
    assert [path.name for path in paths.figures] == ["figure-2-1-lora-r-8-all-.svg", "figure-2-1-lora-r-8-all-.png"]
    assert r"\label{tab:table-4-lora-r-8-all-}" in (paths.folder / "latex/table-4-lora-r-8-all-.tex").read_text()


def test_a_folder_without_a_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.yaml"):
        build_report(tmp_path)


# What is said -----------------------------------------------------------------------------------------------------------------------------

LEARNED = "learned the culture"
PRAISE = re.compile(r"\b(better|gain\w*|improve\w*|learn\w*|higher)\b")


@pytest.mark.parametrize(
    ("play", "holds"),
    [
        (Play(), (True, True, True)),
        (Play(own_new=0.3), (True, True, False)),
        (Play(other=0.75), (True, False, True)),
        (Play(own=0.3, other=0.3), (False, False, False)),
        (Play(own=0.1, other=0.3), (False, False, False)),
        (Play(templates=16), (False, False, False)),
        (Play(cultures=CULTURES[:1]), (True, False, True)),
    ],
    ids=["all three", "nothing new", "no culture", "no difference", "worse", "too few templates", "one culture"],
)
def test_what_may_be_said(tmp_path: Path, play: Play, holds: tuple[bool, bool, bool]) -> None:
    evidence = read_evidence(play.write(tmp_path))
    (found,) = verdicts(evidence)
    assert tuple(claim.holds for claim in found.claims) == holds
    page = markdown.page(evidence, [found], tables(Cells(evidence)), [])
    assert (LEARNED in page) == (holds[1] and holds[2])
    assert (LEARNED in found.conclusion) == (holds[1] and holds[2])
    for claim in found.claims:
        assert bool(PRAISE.search(claim.sentence)) == claim.holds
        assert claim.sentence in page
    if not holds[0]:
        assert not PRAISE.search(found.conclusion)


@pytest.mark.parametrize("other", [0.6, 0.71, 0.9])
@pytest.mark.parametrize("own_new", [0.2, 0.33, 0.75])
def test_learning_is_never_claimed_without_the_second_and_the_third(tmp_path: Path, other: float, own_new: float) -> None:
    (found,) = verdicts(read_evidence(Play(other=other, own_new=own_new, cultures=CULTURES[:2], starts=1).write(tmp_path)))
    _, own, new = found.claims
    for claim in (own, new):
        assert claim.estimate.low is not None
        if LEARNED in found.conclusion:
            assert claim.estimate.low > 0


@pytest.mark.parametrize(("own", "said"), [(0.75, False), (0.52, True)])
def test_who_learned_no_more_than_a_word_counter_knows_is_said_not_to_beat_it(tmp_path: Path, own: float, said: bool) -> None:
    (found,) = verdicts(read_evidence(Play(own=own, own_new=own, other=0.3).write(tmp_path)))
    assert LEARNED in found.conclusion
    assert found.program is not None
    assert found.program.estimate.above is not said
    assert ("It is not shown to be better than word-country association, which has no language model." in found.conclusion) is said


def test_worse_is_called_worse_and_no_difference_no_difference(tmp_path: Path) -> None:
    worse = verdicts(read_evidence(Play(own=0.1, other=0.3).write(tmp_path / "worse")))[0].claims[0]
    assert worse.estimate.below
    assert "Prompt-tuning is worse than the untouched model on its own culture: −" in worse.sentence
    same = verdicts(read_evidence(Play(own=0.3).write(tmp_path / "same")))[0].claims[0]
    assert "is not shown to differ from the untouched model" in same.sentence
    assert "0.0 points" in same.sentence
    assert "contains zero" in same.sentence


def test_few_templates_get_numbers_without_a_verdict(tmp_path: Path) -> None:
    (found,) = verdicts(read_evidence(Play(templates=16).write(tmp_path)))
    claim = found.claims[0]
    assert claim.estimate.low is None
    assert "8.0 effective template groups, 10 are needed for an interval or a verdict" in claim.sentence
    assert found.conclusion.startswith("Nothing is shown for Prompt-tuning: its difference from the untouched model has no interval")


def estimate(effective: float) -> Estimate:
    return Estimate(0.1, None, None, None, 20, effective, 1, 1)


def test_a_number_of_groups_that_is_too_small_is_not_rounded_up_to_what_is_needed() -> None:
    assert words.few(estimate(9.96)).startswith("9.9 effective template groups, 10 are needed")
    assert "10 are needed" not in words.few(estimate(12.0))
    assert "in a single template group" in words.few(estimate(12.0))


def test_one_of_a_kind_has_no_plural() -> None:
    assert words.base(estimate(1.0)) == "1 question of 1 template"
    assert words.many(1200, "question") == "1,200 questions"
    assert [words.span([3, 1], "run"), words.span([1, 1], "run"), words.span([1000, 2])] == ["1 to 3 runs", "1 run", "2 to 1,000"]


def test_the_pooled_table_has_the_five_lines_of_each_method(tmp_path: Path) -> None:
    found = verdicts(read_evidence(Play(labels=("prompt-tuning", "lora")).write(tmp_path)))
    table = demo_table(found)
    methods = [f"{label}, {what}" for label in ("prompt-tuning", "lora") for what in ("untrained", "own culture", "other cultures")]
    assert [row[0] for row in table.rows] == ["untouched", *methods, *BASELINE_NAMES.values()]
    assert table.rules == (1, 7)
    assert [note.split(":")[0] for note in table.notes] == list(BASELINE_NAMES.values())
    values = {row[0]: float(row[1]) for row in table.rows}
    assert values["lora, own culture"] > values["lora, other cultures"] > values["untouched"] == values["lora, untrained"]
    assert all(re.fullmatch(r"\d+\.\d to \d+\.\d", row[2]) for row in table.rows)
    assert {row[0]: row[3] for row in table.rows}["lora, other cultures"] == "12"


@pytest.mark.parametrize("out", [["Spain"], "each"])
def test_a_culture_that_was_held_out_is_marked_where_its_adapter_stands(out: Any, evidence: Evidence) -> None:
    def texts(which: Evidence) -> list[tuple[str, tuple[str, ...]]]:
        every = [*tables(Cells(which)), demo_table(verdicts(which))]
        return [(f"{table.key}: {row[0]}", row[1:]) for table in every for row in table.rows if not table.appendix]

    assert not any("zero-shot" in text for head, cells in texts(evidence) for text in (head, *cells))
    method = MethodConfig(name="prompt-tuning", settings={"held_out": out})
    config = evidence.study.config.model_copy(update={"methods": (method,)})
    held = replace(evidence, study=replace(evidence.study, config=config))
    assert held.held_out("prompt-tuning") == (evidence.cultures if out == "each" else ("Spain",))
    found = dict(texts(held))
    whole = out == "each"
    own = found["table-1-own-culture: Prompt-tuning, own culture"]
    assert [text.endswith(" (zero-shot)") for text in own[:-1]] == [culture == "Spain" or whole for culture in held.cultures]
    assert "table-4-prompt-tuning: Spain (zero-shot)" in found
    assert ("table-4-prompt-tuning: Atlantis" in found) == (not whole)
    assert "reference-prompt-tuning: ours: Spain (zero-shot)" in found
    assert found["reference-1-own-culture: ours: prompt-tuning, own culture"][0].endswith(" (zero-shot)")
    told = "(trained without this culture: zero-shot)" if whole else "(trained without it, zero-shot: Spain)"
    assert f"pooled: prompt-tuning, own culture {told}" in found
    for table in tables(Cells(held)):
        if table.key in {"table-1-own-culture", "table-4-prompt-tuning"}:
            assert "Zero-shot: made for a culture none of whose questions were trained on." in table.text


# Formats ----------------------------------------------------------------------------------------------------------------------------------


def test_the_page_holds_every_table_and_picture(report: Path, evidence: Evidence) -> None:
    page = (report / "report.md").read_text()
    for table in tables(Cells(evidence)):
        assert f"### {table.title}\n\n{table.text}" in page
        assert (report / "latex" / f"{table.key}.tex").exists()
        widths = {len(row) for row in (table.header, *table.rows)}
        assert len(widths) == 1
    for number in range(1, 5):
        assert f"### Table {number}." in page
    pictures = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page)
    assert [(re.split("[:,]", title)[0], name) for title, name in pictures] == [
        ("Reliability curves", "figures/reliability.png"),
        ("Heat map of Prompt-tuning", "figures/figure-2-1-prompt-tuning.png"),
    ]
    for _, name in pictures:
        assert (report / name).read_bytes().startswith(b"\x89PNG")
    assert "licence: CC-BY-4.0" in page
    assert "commit c0ffee" in page
    # Ids of questions stay as the source has them.
    assert "South_Korea" not in re.sub("[/-]South_Korea", "", page)


def test_the_split_sizes_and_ranges_are_those_of_the_plan(evidence: Evidence) -> None:
    table = next(table for table in tables(Cells(evidence)) if table.key == "table-2-split-sizes")
    assert table.rows[1] == ("South Korea", "1,000 / 48", "1,000 / 48")
    assert table.rows[-1] == ("range of the test share", "2.4 points", "2.4 points")


def test_the_study_stands_beside_ours_where_cultures_and_methods_match(evidence: Evidence) -> None:
    found = {table.key: table for table in tables(Cells(evidence)) if table.key.startswith("reference")}
    assert found["reference-1-own-culture"].header == ("", "Spain", "South Korea")
    rows = {row[0]: row[1:] for row in found["reference-1-own-culture"].rows}
    assert rows["study: prompt-tuning, own culture"] == ("80.58 (6.06)", "75.95 (4.66)")
    assert rows["study: format control"] == ("53.66 (11.56)", "45.77 (6.98)")
    pairs = {row[0]: row[1:] for row in found["reference-prompt-tuning"].rows}
    assert pairs["study: South Korea"] == ("73.97 (9.64)", "75.95 (4.66)")


def test_no_culture_in_common_means_no_reference_table(tmp_path: Path) -> None:
    evidence = read_evidence(Play(cultures=("Atlantis", "Lemuria")).write(tmp_path))
    assert not [table for table in tables(Cells(evidence)) if table.key.startswith("reference")]


def test_the_study_s_own_numbers_are_complete_and_agree_with_themselves() -> None:
    assert [sum(side) for side in reference.SPLIT_SIZES["Spain"]] == [19280] * 3
    totals = [{sum(side) for side in reference.SPLIT_SIZES[culture]} for culture in reference.CULTURES]
    assert totals == [{19280}, {20513}, {20410}, {21439}, {19371}, {20364}]
    own = {method: [reference.PAIRS[method][c][c][0] for c in reference.CULTURES] for method in reference.METHODS}
    gains = [own[m][k] - reference.UNTOUCHED[c][0] for m in reference.METHODS for k, c in enumerate(reference.CULTURES)]
    assert min(gains) == pytest.approx(6.34)
    assert reference.known("South_Korea") == reference.known("south korea") == "South Korea"
    assert reference.known("North_Korea") is None


def test_without_letters_there_is_no_greedy_reading(tmp_path: Path) -> None:
    paths = build_report(Play(letters=False).write(tmp_path))
    assert "greedy" not in paths.page.read_text().replace("greedy first token is", "")
    assert {line["reading"] for line in cell_lines(paths.folder)} == {"choice"}


def test_latex_escapes_what_latex_would_read(evidence: Evidence) -> None:
    table = replace(tables(Cells(evidence))[0], title="Table 1. 5 % of a_b & {c}", rows=(("  own − untouched", "+1.0 (0.5)", "", "", "3–4"),))
    text = latex_table(table)
    assert r"\caption{5 \% of a\_b \& \{c\}. " in text
    assert r"\quad own $-$ untouched & +1.0 (0.5) &  &  & 3--4 \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 3
    assert "LuaLaTeX" not in text
    assert "LuaLaTeX" in latex_table(replace(table, notes=("떡국",)))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_reads_every_table(tmp_path: Path) -> None:
    paths = build_report(Play().write(tmp_path))
    names = sorted(path.name for path in paths.latex)
    assert len(names) > 10
    body = "\n".join(rf"\input{{{name}}}\clearpage" for name in names)
    head = r"\documentclass{article}\usepackage{booktabs,adjustbox}\usepackage[T1]{fontenc}"
    (paths.folder / "latex" / "all.tex").write_text(rf"{head}\begin{{document}}{body}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    run = subprocess.run(command, cwd=paths.folder / "latex", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]


def test_figures_are_the_same_bytes_for_the_same_numbers(evidence: Evidence, tmp_path: Path) -> None:
    cells = Cells(evidence)
    for name in ("a.svg", "b.svg"):
        figures.save(figures.heat_map(cells, "prompt-tuning", figures.heat_scale(cells)), tmp_path / name)
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text()
    for text in ("South Korea", "untouched model", "untrained adapter", "tested on", "chance is 25.0"):
        assert text in svg


def test_a_map_of_six_cultures_with_long_names_can_be_drawn(tmp_path: Path) -> None:
    names = ("Northern_Nigeria", "Azerbaijan", "West_Java", "North_Korea", "South_Korea", "Ethiopia")
    cells = Cells(read_evidence(Play(cultures=names, templates=8, rows=1, starts=1).write(tmp_path)))
    figure = figures.heat_map(cells, "prompt-tuning", figures.heat_scale(cells))
    figures.save(figure, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 20_000


def test_colours_get_darker_with_accuracy_and_carry_black_text() -> None:
    luminance = []
    for colour in figures._COLOURS(range(256)):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        luminance.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    assert luminance == sorted(luminance, reverse=True)
    assert (luminance[-1] + 0.05) / (0.0103 + 0.05) > 4.5


@pytest.mark.parametrize(("value", "text"), [(0.123, "+12.3"), (-0.0004, "0.0"), (0.0, "0.0"), (-0.05, "−5.0")])
def test_differences_carry_their_sign(value: float, text: str) -> None:
    assert points(value) == text
    assert words.signed(100 * value, 1) == text
    assert words.decimal(100 * value, 1) == text.removeprefix("+")


@pytest.mark.parametrize(
    ("p", "text"), [(None, ""), (1.0, "1.0000"), (0.04996, "0.0500"), (1 / 10_001, "0.0001"), (1 / 40_320, "< 0.0001"), (0.0, "< 0.0001")]
)
def test_a_p_value_has_four_decimals_everywhere_and_is_never_zero(p: float | None, text: str) -> None:
    assert words.p_value(p) == text


def test_reports_need_no_torch() -> None:
    code = "import sys, affinage.report, affinage.stats; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
