"""Per-question results in other tools' log forms: the numbers of the study, in the fields that those tools read."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from affinage import data
from affinage.cli.root import app
from affinage.config import DataConfig
from affinage.records import UserError
from affinage.report import read_evidence
from affinage.report.cells import Cells
from affinage.report.logs import FORMS, texts_of, write_logs
from affinage.store import read_json, read_study, write_json
from plays import Play
from small_studies import BASE, Small


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Play(templates=8, starts=1, unscored=1).write(tmp_path_factory.mktemp("study"))


def harness(study: Path, folder: Path, run: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The results of one run and its samples by task, found as the harness's own readers find them."""
    write_logs(study, "lm-eval", folder, run)
    names = [str(path) for path in folder.rglob("*") if path.is_file()]
    (results,) = [name for name in names if "/results_" in name and ".json" in name]
    samples = {}
    for name in (name for name in names if "/samples_" in name and ".json" in name):
        base = name.rpartition("/")[2]
        samples[base[base.find("_") + 1 : base.rfind("_")]] = [json.loads(line) for line in Path(name).read_text().splitlines()]
    return json.loads(Path(results).read_text()), samples


def test_the_harness_form_holds_the_studys_accuracies(study: Path, tmp_path: Path) -> None:
    results, samples = harness(study, tmp_path, "prompt-tuning/Spain/fold-0*")
    cells = Cells(read_evidence(study))
    assert len(samples) == 3
    for task, numbers in results["results"].items():
        culture = results["configs"][task]["metadata"]["run"] and samples[task][0]["doc"]["culture"]
        runs = cells.runs.filter((pl.col("run") == results["configs"][task]["metadata"]["run"]) & (pl.col("culture") == culture))
        by = {(row["reading"], row["average"]): row["accuracy"] for row in runs.iter_rows(named=True)}
        assert numbers["choice,none"] == pytest.approx(by["choice", "row"])
        assert numbers["choice_by_template,none"] == pytest.approx(by["choice", "template"])
        assert numbers["free,none"] == pytest.approx(by["free", "row"])
        assert numbers["choice_stderr,none"] == "N/A"
        assert results["n-samples"][task] == {"original": len(samples[task]), "effective": len(samples[task]) - 1}
    assert {"group_subtasks", "versions", "n-shot", "higher_is_better", "config", "task_hashes", "model_name", "date"} <= set(results)


def test_a_sample_line_has_the_harnesss_fields_and_the_files_numbers(study: Path, tmp_path: Path) -> None:
    results, samples = harness(study, tmp_path, "none/*/fold-0*")
    (task,) = [name for name in samples if name.endswith("Spain")]
    file = next((study / "runs/none").glob("untouched/fold-0*/scores/Spain.parquet"))
    rows = {row["mcq_id"]: row for row in pl.read_parquet(file).iter_rows(named=True)}
    unscored = 0
    for number, line in enumerate(samples[task]):
        row = rows[line["doc"]["mcq_id"]]
        assert line["doc_id"] == number
        assert line["target"] == str(row["answer"])
        assert "question" not in line["doc"]
        assert line["target_hash"] == hashlib.sha256(line["target"].encode()).hexdigest()
        if row["state"] != "scored":
            unscored += 1
            assert (line["resps"], line["metrics"]) == ([], [])
            continue
        assert [float(pair[0][0]) for pair in line["resps"]] == row["logprob"]
        assert line["filtered_resps"] == [pair[0] for pair in line["resps"]]
        best = max(range(4), key=row["logprob"].__getitem__)
        assert line["acc"] == line["choice"] == float(best == row["answer"])
        assert line["filtered_resps"][row["answer"]][1] == str(bool(row["free"]))
    assert unscored == 1
    hashes = "".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in samples[task])
    assert results["task_hashes"][task] == hashlib.sha256(hashes.encode()).hexdigest()


def test_the_inspect_form_is_one_log_per_run_and_culture(study: Path, tmp_path: Path) -> None:
    files = write_logs(study, "inspect", tmp_path, "prompt-tuning/Spain/fold-1*")
    assert len(files) == 3
    cells = Cells(read_evidence(study))
    for file in files:
        log = json.loads(file.read_text())
        assert (log["version"], log["status"]) == (2, "success")
        culture, run = log["eval"]["metadata"]["culture"], log["eval"]["task_args"]["run"]
        runs = cells.runs.filter((pl.col("run") == run) & (pl.col("culture") == culture) & (pl.col("reading") == "choice"))
        by = dict(runs.select("average", "accuracy").iter_rows())
        (choice,) = [score for score in log["results"]["scores"] if score["name"] == "choice"]
        assert choice["metrics"]["accuracy"]["value"] == pytest.approx(by["row"])
        assert choice["metrics"]["accuracy_by_template"]["value"] == pytest.approx(by["template"])
        scored = [sample for sample in log["samples"] if sample["scores"]]
        assert log["results"]["completed_samples"] == len(scored) == choice["scored_samples"] == len(log["samples"]) - 1
        for sample in scored:
            credit = sample["scores"]["choice"]["value"]
            assert credit == float(sample["scores"]["choice"]["answer"] == sample["target"])
        (lost,) = [sample for sample in log["samples"] if not sample["scores"]]
        assert lost["error"]["message"] == "too long"


@pytest.mark.parametrize("form", FORMS)
def test_a_log_is_the_same_when_it_is_written_again(study: Path, tmp_path: Path, form: Any) -> None:
    once = write_logs(study, form, tmp_path / "once", "none/*")
    again = write_logs(study, form, tmp_path / "again", "none/*")
    assert [path.name for path in once] == [path.name for path in again]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    assert len(set(once)) == len(once)


def test_a_tie_has_no_answer(tmp_path: Path) -> None:
    folder = Small(BASE).write(tmp_path / "study")
    file = next((folder / "runs/none").glob("untouched/*/scores/Spain.parquet"))
    pl.read_parquet(file).with_columns(pl.lit([-1.0, -1.0, -3.0, -3.0]).alias("logprob")).write_parquet(file)
    logs = [json.loads(path.read_text()) for path in write_logs(folder, "inspect", tmp_path / "logs", "none/*")]
    (spain,) = [log for log in logs if log["eval"]["metadata"]["culture"] == "Spain"]
    assert {json.dumps(sample["scores"]["choice"]) for sample in spain["samples"]} == {'{"value": 0.5}'}


# Texts -------------------------------------------------------------------------------------------------------------------------------------


def test_no_text_stands_in_a_log_unless_it_is_asked_for_and_may_be_passed_on(tmp_path: Path) -> None:
    starter = data.load(DataConfig(source="starter"))
    study = read_study(Small(BASE, data={"name": "starter", "digest": starter.digest}).write(tmp_path / "study"))
    texts = texts_of(study)
    first = starter.frame.row(0, named=True)
    assert texts[first["culture"], first["mcq_id"]]["question"] == first["question"]
    with pytest.raises(UserError, match="other data than the study was run on"):
        texts_of(read_study(Small(BASE, data={"digest": "another"}).write(tmp_path / "other")))
    barred = read_study(Small(BASE, data={"passing_on": "files derived from it may not be uploaded or passed on"}).write(tmp_path / "barred"))
    with pytest.raises(UserError, match="found files derived from it may not be uploaded"):
        texts_of(barred)


def test_texts_go_where_the_tools_look_for_them(tmp_path: Path) -> None:
    starter = data.load(DataConfig(source="starter"))
    folder = Small(BASE, data={"name": "starter", "digest": starter.digest}).write(tmp_path / "study")
    rows = starter.frame.head(24).iter_rows(named=True)
    known = {("Spain", f"T{number:02d}_Spain"): row for number, row in enumerate(rows)} | {
        ("Mexico", f"T{number:02d}_Mexico"): row for number, row in enumerate(starter.frame.head(24).iter_rows(named=True))
    }
    from affinage.report.logs import answered, inspect_ai, lm_eval  # noqa: PLC0415

    tests = list(answered(read_study(folder), "none/*", known))
    sample = inspect_ai.log(tests[0])["samples"][0]
    row = known["Spain", sample["id"]]
    assert (sample["input"], sample["choices"]) == (row["question"], list(row["options"]))
    line = lm_eval.sample(0, tests[0].asked[0], tests[0])
    assert line["doc"]["question"] == row["question"]
    assert line["arguments"]["gen_args_1"] == {"arg_0": row["question"], "arg_1": row["options"][1]}


# The command -------------------------------------------------------------------------------------------------------------------------------


def test_the_command_says_how_many_files_it_wrote(study: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["logs", str(study), "--form", "inspect", "--out", str(tmp_path), "--runs", "none/*"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("6 files in")
    none = CliRunner().invoke(app, ["logs", str(study), "--form", "inspect", "--out", str(tmp_path), "--runs", "lora/*"])
    assert none.exit_code == 2
    assert re.search("no finished run of that name", none.output)


def test_names_of_cultures_with_odd_characters_make_plain_file_names(tmp_path: Path) -> None:
    folder = Play(cultures=("Côte d'Ivoire",), templates=4, starts=1, folds=1, labels=()).write(tmp_path / "study")
    (_, results) = sorted(write_logs(folder, "lm-eval", tmp_path / "logs"), key=lambda path: path.name, reverse=True)
    content = json.loads(results.read_text())
    assert all(re.fullmatch(r"\w+", task) for task in content["results"])
    assert not any(math.isnan(value) for numbers in content["results"].values() for value in numbers.values() if isinstance(value, float))


def test_a_study_whose_plan_names_no_passing_on_is_judged_by_its_source(tmp_path: Path) -> None:
    folder = Small(BASE).write(tmp_path / "study")
    plan = read_json(folder / "plan" / "plan.json")
    plan["data"].pop("passing_on", None)
    write_json(folder / "plan" / "plan.json", plan)
    barred = data.load(DataConfig(source="starter"))
    object.__setattr__(barred, "terms", data.Terms("none stated", "", "", "", redistribution=False))
    with pytest.raises(UserError, match="terms that let files with texts be passed on"):
        texts_of(read_study(folder), lambda config: barred)
