"""A comparison: equality before time, turns, the fastest set-up, and what a failure becomes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import METHODS, Near, made, scripted

from affinage.bench.comparison import Comparison
from affinage.bench.equality import Answer, deviation, distance, equality, gradient_answer, score_answer
from affinage.bench.material import Material, training_work
from affinage.bench.results import Cell, Result
from affinage.bench.sides import EXACT, OURS
from affinage.bench.sides.peft_loop import PeftLoop
from affinage.bench.sides.start import read_start
from affinage.bench.training import train
from affinage.bench.wire import Talk
from affinage.bench.work import write_work
from affinage.records import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def answer(talk: Talk, path: Path) -> Answer:
    return gradient_answer([(path, talk.ask("step", index=0, gradients=path)["loss"])])


@pytest.fixture(scope="module")
def material(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return made(tiny_folder, tmp_path_factory.mktemp("questions"))


def compared(peer: str, material: Material, folder: Path, dtype: str, start: Any) -> Cell:
    work = training_work(material, "lora", 1, 4, folder / "start")
    work = work.model_copy(update={"model": work.model.model_copy(update={"dtype": dtype})})
    return Comparison(
        kind="train",
        work=work,
        variant="1",
        folder=folder,
        start=start,
        judged=work,
        answer=answer,
        repeat=lambda talk, index: talk.ask("step", index=index, gradients=None),
        warm=(1,),
        timed=(2, 3),
        questions=6,
        trial=work,
    ).cell(peer)


def test_both_take_turns_and_who_begins_changes(material: Material, tmp_path: Path) -> None:
    log: list[str] = []
    cell = compared("trainer", material, tmp_path, "float32", scripted(log, seconds={"affinage": 2.0, "trainer": 6.0}))
    assert cell.state == "measured"
    together = log[log.index("open affinage float32 {}", 1) :]
    assert together[2:8] == [
        *("affinage 1", "trainer 1"),
        *("affinage 2", "trainer 2"),
        *("trainer 3", "affinage 3"),
    ]
    assert log.count("close affinage") == log.count("close trainer") == 2
    assert (cell.time_ratio, cell.token_ratio, cell.engineering) == (3.0, 3.0, 1.0)
    assert cell.ours is not None
    assert cell.ours.per_second == 3.0


def test_the_fastest_set_up_is_taken_and_checked_in_float32_without_autocast(material: Material, tmp_path: Path) -> None:
    log: list[str] = []

    def seconds(options: dict[str, Any]) -> float:
        return 1.0 if options == {"attention": "eager", "autocast": True} else 5.0

    cell = compared("peft-loop-tuned", material, tmp_path, "bfloat16", scripted(log, seconds={"affinage": 2.0, "peft-loop-tuned": seconds}))
    assert dict(cell.options) == {"attention": "eager", "autocast": True}
    assert cell.time_ratio == 0.5
    tried = [line for line in log if line.startswith("open peft-loop-tuned bfloat16")]
    assert len(tried) == 4 + 2  # the trials, equality, the timed one
    assert [line for line in log if line.startswith("open peft-loop-tuned float32")] == ["open peft-loop-tuned float32 {'attention': 'eager'}"]


@pytest.mark.parametrize(
    ("play", "state"),
    [
        ({"broken": "trainer"}, "does not run: ValueError: out of order"),
        ({"broken": "affinage"}, "failed: affinage does not run: ValueError: out of order"),
        (
            {"gradient": {"trainer": 2.0001}, "broken": "peft-loop-tuned"},
            "failed: float32 is too far apart to judge, and float64 does not run: ValueError: out of order",
        ),
        (
            {"gradient": {"trainer": 2.001}},
            "failed: not equal: float32 differs by 5.0e-04 of the largest (a, batch 0); ours is 0.0e+00 from float64, the peer 4.5e-04",
        ),
        ({"batch": {"trainer": "other"}}, "failed: repetition 1: the two sides worked on different batches"),
    ],
    ids=["the peer breaks", "ours breaks", "no float64", "unequal", "other batches"],
)
def test_what_a_failure_becomes(play: dict[str, Any], state: str, material: Material, tmp_path: Path) -> None:
    cell = compared("trainer", material, tmp_path, "float32", scripted([], seconds={"affinage": 1.0, "trainer": 1.0}, **play))
    assert cell.state == state
    assert cell.ours is None
    assert cell.theirs is None


def test_a_side_that_is_made_wrong_is_not_timed(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compared("peft-loop", material, tmp_path / "right", "float32", Near).state == "measured"
    right = PeftLoop.loss
    monkeypatch.setattr(PeftLoop, "loss", lambda self, batch: right(self, batch) * 1.001)
    assert compared("peft-loop", material, tmp_path / "wrong", "float32", Near).state.startswith("failed: not equal: float32 differs by 1.0e-03")


def test_a_start_that_one_side_does_not_copy_is_not_timed(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinage.bench.sides.peft_model.read_start", lambda work: {name: value * 1.01 for name, value in read_start(work).items()})
    assert compared("peft-loop", material, tmp_path, "float32", Near).state.startswith("failed: not equal")


def test_bfloat16_is_judged_by_both_sides_distance_from_float32(material: Material, tmp_path: Path) -> None:
    cell = compared("peft-loop", material, tmp_path, "bfloat16", Near)
    assert cell.equality["float32"] < 1e-5
    assert 1e-4 < cell.equality["ours"] < 0.2
    assert 1e-4 < cell.equality["theirs"] < 0.2


def test_deviation_and_distance_by_hand() -> None:
    reference = Answer({"a": np.array([3.0, -4.0], np.float32), "b": np.array([100.0], np.float32)}, (2.0,))
    other = Answer({"a": np.array([3.0, -3.0], np.float32), "b": np.array([101.0], np.float32)}, (2.02,))
    assert deviation(other, reference) == (0.25, "a")
    assert deviation(reference, reference)[0] == 0.0
    assert distance(other, reference) == pytest.approx(math.sqrt(2 / (9 + 16 + 10_000)))
    missing = Answer({"a": reference.values["a"]}, (2.0,))
    assert deviation(missing, reference) == (math.inf, "b")
    broken = Answer({"a": np.array([math.nan, 1.0], np.float32), "b": reference.values["b"]}, (2.0,))
    assert deviation(broken, reference)[0] == math.inf


def test_ours_may_be_at_most_so_much_farther_from_float32_than_theirs() -> None:
    exact, near, far = (score_answer([[1.0, 2.0 + off]]) for off in (0.0, 0.10, 0.13))
    assert equality(exact, exact, (near, near)).fault == ""
    assert equality(exact, exact, (near, far)).fault == ""
    assert "at most 1.2 times" in equality(exact, exact, (far, near)).fault
    assert "at most 1e-05 is allowed" in equality(near, exact, (exact, exact)).fault


@pytest.mark.parametrize(
    ("ours", "theirs", "holds"),
    [
        *((2e-5, 6e-5, True), (6e-5, 6e-5, True), (8e-5, 6e-5, False), (2e-5, 2e-4, False), (2e-4, 2e-4, False)),
        *((8e-6, 4e-6, True), (1.2e-5, 4e-6, False), (8e-6, 2e-4, False)),
    ],
    ids=["nearer", "as near", "farther", "the peer is off", "both are off", "both within the bound", "ours outside it", "ours alone within it"],
)
def test_rounding_is_judged_by_float64(ours: float, theirs: float, holds: bool) -> None:
    exact, here, there = (Answer({"a": np.array([1.0 + off, 0.5], np.float32)}) for off in (0.0, ours, -theirs))
    assert equality(here, there).rounded
    assert (equality(here, there, exact=exact).fault == "") is holds


def test_float64_is_asked_only_where_float32_is_apart(material: Material, tmp_path: Path) -> None:
    log: list[str] = []
    compared("trainer", material, tmp_path, "float32", scripted(log, seconds={}))
    assert not any("precise" in line for line in log)
    compared("trainer", material, tmp_path, "float32", scripted(log, seconds={}, gradient={"trainer": 2.0001}))
    assert any("precise" in line for line in log)


@pytest.mark.parametrize("method", METHODS)
def test_the_reference_in_float64_is_nearer_than_float32(method: str, material: Material, tmp_path: Path) -> None:
    work = training_work(material, method, 1, 2, tmp_path / "start")
    answers = []
    for side, options in ((OURS["train"], {}), EXACT["train"]):
        talk = Near()
        talk.ask("open", side=side, work=write_work(tmp_path / "work.json", work), options=options)
        answers.append(answer(talk, tmp_path / f"{side}.safetensors"))
    assert 0 < deviation(*answers)[0] < 1e-5


def test_the_whole_bench_on_the_tiny_model(material: Material, tmp_path: Path) -> None:
    events: list[str] = []
    kept: list[Result] = []
    result = train(
        material.config,
        methods=("prompt-tuning",),
        peers=("peft-loop", "trainer"),
        per_template=(1, 3),
        repetitions=2,
        command="affinage bench train",
        start=Near,
        on_event=events.append,
        on_result=kept.append,
    )
    assert [len(each.cells) for each in kept] == [1, 2, 3, 4]
    assert events == [f"prompt-tuning, {together} per template, {peer}" for together in (1, 3) for peer in ("peft-loop", "trainer")]
    assert [cell.state for cell in result.cells] == ["measured"] * 4
    assert not result.failed
    plain, shared = (cell.token_ratio for cell in result.cells if cell.peer == "trainer")
    assert plain is not None
    assert shared is not None
    assert 1 < plain < shared
    assert all(cell.theirs is not None and len(cell.theirs.seconds) == 2 for cell in result.cells)
    assert {"torch", "transformers", "peft"} <= set(result.machine["versions"])


def test_fewer_questions_than_a_batch_are_refused(material: Material, tmp_path: Path) -> None:
    few = type(material)(material.config, material.culture, material.trained[:3], material.tested, material.tokens)
    with pytest.raises(UserError, match=r"training\.batch_size: found 6 with 3 questions"):
        training_work(few, "lora", 1, 2, tmp_path)
