"""`retrieval`: facts about the culture above the question, found by its words.

The facts are those of a source (`candle`, `mango`, `culturebank`), the lines of a text file, or, where neither is named, the training questions
with their right answers. An index of training questions has seen their templates, and is never asked about one of them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from affinage.config import PromptConfig
from affinage.prompting.base import Candidate, Ground, Material, Prompting, PromptingSettings, baselines
from affinage.prompting.facts import TRAINING, answered, stated
from affinage.prompting.index import Index
from affinage.records import MCQ, Aid
from affinage.store import canonical_digest

__all__ = ["RetrievalSettings"]

_NAME = "retrieval"


class RetrievalSettings(PromptingSettings):
    """Which facts, and how they are found."""

    wordings: tuple[str, ...] = (
        "What is known about {culture}:",
        "Notes on daily life in {culture}, some of which may help:",
        "Facts about {culture}:",
        "Somebody from {culture} told us:",
        "Use the following about {culture} where it helps, and your own knowledge where it does not:",
    )
    """Lines above the facts that are tried; `{culture}` stands where the culture is named."""
    facts: str = TRAINING
    """Where they come from: `training` (questions of the training side with their answers), `lines` (a text file, one fact per line), or a source
    of facts: `candle`, `mango`, `culturebank`."""
    path: str | None = None
    """File or folder of the facts; none for `training`."""
    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 2, 4, 8), min_length=1)
    """Numbers of facts that are tried."""
    query: Literal["question", "question-and-options"] = "question"
    """Whose words are looked for: the question's, or the options' too."""
    others: bool = True
    """Fill up with facts of other cultures where the culture's own are too few; its own come first in any case."""


def _put(prompt: PromptConfig, wording: str) -> PromptConfig:
    return prompt.model_copy(update={"facts": wording})


def _counts(settings: RetrievalSettings) -> tuple[tuple[int, int], ...]:
    return tuple((count, 0) for count in settings.counts)


def _material(ground: Ground, settings: RetrievalSettings) -> Material:
    """The index.

    Raises:
        UserError: as `facts.stated`.
        ValueError: the ground holds a test template.
    """
    seen: frozenset[str] = frozenset()
    if settings.facts == TRAINING:
        train = pl.concat([ground.train(culture) for culture in ground.cultures])
        facts, terms, seen = answered(train), None, frozenset(train["template_id"])
    else:
        facts, terms = stated(settings.facts, settings.path)
    if seen & ground.split.test_templates:
        raise ValueError(f"{_NAME} would quote the test templates {sorted(seen & ground.split.test_templates)[:3]}")
    index = Index(facts, ground.names)
    most = max(settings.counts)

    @cache
    def found(question: str, options: tuple[str, ...], culture: str) -> tuple[str, ...]:
        text = " ".join((question, *options)) if settings.query == "question-and-options" else question
        return index.find(text, culture, most, others=settings.others)

    def aid(candidate: Candidate, mcq: MCQ) -> Aid:
        return Aid(facts=found(mcq.question, mcq.options, mcq.culture)[: candidate.count])

    return Material(aid, seen, terms)


def _stamp(settings: RetrievalSettings) -> str:
    if settings.facts == TRAINING:
        return ""
    facts, _ = stated(settings.facts, settings.path)
    return canonical_digest([[fact.culture, fact.text] for fact in facts])


baselines.add(
    _NAME,
    Prompting(
        name=_NAME,
        what="Facts about the culture above the question, found by BM25.",
        settings=RetrievalSettings,
        put=_put,
        counts=_counts,
        material=_material,
        stamp=_stamp,
    ),
)
