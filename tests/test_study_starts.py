"""Adapters that begin from other adapters: what they begin from, when they are made, what they have seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from affinage.backbone import Backbone
from affinage.config import MethodConfig, StudyConfig, TrainingConfig, validated
from affinage.methods import registry
from affinage.methods.combining import joined, similarity
from affinage.records import UserError
from affinage.store import UNTRAINED, RunFolder, RunState, StudyFolder, read_json, read_state
from affinage.store.runs import write_state
from affinage.study import Engine, Plan, PlannedRun, plan
from affinage.study import run as run_study
from study_fakes import CLEAN, STEPS, Fake, study, write_questions
from tiny import likes
from tiny import questions as invented
from tiny import write_questions as write_tiny

BOTH = [{"name": "prompt-tuning"}, {"name": "prompt-tuning", "label": "spot", "start": "culture:Spain"}]


@dataclass(frozen=True)
class Counter:
    """An adapter: one integer, and what it has seen."""

    value: list[int]
    seen: frozenset[str] = frozenset()


def engine(fake: Fake | None = None) -> Engine:
    """The fakes' engine, whose adapters say what they have seen."""
    fake = fake or Fake()

    def resolve(method: MethodConfig, training: TrainingConfig) -> Any:
        made = fake.resolve(method, training)
        made.build = lambda backbone, key: Counter([1000 * key[2]])
        return made

    def restore(folder: Path, backbone: Any) -> Any:
        card = read_json(folder / "affinage.json")
        return Counter([card["value"]], frozenset(card["seen"]))

    return replace(fake.engine(), resolve=resolve, restore=restore)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("questions") / "questions.parquet")


def card(out: Path, planned: PlannedRun) -> dict[str, Any]:
    return read_json(out / planned.path / "adapter" / "affinage.json")


def of(made: Plan, label: str) -> dict[tuple[str, str, int], PlannedRun]:
    """(Split, culture, start) -> a method's run."""
    return {(run.split.name, run.trained_culture, run.start): run for run in made.runs if run.label == label}


@pytest.mark.parametrize("cohort", [1, 2])
def test_a_culture_s_adapter_is_trained_first_and_then_begun_from(questions: Path, tmp_path: Path, cohort: int) -> None:
    config = study(questions, cohort=cohort, methods=BOTH)
    made = plan(config, engine=engine(), standing=CLEAN)
    assert run_study(config, tmp_path, engine=engine(), standing=CLEAN).complete
    fresh, spot = of(made, "prompt-tuning"), of(made, "spot")
    assert set(fresh) == set(spot)
    places = {run.path: place for place, run in enumerate(made.runs)}
    for (split, culture, start), run in spot.items():
        source = fresh[split, "Spain", start]
        assert run.sources == (("Spain", source.path),)
        assert places[source.path] < places[run.path]
        began, own, beside = card(tmp_path, source), card(tmp_path, run), card(tmp_path, fresh[split, culture, start])
        assert own["value"] - began["value"] == beside["value"] - 1000 * start  # trained as the fresh one is, from another start
        assert set(own["seen"]) == set(began["seen"]) | set(beside["seen"])
        assert began["seen"]
        assert own["start"] != beside["start"]
        assert (own["value"] == began["value"]) is (culture == UNTRAINED)


def test_a_run_is_named_by_what_it_begins_from(questions: Path) -> None:
    def paths(**changes: Any) -> set[str]:
        made = plan(study(questions, methods=BOTH, **changes), engine=engine(), standing=CLEAN)
        return {run.path for run in made.runs if run.label == "spot"}

    other = [BOTH[0], {**BOTH[1], "start": "culture:Iran"}]
    assert not paths() & {run.path for run in plan(study(questions, methods=other), engine=engine(), standing=CLEAN).runs}
    assert paths() == paths()


def test_without_other_starts_a_plan_is_as_it_was(questions: Path) -> None:
    made = plan(study(questions), engine=engine(), standing=CLEAN)
    assert {(run.begins, run.sources) for run in made.runs} == {("fresh", ())}
    assert all("begins" not in run.determinants for run in made.runs)
    keys = {run.key(0) for run in made.runs if run.label == "lora"}
    assert all(len(key) == 4 for key in keys)


def test_the_adapter_of_all_cultures_comes_from_the_control_and_is_made_before(questions: Path, tmp_path: Path) -> None:
    methods = [{"name": "prompt-tuning"}, {"name": "prompt-tuning", "label": "after", "start": "all-cultures"}]
    config = study(questions, methods=methods, controls=[{"name": "all-cultures"}], starts=1)
    made = plan(config, engine=engine(), standing=CLEAN)
    assert {run.label for run in made.runs if run.trained_culture == "all-cultures"} == {"prompt-tuning"}  # no control of a begun method
    assert run_study(config, tmp_path, engine=engine(), standing=CLEAN).complete
    for (split, culture, start), run in of(made, "after").items():
        source = of(made, "prompt-tuning")[split, "all-cultures", start]
        assert run.sources == (("all-cultures", source.path),)
        assert set(card(tmp_path, source)["seen"]) <= set(card(tmp_path, run)["seen"])
        assert set(card(tmp_path, run)["seen"]) <= run.split.train_templates
        assert culture in {UNTRAINED, "Spain", "Iran"}


def test_where_the_first_training_fails_what_begins_from_it_fails_by_name_and_is_mended_with_it(questions: Path, tmp_path: Path) -> None:
    broken = Fake(fail=lambda folder: "prompt-tuning/Spain" in str(folder.path))
    config = study(questions, methods=BOTH, starts=1, splits={"kind": "folds", "folds": 2, "count": 1, "development": False})
    outcome = run_study(config, tmp_path, engine=engine(broken), standing=CLEAN)
    failed = {planned.label: reason for planned, reason in outcome.failures}
    assert set(failed) == {"prompt-tuning", "spot"}
    assert "the adapter of Spain, which failed" in failed["spot"]
    assert run_study(config, tmp_path, engine=engine(), standing=CLEAN).complete


@pytest.mark.parametrize("cohort", [1, 2])
def test_a_failure_that_cannot_be_written_down_keeps_nobody_waiting(cohort: int, questions: Path, tmp_path: Path) -> None:
    """The first run's folder was begun under another plan, so that it can neither go on nor say that it failed."""
    config = study(questions, cohort=cohort, methods=BOTH, starts=1, splits={"kind": "folds", "folds": 2, "count": 1, "development": False})
    made = plan(config, engine=engine(), standing=CLEAN)
    source = next(run for run in made.runs if run.trained_culture == "Spain" and run.begins == "fresh")
    write_state(StudyFolder(tmp_path).run(source.path), RunState(source.determinants, {"threads": 99}))
    outcome = run_study(config, tmp_path, engine=engine(), standing=CLEAN, poll=0.01)
    failed = {(planned.label, planned.trained_culture): reason for planned, reason in outcome.failures}
    assert set(failed) == {("prompt-tuning", "Spain"), *(("spot", culture) for culture in (UNTRAINED, "Spain", "Iran"))}
    assert "a run that was begun with another" in failed["prompt-tuning", "Spain"]
    assert "the adapter of Spain, which was not trained yet" in failed["spot", "Iran"]


def test_two_prompts_are_two(questions: Path) -> None:
    methods = [
        {"name": "prompt-tuning", "settings": {"length": 4}},
        {"name": "prompt-tuning", "label": "twice", "settings": {"length": 8}, "start": "tailor:Spain+Spain"},
    ]
    with pytest.raises(UserError, match=r"methods\.twice\.start: found 'tailor:Spain\+Spain'; expected two different names"):
        plan(study(questions, methods=methods), engine=engine(), standing=CLEAN)


def test_what_begins_from_an_unfinished_run_waits_for_it(questions: Path, tmp_path: Path) -> None:
    from affinage.study.starts import begin, waits  # noqa: PLC0415

    made = plan(study(questions, methods=BOTH), engine=engine(), standing=CLEAN)
    run = next(run for run in made.runs if run.sources)
    session: Any = SimpleNamespace(folder=StudyFolder(tmp_path), made=made, backbone=None, given_up=set())
    assert waits(session, run)
    with pytest.raises(UserError, match="the adapter of Spain, which was not trained yet"):
        begin(session, run)
    assert not waits(session, next(run for run in made.runs if run.trains and not run.sources))


def test_a_killed_study_goes_on_from_where_the_second_training_was(questions: Path, tmp_path: Path) -> None:
    config = study(questions, methods=BOTH, starts=1)
    assert run_study(config, tmp_path / "whole", engine=engine(), standing=CLEAN).complete
    fake = Fake()
    train = fake.train

    def interrupted(backbone: Any, members: list[Any], training: TrainingConfig, **rest: Any) -> None:
        told = members[-1].on_step

        def stop(record: Any) -> None:
            told(record)
            if "/spot/" in str(members[-1].folder.path) and record.step == STEPS - 1:
                raise KeyboardInterrupt

        members[-1].on_step = stop
        train(backbone, members, training, **rest)

    fake.train = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_study(config, tmp_path / "killed", engine=engine(fake), standing=CLEAN)
    assert run_study(config, tmp_path / "killed", engine=engine(), standing=CLEAN).complete
    made = plan(config, engine=engine(), standing=CLEAN)
    for run in (run for run in made.runs if run.method is not None):
        assert card(tmp_path / "killed", run) == card(tmp_path / "whole", run)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([BOTH[0], {**BOTH[1], "start": "culture:Spian"}], r"methods\.spot\.start: .*no adapter of Spian .*Did you mean .*'Spain'"),
        ([BOTH[0], {**BOTH[1], "start": "all-cultures"}], r"Add the control: `controls: \[\{name: all-cultures\}\]`"),
        ([BOTH[1], {"name": "lora"}], "no other prompt-tuning in the study that begins afresh"),
        ([BOTH[0], {**BOTH[1], "settings": {"rank": 3}}], "no other prompt-tuning in the study that begins afresh"),
        ([BOTH[0], {**BOTH[1], "start": "tailor:Spain+Iran"}], "twice the length"),
    ],
)
def test_a_start_that_is_not_in_the_study_is_refused(questions: Path, tmp_path: Path, methods: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_study(study(questions, methods=methods), tmp_path / "out", engine=engine(), standing=CLEAN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("start", ["Mexico", "culture:", "tailor:A", "tailor:A+B+C", "Fresh"])
def test_an_unknown_form_of_a_start_is_refused(start: str) -> None:
    with pytest.raises(UserError, match="start"):
        validated(MethodConfig, {"name": "lora", "start": start}, "test")


# With a model


CULTURES: Mapping[str, str] = {"Atlantis": "red", "Lemuria": "red", "Mu": "blue"}


@pytest.fixture(scope="module")
def begun(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """A study in which adapters begin by similarity, and from two prompts; their own training moves next to nothing."""
    folder = tmp_path_factory.mktemp("begun")
    made = [question for culture, colour in CULTURES.items() for question in invented(culture, 16, rule=likes(colour))]
    still = {"steps": 1, "rate": 1e-9}
    config = validated(
        StudyConfig,
        {
            "model": {"id": str(tiny_folder), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 3, "nodes_per_pack": 4096},
            "data": {"source": "table", "path": str(write_tiny(folder / "q.parquet", made))},
            "prompt": {"style": "text"},
            "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
            "methods": [
                {"name": "prompt-tuning", "settings": {"length": 4}, "training": {"steps": 6, "rate": 5e-2}},
                {"name": "prompt-tuning", "label": "similar", "start": "similar", "settings": {"length": 4}, "training": still},
                {"name": "prompt-tuning", "label": "tailor", "start": "tailor:Mu+Lemuria", "settings": {"length": 8}, "training": still},
            ],
            "training": {"loss": "choice", "batch_size": 4},
            "starts": 1,
        },
        "test",
    )
    outcome = run_study(config, folder / "out", standing=CLEAN)
    assert outcome.complete, outcome.failures
    return folder / "out", plan(config, folder / "out", standing=CLEAN)


def vectors(out: Path, planned: PlannedRun) -> torch.Tensor:
    return load_file(RunFolder(out / planned.path).adapter / "adapter_model.safetensors")["prompt_embeddings"]


def test_two_prompts_are_put_one_after_the_other(begun: tuple[Path, Plan]) -> None:
    out, made = begun
    runs = {(run.label, run.trained_culture): run for run in made.runs}
    mu, lemuria = (vectors(out, runs["prompt-tuning", culture]) for culture in ("Mu", "Lemuria"))
    assert not torch.allclose(mu, lemuria)
    for culture in (UNTRAINED, *CULTURES):  # without further training, and with so little that it is the same
        assert torch.allclose(vectors(out, runs["tailor", culture]), torch.cat([mu, lemuria]), atol=1e-6)
    seen = json.loads((out / runs["tailor", "Atlantis"].path / "adapter" / "affinage.json").read_text(encoding="utf-8"))["seen_templates"]
    assert set(seen) <= made.record.splits[0].train_templates
    assert len(seen) == len(made.record.splits[0].train_templates)


def test_the_most_similar_of_the_other_cultures_is_begun_from(begun: tuple[Path, Plan]) -> None:
    out, made = begun
    runs = {(run.label, run.trained_culture): run for run in made.runs}
    assert ("similar", UNTRAINED) not in runs
    fresh = {culture: vectors(out, runs["prompt-tuning", culture]) for culture in CULTURES}
    means = {culture: each.mean(0) for culture, each in fresh.items()}
    for culture in CULTURES:
        others = [other for other in CULTURES if other != culture]
        most = max(others, key=lambda other: float(torch.nn.functional.cosine_similarity(means[culture], means[other], dim=0)))
        chosen = vectors(out, runs["similar", culture])
        assert torch.allclose(chosen, fresh[most], atol=1e-6)
        assert not torch.allclose(chosen, fresh[next(other for other in others if other != most)], atol=1e-6)
    state = read_state(RunFolder(out / runs["similar", "Mu"].path))
    assert state is not None
    assert [name for name, _ in runs["similar", "Mu"].sources] == list(CULTURES)


def test_similarity_is_that_of_the_mean_virtual_tokens() -> None:
    def adapter(values: list[list[float]], method: str = "prompt-tuning", name: str = "vectors") -> Any:
        return SimpleNamespace(method=method, final_tensors=lambda: {name: torch.tensor(values)})

    one = adapter([[1.0, 0.0], [3.0, 0.0]])
    assert similarity(one, adapter([[0.0, 5.0], [0.0, -1.0]])) == pytest.approx(0.0)
    assert similarity(one, adapter([[9.0, 1.0], [-1.0, -1.0]])) == pytest.approx(1.0)
    wide = [adapter([[1.0, 0.0]], "lora", "x.a"), adapter([[1.0, 1.0]], "lora", "x.a")]
    assert similarity(*wide) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("name", [name for name in registry if registry.get(name).rows is not None])
def test_the_rows_of_a_method_are_all_that_it_hands_on(name: str, backbone: Backbone) -> None:
    method = registry.get(name)
    settings = method.settings.model_validate({"length": 3})
    one, other = (method.build(settings, backbone, (name, start)) for start in range(2))
    tensors = joined(one, other)
    assert list(one.final_tensors()) == [method.rows] == list(tensors)
    both = method.restore(method.settings.model_validate({"length": 6}), backbone.shape, tensors)
    assert type(both) is type(one)
    assert torch.equal(both.final_tensors()[method.rows or ""][:3], one.final_tensors()[method.rows or ""])
    assert torch.equal(both.final_tensors()[method.rows or ""][3:], other.final_tensors()[method.rows or ""])


def test_adapters_without_virtual_tokens_cannot_be_put_one_after_the_other(backbone: Backbone) -> None:
    method = registry.get("lora")
    one = method.build(method.settings.model_validate({"rank": 2}), backbone, ("lora", 0))
    with pytest.raises(UserError, match="no virtual tokens that could be put one after the other"):
        joined(one, one)
