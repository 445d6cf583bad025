"""A study: a plan of runs, and the executor that makes what is missing of it. Configuration, then plan, then run."""

from affinage.study.costs.estimate import Estimate
from affinage.study.engine import Engine, engine
from affinage.study.events import Event, Outcome
from affinage.study.plan import Plan, PlannedRun, plan
from affinage.study.progress import Progress, progress
from affinage.study.run import run

__all__ = ["Engine", "Estimate", "Event", "Outcome", "Plan", "PlannedRun", "Progress", "engine", "plan", "progress", "run"]
