"""One process at work on a study: takes a claimed run from where it stands to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from affinage.records import Split, UserError
from affinage.store import (
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
    sweep,
    write_scores,
)
from affinage.study.engine import Engine
from affinage.study.events import Event, Stage
from affinage.study.plan import Plan, PlannedRun
from affinage.study.settle import identify
from affinage.study.sides import tested_frame, trained_frame

if TYPE_CHECKING:
    from affinage.backbone import Backbone
    from affinage.encode import Refusal
    from affinage.records import Encoded

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


@dataclass(frozen=True, slots=True)
class _Tested:
    """A culture's test side, ready for the model."""

    encoded: list[Encoded]
    refused: list[Refusal]


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
    _split: Split | None = None
    _tested: dict[str, _Tested] = field(default_factory=dict)

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
        }

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
        fresh = RunState(planned.determinants, self.fixed, provisional=self.made.provisional)
        state = reopen(there, fresh, self.worker)
        self.tell(planned, number, "started")
        try:
            if state.status == "running":
                counts = self._train(planned, there, held, number)
                state = advance(there, state, "trained", counts=counts)
            self._test(planned, there, held, number)
            advance(there, state, "finished", scored={culture: _count(there, culture) for culture in self.made.cultures})
        except ClaimLostError:
            raise
        except Exception as error:  # one run's failure must not take the others with it; the reason is kept and the exit says so
            held.check()
            reason = fail(there, state, error).reason
            self.tell(planned, number, "failed", note=reason)
            return reason
        self.tell(planned, number, "finished")
        return ""

    def _train(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> dict[str, int] | None:
        """Puts the adapter into its folder; gives the training side's counts."""
        if planned.method is None:
            return None
        config = self.made.config
        adapter = planned.method.build(self.backbone, planned.key(config.seed))
        counts, seen = None, frozenset[str]()
        if planned.trains:
            frame = trained_frame(self.made.dataset, planned.split, planned.trained_culture, config)
            encoded, refused = self.backbone.tokens.encode_all(self.made.dataset.questions(frame), config.prompt, seed=config.seed)
            if not encoded:
                where = f"training side of {planned.trained_culture}, split {planned.split.name}"
                raise UserError(where, f"no usable question ({refused[0].reason})", "at least one", "Change `prompt`.")
            seen = frozenset(each.rendered.mcq.template_id for each in encoded)
            counts = {"questions": len(encoded), "refused": len(refused), "templates": len(seen)}

            def on_step(step: Any) -> None:
                held.check()
                self.tell(planned, number, "training", step=step, total=len(encoded))

            self.engine.train(
                self.backbone,
                adapter,
                encoded,
                planned.method.training,
                prompt=config.prompt,
                seed=planned.order_seed(config.seed),
                folder=there,
                on_step=on_step,
            )
        held.check()
        self.engine.save(adapter, there.adapter, self._card(planned, seen))
        return counts

    def _card(self, planned: PlannedRun, seen: frozenset[str]) -> Any:
        """What the adapter says of itself."""
        assert planned.method is not None
        return self.engine.card(
            method=planned.name,
            settings=planned.method.settings.model_dump(mode="json"),
            culture=planned.trained_culture if planned.trains else "",
            split=planned.split.name,
            seen=seen,
            start=planned.key(self.made.config.seed),
            prompt=self.made.config.prompt,
            backbone=self.backbone.identity,
            data=self.made.dataset.digest,
            template_arguments=self.made.config.model.template_arguments,
        )

    def _test(self, planned: PlannedRun, there: RunFolder, held: Claim, number: int) -> None:
        """Puts the missing score files into their folder."""
        missing = [culture for culture in self.made.cultures if not there.scores(culture).exists()]
        if not missing:
            return
        adapter = None if planned.method is None else self.engine.restore(there.adapter, self.backbone)
        for culture in missing:
            tested = self._side(planned.split, culture)
            total = len(tested.encoded)

            def on_progress(done: int, culture: str = culture, total: int = total) -> None:
                held.check()
                self.tell(planned, number, "testing", note=culture, done=done, total=total)

            scores = self.engine.evaluate(
                self.backbone,
                adapter,
                tested.encoded,
                tested.refused,
                prompt=self.made.config.prompt,
                nodes_per_pack=self.made.config.evaluation.nodes_per_pack,
                on_progress=on_progress,
            )
            held.check()
            write_scores(there.scores(culture), scores)

    def _side(self, split: Split, culture: str) -> _Tested:
        """A culture's encoded test side; encoded once per split, since all its runs share it."""
        if split is not self._split:
            self._split, self._tested = split, {}
        if culture not in self._tested:
            config = self.made.config
            questions = self.made.dataset.questions(tested_frame(self.made.dataset, split, culture, config))
            self._tested[culture] = _Tested(*self.backbone.tokens.encode_all(questions, config.prompt, seed=config.seed))
        return self._tested[culture]


def _count(there: RunFolder, culture: str) -> dict[str, int]:
    """How many of a culture's questions could be scored."""
    states = read_scores(there.scores(culture))["state"]
    scored = int((states == "scored").sum())
    return {"scored": scored, "unscored": len(states) - scored}
