"""How a search is made: its budget, its validation side, how it chooses and when it gives up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from affinage.config import StudyConfig

__all__ = ["SearchConfig", "at_a_time"]


def at_a_time(config: StudyConfig, cultures: Sequence[str]) -> int:
    """Adapters of a trial that are trained in lockstep: one per culture, or as many as the study's own `model.cohort` allows.

    What would be settled for a study does not count: only a trial that is trained as a whole can be measured, and stopped, while it goes.

    Args:
        config: the study as the user gave it.
        cultures: its cultures.
    """
    return min(len(cultures), config.model.cohort or len(cultures))


class SearchConfig(BaseModel):
    """The values of a search; the same for every method, so that none is searched longer than another."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    trials: int | None = Field(None, ge=1)
    """Budget of each method on each split, in whole trainings. It is counted in steps: what a trial that was stopped early left over goes to
    further trials."""
    seconds: float | None = Field(None, gt=0)
    """Budget of each method on each split, in seconds of training and measuring; the trial in hand is stopped when they are used up."""
    share: float = Field(0.2, gt=0, lt=1)
    """Share of a split's training templates (by group) that becomes the validation side."""
    every: int | None = Field(None, ge=1)
    """Steps between two measurements on the validation side. Default: a quarter of a training."""
    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe`: after a few random trials, near what was good (tree-structured Parzen estimator); `random`: independent draws."""
    prune: bool = True
    """Stop a trial whose best measurement so far is below the median of the others at the same step."""
    only: tuple[str, ...] = ()
    """Names of the space that are searched, e.g. `training.rate`. Default: all of a method's space."""

    @model_validator(mode="after")
    def _one_budget(self) -> SearchConfig:
        if (self.trials is None) == (self.seconds is None):
            raise ValueError("a budget is either `trials` or `seconds`")
        return self

    def interval(self, whole: int) -> int:
        """Steps between two measurements of a training of `whole` steps."""
        return min(whole, self.every or math.ceil(whole / 4))

    def allowed(self, whole: int) -> int | None:
        """Steps of the budget, where it is counted in trainings of `whole` steps."""
        return None if self.trials is None else self.trials * whole

    def budget(self) -> str:
        """In words."""
        return f"{self.trials} whole trainings" if self.trials is not None else f"{self.seconds:g} seconds"
