"""One trial: an adapter per culture, trained in lockstep, measured on the validation side while it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import polars as pl

from affinage import data
from affinage.records import Split, UserError
from affinage.stats import Estimate, clustered, with_credit
from affinage.store import CheckpointError, Claim, ClaimLostError, disk_full, score_frame
from affinage.study import Engine, Plan, PlannedRun
from affinage.study.questions import Asked, Questions
from affinage.study.sides import tested_frame, trained_frame
from affinage.tune.optimiser import Live
from affinage.tune.trials import Score, Trial, TrialFolder, TrialState, write_trial

if TYPE_CHECKING:
    from affinage.backbone import Backbone
    from affinage.encode import Tokens
    from affinage.methods import Adapter, ResolvedMethod
    from affinage.train import Cut

__all__ = ["Ground", "Training"]


@final
@dataclass
class Ground:
    """One split of a search: the frozen model, what trials are trained on, and what they are chosen by."""

    made: Plan
    engine: Engine
    tokens: Tokens
    load: Callable[[], Backbone]
    """Gives the frozen model, loaded once."""
    split: Split
    """Training side of the trials; the validation side is its test side."""
    _validation: dict[str, Asked] = field(default_factory=dict)
    _lessons: dict[str, Asked] = field(default_factory=dict)

    @cached_property
    def questions(self) -> Questions:
        """The questions as this model reads them."""
        return Questions(self.made, self.tokens)

    def validation(self, culture: str) -> Asked:
        """A culture's validation questions.

        Raises:
            UserError: none of them can be put to the model.
        """
        if culture not in self._validation:
            frame = tested_frame(self.made.dataset, self.split, culture, self.made.config)
            self._validation[culture] = self._usable(self.questions.asked(frame, self.made.config.prompt), culture, "validation")
        return self._validation[culture]

    def lessons(self, culture: str) -> Asked:
        """What a culture's adapters are trained on.

        Raises:
            UserError: none of it can be put to the model.
        """
        if culture not in self._lessons:
            questions = self.made.dataset.questions(trained_frame(self.made.dataset, self.split, culture, self.made.config))
            asked = Asked(*self.tokens.encode_all(questions, self.made.config.prompt, seed=self.made.config.seed))
            self._lessons[culture] = self._usable(asked, culture, "training")
        return self._lessons[culture]

    def _usable(self, asked: Asked, culture: str, side: str) -> Asked:
        if not asked.encoded:
            reason = asked.refused[0].reason if asked.refused else "there is none"
            todo = "Leave the culture out (`data.cultures`), or change the validation side's share or `prompt`."
            raise UserError(f"{side} side of {culture}, {self.split.name}", f"no usable question ({reason})", "at least one", todo)
        return asked

    @cached_property
    def _groups(self) -> pl.DataFrame:
        """Template groups, the unit of clustering."""
        return pl.DataFrame(list(data.template_groups(self.made.dataset).items()), {"template_id": pl.String, "group": pl.String}, orient="row")

    def scores(self, culture: str, adapter: Adapter | None) -> pl.DataFrame:
        """What an adapter, or the untouched model, says about a culture's validation questions.

        Raises:
            UserError: the adapter has seen their templates.
        """
        asked = self.validation(culture)
        scores = self.engine.evaluate(
            self.load(),
            adapter,
            asked.encoded,
            asked.refused,
            prompt=self.made.config.prompt,
            nodes_per_pack=self.made.config.evaluation.nodes_per_pack,
            on_progress=lambda done: None,
        )
        return score_frame(scores).with_columns(run=pl.lit(culture), cell=pl.lit(culture))

    def accuracy(self, scores: Sequence[pl.DataFrame]) -> Estimate:
        """The mean over cultures of the mean over templates.

        Args:
            scores: of each culture (`scores`).
        """
        weighted = pl.concat(scores).with_columns(weight=pl.lit(1.0 / len(scores)))
        return clustered(with_credit(weighted, self.made.config.prompt.score).join(self._groups, on="template_id", how="left"))


class _Stop(Exception):  # noqa: N818  (no error: it ends a training that goes no further)
    """Ends a trial before its training is through."""

    def __init__(self, state: TrialState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        super().__init__(state)


@final
@dataclass
class Training:
    """A trial on its way.

    A trial that a kill interrupted goes on from its checkpoint; what was measured before is in its record, so it ends as it would have. A method
    whose adapters share no pass trains one culture after the other, one that holds cultures out one team after the other, and where fewer adapters
    than cultures may be trained together (`model.cohort`), so many after the others; such are measured only when the last is through.
    """

    ground: Ground
    method: ResolvedMethod
    """With the trial's values."""
    folder: TrialFolder
    trial: Trial
    live: Live
    every: int
    """Steps between two measurements."""
    totals: Mapping[str, int]
    """Culture -> steps of its training."""
    together: int
    """Adapters that are trained in lockstep, at most; those of a method that trains several cultures together are never parted."""
    held: Claim
    seconds_left: float | None
    """Of the budget, for all of this trial; None where the budget is counted in steps."""
    watch: Callable[[Trial], None]
    _began: float = field(init=False)
    """By the monotonic clock."""
    _before: float = field(init=False)
    """Seconds that earlier processes spent on this trial."""
    _adapters: dict[str, Adapter] = field(init=False, default_factory=dict)
    """Culture -> its adapter, of those in hand."""
    _learning: dict[str, int] = field(init=False, default_factory=dict)
    """Culture -> steps of its training, of the members in hand."""
    _arrived: set[str] = field(init=False, default_factory=set)
    """Members that have made the step in hand."""

    def run(self) -> Trial:
        """Trains and measures the trial to its end, whatever that is.

        Raises:
            ClaimLostError: another process has taken the search over.
            CheckpointError: what was trained before cannot be continued; the trial stays as it is.
            UserError: the disk is full.
        """
        self._began, self._before = time.monotonic(), self.trial.seconds
        if not any(self.folder.path.rglob(self.folder.checkpoint.name)):  # from the start, whatever was measured of an earlier training
            self.trial = replace(self.trial, steps=0, measured={})
        state: TrialState = "complete"
        score, reason = None, ""
        try:
            score = Score.of(self.ground.accuracy([scores for team in self._teams for scores in self._teach(team)]))
        except _Stop as stop:
            state, reason = stop.state, stop.reason
        except (ClaimLostError, CheckpointError):
            raise
        except Exception as error:  # one trial's failure must not end the search; its reason is kept
            if disk_full(error):  # no fault of the values: the trial goes on from its checkpoint when there is room
                raise
            state, reason = "failed", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self.held.check()
        steps = max(self.totals.values()) if state == "complete" else self.trial.steps
        self._write(state=state, score=score, reason=reason, steps=steps)
        self.folder.forget()
        return self.trial

    @cached_property
    def _teams(self) -> list[tuple[str, ...]]:
        """Cultures that are trained together, one team after the other.

        All of them, unless the method trains each alone or holds some out, or fewer adapters may be in hand at a time.
        """
        teams: dict[str, list[str]] = {}
        for number, culture in enumerate(self.totals):
            method = self.method.settled(self.ground.made.cultures, culture)
            alike = json.dumps(method.settings.model_dump(mode="json"), sort_keys=True) if method.taught else ""
            part = culture if method.alone else alike or f"part {number // self.together}"
            teams.setdefault(part, []).append(culture)
        return [tuple(team) for team in teams.values()]

    def _teach(self, team: tuple[str, ...]) -> list[pl.DataFrame]:
        """Trains the adapters of some cultures together; gives their scores."""
        made, shared = self.ground.made, self._planned(team[0])
        assert shared.method is not None
        if shared.method.taught:  # one adapter with a part for each, trained as a whole
            whole = self._fresh(shared)
            self._adapters = {culture: self._named(whole.under(culture)) for culture in team}
            self._learning = {team[0]: max(self.totals[culture] for culture in shared.method.taught)}
        else:
            self._adapters = {culture: self._named(self._fresh(self._planned(culture))) for culture in team}
            self._learning = {culture: self.totals[culture] for culture in team}
        *earlier, budget = (made.config.model.nodes_per_pack, *self.trial.cuts)
        self.ground.engine.train(
            self.ground.load(),
            [self._member(culture) for culture in self._learning],
            shared.method.training,
            prompt=made.config.prompt,
            checkpoint=self.folder.checkpoint if len(self._teams) == 1 else self.folder.culture(team[0]).checkpoint,
            nodes_per_pack=budget,
            earlier=earlier,
            on_cut=self._on_cut,
            context=made.config.model.context or "gradient",
        )
        return [self.ground.scores(culture, adapter) for culture, adapter in self._adapters.items()]

    def _on_cut(self, cut: Cut) -> int:
        """Keeps a change of the trial's packs."""
        self._write(cuts=(*self.trial.cuts, cut.after))
        return cut.after

    def _planned(self, culture: str) -> PlannedRun:
        """The run that a culture's part of the trial would be in a study."""
        made = self.ground.made
        method = self.method.settled(made.cultures, culture)
        return PlannedRun(str(self.folder.path), method.label, culture, self.ground.split, 0, method, {}, made.config.prompt)

    def _fresh(self, planned: PlannedRun) -> Adapter:
        """An adapter at its start."""
        assert planned.method is not None
        return planned.method.build(self.ground.load(), planned.key(self.ground.made.config.seed))

    def _named(self, adapter: Adapter) -> Adapter:
        """An adapter that knows what it is about to see, so that it cannot be measured on that."""
        adapter.origin, adapter.seen = f"trial {self.trial.number} of {self.method.label}", self.ground.split.train_templates
        return adapter

    def _member(self, culture: str) -> Any:
        """A culture's adapter as training takes it."""
        planned = self._planned(culture)
        assert planned.method is not None
        lessons = [self.ground.lessons(each) for each in planned.method.taught or (culture,)]
        asked = Asked([each for own in lessons for each in own.encoded], [each for own in lessons for each in own.refused])

        def on_failed(reason: UserError) -> None:
            raise _Stop("failed", str(reason))

        return self.ground.engine.member(
            self._adapters[culture],
            asked.encoded,
            planned.order_seed(self.ground.made.config.seed),
            self.folder.culture(culture),
            self.ground.questions.again(planned, asked),
            lambda record: self._on_step(culture, record.step),
            lambda: None,
            on_failed,
        )

    def _on_step(self, culture: str, step: int) -> None:
        """Once every member that still learns has made the step: measures where it is time, and stops where it is enough."""
        self._arrived.add(culture)
        if any(total >= step and other not in self._arrived for other, total in self._learning.items()):
            return
        self._arrived.clear()
        self.held.check()
        self.trial = replace(self.trial, steps=max(step, self.trial.steps) if len(self._teams) > 1 else step)
        if self.seconds_left is not None and self._seconds() > self.seconds_left:
            raise _Stop("out of time")
        if len(self._teams) == 1 and step % self.every == 0 and step < max(self._learning.values()):
            if step not in self.trial.measured:
                measured = self.ground.accuracy([self.ground.scores(c, adapter) for c, adapter in self._adapters.items()]).value
                self._write(measured={**self.trial.measured, step: measured})
            self.live.tell(self.trial.measured, step)
            if self.live.hopeless:
                raise _Stop("pruned")
        self.watch(self.trial)

    def _seconds(self) -> float:
        """Spent on this trial so far, in every process that worked on it."""
        return self._before + time.monotonic() - self._began

    def _write(self, **changes: Any) -> None:
        """The trial with other values, on disk."""
        self.trial = write_trial(self.folder, replace(self.trial, seconds=round(self._seconds(), 3), **changes))
