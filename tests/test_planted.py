"""The whole instrument on invented cultures: a rule that carries over to new templates is found, a lack of one is not.

Culture `Atlantis` likes what is red, `Lemuria` what is blue, whatever the question; `Nowhere` has the same questions with labels that follow
nothing. Adapters are trained on one half of the templates and tested on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.backbone import Backbone
from affinage.config import PromptConfig, TrainingConfig
from affinage.evaluate import evaluate
from affinage.methods import registry
from affinage.records import ItemScore, UserError
from affinage.stats import Estimate, clustered, paired, with_credit
from affinage.store import RunFolder
from affinage.train import train
from tiny import LETTERS, TEXT, encode, likes, questions, whatever

HALF = 40
"""Templates of either side."""

RULES: dict[str, Callable[[str], str]] = {"Atlantis": likes("red"), "Lemuria": likes("blue"), "Nowhere": whatever}


@dataclass(frozen=True)
class Way:
    """A method with settings at which the tiny model learns quickly."""

    method: str
    settings: dict[str, Any]
    rate: float


WAYS = [
    Way("prompt-tuning", {"length": 8, "start": "vocabulary"}, 5e-2),
    Way("prefix-tuning", {"length": 8, "start": "vocabulary"}, 5e-2),
    Way("lora", {"rank": 4}, 5e-3),
]


def rows(scores: Sequence[ItemScore], run: str) -> pl.DataFrame:
    """Scores as the store's frames hold them, with their credit; a template is its own group."""
    frame = pl.DataFrame({field.name: [getattr(score, field.name) for score in scores] for field in fields(ItemScore)}, infer_schema_length=None)
    named = frame.with_columns(run=pl.lit(run), split=pl.lit("halves"), cell=pl.lit(run), weight=pl.lit(1.0), group=pl.col("template_id"))
    return with_credit(named)


def above_chance(credited: pl.DataFrame) -> Estimate:
    """Accuracy minus chance, with its interval over templates."""
    return clustered(credited.with_columns(pl.col("choice") - pl.col("chance")))


@dataclass(frozen=True)
class Bench:
    """Trains and tests in one way."""

    backbone: Backbone
    way: Way
    prompt: PromptConfig
    folder: Path

    def adapter(self, culture: str) -> Path:
        """Trains an adapter on the first half of a culture's templates; gives its folder."""
        there = RunFolder(self.folder / culture)
        method = registry.get(self.way.method)
        settings = method.settings.model_validate(self.way.settings)
        adapter = method.build(settings, self.backbone, ("halves", 0))
        made = encode(self.backbone, questions(culture, HALF, rule=RULES[culture]), self.prompt)
        training = TrainingConfig(steps=60, batch_size=8, rate=self.way.rate, loss="choice")
        train(self.backbone, adapter, made, training, prompt=self.prompt, seed=0, folder=there)
        seen = frozenset(each.rendered.mcq.template_id for each in made)
        values = settings.model_dump(mode="json")
        card = AdapterCard(self.way.method, values, culture, "halves", seen, ("halves", 0), self.prompt, self.backbone.identity, "d")
        adapters.save(adapter, there.adapter, card)
        return there.adapter

    def tested(self, trained: str | None, culture: str) -> pl.DataFrame:
        """What an adapter, or the untouched model, gets right on the second half of a culture's templates."""
        adapter = None if trained is None else adapters.load(self.folder / trained / "adapter", self.backbone)
        made = encode(self.backbone, questions(culture, HALF, rule=RULES[culture], first=HALF), self.prompt)
        return rows(evaluate(self.backbone, adapter, made, prompt=self.prompt), trained or "untouched")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.method)
def test_a_planted_rule_is_found_and_noise_is_not(way: Way, backbone: Backbone, tmp_path: Path) -> None:
    bench = Bench(backbone, way, TEXT, tmp_path)
    for culture in RULES:
        bench.adapter(culture)
    for own, other in (("Atlantis", "Lemuria"), ("Lemuria", "Atlantis")):
        tuned, foreign, untouched = (bench.tested(trained, own) for trained in (own, other, None))
        assert above_chance(tuned).above
        assert not above_chance(untouched).above
        assert clustered(paired(tuned, untouched)).above
        assert clustered(paired(tuned, foreign)).above  # only this is the culture
        assert above_chance(foreign).below  # the opposite rule was learned as well
    noise = above_chance(bench.tested("Nowhere", "Nowhere"))
    assert not noise.above
    assert not noise.below
    assert noise.questions == noise.groups == HALF
    # The rule is in the labels, not in the questions: on Nowhere's templates an adapter with a rule is as good as a coin.
    assert not above_chance(bench.tested("Atlantis", "Nowhere")).above


def test_the_same_questions_cannot_be_used_twice(backbone: Backbone, tmp_path: Path) -> None:
    bench = Bench(backbone, WAYS[2], LETTERS, tmp_path)
    folder = bench.adapter("Atlantis")
    made = encode(backbone, questions("Atlantis", HALF, rule=RULES["Atlantis"]), LETTERS)
    with pytest.raises(UserError, match=rf"adapter {folder}: found {HALF} templates that it has seen in training: t000, t001"):
        evaluate(backbone, adapters.load(folder, backbone), made, prompt=LETTERS)
