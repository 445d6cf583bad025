"""A study's questions as token ids: encoded once where runs share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, final

import polars as pl

from affinage import seeds
from affinage.config import PromptConfig
from affinage.prompting import Candidate, refuse_seen
from affinage.records import MCQ, Encoded, Split
from affinage.store import RunFolder
from affinage.study.choosing import taken
from affinage.study.plan import Plan, PlannedRun
from affinage.study.prompted import Prompted
from affinage.study.sides import tested_frame, trained_frame
from affinage.study.wordings import reworded

if TYPE_CHECKING:
    from affinage.encode import Refusal, Tokens

__all__ = ["Asked", "Questions"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions ready for the model, and those that cannot be put to it."""

    encoded: list[Encoded]
    refused: list[Refusal]


@final
@dataclass
class Questions:
    """What the runs of a plan are trained and tested on; the test sets of the split in hand are kept."""

    made: Plan
    tokens: Tokens
    _split: Split | None = None
    _tested: dict[tuple[str, str], Asked] = field(default_factory=dict)

    def asked(self, frame: pl.DataFrame, prompt: PromptConfig) -> Asked:
        """Questions in the orders in which the study tests."""
        config = self.made.config
        questions = self.made.dataset.questions(frame)
        return Asked(*self.tokens.encode_all(questions, prompt, seed=config.seed, asked=config.evaluation.orders))

    def trained(self, planned: PlannedRun) -> Asked:
        """What a run is trained on."""
        config, dataset = self.made.config, self.made.dataset
        made = planned.made
        cultures = planned.taught or (planned.trained_culture,)
        frame = pl.concat(trained_frame(dataset, planned.split, culture, config) for culture in cultures) if made is None else made.frame
        return Asked(*self.tokens.encode_all(dataset.questions(frame), planned.prompt, seed=config.seed))

    def tested(self, planned: PlannedRun, name: str) -> Asked:
        """A run's test set of that name, encoded once per split and prompt."""
        if planned.split is not self._split:
            self._split, self._tested = planned.split, {}
        key = (name, planned.prompt.model_dump_json())
        if key not in self._tested:
            own = planned.made.own_test if planned.made is not None and name == planned.own_test else None
            culture, prompt = self._reworded.get(name, (name, planned.prompt))
            frame = tested_frame(self.made.dataset, planned.split, culture, self.made.config) if own is None else own
            self._tested[key] = self.asked(frame, prompt)
        return self._tested[key]

    @cached_property
    def _reworded(self) -> dict[str, tuple[str, PromptConfig]]:
        """Test set under another instruction -> its culture, and how it is put."""
        return {name: (culture, prompt) for name, culture, prompt in reworded(self.made.config, self.made.cultures)}

    def put(self, questions: list[MCQ], prompted: Prompted, candidate: Candidate) -> Asked:
        """Questions as a candidate of a baseline without training puts them."""
        config = self.made.config
        aid = partial(prompted.material.aid, candidate)
        return Asked(*self.tokens.encode_all(questions, candidate.prompt, seed=config.seed, asked=config.evaluation.orders, aid=aid))

    def put_as_chosen(self, prompted: Prompted, there: RunFolder, culture: str) -> Asked:
        """A culture's test questions as a baseline's chosen candidate puts them.

        Raises:
            UserError: the baseline has seen one of their templates, or its search is missing.
        """
        candidate, found = taken(prompted, there)
        questions = self.made.dataset.questions(tested_frame(self.made.dataset, prompted.ground.split, culture, self.made.config))
        refuse_seen(found, (each.template_id for each in questions))
        return self.put(questions, prompted, candidate)

    def again(self, planned: PlannedRun, trained: Asked) -> Callable[[int], list[Encoded]] | None:
        """Epoch -> the training questions with their options in another order; None where orders are fixed.

        A question that cannot be put in an epoch's order is put as in the beginning, so that every epoch has the same questions.
        """
        assert planned.method is not None
        if planned.method.training.orders == "fixed":
            return None
        shuffled = planned.prompt.model_copy(update={"options": "shuffled"})
        questions = [each.rendered.mcq for each in trained.encoded]

        def again(epoch: int) -> list[Encoded]:
            anew, _ = self.tokens.encode_all(questions, shuffled, seed=seeds.seed_of("fresh orders", self.made.config.seed, epoch))
            known = {each.rendered.mcq.mcq_id: each for each in anew}
            return [known.get(each.rendered.mcq.mcq_id, each) for each in trained.encoded]

        return again
