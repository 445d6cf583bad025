"""The baselines without training of a study, made ready for its splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import polars as pl

from affinage.config import PromptingConfig, StudyConfig, validated
from affinage.controls.draws import drawn
from affinage.data import Dataset
from affinage.data.base import cap
from affinage.prompting import Candidate, Ground, Material, Prompting, PromptingSettings, candidates, registered
from affinage.records import MCQ, Split, UserError
from affinage.store import canonical_digest
from affinage.study.sides import trained_frame, validation_templates

__all__ = ["Prompted", "make_prompted", "settled"]


@dataclass(frozen=True, eq=False)
class Prompted:
    """One baseline on one split."""

    label: str
    baseline: Prompting
    settings: PromptingSettings
    ground: Ground
    candidates: tuple[Candidate, ...]
    """In the order in which they are tried."""
    compared: pl.DataFrame
    """The questions that compare them, every culture's; columns of `data.COLUMNS`."""

    @cached_property
    def material(self) -> Material:
        """What questions come with."""
        return self.baseline.material(self.ground, self.settings)

    @cached_property
    def questions(self) -> list[MCQ]:
        """`compared` as records."""
        return self.ground.questions(self.compared)

    @cached_property
    def seen(self) -> frozenset[str]:
        """Templates that are quoted from or compare the candidates."""
        return self.material.seen | frozenset(self.compared["template_id"])

    @cached_property
    def key(self) -> str:
        """Digest of what determines the search's result; equal on splits between which nothing of it differs."""
        split = self.ground.split.name if self.material.seen else ""
        return canonical_digest([self.determinants, self.compared["mcq_id"].sort().to_list(), self.material.seen, split])

    @cached_property
    def determinants(self) -> dict[str, Any]:
        """What of the baseline determines a run's result, beside the study's data, split and seed."""
        tried = [[each.prompt.model_dump(mode="json"), each.count, each.draw] for each in self.candidates]
        return {
            "name": self.baseline.name,
            "settings": self.settings.model_dump(mode="json"),
            "candidates": canonical_digest(tried),
            "facts": self.baseline.stamp(self.settings),
        }


def settled(config: StudyConfig) -> StudyConfig:
    """The study with every value of its baselines written down: what a default says may change with the package's version.

    Raises:
        UserError: unknown baselines or settings, labels that cannot stand; all together.
    """
    taken = {"none", *(method.label or method.name for method in config.methods), *(control.name for control in config.controls)}
    filled: list[PromptingConfig] = []
    faults: list[UserError] = []
    for number, wanted in enumerate(config.prompting):
        label, where = wanted.label or wanted.name, f"prompting.{number}"
        if label in taken:
            faults.append(UserError(f"{where}.label", repr(label), "a label that nothing else has", "Give it a `label` of its own."))
        taken.add(label)
        try:
            settings = validated(registered.get(wanted.name).settings, dict(wanted.settings), f"{where}.settings")
        except UserError as error:
            faults.append(error)
            continue
        filled.append(PromptingConfig(name=wanted.name, label=label, settings=settings.model_dump(mode="json")))
    if faults:
        raise UserError.join(faults)
    return config.model_copy(update={"prompting": tuple(filled)})


def make_prompted(config: StudyConfig, *, dataset: Dataset, splits: tuple[Split, ...], cultures: tuple[str, ...]) -> Iterator[Prompted]:
    """Every baseline of a study on each of its splits.

    Args:
        config: the study, its baselines settled.
        dataset: its source with the studied cultures.
        splits: its splits.
        cultures: its cultures, in its order.

    Raises:
        UserError: no question to compare candidates on, or a phrasing that is unknown for a culture.
    """
    for split in splits:
        for wanted in config.prompting:
            baseline = registered.get(wanted.name)
            settings = validated(baseline.settings, dict(wanted.settings), f"prompting: {wanted.label}")
            on_training_side = settings.side == "validation"
            held = validation_templates(dataset, split, share=settings.share, seed=config.seed) if on_training_side else frozenset[str]()
            ground = Ground(
                split=split,
                cultures=cultures,
                names=dataset.culture_names,
                train=partial(_quoted, dataset, split, config, held),
                questions=dataset.questions,
                prompt=config.prompt,
                seed=config.seed,
            )
            side = dataset.select(templates=held if on_training_side else split.development_templates).frame
            compared = pl.concat([_compared(side, culture, config, settings) for culture in cultures])
            yield Prompted(wanted.label or wanted.name, baseline, settings, ground, candidates(baseline, settings, ground), compared)


def _quoted(dataset: Dataset, split: Split, config: StudyConfig, held: frozenset[str], culture: str) -> pl.DataFrame:
    """A culture's training questions, without those that compare candidates."""
    return trained_frame(dataset, split, culture, config).filter(~pl.col("template_id").is_in(list(held)))


def _compared(side: pl.DataFrame, culture: str, config: StudyConfig, settings: PromptingSettings) -> pl.DataFrame:
    """A culture's questions that compare candidates, capped as the tested ones are.

    Raises:
        UserError: there is none.
    """
    frame = cap(side.filter(pl.col("culture") == culture), config.evaluation.rows_per_template)
    for most in (settings.questions, config.limit):
        frame = frame if most is None else drawn(frame, most, ("compared",))
    if frame.is_empty():
        todo = "Set the baselines' `side: validation`, or `splits.development: true` and `splits.side: test`."
        raise UserError("prompting", f"no question of {culture} on the {settings.side} side", "at least one to choose a wording on", todo)
    return frame
