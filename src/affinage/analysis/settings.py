"""Values of the command `affinage analyse`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AnalysisSettings"]


class AnalysisSettings(BaseModel):
    """What is analysed, and on how many questions: unknown keys are faults, docstrings under fields are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    only: tuple[str, ...] = ()
    """Names of the analyses. Default: all of them."""
    limit: int | None = Field(None, ge=1)
    """At most so many questions per split and culture where the model is needed, drawn by a hash of the question's id. Default: all."""
    distances: Path | None = None
    """CSV file with the columns `culture_a`, `culture_b` and one or more of distances between cultures, each under its name."""
    pairs: tuple[str, ...] = ()
    """Pairs of cultures, `Spain:Algeria`, between whose adapters the way is gone. Default: every pair."""
    steps: int = Field(4, ge=2)
    """Steps from one adapter to the other; half as many are gone beyond each end."""
    neutral: Path | None = None
    """CSV file of multiple-choice questions about no culture: the columns `question`, `answer`, `wrong`, `wrong_2`, ... Default: the shipped ones."""
    text: Path | None = None
    """Text file of neutral passages, blank lines between them. Default: the shipped one."""
    stereotypes: Path | None = None
    """CSV file of pairs of sentences that differ in a stereotype: the columns `more`, `less` and, optional, `kind`. Default: none are read."""
