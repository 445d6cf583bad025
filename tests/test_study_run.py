"""The executor: all that is missing and nothing else, after any crash, with any number of processes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.store import Checkout, StudyFolder, append_log, claim, files, read_all_scores, read_study
from affinage.study import Event, Outcome, costs, plan, run
from affinage.study.sides import trained_frame
from study_fakes import CLEAN, CULTURES, STEPS, Fake, call_at_each_write, contents, study, write_questions


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "questions.parquet")


@pytest.fixture
def config(questions: Path) -> StudyConfig:
    return study(questions)


def _run(config: StudyConfig, out: Path, fake: Fake, **more: Any) -> Outcome:
    return run(config, out, engine=fake.engine(), **{"standing": CLEAN, "poll": 0.02, **more})


def test_a_study_runs_once_and_again_does_nothing(config: StudyConfig, tmp_path: Path) -> None:
    out, fake, events = tmp_path / "out", Fake(), list[Event]()
    outcome = _run(config, out, fake, watch=events.append)
    runs = 2 * (1 + 2 * 2 * (1 + 2))  # folds * (untouched + starts * methods * (untrained + cultures))
    assert (outcome.runs, outcome.finished, outcome.failures, outcome.complete) == (runs, runs, (), True)
    assert len(fake.steps) == 2 * 2 * 2 * 2 * STEPS
    assert fake.loads == 1
    assert [event.place for event in events if event.stage == "started"] == [(number, runs) for number in range(1, runs + 1)]
    assert {event.stage for event in events} == {"started", "training", "testing", "finished"}
    before = contents(out)
    again = Fake()
    assert _run(config, out, again).complete
    assert (again.steps, again.encoded, again.loads) == ([], [], 0)
    assert contents(out) == before


def test_what_is_on_disk_is_what_was_computed(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    record, scores = read_study(out), read_all_scores(out)
    for kept in record.runs:
        own = scores.filter(run=kept.run)
        train = next(s for s in record.plan.splits if s.name == kept.split).train_templates
        expected = -1 if kept.trained_culture == "" else 1000 * kept.start
        if kept.counts is not None:
            assert kept.counts == {"questions": len(train) - 1, "refused": 1, "templates": len(train) - 1}
            expected += STEPS * (len(train) - 1)
        assert {row[0] for row in own["logprob"].to_list()} == {float(expected)}
        assert own["culture"].unique().sort().to_list() == ["Iran", "Spain"]
        assert not set(own["template_id"]) & train
        assert kept.scored == {culture: {"scored": 24 - len(train) - 1, "unscored": 1} for culture in ("Spain", "Iran")}
        assert (kept.status, kept.provisional, kept.claimed_by) == ("finished", (), None)
        assert kept.provenance[0]["device"] == "fake device"
    assert {(k.label, k.trained_culture) for k in record.runs} == {
        ("none", ""), *((label, culture) for label in ("prompt-tuning", "lora") for culture in ("untrained", "Spain", "Iran")),
    }  # fmt: skip
    assert scores.columns[:6] == ["run", "label", "method", "trained_culture", "split", "start"]


def test_the_start_and_the_order_do_not_depend_on_the_culture(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    cards = {path.parent.parent: json.loads(path.read_text()) for path in out.glob("runs/lora/*/*/adapter/affinage.json")}
    starts: dict[tuple[Any, ...], set[str]] = {}
    for card in cards.values():
        starts.setdefault(tuple(card["start"]), set()).add(card["culture"])
    assert len(starts) == 4
    assert set(map(frozenset, starts.values())) == {frozenset({"", "Spain", "Iran"})}
    for card in cards.values():
        assert bool(card["seen"]) == bool(card["culture"])


def test_questions_of_a_split_are_encoded_once(config: StudyConfig, tmp_path: Path) -> None:
    fake = Fake()
    _run(config, tmp_path / "out", fake)
    tested, trained = 2 * 2, 2 * 2 * 2 * 2
    assert len(fake.encoded) == tested + trained


def test_the_report_can_read_the_plan_without_the_data(config: StudyConfig, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    questions.unlink()
    record = read_study(out)
    table = record.questions
    assert table.height == 2 * 24  # every template is tested in one of the two folds, for both cultures
    assert table["association"].is_between(0, 1).all()
    assert table["answer_seen"].any()
    assert not table["answer_seen"].all()
    assert table["group"].null_count() == 0
    sizes = {(row["split"], row["culture"]): row["train"] + row["test"] for row in record.plan.sizes}
    assert set(sizes.values()) == {24}
    assert set(record.plan.ranges.values()) == {0.0}
    assert record.plan.data["name"]
    text = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "study.yaml")
    assert b"T00_Spain" in text
    assert b"word0a" not in text


@pytest.mark.parametrize("cohort", [1, 2])
def test_a_crash_at_any_write_changes_nothing_in_the_end(cohort: int, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = study(
        questions, cohort=cohort, starts=1, methods=[{"name": "lora"}], splits={"kind": "folds", "folds": 2, "count": 1, "development": False}
    )
    whole = tmp_path / "whole"
    written = 0

    def count(number: int) -> None:
        nonlocal written
        written = number

    monkeypatch.setattr(files, "_force", files._force)  # restored at the end
    monkeypatch.setattr(os, "write", os.write)
    force, write = files._force, os.write
    call_at_each_write(count)
    assert _run(config, whole, Fake()).complete
    assert written > 60
    for crash_at in range(1, written, 7):  # every one passes, too, in a minute
        files._force, os.write = force, write
        out, fake = tmp_path / f"crash-{crash_at}", Fake()

        def crash(number: int, at: int = crash_at) -> None:
            if number == at:
                raise KeyboardInterrupt

        call_at_each_write(crash)
        with pytest.raises(KeyboardInterrupt):
            _run(config, out, fake)
        assert _run(config, out, fake).complete
        assert contents(out) == contents(whole), f"crash at write {crash_at} of {written}"
        assert 2 * STEPS <= len(fake.steps) <= 2 * STEPS + 2 * cohort  # at most the steps since the last checkpoint are made again


@pytest.mark.parametrize("cohort", [1, 2])
def test_kill_9_at_random_moments_changes_nothing_in_the_end(cohort: int, questions: Path, tmp_path: Path) -> None:
    def start(out: Path, kill_at: int) -> int:
        program = [sys.executable, str(Path(__file__).with_name("study_fakes.py")), str(questions), str(out), str(kill_at), str(cohort)]
        return subprocess.run(program, check=False, timeout=120).returncode

    assert start(tmp_path / "whole", 0) == 0
    draw = random.Random(0)
    out = tmp_path / "killed"
    for _ in range(3):
        assert start(out, draw.randrange(3, 90)) == -signal.SIGKILL
    assert start(out, 0) == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("cohort", ["1", "2"])
def test_two_processes_share_a_study(cohort: str, questions: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(Path(__file__).with_name("study_fakes.py")), str(questions)]
    out = tmp_path / "shared"
    processes = [subprocess.Popen([*program, str(out), "0", cohort]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert subprocess.run([*program, str(tmp_path / "alone"), "0", cohort], check=False, timeout=120).returncode == 0
    assert contents(out) == contents(tmp_path / "alone")
    for kept in read_study(out).runs:
        assert len(kept.provenance) == 1


def test_a_run_that_another_process_holds_is_waited_for(config: StudyConfig, tmp_path: Path) -> None:
    out, events = tmp_path / "out", list[Event]()
    held_run = plan(config, out, engine=Fake().engine(), standing=CLEAN).runs[1]
    other = claim(out / held_run.path)
    assert other.__enter__() is not None

    def watch(event: Event) -> None:
        events.append(event)
        if event.stage == "waiting" and sum(e.stage == "waiting" for e in events) == 3:
            other.__exit__(None, None, None)  # the other gave up: it is ours now

    assert _run(config, out, Fake(), watch=watch).complete
    assert [event.stage for event in events if event.run.path == held_run.path] == [*["waiting"] * 3, "started", "testing", "testing", "finished"]
    assert f"process {os.getpid()}" in next(event.note for event in events if event.stage == "waiting")


def test_a_run_taken_over_meanwhile_is_left_to_its_new_owner(config: StudyConfig, tmp_path: Path) -> None:
    out, steps = tmp_path / "out", list[str]()

    def watch(event: Event) -> None:
        if event.stage == "training":
            folder = StudyFolder(out).run(event.run.path).path
            steps.append(event.run.path)
            if len(steps) == 3:  # this process slept; another one, dead by now, had taken the run over
                claims = sorted(folder.glob("claim-*"))
                (folder / "claim-000002").write_bytes(claims[-1].read_bytes())
                os.utime(folder / "claim-000002", (0, 0))

    assert _run(config, out, Fake(), watch=watch).complete
    assert len(steps) == 16 * STEPS + 1  # begun again from the checkpoint of step 2, so step 3 was told twice


def test_a_failing_run_is_recorded_and_the_others_go_on(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake = Fake(fail=lambda folder: "/lora/Iran/" in str(folder.path))
    outcome = _run(config, out, fake)
    assert not outcome.complete
    assert (outcome.finished, len(outcome.failures)) == (outcome.runs - 4, 4)
    planned, reason = outcome.failures[0]
    assert planned.trained_culture == "Iran"
    assert "a loss of nan" in reason
    failed = [kept for kept in read_study(out).runs if kept.status == "failed"]
    assert {kept.reason for kept in failed} == {reason}
    assert set(read_all_scores(out)["trained_culture"]) == {"", "untrained", "Spain", "Iran"}
    fake.fail, fake.steps = (lambda folder: False), []
    assert _run(config, out, fake).complete
    assert len(fake.steps) == 4 * (STEPS - 2)  # the failed ones go on from their checkpoints


def test_a_member_that_fails_is_lost_to_its_cohort_alone(questions: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", study(questions, cohort=2)
    fake = Fake(fail=lambda folder: "/lora/Iran/" in str(folder.path))
    outcome = _run(config, out, fake)
    assert (outcome.finished, len(outcome.failures)) == (outcome.runs - 4, 4)
    assert len(fake.steps) == 12 * STEPS + 4 * 2, "a lost member is not tried again by the same command"
    fake.fail, fake.steps = (lambda folder: False), []
    assert _run(config, out, fake).complete
    assert len(fake.steps) == 4 * STEPS  # alone, from the start
    alone = tmp_path / "alone"
    _run(study(questions), alone, Fake())
    assert read_all_scores(out).equals(read_all_scores(alone))


def test_a_member_with_nothing_to_learn_from_fails_alone(questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_all = Fake.encode_all
    fake = Fake()
    config = study(questions, cohort=2, starts=1, methods=[{"name": "lora"}], splits={"kind": "folds", "folds": 2, "count": 1, "development": False})
    made = plan(config, engine=fake.engine(), standing=CLEAN)
    training = set(trained_frame(made.dataset, made.record.splits[0], "Iran", made.config)["mcq_id"])

    def nothing(fake: Fake, mcqs: list[Any], prompt: Any, **values: Any) -> tuple[list[Any], list[Any]]:
        encoded, refused = encode_all(fake, mcqs, prompt, **values)
        return ([], refused) if {mcq.mcq_id for mcq in mcqs} == training else (encoded, refused)

    monkeypatch.setattr(Fake, "encode_all", nothing)
    outcome = _run(config, tmp_path / "out", fake)
    assert [(planned.trained_culture, "no usable question" in reason) for planned, reason in outcome.failures] == [("Iran", True)]
    assert outcome.finished == outcome.runs - 1


def test_the_first_of_a_cohort_may_fail(questions: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", study(questions, cohort=2)
    fake = Fake(fail=lambda folder: "/lora/Spain/" in str(folder.path))
    outcome = _run(config, out, fake)
    assert {planned.trained_culture for planned, _ in outcome.failures} == {"Spain"}
    assert outcome.finished == outcome.runs - 4
    fake.fail, fake.steps = (lambda folder: False), []
    assert _run(config, out, fake).complete
    assert len(fake.steps) == 4 * STEPS


def test_an_unforeseen_error_keeps_its_traceback(config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "evaluate", staticmethod(lambda *a, **k: next(iter([]))))
    outcome = _run(config, tmp_path / "out", Fake())
    assert outcome.finished == 0
    assert outcome.failures[0][1] == "StopIteration: "
    state = json.loads(StudyFolder(tmp_path / "out").run(outcome.failures[0][0].path).state.read_text())
    assert "next(iter([]))" in state["traceback"]


def test_a_full_disk_ends_in_its_message_and_the_next_command_goes_on(config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, fake = tmp_path / "out", Fake()
    whole, full = append_log, True

    def fills(path: Path, record: Any) -> None:
        if full and record["step"] == 4:
            raise files.write_error(path, OSError(28, "No space left on device")) or AssertionError
        whole(path, record)

    monkeypatch.setattr("study_fakes.append_log", fills)
    outcome = _run(config, out, fake)
    assert len(outcome.failures) == 16
    assert all("a full disk" in reason for _, reason in outcome.failures)
    full = False
    assert _run(config, out, fake).complete


@pytest.mark.parametrize("cohort", [2, 3])
def test_an_error_of_a_whole_cohort_is_kept_for_each_member_and_tried_again(
    cohort: int, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"source": "table", "path": str(questions), "cultures": CULTURES[:cohort]}
    values: dict[str, Any] = {"methods": [{"name": "lora"}], "data": data}
    out, config, tries = tmp_path / "out", study(questions, cohort=cohort, **values), list[int]()
    whole = Fake.train

    def broken(fake: Fake, backbone: Any, members: list[Any], *rest: Any, **packs: Any) -> None:
        tries.append(len(members))
        raise RuntimeError("out of order")

    monkeypatch.setattr(Fake, "train", broken)
    outcome = _run(config, out, Fake())
    trained = [planned for planned in plan(config, engine=Fake().engine(), standing=CLEAN).runs if planned.trains]
    assert tries == [cohort] * (len(trained) // cohort), "a cohort is not tried again by the same command"
    assert [planned.path for planned, _ in outcome.failures] == [planned.path for planned in trained]
    assert {reason for _, reason in outcome.failures} == {"RuntimeError: out of order"}
    for planned in trained:
        kept = json.loads(StudyFolder(out).run(planned.path).state.read_text())
        assert (kept["status"], kept["reason"]) == ("failed", "RuntimeError: out of order")
    monkeypatch.setattr(Fake, "train", whole)
    assert _run(config, out, Fake()).complete
    _run(study(questions, **values), tmp_path / "alone", Fake())
    assert read_all_scores(out).equals(read_all_scores(tmp_path / "alone"))


def test_damaged_files_of_one_run_do_not_stop_the_others(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    one, two, three = (StudyFolder(out).run(kept.run) for kept in read_study(out).runs[:3])
    one.state.write_bytes(one.state.read_bytes()[:50])
    two.state.unlink()
    two.scores("Spain").write_bytes(two.scores("Spain").read_bytes()[:80])
    three.state.unlink()
    three.scores("Iran").unlink()
    outcome = _run(config, out, Fake())
    assert [reason.split(":")[0] for _, reason in outcome.failures] == [str(one.state), str(two.scores("Spain"))]
    assert "a whole JSON file" in outcome.failures[0][1]
    assert "Remove the file and run" in outcome.failures[1][1]
    one.state.unlink()
    two.scores("Spain").unlink()
    assert _run(config, out, Fake()).complete


@pytest.mark.parametrize("damaged", ["Spain", "Iran"])
def test_a_damaged_member_does_not_stop_its_cohort(damaged: str, questions: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", study(questions, cohort=2, starts=1, methods=[{"name": "lora"}])
    made = plan(config, engine=Fake().engine(), standing=CLEAN)
    run_of = next(planned for planned in made.runs if planned.trained_culture == damaged)
    state = StudyFolder(out).run(run_of.path).state
    state.parent.mkdir(parents=True)
    state.write_text("{")
    outcome = _run(config, out, Fake())
    assert [(planned.path, "a whole JSON file" in reason) for planned, reason in outcome.failures] == [(run_of.path, True)]
    assert outcome.finished == outcome.runs - 1
    state.unlink()
    assert _run(config, out, Fake()).complete
    _run(config, tmp_path / "whole", Fake())
    assert read_all_scores(out).equals(read_all_scores(tmp_path / "whole"))


def test_a_folder_keeps_its_study(config: StudyConfig, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    other = study(questions, starts=3, methods=[{"name": "prompt-tuning"}, {"name": "lora", "settings": {"rank": 2}}])
    with pytest.raises(UserError) as error:
        _run(other, out, Fake())
    assert "methods.1.settings.rank: 4 there, 2 now; starts: 2 there, 3 now" in str(error.value)
    assert "Give another --out" in str(error.value)


def test_who_comes_second_takes_what_the_first_settled(questions: Path, tmp_path: Path) -> None:
    """Both found the folder empty, and measured other rates."""

    def asked(**settled: int) -> StudyConfig:
        return study(questions, model={"id": "fake", "dtype": "float32", "threads": 1, **settled}, starts=1, methods=[{"name": "lora"}])

    out = tmp_path / "out"
    assert _run(asked(cohort=2, nodes_per_pack=77), tmp_path / "first", Fake()).complete
    begun = (tmp_path / "first" / "study.yaml").read_bytes()

    def measure(shape: Any, model: Any) -> Any:
        out.mkdir()
        (out / "study.yaml").write_bytes(begun)
        return costs.given_rates(1.0)

    assert run(asked(), out, engine=replace(Fake().engine(), measure=measure), standing=CLEAN, poll=0.02).complete
    kept = read_study(out).config.model
    assert (kept.cohort, kept.nodes_per_pack) == (2, 77)
    with pytest.raises(UserError, match=r"model\.cohort: 2 there, 3 now"):
        _run(asked(cohort=3), out, Fake())


def test_a_study_stays_on_the_kind_of_device_that_it_was_begun_on(questions: Path, tmp_path: Path) -> None:
    def on(kind: str) -> Any:
        return replace(Fake().engine(), free_memory=lambda model: (kind, 1 << 30))

    def begin(out: Path, kind: str, **model: str) -> Outcome:
        model = {"id": "fake", "dtype": "float32", **model}
        config = study(questions, model={**model, "threads": 1, "cohort": 1, "nodes_per_pack": 1000}, starts=1, methods=[{"name": "lora"}])
        return run(config, out, engine=on(kind), standing=CLEAN, poll=0.02)

    assert begin(tmp_path / "out", "cuda").complete
    assert read_study(tmp_path / "out").config.model.device == "cuda"
    assert begin(tmp_path / "out", "cpu").complete, "`auto` is what the study was begun on"
    with pytest.raises(UserError, match=r"model\.device: 'cuda' there, 'cpu' now"):
        begin(tmp_path / "out", "cpu", device="cpu")
    # One that an older version began says auto, and goes on.
    file = tmp_path / "out" / "study.yaml"
    file.write_text(file.read_text().replace("device: cuda", "device: auto"))
    assert begin(tmp_path / "out", "cpu").complete


def test_changed_data_or_model_are_not_mixed_into_a_study(config: StudyConfig, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run(config, out, Fake())
    with pytest.raises(UserError, match=r"plan\.json: found a study that was begun with other model, runs.*remove \S+json and \S+parquet to go on"):
        _run(config, out, Fake(digest="e" * 64))
    with pytest.raises(UserError, match="begun with other model, runs"):
        _run(config, out, Fake(template="thinking"))
    write_questions(questions, templates=26)
    with pytest.raises(UserError, match="begun with other data, splits, runs"):
        _run(config, out, Fake())


def test_a_damaged_plan_or_a_lost_score_file_is_named(config: StudyConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"study\.yaml: found No such file"):
        read_study(out)
    _run(config, out, Fake())
    folder = StudyFolder(out)
    lost = folder.run(read_study(out).runs[0].run).scores("Spain")
    lost.unlink()
    with pytest.raises(UserError, match=r"Spain\.parquet: found No such file"):
        read_all_scores(out)
    for content, found in (('{"format": 2, "splits": []}', "a damaged plan"), ('{"format": 0}', "another format"), ("{", "a whole JSON file")):
        folder.plan.write_text(content)
        with pytest.raises(UserError, match=found):
            read_study(out)
    folder.questions.unlink()
    folder.plan.unlink()
    with pytest.raises(UserError, match=r"plan\.json: .*No such file"):
        read_study(out)


def test_a_dirty_tree_or_a_limit_is_provisional(config: StudyConfig, questions: Path, tmp_path: Path) -> None:
    _run(config, tmp_path / "dirty", Fake(), standing=Checkout("abc", True))
    assert {kept.provisional for kept in read_study(tmp_path / "dirty").runs} == {("the package differs from commit abc",)}
    _run(study(questions, limit=3), tmp_path / "limited", Fake())
    record = read_study(tmp_path / "limited")
    assert {kept.provisional for kept in record.runs} == {("a trial with at most 3 questions per culture and side",)}
    assert {sum(counts.values()) for kept in record.runs for counts in (kept.scored or {}).values()} == {3}
