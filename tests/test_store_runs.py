"""A run's state goes forward only, remembers who worked on it, and refuses to be another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from affinage.records import UserError
from affinage.store import Checkout, Provenance, RunFolder, RunState, advance, fail, provenance, read_state, reopen

FRESH = RunState({"method": {"name": "lora"}, "seed": 0}, {"threads": 2})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def worker() -> Provenance:
    return provenance("cpu", 2, Checkout("abc", False))


def test_a_run_goes_from_start_to_end(folder: RunFolder, worker: Provenance) -> None:
    assert read_state(folder) is None
    state = reopen(folder, FRESH, worker)
    assert state.status == "running"
    state = advance(folder, state, "trained", counts={"questions": 9, "refused": 1, "templates": 3})
    state = advance(folder, state, "finished", scored={"Spain": {"scored": 4, "unscored": 0}})
    assert read_state(folder) == state
    assert state.provenance[0]["commit"] == "abc"
    assert state.provenance[0]["packages"]["torch"]


def test_no_state_is_skipped_and_none_follows_the_end(folder: RunFolder, worker: Provenance) -> None:
    state = reopen(folder, FRESH, worker)
    with pytest.raises(ValueError, match="does not go from running to finished"):
        advance(folder, state, "finished")
    finished = advance(folder, advance(folder, state, "trained"), "finished")
    with pytest.raises(ValueError, match="does not go from finished to failed"):
        fail(folder, finished, RuntimeError("late"))
    assert read_state(folder) == finished


def test_a_failure_keeps_its_reason_until_it_is_tried_again(folder: RunFolder, worker: Provenance) -> None:
    state = fail(folder, reopen(folder, FRESH, worker), UserError("loss", "nan", "a number", "Lower the rate."))
    assert (state.status, state.reason, state.traceback) == ("failed", "loss: found nan; expected a number. Lower the rate.", "")
    state = reopen(folder, FRESH, worker)
    assert (state.status, state.reason) == ("running", "")
    try:
        raise KeyError("inside")
    except KeyError as error:
        state = fail(folder, state, error)
    assert state.reason == "KeyError: 'inside'"
    assert 'raise KeyError("inside")' in state.traceback


def test_who_worked_on_a_run_is_kept_and_a_dirty_hour_stays(folder: RunFolder, worker: Provenance) -> None:
    reopen(folder, FRESH, worker)
    reopen(folder, FRESH, worker)
    dirty = replace(FRESH, provisional=("the package differs from commit abc",))
    state = reopen(folder, dirty, replace(worker, dirty=True))
    assert [record["dirty"] for record in state.provenance] == [False, True]
    state = reopen(folder, FRESH, worker)
    assert [record["dirty"] for record in state.provenance] == [False, True, False]
    assert state.provisional == ("the package differs from commit abc",)


def test_a_trained_run_is_not_trained_again(folder: RunFolder, worker: Provenance) -> None:
    advance(folder, reopen(folder, FRESH, worker), "trained")
    assert reopen(folder, FRESH, worker).status == "trained"


@pytest.mark.parametrize(
    ("other", "named"), [(replace(FRESH, determinants={**FRESH.determinants, "seed": 1}), "seed"), (replace(FRESH, plan={"threads": 4}), "threads")]
)
def test_a_folder_is_not_given_to_another_run(folder: RunFolder, worker: Provenance, other: RunState, named: str) -> None:
    before = reopen(folder, FRESH, worker)
    with pytest.raises(UserError, match=f"a run that was begun with another {named}"):
        reopen(folder, other, worker)
    assert read_state(folder) == before


def test_damage_and_other_formats_are_named(folder: RunFolder, worker: Provenance) -> None:
    reopen(folder, FRESH, worker)
    whole = folder.state.read_text()
    folder.state.write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"run\.json: .*a whole JSON file"):
        read_state(folder)
    folder.state.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="found format 2; expected format 1"):
        read_state(folder)
    folder.state.write_text(whole.replace('"status": "running"', '"status": "done"'))
    with pytest.raises(UserError, match="'done' is no status"):
        read_state(folder)
    folder.state.write_text(whole.replace('"reason"', '"raison"'))
    with pytest.raises(UserError, match="raison"):
        read_state(folder)
