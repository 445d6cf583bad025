"""A finished study as analyses see it: its adapters, its model, and its test questions put exactly as the study put them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

import polars as pl

from affinage import seeds
from affinage.adapters import AdapterCard, read_card, read_tensors, settings_of
from affinage.analysis.settings import AnalysisSettings
from affinage.config import PromptConfig
from affinage.methods import registry as methods
from affinage.records import Split, UserError
from affinage.registry import suggest
from affinage.store import UNTOUCHED, UNTRAINED, Checkout, RunRecord, StudyRecord, checkout, read_scores, read_study, score_frame
from affinage.study import Engine, Plan, engine, plan
from affinage.study.questions import Asked, Questions
from affinage.study.work import load

if TYPE_CHECKING:
    from torch import Tensor

    from affinage.backbone import Backbone
    from affinage.methods import Adapter

__all__ = ["Subject"]


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """A study, at least partly finished. What costs time is done when it is first asked for: the plan, the model, the questions.

    Questions of one split are kept at a time: who goes through several splits does so one after the other.
    """

    record: StudyRecord
    settings: AnalysisSettings = field(default_factory=AnalysisSettings)
    engine: Engine = field(default_factory=engine)
    standing: Checkout = field(default_factory=checkout)

    @classmethod
    def of(cls, out: Path, settings: AnalysisSettings | None = None) -> Subject:
        """The study in a folder.

        Raises:
            UserError: no study stands there, or none of its adapters is finished.
        """
        made = cls(read_study(out), settings or AnalysisSettings())
        if not made.runs():
            todo = f"Run it first: affinage study run {out}"
            raise UserError(str(out), "no finished adapter of a culture", "at least one", todo)
        return made

    # What is on disk.

    def runs(self, label: str | None = None, *, split: str | None = None, start: int | None = None) -> tuple[RunRecord, ...]:
        """Finished adapters that were trained on a studied culture's own questions, in the plan's order; controls and starts left out.

        Args:
            label: the method's name in the study; None for every method.
            split: name of a split; None for every split.
            start: index of a start; None for every start.
        """
        return tuple(
            run
            for run in self.record.runs
            if run.status == "finished"
            and run.trained_culture in self.cultures
            and label in {None, run.label}
            and split in {None, run.split}
            and start in {None, run.start}
            and self.record.folder.run(run.run).adapter.is_dir()
        )

    def start_of(self, run: RunRecord) -> RunRecord | None:
        """The finished run whose adapter is what `run` began from: the untrained start of its method, split and start index.

        None where that is not finished, or where the run began from another tensor than the untrained one (a start chosen by similarity).
        """
        for other in self.record.runs:
            same = (other.label, other.split, other.start) == (run.label, run.split, run.start)
            if same and other.trained_culture == UNTRAINED and other.status == "finished":
                return other if self.card(other).start == self.card(run).start else None
        return None

    def untouched(self, split: str) -> RunRecord | None:
        """The finished run of the model without adapter on a split."""
        found = (run for run in self.record.runs if run.trained_culture == UNTOUCHED and run.split == split and run.status == "finished")
        return next(found, None)

    def card(self, run: RunRecord) -> AdapterCard:
        """What a run's adapter says of itself.

        Raises:
            UserError: it cannot be read.
        """
        return read_card(self.record.folder.run(run.run).adapter)

    def scores(self, run: RunRecord, culture: str) -> pl.DataFrame:
        """What the study's own test of a run gave on a culture: columns of `store.SCORE_SCHEMA`, all questions whatever the limit.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_scores(self.record.folder.run(run.run).scores(culture))

    # What the study is.

    @property
    def cultures(self) -> tuple[str, ...]:
        """Studied cultures, in the study's order."""
        return self.record.plan.cultures

    @property
    def labels(self) -> tuple[str, ...]:
        """Methods with at least one finished adapter, by their names in the study, in the study's order."""
        return tuple(dict.fromkeys(run.label for run in self.runs()))

    @property
    def prompt(self) -> PromptConfig:
        """How the study puts its questions."""
        return self.record.config.prompt

    @property
    def nodes_per_pack(self) -> int:
        """Node budget of the study's test packs."""
        return self.record.config.evaluation.nodes_per_pack

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            UserError: there is none.
        """
        for split in self.record.plan.splits:
            if split.name == name:
                return split
        names = [split.name for split in self.record.plan.splits]
        raise UserError(f"study {self.record.folder.path}", f"no split {name!r}", "one of its own", suggest(name, names))

    # What takes time.

    @cached_property
    def plan(self) -> Plan:
        """The study planned again from its own file, as the study was.

        Raises:
            UserError: data, model or this version make another plan of it.
        """
        made = plan(self.record.config, self.record.folder.path, engine=self.engine, standing=self.standing)
        changed = [name for name in ("data", "model", "splits") if getattr(made.record, name) != getattr(self.record.plan, name)]
        if changed:
            todo = "Analyse it where the study's data and model are as they were."
            raise UserError(str(self.record.folder.plan), f"a study of other {', '.join(changed)} than those found now", "the same", todo)
        return made

    @cached_property
    def backbone(self) -> Backbone:
        """The study's frozen model, as the study loaded it: type, threads, device, attention.

        Raises:
            UserError: it cannot be loaded, or is another one by now.
        """
        return load(self.plan, self.engine)

    def adapter(self, run: RunRecord) -> Adapter:
        """A run's adapter, ready for the study's model.

        Raises:
            UserError: it cannot be read.
        """
        return self.engine.restore(self.record.folder.run(run.run).adapter, self.backbone)

    def tensors(self, run: RunRecord) -> dict[str, Tensor]:
        """A run's final tensors under Affinage's own names; the model's weights are not loaded.

        Raises:
            UserError: they cannot be read, or do not fit the study's model.
        """
        folder = self.record.folder.run(run.run).adapter
        card, tensors = self.card(run), read_tensors(folder)
        method, settings = methods.get(card.method), settings_of(card, folder)
        return method.from_peft(settings, self.plan.shape, tensors) if method.in_peft(settings) else tensors

    @cached_property
    def _questions(self) -> Questions:
        return Questions(self.plan, self.plan.tokens)

    def asked(self, split: str, culture: str, most: int | None = None) -> Asked:
        """The test questions of a culture on a split as the study's own tests put them: encoded ones, and those that could not be.

        With `settings.limit`, so many of the questions that could be encoded, in all the orders that the study asks.

        Args:
            split: its name.
            culture: a studied one.
            most: so many questions where `settings.limit` says nothing; None for all of them.

        Raises:
            UserError: no such split; or data and model are not those of the study any more.
        """
        name = self.split(split).name
        base = next(run for run in self.plan.runs if run.split.name == name and run.trained_culture == UNTOUCHED)
        whole = self._questions.tested(base, culture)
        limit = self.settings.limit or most
        if limit is None:
            return whole
        ids = {each.rendered.mcq.mcq_id for each in whole.encoded}
        kept = set(sorted(ids, key=lambda mcq_id: (seeds.uniform("analysis", mcq_id), mcq_id))[:limit])
        return Asked([each for each in whole.encoded if each.rendered.mcq.mcq_id in kept], [])

    def evaluate(self, adapter: Adapter | None, split: str, culture: str, *, on_progress: Callable[[int], None] = lambda done: None) -> pl.DataFrame:
        """Scores an adapter on a culture's test questions of a split, exactly as the study does.

        Args:
            adapter: any adapter of the study's model; None for the model without one.
            split: its name.
            culture: a studied one.
            on_progress: told how many questions are done.

        Returns:
            Columns of `store.SCORE_SCHEMA`, one row per question and order.

        Raises:
            UserError: the adapter has seen a tested template, or as `asked`.
        """
        asked, more = self.asked(split, culture), {"prompt": self.prompt, "nodes_per_pack": self.nodes_per_pack, "on_progress": on_progress}
        return score_frame(self.engine.evaluate(self.backbone, adapter, asked.encoded, asked.refused, **more))
