"""Similarity of a small trained study: every number again from the files, what is compared with what, what is kept and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from scipy.stats import pearsonr
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from affinage.analysis import AnalysisSettings, Subject, Told, analyses, make
from affinage.analysis.distances import read_distances
from affinage.analysis.measures import centred_gram, debiased_cka
from affinage.analysis.relations import apart, matrices
from affinage.analysis.similarity import PAIR_SCHEMA
from affinage.analysis.states import last_states
from affinage.analysis.vocabulary import nearest
from affinage.backbone import Backbone
from affinage.cli import app
from affinage.config import StudyConfig, validated
from affinage.records import UserError
from affinage.report import read_evidence
from affinage.report.cells import Cells
from affinage.report.language import speaking
from affinage.report.similarity import section
from affinage.store import StudyFolder, read_analysis, read_scores
from affinage.study import run
from study_fakes import CLEAN
from tiny import TEXT, encode, questions, write_questions

CULTURES = ("Atlantis", "Lemuria", "Mu", "Thule")
METHODS: list[dict[str, Any]] = [
    {"name": "prompt-tuning", "settings": {"length": 3}, "training": {"rate": 0.05}},
    {"name": "lora", "settings": {"rank": 2, "targets": ["q_proj", "v_proj"]}, "training": {"rate": 0.02}},
]
LABELS = ("prompt-tuning", "lora")


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cultures, two methods, two starts, one split."""
    folder = tmp_path_factory.mktemp("similar")
    made = [question for culture in CULTURES for question in questions(culture, 24)]
    values = {
        "model": {"id": str(tiny_folder), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 4, "nodes_per_pack": 4096},
        "data": {"source": "table", "path": str(write_questions(folder / "q.parquet", made))},
        "prompt": {"style": "text"},
        "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
        "methods": METHODS,
        "training": {"loss": "choice", "steps": 3, "batch_size": 4, "checkpoint_seconds": 1000.0},
        "starts": 2,
    }
    assert run(validated(StudyConfig, values, "test"), folder / "study", standing=CLEAN).complete
    return folder / "study"


@pytest.fixture(scope="module")
def tables(trained: Path) -> dict[str, pl.DataFrame]:
    (made,) = make(Subject.of(trained, AnalysisSettings(only=("similarity",))))
    assert made.now
    found = read_analysis(StudyFolder(trained), "similarity")
    assert found is not None
    return found[1]


def pairs(tables: dict[str, pl.DataFrame], **wanted: Any) -> pl.DataFrame:
    return tables["pairs"].filter(*(pl.col(name) == value for name, value in wanted.items()))


def scored(folder: Path, path: str) -> dict[tuple[str, str], list[float]]:
    """Question -> scores of its options, straight from a run's files."""
    frames = [read_scores(StudyFolder(folder).run(path).scores(culture)) for culture in CULTURES]
    return {(culture, mcq): values for frame in frames for culture, mcq, values in frame.select("culture", "mcq_id", "logprob").iter_rows()}


# What is compared -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_two_cultures_are_compared_on_one_start_and_one_culture_on_two(tables: dict[str, pl.DataFrame], label: str) -> None:
    own = pairs(tables, label=label, of="answers", measure="correlation")
    counts = dict(own.group_by("pair").len().iter_rows())
    assert counts == {"cultures": 6 * 2, "start": 4, "untouched": 8}
    between = own.filter(pl.col("pair") == "cultures")
    assert (between["start_a"] == between["start_b"]).all()
    assert (between["culture_a"] != between["culture_b"]).all()
    floor = own.filter(pl.col("pair") == "start")
    assert (floor["culture_a"] == floor["culture_b"]).all()
    assert (floor["start_a"] != floor["start_b"]).all()
    assert dict(tables["pairs"].schema) == PAIR_SCHEMA


def test_tensors_themselves_are_compared_only_where_both_began_with_the_same(tables: dict[str, pl.DataFrame]) -> None:
    assert set(pairs(tables, of="tensor")["pair"]) == {"cultures"}
    assert set(pairs(tables, of="displacement")["pair"]) == {"cultures", "start"}
    assert set(pairs(tables, of="product")["pair"]) == {"cultures", "start"}
    assert set(pairs(tables, label="lora")["of"]) == {"answers", "states", "product"}
    assert set(pairs(tables, of="displacement")["measure"]) == {"whole", "mean tokens", "mean pairwise", "matched"}


# Every number from the files ----------------------------------------------------------------------------------------------------------------


def test_agreement_and_correlation_again_from_the_score_files(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    values = pairs(tables, label="prompt-tuning", pair="cultures", of="answers")
    assert values.filter(pl.col("measure") == "correlation")["value"].n_unique() > 6
    for row in values.filter(pl.col("measure").is_in(["agreement", "correlation"])).iter_rows(named=True):
        one, other = (scored(trained, row[name]) for name in ("run_a", "run_b"))
        assert set(one) == set(other)
        assert row["questions"] == len(one)
        if row["measure"] == "agreement":
            expected = np.mean([np.argmax(one[key]) == np.argmax(other[key]) for key in one])
        else:
            flat = [np.concatenate([np.array(each[key]) - np.mean(each[key]) for key in sorted(one)]) for each in (one, other)]
            expected = pearsonr(*flat).statistic
        assert row["value"] == pytest.approx(expected)


def test_cosines_again_from_the_files_of_the_adapters(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    subject = Subject.of(trained)
    found = pairs(tables, label="prompt-tuning", pair="cultures", measure="mean tokens")
    assert found.height == 2 * 12
    for row in found.iter_rows(named=True):
        runs = [next(run for run in subject.runs() if run.run == row[name]) for name in ("run_a", "run_b")]
        vectors = [load_file(trained / run.run / "adapter" / "adapter_model.safetensors")["prompt_embeddings"] for run in runs]
        if row["of"] == "displacement":
            starts = [subject.start_of(run) for run in runs]
            assert starts[0] == starts[1] is not None
            vectors = [
                each - load_file(trained / start.run / "adapter" / "adapter_model.safetensors")["prompt_embeddings"]
                for each, start in zip(vectors, starts, strict=True)
                if start is not None
            ]
        x, y = (each.mean(axis=0) for each in vectors)
        assert row["value"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5)
    near, moved = (found.filter(pl.col("of") == of)["value"].mean() for of in ("tensor", "displacement"))
    assert float(str(near)) > float(str(moved))


def test_states_are_those_of_the_model_by_itself(backbone: Backbone, tiny_folder: Path) -> None:
    asked = encode(backbone, questions("Atlantis", 6), TEXT)
    found = last_states(backbone, None, asked, nodes_per_pack=120)
    model = LlamaForCausalLM.from_pretrained(tiny_folder).eval()
    with torch.no_grad():
        for each, state in zip(asked, found, strict=True):
            whole = model(torch.tensor([each.context_ids]), output_hidden_states=True).hidden_states[-1][0, -1]
            assert state == pytest.approx(whole.numpy(), abs=1e-4)


def test_cka_is_that_of_the_adapters_states(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    subject = Subject.of(trained)
    row = pairs(tables, label="lora", pair="cultures", of="states").row(0, named=True)
    split = row["split_a"]
    asked = [each for culture in CULTURES for each in subject.asked(split, culture).encoded]
    grams = []
    for name in ("run_a", "run_b"):
        adapter = subject.adapter(next(run for run in subject.runs() if run.run == row[name]))
        grams.append(centred_gram(last_states(subject.backbone, adapter, asked, nodes_per_pack=500)))
    assert row["value"] == pytest.approx(debiased_cka(*grams), abs=1e-4)
    assert row["value"] < 1
    assert row["questions"] == len(asked) >= 28


def test_nearest_tokens_of_embeddings_are_those_tokens(backbone: Backbone) -> None:
    ids, cosines = nearest(backbone, 3.0 * backbone.embed([17, 240]).numpy().astype(np.float64), 2)
    assert list(ids[:, 0]) == [17, 240]
    assert cosines[:, 0] == pytest.approx([1.0, 1.0])
    assert (cosines[:, 1] < 1).all()


def test_each_virtual_token_has_its_nearest_and_the_one_it_began_as(tables: dict[str, pl.DataFrame]) -> None:
    words = tables["vocabulary"]
    assert words.height == 8 * 3 * 3
    assert set(words["label"]) == {"prompt-tuning"}
    assert words.filter(pl.col("rank") == 1).group_by("start", "token").agg(pl.col("began").n_unique())["began"].max() == 1


# What follows from the pairs ----------------------------------------------------------------------------------------------------------------


def test_tables_over_cultures_are_means_over_starts(tables: dict[str, pl.DataFrame]) -> None:
    found = {key: (there, table) for key, there, table in matrices(tables["pairs"], CULTURES)}
    there, table = found["lora", "answers", "agreement"]
    assert there == list(CULTURES)
    own = pairs(tables, label="lora", of="answers", measure="agreement", pair="cultures", culture_a="Atlantis", culture_b="Mu")
    assert own.height == 2
    assert table[0, 2] == table[2, 0] == pytest.approx(own["value"].mean())
    assert apart("agreement", table)[0, 2] == pytest.approx(1 - table[0, 2])
    assert apart("cka", table)[0, 2] == pytest.approx(np.sqrt(2 - 2 * table[0, 2]))


def test_relations_trees_and_maps_are_there_for_every_measure(tables: dict[str, pl.DataFrame]) -> None:
    measures = set(pairs(tables, pair="cultures").select("label", "of", "measure").unique().iter_rows())
    for name in ("correlation", "tree", "map"):
        assert set(tables[name].select("label", "of", "measure").unique().iter_rows()) == measures
    related = tables["correlation"]
    assert set(related["relabellings"]) == {24}
    assert (related["p_holm"] >= related["p"]).all()
    assert (related["p"] >= 1 / 24 - 1e-12).all()
    assert tables["transfer"].height == 2 * 2 * 4 * 4


def test_distances_of_one_s_own_are_correlated_too(trained: Path, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    there, table = next((there, table) for key, there, table in matrices(tables["pairs"], CULTURES) if key == ("lora", "answers", "agreement"))
    rows = [(there[j], there[i], 5 - 2 * table[i, j]) for i in range(4) for j in range(i)]
    pl.DataFrame(rows, ["culture_a", "culture_b", "made up"], orient="row").write_csv(tmp_path / "d.csv")
    make(Subject.of(trained, AnalysisSettings(only=("similarity",), distances=tmp_path / "d.csv")))
    found = read_analysis(StudyFolder(trained), "similarity")
    assert found is not None
    related = found[1]["correlation"]
    own = related.filter(pl.col("against") == "made up", pl.col("label") == "lora", pl.col("measure") == "agreement")
    assert own["correlation"][0] == pytest.approx(-1.0)
    assert set(related["against"]) == {"transfer", "made up"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("culture_a,culture_b\nMu,Thule\n", "columns culture_a, culture_b"),
        ("culture_a,km\nMu,3\n", "culture_b missing"),
        ("culture_a,culture_b,km\nMu,Thule,far\n", "km missing or not of numbers"),
        ("culture_a,culture_b,km\nMu,Thule,3\nThule,Mu,4\n", "two values of km for Thule and Mu"),
        ("culture_a,culture_b,km\nSpain,Iran,3\n", "no pair of studied cultures among Iran, Spain"),
        ("", "empty"),
    ],
)
def test_a_file_of_distances_is_refused_by_what_is_wrong(text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(UserError, match=found):
        read_distances(tmp_path / "d.csv", CULTURES)


def test_a_pair_may_stand_in_either_order_and_be_missing(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("culture_a,culture_b,km,words\nMu,Thule,3,\nAtlantis,Mu,5,0.5\nMu,Mu,9,9\nSpain,Mu,1,1\n")
    found = read_distances(tmp_path / "d.csv", CULTURES)
    assert set(found) == {"km", "words"}
    assert found["km"][3, 2] == found["km"][2, 3] == 3
    assert np.isnan(found["km"][0, 1])
    assert np.isnan(found["words"][2, 3])
    assert found["km"][2, 2] == 0


# What is kept, and what is refused ------------------------------------------------------------------------------------------------------------


def test_nothing_is_made_twice_and_a_stopped_analysis_continues(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    subject = Subject.of(trained, AnalysisSettings(only=("similarity",), limit=6))
    told: list[Told] = []

    def stop(each: Told) -> None:
        told.append(each)
        if len(told) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(subject, stop)
    before = read_analysis(StudyFolder(trained), "similarity")
    assert before is not None, "an analysis that was there is left until the new one is whole"
    loads: list[Any] = []
    counting = replace(subject.engine, load=lambda config: loads.append(config) or subject.engine.load(config))  # type: ignore[func-returns-value]
    again: list[Told] = []
    (made,) = make(Subject(subject.record, subject.settings, counting), again.append)
    assert made.now
    assert again[-1].done == again[-1].total
    after = read_analysis(StudyFolder(trained), "similarity")
    assert after is not None
    assert after[1]["pairs"].filter(pl.col("of") == "states")["questions"].unique().to_list() == [24]
    assert after[1]["pairs"].filter(pl.col("of") == "answers").equals(tables["pairs"].filter(pl.col("of") == "answers"))
    (made,) = make(Subject(subject.record, subject.settings, counting))
    assert not made.now
    assert len(loads) == 1
    make(Subject.of(trained, AnalysisSettings(only=("similarity",))))  # as the other tests have it


def test_an_unknown_analysis_is_answered_by_the_nearest(trained: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'similarity'"):
        make(Subject.of(trained, AnalysisSettings(only=("similarty",))))


def test_a_study_on_other_questions_by_now_is_refused(trained: Path, tmp_path: Path) -> None:
    subject = Subject.of(trained)
    record = replace(subject.record, plan=replace(subject.record.plan, data={**subject.record.plan.data, "digest": "another"}))
    with pytest.raises(UserError, match="other data than those found now"):
        _ = Subject(record).plan


def test_a_folder_without_finished_adapters_is_refused(trained: Path, tmp_path: Path) -> None:
    for name in ("study.yaml", "plan/plan.json", "plan/questions.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(UserError, match="no finished adapter"):
        Subject.of(tmp_path)


# The command and the report -------------------------------------------------------------------------------------------------------------------


def test_the_command_says_where_the_results_are_and_what_to_do_next(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    found = CliRunner().invoke(app, ["analyse", str(trained), "--only", "similarity"])
    assert found.exit_code == 0, found.output
    assert "similarity: 6 tables (pairs, transfer, correlation, tree, map, vocabulary), there already." in found.stdout
    assert f"Next: affinage report {trained}" in found.stdout
    refused = CliRunner().invoke(app, ["analyse", str(trained), "--only", "similarty"])
    assert refused.exit_code == 2
    assert "Did you mean 'similarity'" in refused.stderr


def test_the_report_shows_what_was_found_beside_its_floors(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    found = section(Cells(read_evidence(trained)))
    assert found is not None
    table = next(table for table in found.tables if table.title == "LoRA: similarity and its floors")
    shown = dict(zip(table.header[1:], next(row for row in table.rows if row[0] == "answers: share answered alike")[1:], strict=True))
    own = pairs(tables, label="lora", of="answers", measure="agreement")
    heads = {"cultures": "two cultures", "start": "one culture, another start", "untouched": "with the untouched model"}
    for kind, head in heads.items():
        values = own.filter(pl.col("pair") == kind)["value"].to_list()
        assert shown[head] == f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f}; {len(values)})"
    assert shown["one culture, another split"] == ""
    correlation = pairs(tables, label="lora", of="answers", measure="correlation")
    mean = float(str(correlation.filter(pl.col("pair") == "start")["value"].mean()))
    count = int((correlation.filter(pl.col("pair") == "cultures")["value"] >= mean).sum())
    assert table.notes == (f"Option scores: {count} of 12 pairs are at least as alike as two starts of one culture are on the mean.",)
    (words,) = [table for table in found.tables if table.appendix]
    assert "explain nothing" in words.text
    assert len(words.rows) == 3
    assert [picture.key for picture in found.pictures] == ["similarity-prompt-tuning", "similarity-lora"]
    assert {name for name, _ in found.frames} == {f"similarity-{name}" for name in tables}


def test_the_section_speaks_french_and_says_when_it_is_behind(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    evidence = read_evidence(trained)
    one_less = replace(evidence, study=replace(evidence.study, runs=evidence.study.runs[:-1]))
    with speaking("fr"):
        found, behind = section(Cells(evidence)), section(Cells(one_less))
        assert found is not None
        assert behind is not None
        pictures = [picture.draw() for picture in found.pictures]
    titles = [table.title.replace("\N{NO-BREAK SPACE}", " ") for table in found.tables]
    assert titles[:2] == ["Prompt-tuning : la similarité et ses planchers", "LoRA : la similarité et ses planchers"]
    assert "Relancez affinage analyse" not in found.text
    assert "Relancez affinage analyse" in behind.text
    assert len(pictures) == 2
    assert [len(picture.axes) for picture in pictures] == [3, 3]


def test_the_registered_analyses_say_what_they_are() -> None:
    assert "similarity" in analyses
    for name in analyses:
        assert analyses.get(name).help.endswith(".")
        assert set(analyses.get(name).reads) <= set(AnalysisSettings.model_fields)


def test_the_record_says_what_it_rests_on(trained: Path, tables: dict[str, pl.DataFrame]) -> None:
    kept = json.loads((trained / "analysis" / "similarity" / "analysis.json").read_text())
    assert kept["settings"] == {"limit": None, "distances": None}
    assert len(kept["runs"]) == 1 + 2 * 2 * 5
    assert kept["provenance"]["packages"]["torch"] == torch.__version__.split("+")[0] or kept["provenance"]["packages"]["torch"] == torch.__version__
