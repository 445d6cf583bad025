"""What a baseline without training is: ways of putting a question, and what a question may come with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from affinage.config import PromptConfig
from affinage.data import Terms
from affinage.prompting.phrasings import Phrasing
from affinage.records import MCQ, NO_AID, Aid, Split
from affinage.registry import Registry

__all__ = ["Candidate", "Ground", "Material", "Prompting", "PromptingSettings", "baselines"]


class PromptingSettings(BaseModel):
    """What every baseline's search has: unknown keys are faults, docstrings under fields are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    wordings: tuple[str, ...] = Field(min_length=1)
    """Sentences that are tried; `{culture}` stands where the culture is named."""
    phrasings: tuple[Phrasing, ...] | None = Field(None, min_length=1)
    """Ways of naming the culture that are tried. Default: those that are known for every studied culture."""
    candidates: int = Field(16, ge=1)
    """How many combinations are tried, at most: the budget. A draw where there are more, with as many of each wording as of any other."""
    side: Literal["development", "validation"] = "development"
    """Where the candidates are compared: the fixed development side, or a validation side cut from the split's training templates."""
    share: float = Field(0.2, gt=0, lt=1)
    """Share of the training templates that are on the validation side, where that is asked for; nothing is quoted from them."""
    questions: int | None = Field(None, ge=1)
    """At most so many questions per culture compare the candidates, drawn by a hash of the question's id. Default: all of the side."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of putting questions."""

    wording: str
    phrasing: Phrasing
    count: int
    """How many examples or facts a question comes with; 0 where the baseline has none."""
    draw: int
    """Which draw of the examples; 0 where there is one."""
    prompt: PromptConfig
    """The study's way with the wording and the names in it."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a baseline may quote from: the training side of one split."""

    split: Split
    cultures: tuple[str, ...]
    """Studied cultures, in the study's order."""
    names: Mapping[str, str]
    """Culture -> its name in text; of the whole source, whatever is studied."""
    train: Callable[[str], pl.DataFrame]
    """Culture -> its training questions, without those of the validation side; columns of `data.COLUMNS`."""
    questions: Callable[[pl.DataFrame], list[MCQ]]
    """Rows -> records."""
    prompt: PromptConfig
    """How the study puts its questions."""
    seed: int
    """The study's seed."""


@dataclass(frozen=True, slots=True)
class Material:
    """What questions come with, and what had to be seen for it."""

    aid: Callable[[Candidate, MCQ], Aid] = lambda candidate, mcq: NO_AID
    """What a question comes with under a candidate."""
    seen: frozenset[str] = frozenset()
    """Template ids that may be quoted."""
    terms: Terms | None = None
    """Of a further source that is quoted."""


@dataclass(frozen=True, slots=True)
class Prompting:
    """One baseline by name."""

    name: str
    what: str
    """One sentence: what it is."""
    settings: type[PromptingSettings]
    put: Callable[[PromptConfig, str], PromptConfig]
    """The study's way of putting questions with a wording in it; the search adds the names."""
    counts: Callable[[Any], tuple[tuple[int, int], ...]] = lambda settings: ((0, 0),)
    """Settings -> (number of examples or facts, draw) pairs that are tried with each wording."""
    material: Callable[[Ground, Any], Material] = lambda ground, settings: Material()
    """Ground and settings -> what questions come with; deterministic in them."""
    stamp: Callable[[Any], str] = lambda settings: ""
    """Settings -> digest of what is quoted from beyond the study's data; part of what determines a run."""


baselines: Registry[Prompting] = Registry("baseline without training")
"""Every baseline by name; a module of this package registers its own when imported."""
