"""Executes a plan: what is missing and nothing else, in the plan's order, one claim at a time.

Several processes may work on one study. Each takes the first run that nobody works on; at the end it waits for the runs that others
hold and takes over those whose process has died, so every process ends when the study does. A run that fails is recorded with its
reason and the others go on; the next command tries it again.

What survives a kill: an adapter's training continues from its checkpoint, a trained adapter is not trained again, and a score file that
is there is complete. What is scored is the adapter as it was read back from its folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.store import (
    STALE_AFTER,
    Checkout,
    ClaimLostError,
    StudyFolder,
    checkout,
    claim,
    claim_owner,
    lacks_columns,
    open_study,
    read_plan,
    read_state,
    write_plan,
)
from affinage.study.costs.estimate import Estimate, estimate, known_machine, note_estimate, note_taken
from affinage.study.engine import Engine
from affinage.study.engine import engine as real_engine
from affinage.study.events import Outcome
from affinage.study.plan import Plan, PlannedRun, plan
from affinage.study.sides import question_table
from affinage.study.starts import waits
from affinage.study.tracked import opened, tracked
from affinage.study.work import Session, Watcher, load

__all__ = ["run"]


def run(
    config: StudyConfig,
    out: Path,
    *,
    watch: Watcher = lambda event: None,
    engine: Engine | None = None,
    standing: Checkout | None = None,
    stale_after: float = STALE_AFTER,
    poll: float = 5.0,
    on_estimate: Callable[[Estimate], None] = lambda found: None,
) -> Outcome:
    """Runs a study, or what is missing of it.

    Args:
        config: the study.
        out: its folder; a new one, or one in which the same study was begun.
        watch: is told of everything that happens to a run.
        engine: what computes; this package's own by default.
        standing: the checkout that the package runs from; found out by default.
        stale_after: seconds without a heartbeat after which another process's claim is dead; the same for every process of a study.
        poll: seconds between two looks at runs that other processes work on.
        on_estimate: told what is left before the model is loaded, where something is.

    Returns:
        How many runs are finished, and what failed.

    Raises:
        UserError: the folder holds another study, or data, model or methods cannot be used. What stops one run only is in the outcome.
    """
    folder = StudyFolder(out)
    engine = engine or real_engine()
    standing = standing or checkout()
    tracker = opened(config, folder)
    made = plan(config, out, engine=engine, standing=standing)
    try:
        _begin(folder, made)
    except UserError:
        # Another process may have begun the study meanwhile, and settled otherwise what it leaves to whoever comes first.
        again = plan(config, out, engine=engine, standing=standing)
        if again.config == made.config:
            raise
        made = replace(again, machine=made.machine)
        _begin(folder, made)
    if all(_status(folder, planned) == "finished" for planned in made.runs):
        return Outcome(len(made.runs), len(made.runs), ())
    began = time.monotonic()
    missing = sum(_status(folder, planned) != "finished" for planned in made.runs)
    found = estimate(made, lambda planned: _status(folder, planned), engine, known_machine(made, folder, engine))
    note_estimate(folder, made, found, engine)
    on_estimate(found)
    failures: list[tuple[PlannedRun, str]] = []
    with tracked(tracker, made, folder, watch) as told:
        session = Session(made, folder, engine, load(made, engine), standing, told, stale_after)
        left, first = list(enumerate(made.runs, start=1)), True
        while left:
            held_by_others = []
            for number, planned in left:
                reason = _attempt(session, planned, number, first=first)
                if reason is None:
                    held_by_others.append((number, planned))
                elif reason:
                    failures.append((planned, reason))
            left, first = held_by_others, False
            if left:
                time.sleep(poll)
    note_taken(folder, time.monotonic() - began, runs=missing, failed=len(failures))
    return Outcome(len(made.runs), len(made.runs) - len(failures), tuple(failures))


def _begin(folder: StudyFolder, made: Plan) -> None:
    """Puts configuration and plan on disk.

    Raises:
        UserError: the study was begun on other data, another model, or with settings that this version resolves otherwise.
    """
    open_study(folder, made.config, write=True)
    if folder.plan.exists():
        before = read_plan(folder)
        changed = [name for name in ("data", "model", "splits", "runs", "sets") if getattr(before, name) != getattr(made.record, name)]
        if changed:
            files = f"{folder.plan} and {folder.questions}"
            todo = f"Give another --out, or remove {files} to go on with what stands now: runs made before then leave the report."
            raise UserError(str(folder.plan), f"a study that was begun with other {', '.join(changed)}", "the same as now", todo)
        if folder.questions.exists() and not lacks_columns(folder):
            return
    write_plan(folder, made.record, question_table(made.dataset, made.record.splits, made.cultures, made.sets, made.config))
    open_study(folder, made.config, write=False)  # of several that wrote their configuration at one moment the last one's holds


def _status(folder: StudyFolder, planned: PlannedRun) -> str:
    """How far a run is; `damaged` where its state cannot be read, which is told when its turn comes and stops no other run."""
    try:
        state = read_state(folder.run(planned.path))
    except UserError:
        return "damaged"
    return "planned" if state is None else state.status


def _attempt(session: Session, planned: PlannedRun, number: int, *, first: bool) -> str | None:
    """Makes what is missing of a run.

    Args:
        session: this process.
        planned: the run.
        number: its number in the plan, from 1.
        first: whether this process looks at the run for the first time. Later, a failure is another process's fresh one, and is not tried
            again here.

    Returns:
        Empty when it is finished, the reason when it failed, None when another process works on it.
    """
    there = session.folder.run(planned.path)
    try:
        state = read_state(there)
        if state is not None and state.status == "finished":
            return ""
        lost = planned.path in session.lost
        if state is not None and state.status == "failed" and (lost or not first):
            if not lost:
                session.tell(planned, number, "failed", note=state.reason)
            return state.reason
        if waits(session, planned) or _elsewhere(session, planned, number, first=first):
            return None
        with claim(there.path, session.stale_after) as held:
            return None if held is None else session.work(planned, number, held)
    except ClaimLostError:
        return None
    except UserError as error:  # the run's own files cannot be read or written, so the reason cannot be kept there
        session.given_up.add(planned.path)
        session.tell(planned, number, "failed", note=str(error))
        return str(error)


def _elsewhere(session: Session, planned: PlannedRun, number: int, *, first: bool) -> bool:
    """Whether another process works on a run, or on the first of its cohort that is still to be trained.

    Who holds that one trains the whole cohort, and it comes before the others in every process's order.
    """
    leader = _leader(session, planned)
    owner = claim_owner(session.folder.run(planned.path).path, session.stale_after)
    owner = owner or claim_owner(session.folder.run(leader.path).path, session.stale_after)
    if owner is not None and not first:
        session.tell(planned, number, "waiting", note=owner)
    return owner is not None or leader is not planned


def _leader(session: Session, planned: PlannedRun) -> PlannedRun:
    """The first run of a run's cohort that is still to be trained; the run itself where it is trained, failed before, or in no cohort."""
    cohort = session.cohorts.get(planned.path, (planned,))
    waiting = [run for run in cohort if run.path not in session.given_up and _status(session.folder, run) in {"planned", "running"}]
    return waiting[0] if planned in waiting else planned
