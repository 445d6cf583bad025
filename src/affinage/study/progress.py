"""How far a study is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from affinage.store import StudyFolder, claim_owner, read_state
from affinage.study.plan import Plan, PlannedRun
from affinage.study.sides import tested_frame, trained_frame
from affinage.study.wordings import reworded

__all__ = ["Progress", "counts", "progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a planned run is."""

    run: PlannedRun
    status: Literal["planned", "running", "trained", "finished", "failed"]
    reason: str
    """Why it failed."""
    claimed_by: str | None
    """Host and process that work on it now."""
    provisional: tuple[str, ...]
    """Why it stays, or would stay, out of the main tables."""
    questions: tuple[int, int]
    """Questions trained on (per pass) and tested on, over all cultures."""


def counts(made: Plan) -> Callable[[PlannedRun], tuple[int, int]]:
    """How many questions each run of a plan is trained on (per pass) and tested on, over all cultures."""
    train = {(s.name, c): trained_frame(made.dataset, s, c, made.config).height for s in made.record.splits for c in made.cultures}
    train |= {(split, each.name): each.frame.height for split, each in made.sets}
    per = {(s.name, c): tested_frame(made.dataset, s, c, made.config).height for s in made.record.splits for c in made.cultures}
    test = {s.name: sum(per[s.name, c] for c in made.cultures) for s in made.record.splits}
    further = {(s.name, name): per[s.name, c] for s in made.record.splits for name, c, _ in reworded(made.config, made.cultures)}

    def count(run: PlannedRun) -> tuple[int, int]:
        own = 0 if run.made is None or run.made.own_test is None else run.made.own_test.height
        trained = sum(train.get((run.split.name, name), 0) for name in run.taught or (run.trained_culture,)) if run.trains else 0
        return trained, test[run.split.name] + own + sum(further[run.split.name, name] for name in run.reworded)

    return count


def progress(made: Plan, folder: StudyFolder) -> tuple[Progress, ...]:
    """How far each run of a plan is; reads the study's folder, writes nothing that stays.

    Raises:
        UserError: a damaged `run.json`.
    """
    count, lines = counts(made), []
    for run in made.runs:
        there = folder.run(run.path)
        state = read_state(there)
        questions = count(run)
        owner = claim_owner(there.path)
        if state is None:
            lines.append(Progress(run, "planned", "", owner, made.provisional, questions))
        else:
            lines.append(Progress(run, state.status, state.reason, owner, state.provisional, questions))
    return tuple(lines)
