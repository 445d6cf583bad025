"""What the reader must know before the first number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from affinage.report.evidence import Evidence
from affinage.report.language import retell, say
from affinage.report.words import many

__all__ = ["State", "reasons", "state"]


@dataclass(frozen=True, slots=True)
class State:
    """How far a study is, and whether its numbers are a result."""

    about: str
    """Model, data and number of runs."""
    provisional: str
    """Why these numbers are no result; empty where they are one."""
    left_out: str
    """Finished runs that were left out; empty where there are none."""
    missing: str
    """Runs of the plan that are not finished; empty where all are."""


def state(evidence: Evidence) -> State:
    """The state of a study.

    Args:
        evidence: the study.
    """
    study = evidence.study
    missing = sum(run.status != "finished" for run in study.runs)
    return State(
        about=say(
            "Model: {model}. Data: {data}. {there} of {planned} planned runs are in this report.",
            model=study.config.model.id,
            data=study.plan.data.get("name", study.config.data.source),
            there=len(evidence.runs),
            planned=len(study.runs),
        ),
        provisional=say("Provisional, no result: {reasons}.", reasons=reasons(evidence.trial)) if evidence.trial else "",
        left_out=(
            say("Finished, but provisional and therefore left out: {runs}.", runs=many(evidence.set_aside, "run")) if evidence.set_aside else ""
        ),
        missing=say("Not finished yet: {runs}; numbers that rest on them will change.", runs=many(missing, "run")) if missing else "",
    )


def reasons(trial: Iterable[str]) -> str:
    """Why numbers are no result, in the report's language.

    Args:
        trial: as the study's files say it.
    """
    return say("; ").join(retell("reasons", reason) for reason in trial)
