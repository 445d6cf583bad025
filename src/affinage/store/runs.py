"""`run.json`: what a run is, what worked on it, how far it is."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from affinage.records import UserError
from affinage.store.files import read_json, write_json
from affinage.store.folder import RunFolder
from affinage.store.provenance import Provenance

__all__ = ["RunState", "Status", "advance", "fail", "read_state", "reopen", "write_state"]

Status = Literal["running", "trained", "finished", "failed"]
"""`running`: claimed at least once and not through its training; `trained`: the adapter is in its folder; `finished`: every score file
is there; `failed`: stopped by an error, to be tried again by the next command. A planned run has no `run.json`; who works on a run now is said
by its claim; `provisional` is told apart from the status, since a provisional run finishes too."""

_NEXT: dict[Status, frozenset[Status]] = {
    "running": frozenset({"trained", "failed"}),
    "trained": frozenset({"finished", "failed"}),
    "failed": frozenset({"running", "trained"}),
    "finished": frozenset(),
}

BEFORE: Mapping[str, Any] = {"context": "gradient"}
"""Key of `model` that a run's plan has too -> what was done in studies that were begun before there was such a key."""

FORMAT = 1
"""Version of `run.json`."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The content of `run.json`."""

    determinants: Mapping[str, Any]
    """Everything that determines the result; its digest is in the folder's name."""
    plan: Mapping[str, Any]
    """What is fixed when the run begins and changes its rounding only: threads, nodes per pack; every resume must find the same."""
    status: Status = "running"
    reason: str = ""
    """Why it failed, in a sentence; empty otherwise."""
    traceback: str = ""
    """Where it failed, for an error that is no fault of the user's; empty otherwise."""
    provisional: tuple[str, ...] = ()
    """Why the run stays out of the main tables; empty where it does not."""
    provenance: tuple[Mapping[str, Any], ...] = ()
    """What worked on it: one record per command that did, in order, equal neighbours once."""
    counts: Mapping[str, int] | None = None
    """Of the training side: `questions` put to the model, `refused` by the encoder, `templates`; None before and without training."""
    scored: Mapping[str, Mapping[str, int]] | None = None
    """Per culture of the test side: `scored` and `unscored` questions; None until finished."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"{self.status!r} is no status")


def read_state(folder: RunFolder) -> RunState | None:
    """The state of a run; None where nobody has worked on it yet.

    Raises:
        UserError: `run.json` is damaged, or was written by a version of another format.
    """
    if not folder.state.exists():
        return None
    value = read_json(folder.state)
    if value.get("format") != FORMAT:
        todo = "Use the version of affinage that wrote it, or another --out."
        raise UserError(str(folder.state), f"format {value.get('format')!r}", f"format {FORMAT}", todo)
    try:
        state = RunState(**value)
    except (TypeError, ValueError) as error:
        todo = "Remove the run's folder and run the same command again."
        raise UserError(str(folder.state), str(error), "a run's state as affinage writes it", todo) from None
    return replace(state, provisional=tuple(state.provisional), provenance=tuple(state.provenance))


def write_state(folder: RunFolder, state: RunState) -> RunState:
    """Puts a state on disk, atomically, and gives it back.

    Raises:
        UserError: as `write_atomically`.
    """
    write_json(folder.state, asdict(state))
    return state


def reopen(folder: RunFolder, fresh: RunState, worker: Provenance) -> RunState:
    """The state with which a process that has just claimed an unfinished run begins, on disk.

    Args:
        folder: the run's.
        fresh: the state of a run that nobody has worked on yet; it gives the reasons for being provisional that hold now.
        worker: the process.

    Raises:
        UserError: what is on disk is damaged, or the folder holds a run with other determinants.
    """
    standing = read_state(folder)
    state = fresh if standing is None else standing
    before, now = ({**BEFORE, **each.determinants, **each.plan} for each in (state, fresh))
    differing = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
    if differing:
        todo = "Take it back to continue the run, or remove the run's folder to begin it anew."
        raise UserError(str(folder.state), f"a run that was begun with another {', '.join(differing)}", "the same", todo)
    record = worker.as_dict()
    workers = state.provenance if state.provenance and state.provenance[-1] == record else (*state.provenance, record)
    reasons = tuple(dict.fromkeys((*state.provisional, *fresh.provisional)))
    status: Status = "running" if state.status == "failed" else state.status
    return write_state(folder, replace(state, status=status, reason="", traceback="", provenance=workers, provisional=reasons))


def advance(folder: RunFolder, state: RunState, status: Status, **changes: Any) -> RunState:
    """The run's next state, on disk.

    Args:
        folder: the run's.
        state: where it stands.
        status: where it goes.
        **changes: other fields of `RunState` that change with it.

    Raises:
        ValueError: no run goes from there to there.
        UserError: as `write_atomically`.
    """
    if status not in _NEXT[state.status]:
        raise ValueError(f"a run does not go from {state.status} to {status}")
    return write_state(folder, replace(state, status=status, **changes))


def fail(folder: RunFolder, state: RunState, error: Exception) -> RunState:
    """Records why a run stopped.

    Raises:
        ValueError: the run is finished.
        UserError: as `write_atomically`.
    """
    if isinstance(error, UserError):
        return advance(folder, state, "failed", reason=str(error))
    trace = "".join(traceback.format_exception(error))
    return advance(folder, state, "failed", reason=f"{type(error).__name__}: {error}", traceback=trace)
