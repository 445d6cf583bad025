"""One process at work on a study: takes a claimed run from where it stands to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import polars as pl

from affinage.prompting import Candidate
from affinage.records import ItemScore, UserError
from affinage.store import (
    STALE_AFTER,
    UNTOUCHED,
    Checkout,
    Claim,
    ClaimLostError,
    Provenance,
    RunFolder,
    RunState,
    StudyFolder,
    advance,
    cores,
    fail,
    provenance,
    read_scores,
    read_state,
    reopen,
    score_frame,
    sweep,
    write_table,
)
from affinage.study.calibrate import apply_calibration, calibration_frame, fit_calibration
from affinage.study.changes import BUDGET, budgets, carried_over
from affinage.study.choosing import choose
from affinage.study.cohorts import cohorts
from affinage.study.contexts import stands_after_context
from affinage.study.engine import Engine
from affinage.study.events import Event, Stage
from affinage.study.plan import Plan, PlannedRun
from affinage.study.questions import Asked, Questions
from affinage.study.settle import identify
from affinage.study.sides import tested_frame, trained_frame
from affinage.study.starts import begin
from affinage.study.teach import teach

if TYPE_CHECKING:
    from affinage.backbone import Backbone
    from affinage.methods import Adapter

__all__ = ["Session", "Watcher", "load"]

Watcher = Callable[[Event], None]
"""Is told of everything that happens to a run."""


def load(made: Plan, engine: Engine) -> Backbone:
    """The plan's frozen model.

    Raises:
        UserError: it cannot be loaded, or changed since it was described.
    """
    backbone = engine.load(made.config.model)
    loaded = identify(backbone.identity, backbone.tokens, made.config)
    if loaded != made.record.model:
        raise UserError(f"model {made.config.model.id}", str(loaded), f"what was planned: {made.record.model}", "Run the same command again.")
    return backbone


@final
@dataclass
class Session:
    """One process at work on a study: the model, loaded once, and the encoded test side of the split in hand."""

    made: Plan
    folder: StudyFolder
    engine: Engine
    backbone: Backbone
    standing: Checkout
    watch: Watcher
    stale_after: float = STALE_AFTER
    lost: set[str] = field(default_factory=set)
    """Paths of the runs that their cohort lost in this process, with the reason in their folders; the next command tries them again, alone."""
    given_up: set[str] = field(default_factory=set)
    """Paths of the runs that failed in this process and whose folders cannot say so; nothing waits for them."""

    @cached_property
    def questions(self) -> Questions:
        """The study's questions as this model reads them."""
        return Questions(self.made, self.backbone.tokens)

    @cached_property
    def worker(self) -> Provenance:
        """What this process is."""
        return provenance(str(self.backbone.device), self.made.config.model.threads or cores(), self.standing)

    @property
    def fixed(self) -> dict[str, Any]:
        """What every resume of a run must find as it was, since sums are rounded in their order."""
        model = self.made.config.model
        return {
            "threads": model.threads,
            "gradient_checkpointing": model.gradient_checkpointing,
            "nodes_per_pack": self.made.config.evaluation.nodes_per_pack,
            BUDGET: self.budgets[-1],
        }

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """The budgets of a training pack that this study has had, the one in force last; another process may have cut it a moment ago."""
        return budgets(self.folder, self.made.config.model.nodes_per_pack)

    @cached_property
    def cohorts(self) -> dict[str, tuple[PlannedRun, ...]]:
        """Path of each run that is trained with others -> its cohort."""
        return cohorts(self.made.runs, self.made.config.model.cohort or 1)

    def fresh(self, planned: PlannedRun) -> RunState:
        """The state of a run that nobody has worked on yet."""
        together = [run.path for run in self.cohorts.get(planned.path, ())]
        way = {"context": self.made.config.model.context} if stands_after_context(planned) else {}
        return RunState(planned.determinants, {**self.fixed, "cohort": together, **way}, provisional=self.made.provisional)

    def begin(self, planned: PlannedRun) -> RunState:
        """The state with which this process begins a claimed run, on disk.

        Raises:
            UserError: the run's state cannot be read or written, or the run was begun otherwise.
        """
        there, fresh = self.folder.run(planned.path), self.fresh(planned)
        budget = carried_over(there, self.budgets)
        return reopen(there, replace(fresh, plan={**fresh.plan, BUDGET: budget}), self.worker)

    def tell(self, planned: PlannedRun, number: int, stage: Stage, **details: Any) -> None:
        """Tells the watcher."""
        self.watch(Event(planned, stage, (number, len(self.made.runs)), **details))

    def work(self, planned: PlannedRun, number: int, held: Claim) -> str:
        """Takes a claimed run from where it stands to its end.

        Args:
            planned: the run.
            number: its number in the plan, from 1.
            held: the claim.

        Returns:
            Empty when the run is finished, the reason when it failed.

        Raises:
            ClaimLostError: another process has taken the run over.
            UserError: the run's state cannot be read or written, so that a reason cannot be kept there.
        """
        there = self.folder.run(planned.path)
        before = read_state(there)
        if before is not None and before.status == "finished":  # by who held the claim until now
            return ""
        sweep(there.path)
        state = self.begin(planned)
        self.tell(planned, number, "started")
        try:
            if state.status == "running":
                counts = self._train(planned, there, held, number)
                state = advance(there, read_state(there) or state, "trained", counts=counts)
            self._test(planned, there, held, number)
            advance(there, state, "finished", scored={name: _count(there, name) for name in self._test_sets(planned)})
        except ClaimLostError:
            raise
        except Exception as error:  # one run's failure must not take the others with it; the reason is kept and the exit says so
            held.check()
            reason = fail(there, read_state(there) or state, error).reason
            self.tell(planned, number, "failed", note=reason)
            return reason
        self.tell(planned, number, "finished")
        return ""

    def _train(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> dict[str, int] | None:
        """Puts the adapter into its folder; gives the training side's counts."""
        if planned.calibration is not None:
            return self._calibrate(planned, there, held, number)
        if planned.prompted is not None:
            self._choose(planned, there, held, number)
        if planned.method is None:
            return None
        if planned.trains:
            return teach(self, planned, number, held)
        adapter, inherited = begin(self, planned)
        held.check()
        self.engine.save(adapter, there.adapter, self.card(planned, inherited))
        return None

    def card(self, planned: PlannedRun, seen: frozenset[str]) -> Any:
        """What the adapter says of itself."""
        assert planned.method is not None
        return self.engine.card(
            method=planned.name,
            settings=planned.method.settings.model_dump(mode="json"),
            culture=planned.trained_culture if planned.trains else "",
            split=planned.split.name,
            seen=seen | planned.chosen_on,
            start=planned.key(self.made.config.seed),
            prompt=planned.prompt,
            backbone=self.backbone.identity,
            data=self.made.dataset.digest,
            sources=self._sources(planned) if seen else (),
            template_arguments=self.made.config.model.template_arguments,
        )

    def _sources(self, planned: PlannedRun) -> tuple[str, ...]:
        """Names of the data sets that a run is trained on."""
        other = planned.made.source if planned.made is not None else ""
        return (other or self.made.dataset.name,)

    def _test(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> None:
        """Puts the missing score files into their folder."""
        missing = [name for name in self._test_sets(planned) if not there.scores(name).exists()]
        if not missing:
            return
        adapter = None if planned.method is None else self.engine.restore(there.adapter, self.backbone)
        for name in missing:
            if planned.calibration is not None:
                scores = self._calibrated(planned, there, held, number, name)
            else:
                chosen = planned.prompted
                asked = self.questions.tested(planned, name) if chosen is None else self.questions.put_as_chosen(chosen, there, name)
                scores = score_frame(self._scored(planned, name, asked, held, number, adapter=adapter))
            held.check()
            write_table(there.scores(name), scores)

    def _test_sets(self, planned: PlannedRun) -> tuple[str, ...]:
        """What a run is tested on: every studied culture, and a control's own test set."""
        return (*self.made.cultures, *planned.further_tests)

    def _scored(
        self, planned: PlannedRun, name: str, questions: Asked, held: Claim, number: int, *, adapter: Adapter | None = None
    ) -> list[ItemScore]:
        """What an adapter, or the untouched model, says about questions; `name` is what they are called while it does."""

        def on_progress(done: int) -> None:
            held.check()
            self.tell(planned, number, "testing", note=name, done=done, total=len(questions.encoded))

        return self.engine.evaluate(
            self.backbone,
            adapter,
            questions.encoded,
            questions.refused,
            prompt=planned.prompt,
            nodes_per_pack=self.made.config.evaluation.nodes_per_pack,
            on_progress=on_progress,
        )

    def _choose(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> None:
        """Compares the candidates of a baseline without training."""
        prompted = planned.prompted
        assert prompted is not None

        def score(candidate: Candidate, name: str) -> list[ItemScore]:
            asked = self.questions.put(prompted.questions, prompted, candidate)
            return self._scored(planned, name, asked, held, number)

        others = [self.folder.run(run.path) for run in self.made.runs if run.label == planned.label and run is not planned]
        choose(prompted, there, others, score)
        held.check()

    def _calibrate(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> dict[str, int]:
        """Fits a few numbers to the untouched model's scores on training questions; gives the questions' counts."""
        assert planned.calibration is not None
        trained = trained_frame(self.made.dataset, planned.split, planned.trained_culture, self.made.config)
        frame = calibration_frame(trained, planned.calibration)
        asked = self.questions.asked(frame, planned.prompt)
        scores = self._scored(planned, "training questions", asked, held, number)
        held.check()
        fit_calibration(there, score_frame(scores), trained, planned.prompt)
        refused = len(asked.refused)
        return {"questions": frame.height - refused, "refused": refused, "templates": frame["template_id"].n_unique()}

    def _calibrated(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int, name: str) -> pl.DataFrame:
        """The untouched model's scores with a run's few numbers added; read from the untouched model's run where that is done."""
        untouched = next(run for run in self.made.runs if run.split is planned.split and run.trained_culture == UNTOUCHED)
        file = self.folder.run(untouched.path).scores(name)
        done = read_scores(file) if file.exists() else None
        scores = score_frame(self._scored(planned, name, self.questions.tested(planned, name), held, number)) if done is None else done
        tested = tested_frame(self.made.dataset, planned.split, name, self.made.config)
        return apply_calibration(there, scores, tested)


def _count(there: RunFolder, name: str) -> dict[str, int]:
    """How many of a test set's questions could be scored, in every order in which they were asked."""
    whole = read_scores(there.scores(name)).group_by("mcq_id").agg((pl.col("state") == "scored").all().alias("scored"))["scored"]
    return {"scored": int(whole.sum()), "unscored": int((~whole).sum())}
