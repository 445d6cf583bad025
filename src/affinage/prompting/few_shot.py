"""`few-shot`: answered questions of the same culture before the question, from the training side of the split.

Every question of a culture comes with the same examples, so they stand once in a pack's tree. Few-shot prompting: Brown et al. (2020).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

import polars as pl
from pydantic import Field

from affinage import seeds
from affinage.config import PromptConfig
from affinage.prompting.base import Candidate, Ground, Material, Prompting, PromptingSettings, baselines
from affinage.records import MCQ, Aid

__all__ = ["FewShotSettings"]

_NAME = "few-shot"


class FewShotSettings(PromptingSettings):
    """Which examples."""

    wordings: tuple[str, ...] = (
        "Answer questions about daily life in {culture}.",
        "Here are questions about {culture}, each with the answer that most people there gave. Answer the last one likewise.",
        "You know {culture} well. Answer each question as people there do.",
        "Every question is about life in {culture}; the earlier ones are answered correctly.",
        "Learn from the answered questions what is usual in {culture}, then answer the next one.",
    )
    """System messages that are tried; `{culture}` stands where the culture is named."""
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 2, 4, 8), min_length=1)
    """Numbers of examples that are tried."""
    draws: int = Field(2, ge=1)
    """Draws of examples that are tried; within a draw more examples keep the fewer ones."""


def _put(prompt: PromptConfig, wording: str) -> PromptConfig:
    return prompt.model_copy(update={"system": wording})


def _counts(settings: FewShotSettings) -> tuple[tuple[int, int], ...]:
    return tuple((shots, draw) for shots in settings.shots for draw in range(settings.draws))


def _material(ground: Ground, settings: FewShotSettings) -> Material:
    """At most one example per template, those with the lowest hash of (seed, split, draw, template), then of the question.

    Raises:
        ValueError: the ground holds a test template.
    """
    most = max(settings.shots)
    pools = {culture: ground.train(culture) for culture in ground.cultures}
    seen = frozenset[str]().union(*(pool["template_id"] for pool in pools.values()))
    if seen & ground.split.test_templates:
        raise ValueError(f"{_NAME} would quote the test templates {sorted(seen & ground.split.test_templates)[:3]}")

    @cache
    def shots(culture: str, draw: int) -> tuple[MCQ, ...]:
        key = (_NAME, ground.seed, ground.split.name, draw)
        pool = pools[culture]
        drawn = pool.with_columns(
            pl.Series("by_template", seeds.uniforms(key, pool["template_id"]), dtype=pl.Float64),
            pl.Series("by_question", seeds.uniforms(key, pool["mcq_id"]), dtype=pl.Float64),
        ).sort("by_template", "by_question")
        return tuple(ground.questions(drawn.unique("template_id", keep="first", maintain_order=True).head(most).select(pool.columns)))

    def aid(candidate: Candidate, mcq: MCQ) -> Aid:
        # The last is the nearest to the question; fewer examples are the first ones of the draw.
        return Aid(shots=shots(mcq.culture, candidate.draw)[: candidate.count])

    return Material(aid, seen)


baselines.add(
    _NAME,
    Prompting(
        name=_NAME,
        what="Answered questions of the culture before the question, from the training templates.",
        settings=FewShotSettings,
        put=_put,
        counts=_counts,
        material=_material,
    ),
)
