"""A study's bench: what each adapter is trained on, equality in cohorts, turns, files, and the memory of another adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import METHODS, Near
from safetensors.numpy import load_file
from typer.testing import CliRunner

from affinage.bench.sides import candidates
from affinage.bench.study.bench import study
from affinage.bench.study.memory import Row, fitted, one_step
from affinage.bench.study.ours import OurStudy
from affinage.bench.study.peft_lesson import PeftLesson
from affinage.bench.study.result import Side, Sides, StudyResult, as_dict, markdown, write
from affinage.bench.study.work import pool, read_study, study_work, write_study
from affinage.bench.study.worker import StudyDesk
from affinage.bench.wire import SideError
from affinage.bench.work import batch_digest, read_work
from affinage.cli import app
from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.study.cohorts import Lockstep
from tiny import questions, write_questions

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("FutureWarning", "UserWarning", "DeprecationWarning")]

CULTURES = ("Atlantis", "Lemuria")


@pytest.fixture(scope="module")
def config(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    asked = [question for culture in CULTURES for question in questions(culture, 20, rows=3)]
    path = write_questions(tmp_path_factory.mktemp("questions") / "questions.parquet", asked)
    return StudyConfig.model_validate(
        {
            "model": {"id": str(tiny_folder), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 2, "nodes_per_pack": 300},
            "data": {"source": "table", "path": str(path)},
            "training": {"batch_size": 6},
        }
    )


class NearStudy(Near):
    """A worker of this bench in this process."""

    def __init__(self, log: list[str]) -> None:
        self._desk = StudyDesk()  # type: ignore[assignment]
        self._log = log
        self._side = ""

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        self._side = values.get("side", self._side)
        self._log.append(f"{do} {self._side}")
        return super().ask(do, **values)

    def close(self) -> None:
        self._log.append(f"close {self._side}")


def nearby(log: list[str]) -> Callable[[], NearStudy]:
    return lambda: NearStudy(log)


@pytest.fixture(scope="module")
def set_up() -> Iterator[None]:
    """The peer's set-up without the search for it, which a test of its own looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affinage.bench.study.bench.fastest", lambda start, peer, work, options, repeat: options[0])
        yield


@pytest.fixture(scope="module")
def whole(config: StudyConfig, set_up: None) -> tuple[StudyResult, list[str], list[str]]:
    """A study of four adapters with its memory, what its processes were asked, and what was said of it."""
    log: list[str] = []
    events: list[str] = []
    return run(config, log, adapters=4, steps=2, repetitions=2, memory=True, on_event=events.append), log, events


def run(config: StudyConfig, log: list[str] | None = None, **values: Any) -> StudyResult:
    given: dict[str, Any] = {"peer": "peft-loop-tuned", "method": "prompt-tuning", "adapters": 2, "steps": 2, "repetitions": 1, "memory": False}
    given |= values
    return study(config, command="affinage bench study", start=nearby([] if log is None else log), trial=Near, **given)


def test_adapters_are_the_first_cultures_then_further_starts(config: StudyConfig, tmp_path: Path) -> None:
    work = study_work(config, "lora", 5, 4, tmp_path)
    assert [(lesson.culture, lesson.start) for lesson in work.lessons] == [
        *(("Atlantis", 0), ("Lemuria", 0)),
        *(("Atlantis", 1), ("Lemuria", 1), ("Atlantis", 2)),
    ]
    assert work.cohorts == ((0, 1), (2, 3), (4,))
    assert work.nodes_per_pack == 300
    assert [len(lesson.work.batches) for lesson in work.lessons] == [4] * 5
    firsts = [batch_digest(question.trained for question in lesson.work.batches[0]) for lesson in work.lessons]
    assert len(set(firsts)) == 5, "another culture, or another start, has other batches"
    assert len({lesson.work.start for lesson in work.lessons}) == 3
    assert work.lessons[0].work.training.steps == 4
    write_study(tmp_path / "files", work)
    assert read_study(tmp_path / "files" / "study.json") == work
    assert read_work(tmp_path / "files" / "lesson-3.json") == work.lessons[3].work


@pytest.mark.parametrize("together", [1, 3])
def test_our_training_draws_the_batches_that_the_peer_is_given(together: int, config: StudyConfig, tmp_path: Path) -> None:
    training = config.training.model_copy(update={"questions_per_template": together})
    work = study_work(config.model_copy(update={"training": training}), "prompt-tuning", 2, 4, tmp_path)
    taken = OurStudy(work).train(0, tmp_path / "trained")
    assert taken.digests == [batch_digest(question.trained for question in batch) for lesson in work.lessons for batch in lesson.work.batches]
    assert len(set(taken.digests)) == 8
    alike = [max(sum(a.template == b.template for b in batch) for a in batch) for lesson in work.lessons for batch in lesson.work.batches]
    assert max(alike) >= together
    assert len(pool(work.lessons[0].work)) == 24


def test_what_a_plan_would_settle_is_taken_where_the_study_does_not_say_it(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = config.model_copy(update={"model": config.model.model_copy(update={"cohort": None, "nodes_per_pack": None})})
    seen: list[int] = []

    def settled(shape: Any, model: Any, step: Any, machine: Any, *, adapter: Any, most: int) -> Lockstep:
        made = step(3, None)
        assert made.questions == 3 * 6
        assert adapter.trained == 16 * 64
        seen.append(most)
        return Lockstep(3, 77)

    monkeypatch.setattr("affinage.bench.study.work.fitting", settled)
    monkeypatch.setattr("affinage.bench.study.work.this_machine", lambda *_: None)
    work = study_work(free, "prompt-tuning", 4, 2, tmp_path)
    assert (work.cohorts, work.nodes_per_pack, seen) == (((0, 1, 2), (3,)), 77, [4])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("set_up")
def test_both_sides_end_at_the_same_tensors(method: str, config: StudyConfig) -> None:
    result = run(config, method=method)
    assert result.state == "measured"
    assert result.equality["float32"] < 1e-5
    (sides,) = result.repetitions
    assert sides.ours.digests == sides.theirs.digests
    assert (len(sides.ours.loading), len(sides.theirs.loading)) == (1, 2)
    assert (len(sides.ours.training), len(sides.theirs.training)) == (1, 2)
    assert 0 < max(sides.apart) < 0.05
    assert sides.ours.losses == pytest.approx(sides.theirs.losses, rel=1e-3)
    assert sides.token_ratio > 1
    assert sides.ours.tokens < sides.theirs.tokens <= sides.theirs.padded


def test_a_peer_as_it_comes_runs_without_a_search_for_its_set_up(config: StudyConfig) -> None:
    log: list[str] = []
    result = run(config, log, peer="peft-loop", adapters=1)
    assert (result.state, result.peer, result.options) == ("measured", "peft-loop", {})
    assert "train peft-loop" in log
    assert max(result.repetitions[0].apart) < 0.05
    page = markdown(result, "as it comes")
    assert "`peft-loop`: PEFT in a plain torch loop as it comes" in page
    assert "fastest" not in page


@pytest.mark.usefixtures("set_up")
def test_a_peer_trained_otherwise_ends_elsewhere(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PeftLesson._learn

    def wrong(self: PeftLesson, index: int) -> float:
        return right(self, 0 if index == 1 else index)

    monkeypatch.setattr(PeftLesson, "_learn", wrong)
    assert min(run(config).repetitions[0].apart) > 0.05


@pytest.mark.usefixtures("set_up")
def test_a_loss_of_another_size_is_not_timed(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinage.bench.study.peft_lesson._answered", lambda batch: 1)
    log: list[str] = []
    result = run(config, log)
    assert result.state.startswith("failed: not equal: float32 differs by ")
    assert result.failed
    assert result.repetitions == ()
    assert not any(line.startswith("train") for line in log)


def test_who_begins_changes_from_cohort_to_cohort_and_each_peer_has_a_process(whole: tuple[StudyResult, list[str], list[str]]) -> None:
    _, log, events = whole
    begun = next(place for place, line in enumerate(log) if line.startswith("train")) - 1
    ours, peer = ["train affinage"], [f"{each} peft-loop-tuned" for each in ("open", "train", "memory", "close")]
    first = ["open affinage", *ours, *peer, *peer, *peer, *peer, *ours, "memory affinage", "close affinage"]
    second = ["open affinage", *peer, *peer, *ours, *ours, *peer, *peer, "memory affinage", "close affinage"]
    assert log[begun : begun + len(first) + len(second)] == first + second
    assert "PEFT, adapter 4 of 4" in events
    assert "repetition 2 of 2" in events


@pytest.mark.usefixtures("set_up")
def test_a_peer_that_breaks_and_ours(config: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(PeftLesson, "train", broken)
        result = run(config)
        assert result.state == "does not run: ValueError: out of order"
        assert not result.failed
    monkeypatch.setattr(OurStudy, "train", broken)
    result = run(config)
    assert result.state == "failed: affinage does not run: ValueError: out of order"
    assert result.equality["fault"] == ""


def test_bfloat16_is_judged_by_the_distance_from_float32(config: StudyConfig) -> None:
    narrow = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "bfloat16"})})
    result = run(narrow, method="lora", adapters=1, steps=1)
    assert result.equality["float32"] < 1e-5
    assert 1e-4 < result.equality["ours"] < 0.2
    assert 1e-4 < result.equality["theirs"] < 0.2
    assert result.options in candidates("peft-loop-tuned", "lora", "bfloat16"), (
        "the fastest of them, found without the fixture that spares the search"
    )


def test_the_saved_adapters_are_where_the_distance_is_read(config: StudyConfig, tmp_path: Path) -> None:
    work = study_work(config, "prompt-tuning", 2, 2, tmp_path)
    OurStudy(work).gradients([1], [tmp_path / "gradients.safetensors"])
    start = load_file(work.lessons[0].work.start / "adapter" / "adapter_model.safetensors")["prompt_embeddings"]
    OurStudy(work).train(0, tmp_path / "trained")
    trained = [load_file(tmp_path / "trained" / str(place) / "adapter" / "adapter_model.safetensors")["prompt_embeddings"] for place in (0, 1)]
    assert np.abs(trained[0] - start).max() > 0
    assert np.abs(trained[0] - trained[1]).max() > 0, "two cultures, two adapters"


def test_small_cohorts_tell_the_memory_of_an_adapter(whole: tuple[StudyResult, list[str], list[str]]) -> None:
    result, log, _ = whole
    assert [(row.adapters, row.nodes_per_pack is None) for row in result.memory] == [(1, False), (2, False), (4, False), (2, True), (4, True)]
    assert all(row.state == "measured" and row.peak > 0 and row.before > 0 for row in result.memory)
    budget = result.memory[0].nodes_per_pack
    assert budget is not None
    assert [row.nodes for row in result.memory] == [budget, budget, budget, 2 * budget, 4 * budget], "all read the same questions"
    held = [row.allocated for row in result.memory]
    assert all(each is not None and each > 0 for each in held)
    fit = fitted(result.memory)
    assert fit is not None
    # Its tensors, gradients and moments, and a number or two; what its nodes take is far more.
    own = result.memory[0].adapter
    assert own <= fit.per_adapter <= 1.1 * own
    assert fit.off < 0.05 * own
    assert fit.per_node * budget > 10 * fit.per_adapter
    assert fit.largest < 0.05 * result.memory[0].held
    assert result.memory[0].adapter == 16 * 64 * 4 * 4  # values, float32, and of each its gradient and two moments
    assert log.count("forget affinage") == 5


def test_the_budget_of_small_cohorts_is_one_adapter_s_step(config: StudyConfig, tmp_path: Path) -> None:
    work = study_work(config, "prompt-tuning", 2, 2, tmp_path)
    budget = one_step(work)
    alone = OurStudy(work.alike(1, 2, None)).train(0, tmp_path / "alone").nodes
    together = OurStudy(work.alike(2, 2, budget)).train(0, tmp_path / "two").nodes
    assert max(alone) == budget
    assert together == [2 * nodes for nodes in alone]


def test_lines_by_hand() -> None:
    def row(adapters: int, nodes: int, off: int = 0, budget: int | None = None) -> Row:
        return Row(adapters, budget, "measured", nodes, 0, 5, 1_000_000 + 300 * adapters + 7 * nodes + off, 300)

    equal = [row(1, 100, budget=100), row(2, 100, budget=100), row(4, 100, budget=100)]
    rows = [*equal, row(2, 200), row(4, 400)]
    fit = fitted(rows)
    assert fit is not None
    assert (fit.base, fit.per_adapter, fit.per_node) == pytest.approx((1_000_000, 300, 7))
    assert max(fit.off, fit.largest) < 1e-3
    off = fitted([*rows, row(8, 800, off=1000)])
    assert off is not None
    assert off.largest > 50
    assert (off.per_adapter, off.off) == pytest.approx((300, 0), abs=1e-3), "larger packs say nothing of an adapter's own"
    crooked = fitted([*rows, row(8, 100, off=1000, budget=100)])
    assert crooked is not None
    assert crooked.off > 50
    assert fitted(rows[1:]) is None, "two cohorts lie on a line whatever they are"
    assert fitted(equal) is None, "nodes of one number"
    assert fitted([*equal, Row(2, None, "does not run: killed")]) is None


def test_a_worker_answers_nothing_before_it_is_opened() -> None:
    with pytest.raises(SideError, match="nothing was opened"):
        NearStudy([]).ask("train", number=0, folder="x")


def test_record_and_page(whole: tuple[StudyResult, list[str], list[str]], tmp_path: Path) -> None:
    result, _, _ = whole
    record, page = write(result, tmp_path, "study-here")
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(as_dict(result)))
    assert [each["time_ratio"] for each in kept["repetitions"]] == [each.time_ratio for each in result.repetitions]
    assert [len(each["theirs"]["loading"]) for each in kept["repetitions"]] == [4, 4]
    assert kept["memory"]["fit"]["per_node"] is not None
    text = page.read_text(encoding="utf-8")
    assert text == markdown(result, "study-here")
    assert "| affinage, cohorts over one model | 1 |" in text
    assert "| PEFT, a process for each adapter | 4 |" in text
    assert "* cohorts: of 2, 2, packs of 300 nodes at most" in text
    assert "| another adapter, packs as large |" in text
    assert "| another adapter, a step as one pack |" in text


def test_ratios_by_hand() -> None:
    def side(loading: tuple[float, ...], training: tuple[float, ...], tokens: int) -> Side:
        return Side(loading, training, tokens, tokens, (1.0,), ("a",), 1_500_000_000, None)

    sides = Sides(side((2.0,), (3.0, 5.0), 100), side((4.0, 4.0), (12.0, 10.0), 150), (0.1, 0.3))
    assert (sides.time_ratio, sides.training_ratio, sides.token_ratio) == (3.0, 2.75, 1.5)
    result = StudyResult(
        "affinage bench study", {"device": "cpu: a processor"}, {}, "lora", "peft-loop-tuned", "measured", {"attention": "eager"}, {}, (sides,)
    )
    page = markdown(result, "by hand")
    assert "| PEFT, a process for each adapter | 2 | 30 (30 to 30) | 8 (8 to 8) | 22 (22 to 22) | 150 | 1.50 GB |" in page
    assert "| the whole | 3 (3 to 3) | 1.50 | **2.00** |" in page
    assert "| training and saving | 2.75 (2.75 to 2.75) | 1.50 | **1.83** |" in page
    assert "fastest: attention eager" in page
    refused = markdown(replace(result, state="does not run: no room", repetitions=()), "by hand")
    assert "**does not run: no room**" in refused
    assert "time ratio" not in refused


def test_no_questions_are_refused(config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.batch_size"):
        study_work(config.model_copy(update={"limit": 3}), "lora", 1, 2, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--peer", "trl"), "--peer: found 'trl'; expected a known one."),
        (("--method", "none"), "--method: found 'none'; expected a known one."),
        (("--adapters", "0"), "Invalid value for '--adapters'"),
        (("--culture", "Atlantys"), "Atlantys"),
    ],
    ids=["peer", "method", "adapters", "culture"],
)
def test_bad_input_has_its_message(arguments: tuple[str, ...], message: str, config: StudyConfig) -> None:
    given = ["--model", config.model.id, "--source", "table", "--path", str(config.data.path)]
    result = CliRunner().invoke(app, ["bench", "study", *given, *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("state", "code"), [("measured", 0), ("does not run: no room", 0), ("failed: not equal", 1)])
def test_the_command_hands_its_flags_on_and_keeps_the_result(
    state: str, code: int, config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def told(config: StudyConfig, **values: Any) -> StudyResult:
        asked.update(values, seed=config.seed, model=config.model.id)
        return StudyResult("affinage bench study", {"device": "cpu: a processor"}, {}, values["method"], values["peer"], state)

    monkeypatch.setattr("affinage.bench.study.bench.study", told)
    flags = ["--peer", "peft-loop", "--method", "lora", "--adapters", "5", "--no-memory", "--set", "seed=7"]
    flags += ["--source", "table", "--path", str(config.data.path)]
    result = CliRunner().invoke(app, ["bench", "study", *flags, "--model", config.model.id, "--out", str(tmp_path)])
    assert result.exit_code == code, result.output
    expected = {"peer": "peft-loop", "method": "lora", "adapters": 5, "steps": 20, "repetitions": 1, "memory": False}
    expected |= {"seed": 7, "model": config.model.id}
    assert {name: asked[name] for name in expected} == expected
    assert json.loads((tmp_path / "study-cpu.json").read_text(encoding="utf-8"))["state"] == state
    assert ("does not run" in result.stdout) == (state != "measured" and code == 0)
