"""Training within a study: one adapter, or the cohort that it is in."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affinage.records import UserError
from affinage.store import Claim, ClaimLostError, RunState, advance, claim, fail, read_state, sweep
from affinage.study.changes import carried_over, record_cut
from affinage.study.plan import PlannedRun
from affinage.study.questions import Asked
from affinage.study.starts import begin

if TYPE_CHECKING:
    from affinage.methods import Adapter
    from affinage.study.work import Session
    from affinage.train import Cut

__all__ = ["teach"]


@dataclass
class _Pupil:
    """A run whose adapter is trained."""

    planned: PlannedRun
    number: int
    """In the plan, from 1."""
    asked: Asked
    adapter: Adapter
    held: Claim | None
    """None for a member that is trained already, or whose state is damaged; it is in the cohort for the others' sake."""
    inherited: frozenset[str] = frozenset()
    """Templates that its start has seen."""
    state: RunState | None = None
    """None for the run in hand, whose state its session keeps."""
    saved: bool = False
    failure: UserError | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Of its training side."""
        return {"questions": len(self.asked.encoded), "refused": len(self.asked.refused), "templates": len(self.seen)}

    @property
    def seen(self) -> frozenset[str]:
        """Templates that it learns from."""
        return frozenset(each.rendered.mcq.template_id for each in self.asked.encoded)


def teach(session: Session, planned: PlannedRun, number: int, held: Claim) -> dict[str, int]:
    """Trains a run's adapter and puts it into its folder, and with it those of its cohort that are not trained yet.

    Args:
        session: the process.
        planned: the run in hand.
        number: its number in the plan, from 1.
        held: its claim.

    Returns:
        The training side's counts of the run in hand.

    Raises:
        UserError: its training failed; a member that failed is recorded as such by itself.
        ClaimLostError: another process has taken the run, or one of its cohort.
    """
    cohort = session.cohorts.get(planned.path, ())
    own = _pupil(session, planned, number, session.questions.trained(planned), held)
    if not own.asked.encoded:
        where = f"training side of {planned.trained_culture}, split {planned.split.name}"
        raise UserError(where, f"no usable question ({own.asked.refused[0].reason})", "at least one", "Change `prompt`.")
    if cohort:
        with ExitStack() as stack:
            pupils = [own if run is planned else _mate(session, run, stack, own) for run in cohort]
            checkpoint = session.folder.cohort([run.path for run in cohort])
            there = [pupil for pupil in pupils if pupil is not None]
            sweep(checkpoint.parent)
            try:
                _lockstep(session, there, checkpoint)
            except ClaimLostError:
                raise
            except Exception as error:  # the session keeps the reason for the run in hand alone
                for pupil in there:
                    if not pupil.saved and pupil.failure is None:
                        _lose(session, pupil, error)
                raise
    if not own.saved and own.failure is None:  # alone, or once lost by its cohort and tried again
        _lockstep(session, [own], session.folder.run(planned.path).checkpoint)
    if own.failure is not None:
        raise own.failure
    return own.counts


def _pupil(session: Session, planned: PlannedRun, number: int, asked: Asked, held: Claim | None) -> _Pupil:
    """A run at its start, with its questions."""
    assert planned.method is not None
    adapter, inherited = begin(session, planned)
    return _Pupil(planned, number, asked, adapter.under(planned.trained_culture) if planned.taught else adapter, held, inherited)


def _mate(session: Session, planned: PlannedRun, stack: ExitStack, own: _Pupil) -> _Pupil | None:
    """Another member of the cohort of `own`, claimed where it is still to be trained.

    None for one that has nothing to learn from: that is its own failure, and told when its turn comes.
    """

    def pupil(held: Claim | None) -> _Pupil:
        if planned.taught:  # one adapter with a part for each
            return _Pupil(planned, number, asked, own.adapter.under(planned.trained_culture), held)
        return _pupil(session, planned, number, asked, held)

    asked = own.asked if planned.taught else session.questions.trained(planned)
    if not asked.encoded:
        return None
    there = session.folder.run(planned.path)
    number = session.made.runs.index(planned) + 1
    # A member that cannot be worked on is in the cohort for the others' sake, whose sums must not change; why is told when its turn comes.
    if planned.path in session.given_up:
        return pupil(None)
    try:
        before = read_state(there)
    except UserError:
        return pupil(None)
    if before is not None and before.status in {"trained", "finished"}:
        return pupil(None)
    held = stack.enter_context(claim(there.path, session.stale_after))
    if held is None:
        raise ClaimLostError(f"{there.path}: another process works on a member of the cohort")
    mate = pupil(held)
    mate.state = session.begin(planned)
    return mate


def _lockstep(session: Session, pupils: list[_Pupil], checkpoint: Path) -> None:
    """Trains adapters together; each is put into its folder when it is through."""
    first = pupils[0].planned
    assert first.method is not None
    *earlier, budget = session.budgets

    def on_cut(cut: Cut) -> int | None:
        for pupil in pupils:
            if pupil.held is not None:
                pupil.held.check()  # who was taken over has no say in the plan
        record_cut(session.folder, cut, [pupil.planned.path for pupil in pupils])
        known = session.budgets
        for pupil in pupils:
            if pupil.held is not None:
                there = session.folder.run(pupil.planned.path)
                carried_over(there, known)
                pupil.state = None if pupil.state is None else read_state(there)
        return known[-1]  # another process may have cut deeper meanwhile

    session.engine.train(
        session.backbone,
        [_together(session, pupils)] if first.taught else [_member(session, pupil) for pupil in pupils],
        first.method.training,
        prompt=first.prompt,
        checkpoint=checkpoint,
        nodes_per_pack=budget,
        earlier=earlier,
        on_cut=on_cut,
        context=session.made.config.model.context or "gradient",
    )


def _lose(session: Session, pupil: _Pupil, reason: Exception) -> None:
    """Records that a claimed member failed; the run in hand and members that are there for the others' sake are not recorded here."""
    if pupil.held is None or pupil.state is None:
        return
    pupil.held.check()
    pupil.state = fail(session.folder.run(pupil.planned.path), pupil.state, reason)
    session.lost.add(pupil.planned.path)
    session.tell(pupil.planned, pupil.number, "failed", note=pupil.state.reason)


def _together(session: Session, pupils: list[_Pupil]) -> Any:
    """Pupils that are parts of one adapter, as training takes them: one member, and what happens to it happens to each.

    Its log goes to the first one's folder.
    """
    members = [_member(session, pupil) for pupil in pupils]

    def on_step(step: Any) -> None:
        for member in members:
            member.on_step(step)

    def on_done() -> None:
        for member in members:
            member.on_done()

    def on_failed(reason: UserError) -> None:
        for member in members:
            member.on_failed(reason)

    return replace(members[0], on_step=on_step, on_done=on_done, on_failed=on_failed)


def _member(session: Session, pupil: _Pupil) -> Any:
    """A pupil as training takes it."""
    planned, there = pupil.planned, session.folder.run(pupil.planned.path)

    def on_step(step: Any) -> None:
        if pupil.held is not None:
            pupil.held.check()
            session.tell(planned, pupil.number, "training", step=step, total=len(pupil.asked.encoded))

    def on_done() -> None:
        if pupil.held is None or pupil.saved:
            return
        pupil.held.check()
        session.engine.save(pupil.adapter, there.adapter, session.card(planned, pupil.seen | pupil.inherited))
        pupil.saved = True
        if pupil.state is not None and pupil.state.status == "running":
            pupil.state = advance(there, pupil.state, "trained", counts=pupil.counts)

    def on_failed(reason: UserError) -> None:
        pupil.failure = reason
        _lose(session, pupil, reason)

    return session.engine.member(
        pupil.adapter,
        pupil.asked.encoded,
        planned.order_seed(session.made.config.seed),
        there,
        session.questions.again(planned, pupil.asked),
        on_step,
        on_done,
        on_failed,
    )
