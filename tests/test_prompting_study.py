"""Baselines without training in a study: planned, searched on their own side, tested as chosen, reported beside the untouched model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from affinage.config import EvaluationConfig, StudyConfig, validated
from affinage.prompting import chosen
from affinage.prompting.search import Found, read_found
from affinage.prompts import render
from affinage.records import NO_AID, Aid, Encoded, ItemScore, Rendered, UserError
from affinage.report import build_report, read_evidence
from affinage.report.cells import Cells
from affinage.report.sections import sections
from affinage.store import StudyFolder, read_all_scores, read_study
from affinage.study import Plan, plan, run
from affinage.tune.sides import validation_split
from study_fakes import CLEAN, Fake, study, write_questions
from tiny import likes
from tiny import questions as tiny_questions
from tiny import write_questions as write_tiny

SPLITS = {"kind": "folds", "folds": 2, "count": 2}
PLANTED: dict[str, Any] = {
    "name": "culture-prompt",
    "settings": {"wordings": ["Dull {culture}.", "Apt {culture}.", "Tempting {culture}."], "phrasings": ["name"]},
}


@dataclass
class Sensitive(Fake):
    """A model that is right where a word stands in its system message; which word depends on the template."""

    needs: Callable[[str], str] = lambda template: "Apt"
    asked: list[tuple[str, int]] = field(default_factory=list)
    """System message and number of questions of each evaluation."""
    stop_after: int | None = None
    """Evaluations under a baseline's message after which it fails."""

    def encode_all(
        self, questions: list[Any], prompt: Any, *, seed: int, asked: str = "one", aid: Callable[[Any], Aid] = lambda mcq: NO_AID
    ) -> tuple[list[Encoded], list[Any]]:
        context = f"{prompt.system or ''}|{prompt.instruction or ''}"
        return [Encoded(Rendered(mcq, context, ("",) * 3, "", (0, 1, 2), None, aid(mcq)), (0,), ((1,),) * 3, (1,) * 3) for mcq in questions], []

    def answers(self, backbone: Any, adapter: Any, encoded: list[Encoded], refused: list[Any], **rest: Any) -> list[ItemScore]:
        context = encoded[0].rendered.context
        if context.strip("|"):
            if self.stop_after == 0:
                raise RuntimeError("stopped")
            self.stop_after = None if self.stop_after is None else self.stop_after - 1
        self.asked.append((context, len(encoded)))
        rest["on_progress"](len(encoded))
        return [self._answer(each) for each in encoded]

    def _answer(self, each: Encoded) -> ItemScore:
        mcq = each.rendered.mcq
        right = self.needs(mcq.template_id) in each.rendered.context
        best = mcq.answer if right else (mcq.answer + 1) % 3
        scores = tuple(0.0 if option == best else -5.0 for option in range(3))
        return ItemScore(mcq.mcq_id, mcq.template_id, mcq.culture, mcq.answer, (0, 1, 2), scores, (1,) * 3, (1,) * 3)

    def engine(self) -> Any:
        from dataclasses import replace  # noqa: PLC0415

        return replace(super().engine(), evaluate=self.answers)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "q.parquet", templates=40)


def prompted(questions: Path, *baselines: dict[str, Any], **changes: Any) -> StudyConfig:
    return study(questions, prompting=list(baselines), **{"splits": SPLITS, "methods": [{"name": "none"}], "starts": 1, **changes})


def planned(config: StudyConfig) -> Plan:
    return plan(config, None, engine=Sensitive().engine(), standing=CLEAN)


def execute(config: StudyConfig, out: Path, model: Sensitive) -> Any:
    return run(config, out, engine=model.engine(), standing=CLEAN)


def searches(out: Path) -> dict[str, Found]:
    return {found.run: read_found(StudyFolder(out).run(found.run).search) for found in read_study(out).runs if found.trained_culture == "prompted"}


def test_a_baseline_is_a_run_of_each_split_right_behind_the_untouched_model(questions: Path) -> None:
    made = planned(prompted(questions, {"name": "few-shot"}, {"name": "few-shot", "label": "one-shot", "settings": {"shots": [1]}}))
    assert [(each.label, each.name, each.trained_culture) for each in made.runs[:3]] == [
        ("none", "none", ""),
        ("few-shot", "few-shot", "prompted"),
        ("one-shot", "few-shot", "prompted"),
    ]
    assert [each.path.split("/")[:3] for each in made.runs if each.label == "few-shot"] == [["runs", "few-shot", "prompted"]] * 2
    assert not any(each.trains for each in made.runs)
    assert made.config.prompting[0].settings["shots"] == [1, 2, 4, 8], "defaults are written down"


def test_what_is_tried_is_in_the_runs_names(questions: Path) -> None:
    same, fewer = (planned(prompted(questions, {"name": "few-shot", "settings": settings})) for settings in ({}, {"candidates": 3}))
    assert planned(prompted(questions, {"name": "few-shot"})).runs[1].path == same.runs[1].path != fewer.runs[1].path
    assert same.runs[0].path == fewer.runs[0].path


def test_faults_of_baselines_are_reported_together(questions: Path) -> None:
    wanted = ({"name": "few-shots"}, {"name": "few-shot", "settings": {"shot": 1}}, {"name": "retrieval", "label": "none"}, {"name": "retrieval"})
    with pytest.raises(UserError) as caught:
        planned(prompted(questions, *wanted, methods=[{"name": "lora", "label": "retrieval"}]))
    for part in ("Did you mean 'few-shot'", "shot: found an unknown key", "prompting.2.label: found 'none'", "prompting.3.label: found 'retrieval'"):
        assert part in str(caught.value)


def test_without_a_development_side_the_message_names_the_other(questions: Path) -> None:
    config = prompted(questions, PLANTED, splits={**SPLITS, "development": False})
    with pytest.raises(UserError, match=r"no question of Spain on the development side.*side: validation"):
        planned(config)
    planned(prompted(questions, {**PLANTED, "settings": {**PLANTED["settings"], "side": "validation"}}, splits={**SPLITS, "development": False}))


@pytest.mark.parametrize("side", ["development", "validation"])
def test_the_wording_is_chosen_on_its_own_side_alone(questions: Path, tmp_path: Path, side: str) -> None:
    """`Tempting` is better on every test template, `Apt` where the candidates are compared."""
    baseline = {**PLANTED, "settings": {**PLANTED["settings"], "side": side}}
    config = prompted(questions, baseline, splits={**SPLITS, "count": 1})
    each = planned(config).runs[1]
    assert each.prompted is not None
    compared = set(each.prompted.compared["template_id"])
    assert compared
    assert not compared & each.split.test_templates
    assert (compared <= each.split.development_templates) is (side == "development")
    assert (compared <= each.split.train_templates) is (side == "validation")
    model = Sensitive(needs=lambda template: "Apt" if template in compared else "Tempting")
    assert execute(config, tmp_path / "out", model).complete
    (found,) = searches(tmp_path / "out").values()
    assert [(tried.wording, tried.accuracy) for tried in found.tried] == [
        ("Dull {culture}.", 0.0),
        ("Apt {culture}.", 1.0),
        ("Tempting {culture}.", 0.0),
    ]
    assert chosen(found.tried) == 1
    assert set(found.tried[1].cultures) == {"Spain", "Iran"}
    assert found.seen >= compared
    scores = read_all_scores(tmp_path / "out").filter(pl.col("label") == "culture-prompt")
    assert scores.height
    assert not set(scores["template_id"]) & found.seen
    right = [row["logprob"][row["answer"]] == 0.0 for row in scores.iter_rows(named=True)]
    assert not any(right), "the better wording of the test side is not the one that is taken"


def test_the_validation_side_is_the_one_that_settings_are_searched_on(questions: Path) -> None:
    made = planned(prompted(questions, {"name": "few-shot", "settings": {"side": "validation"}}))
    for each in made.runs:
        if each.prompted is not None:
            searched = validation_split(made.dataset, each.split, share=0.2, seed=made.config.seed, development=False)
            assert frozenset(each.prompted.compared["template_id"]) == searched.test_templates
            assert each.prompted.material.seen == searched.train_templates


def test_nothing_of_the_validation_side_is_quoted(questions: Path) -> None:
    made = planned(prompted(questions, {"name": "few-shot", "settings": {"side": "validation"}}))
    for each in made.runs:
        if each.prompted is not None:
            compared = frozenset(each.prompted.compared["template_id"])
            assert each.prompted.material.seen == each.split.train_templates - compared
            assert each.prompted.seen == each.split.train_templates
    other = planned(prompted(questions, {"name": "few-shot"})).runs[1]
    assert other.prompted is not None
    assert other.prompted.material.seen == other.split.train_templates


def test_a_search_goes_on_where_it_stopped_and_is_shared_between_splits(questions: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", prompted(questions, PLANTED)
    first = Sensitive(stop_after=2)
    assert not execute(config, out, first).complete
    assert sorted(len(found.tried) for found in searches_there(out)) == [2]
    second = Sensitive()
    assert execute(config, out, second).complete
    candidates = [context for context, _ in first.asked + second.asked if context.strip("|")]
    compared = planned(config).runs[1].prompted
    assert compared is not None
    searched = [context for context, count in first.asked + second.asked if count == compared.compared.height and context.strip("|")]
    assert sorted(searched) == sorted(["Dull {culture}.|", "Apt {culture}.|", "Tempting {culture}.|"]), "each once, for both splits"
    assert len(candidates) == 3 + 2 * 2, "and the chosen one on two cultures of two splits"
    one, other = searches(out).values()
    assert one == other
    assert execute(config, out, Sensitive()).complete


def searches_there(out: Path) -> list[Found]:
    return [read_found(file) for file in out.rglob("search.json")]


def test_a_baseline_that_has_seen_a_test_template_is_refused(questions: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", prompted(questions, PLANTED, splits={**SPLITS, "count": 1})
    execute(config, out, Sensitive(stop_after=3))
    (file,) = out.rglob("search.json")
    value = json.loads(file.read_text())
    template = min(planned(config).runs[1].split.test_templates)
    file.write_text(json.dumps({**value, "seen": [*value["seen"], template]}))
    outcome = execute(config, out, Sensitive())
    assert [template in reason for _, reason in outcome.failures] == [True]
    assert "templates that it has seen" in outcome.failures[0][1]


INSTRUCTIONS = ["Name the answer.", "Reply."]


def test_adapters_are_tested_under_instructions_that_they_were_not_trained_on(questions: Path, tmp_path: Path) -> None:
    config = study(
        questions, evaluation={"instructions": INSTRUCTIONS}, starts=1, splits={**SPLITS, "count": 1}, controls=[{"name": "question-blind"}]
    )
    plain = study(questions, starts=1, splits={**SPLITS, "count": 1}, controls=[{"name": "question-blind"}])
    made, before = planned(config), planned(plain)
    further = {(each.label, each.trained_culture): each.further_tests for each in made.runs}
    assert further["none", ""] == ("wording-1.Spain", "wording-2.Spain", "wording-1.Iran", "wording-2.Iran")
    assert further["lora", "Iran"] == ("wording-1.Iran", "wording-2.Iran")
    assert further["lora", "untrained"] == further["lora", "question-blind.Iran"] == ()
    renamed = {each.trained_culture for each, was in zip(made.runs, before.runs, strict=True) if each.path != was.path}
    assert renamed == {"", "Spain", "Iran"}, "runs that are not tested further keep their names"
    model = Sensitive(needs=lambda template: "Reply.")
    assert execute(config, tmp_path / "out", model).complete
    scores = read_all_scores(tmp_path / "out").filter(pl.col("label") == "lora")
    best = scores.with_columns((pl.col("logprob").list.get(pl.col("answer")) == 0.0).alias("right"))
    right = dict(best.group_by("culture").agg(pl.col("right").mean()).iter_rows())
    assert right == {"Spain": 0.0, "Iran": 0.0, "wording-1.Spain": 0.0, "wording-1.Iran": 0.0, "wording-2.Spain": 1.0, "wording-2.Iran": 1.0}
    (table,) = (table for section in sections(Cells(read_evidence(tmp_path / "out"))) for table in section.tables if table.key == "wordings-lora")
    numbers = {row[0]: list(row[1:4]) for row in table.rows}
    assert numbers["as trained"] == ["0.0", "0.0", "0.0"]
    assert numbers["wording 2"] == ["100.0", "100.0", "0.0"]
    assert numbers["lowest to highest"][:2] == ["0.0 to 100.0"] * 2
    assert table.notes[1] == "wording 2: “Reply.”"


@pytest.mark.parametrize(("instructions", "message"), [(["a", "a"], "instructions.1: found 'a'"), (["json"], "json with the style text")])
def test_instructions_that_are_no_others_are_refused(questions: Path, instructions: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        planned(study(questions, evaluation={"instructions": instructions}, prompt={"style": "text"}))


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the tiny model with every baseline, one adapter and another instruction."""
    folder = tmp_path_factory.mktemp("prompting")
    made = [mcq for culture, colour in (("Spain", "red"), ("Iran", "blue")) for mcq in tiny_questions(culture, 40, rule=likes(colour))]
    small = {"candidates": 2, "questions": 4}
    values = {
        "model": {"id": str(tiny_folder), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 2, "nodes_per_pack": 4000},
        "data": {"source": "table", "path": str(write_tiny(folder / "q.parquet", made))},
        "prompt": {"style": "text"},
        "splits": {"kind": "folds", "folds": 2, "count": 1},
        "starts": 1,
        "training": {"steps": 2, "batch_size": 4},
        "methods": [{"name": "prompt-tuning", "settings": {"length": 2}}],
        "prompting": [
            {"name": "culture-prompt", "settings": small},
            {"name": "anthropological", "settings": small},
            {"name": "few-shot", "settings": {**small, "shots": [2]}},
            {"name": "retrieval", "settings": {**small, "counts": [2]}},
        ],
        "evaluation": {"instructions": ["Name the thing that they like."], "rows_per_template": 1},
    }
    assert run(validated(StudyConfig, values, "test"), folder / "out", standing=CLEAN).complete
    return folder / "out"


def test_every_baseline_answers_differently_from_the_untouched_model(finished: Path) -> None:
    scores = read_all_scores(finished).filter(pl.col("culture") == "Spain").select("label", "trained_culture", "mcq_id", "logprob")
    untouched = scores.filter(pl.col("trained_culture") == "").drop("label")
    for label in ("culture-prompt", "anthropological", "few-shot", "retrieval"):
        both = scores.filter(pl.col("label") == label).join(untouched, on="mcq_id")
        assert both.height == untouched.height
        assert not (both["logprob"] == both["logprob_right"]).any()


def test_the_report_shows_the_baselines_beside_the_untouched_model_as_untrained(finished: Path) -> None:
    paths = build_report(finished)
    page = paths.page.read_text(encoding="utf-8")
    first = page[page.index("### Table 1. Own culture, by template") :].split("\n### ")[0]
    heads = [line.split("|")[1].strip() for line in first.splitlines() if line.startswith("| ")]
    assert heads[1:5] == [
        "Untouched model",
        "Culture-prompt, nothing trained",
        "culture-prompt − untouched, paired",
        "Anthropological, nothing trained",
    ]
    assert "Few-shot, nothing trained" in heads
    pooled = page[page.index("### Pooled over") :].split("\n### ")[0]
    names = [line.split("|")[1].strip() for line in pooled.splitlines() if line.startswith("| ")]
    assert names[1:4] == ["untouched", "culture-prompt, nothing trained", "anthropological, nothing trained"]
    section = page[page.index("### Without training") :].split("\n### ")[0]
    assert "prompt-tuning, own culture − few-shot" in section
    assert "against" in section.rpartition("* ")[2]
    search = page[page.index("### The search behind") :].split("\n### ")[0]
    for part in ("few-shot, fold-0-of-2: chosen", "all candidates", "wording 1", "2 candidates compared on 8 questions of the development side"):
        assert part in search
    assert "### Other wordings: Prompt-tuning" in page
    tried = pl.read_csv(paths.folder / "csv" / "searches.csv")
    assert tried.height == 4 * 2
    assert tried["chosen"].sum() == 4
    assert {"accuracy on Spain", "wording", "phrasing", "count", "draw", "seconds"} <= set(tried.columns)
    cells = pl.read_csv(paths.folder / "csv" / "cells.csv").filter(pl.col("label") == "few-shot")
    assert set(cells["trained_culture"]) == {"prompted"}
    assert (paths.folder / "latex" / "without-training.tex").exists()


def test_the_evidence_knows_what_was_searched(finished: Path) -> None:
    evidence = read_evidence(finished)
    assert evidence.prompted == ("culture-prompt", "anthropological", "few-shot", "retrieval")
    assert evidence.labels == ("prompt-tuning",)
    assert evidence.reworded("prompt-tuning") == ("wording-1.Iran", "wording-1.Spain")
    assert all(found.through for found in evidence.searches.values())


def test_a_study_of_baselines_alone_has_a_report(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert execute(prompted(questions, PLANTED), out, Sensitive()).complete
    page = build_report(out).page.read_text(encoding="utf-8")
    assert "culture-prompt − untouched" in page
    assert "100.0" in page[page.index("### Without training") :].split("\n### ")[0]


def test_defaults_ask_for_no_other_instruction() -> None:
    assert EvaluationConfig().instructions == ()
    assert StudyConfig().prompting == ()
    assert (render.__kwdefaults__ or {})["aid"] is NO_AID
