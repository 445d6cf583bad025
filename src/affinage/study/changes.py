"""What of a plan changes while it runs: packs that did not fit into memory and are cut in half from then on.

`study.yaml` keeps the budget that the study was begun with, and `plan/changes.jsonl` gets a line for each change; the smallest budget of both
holds for every training that goes on after it, in every process. A run's `run.json` names the budget that its last step was made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from affinage.store import RunFolder, StudyFolder, append_log, read_log, read_state
from affinage.store.runs import write_state

if TYPE_CHECKING:
    from affinage.train import Cut

__all__ = ["BUDGET", "budgets", "carried_over", "record_cut"]

BUDGET = "training_nodes_per_pack"
"""The budget's name in a run's plan."""


def budgets(folder: StudyFolder, begun: int | None) -> tuple[int | None, ...]:
    """The budgets of a pack that a study's trainings have had; the last one is in force.

    A line that a crash cut short is left out: a change is written down before anything is computed under it.

    Args:
        folder: the study's.
        begun: the one that it was begun with.
    """
    cut = {int(line["after"]) for line in read_log(folder.changes, strict=False)}
    return (begun, *sorted(cut - {begun}, reverse=True))


def record_cut(folder: StudyFolder, cut: Cut, runs: Sequence[str]) -> None:
    """Writes a change down, before anything is computed under it.

    Args:
        folder: the study's.
        cut: what happened.
        runs: paths of the runs in whose training it happened.

    Raises:
        UserError: the disk is full.
    """
    line: dict[str, Any] = {
        "what": "model.nodes_per_pack",
        "before": cut.before,
        "after": cut.after,
        "reason": cut.reason,
        "runs": list(runs),
        "step": cut.step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    append_log(folder.changes, line)


def carried_over(there: RunFolder, known: Sequence[int | None]) -> int | None:
    """The budget that a claimed run goes on with; a run that is still to be trained gets the one in force written into its state.

    Args:
        there: the run's folder.
        known: what `budgets` says.

    Raises:
        UserError: the run's state cannot be read or written.
    """
    state = read_state(there)
    if state is None or state.plan.get(BUDGET) not in known:
        return known[-1]
    if state.status in {"trained", "finished"}:
        return state.plan[BUDGET]  # type: ignore[no-any-return]  # it is among the known ones
    if state.plan[BUDGET] != known[-1]:
        write_state(there, replace(state, plan={**state.plan, BUDGET: known[-1]}))
    return known[-1]
