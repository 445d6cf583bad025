"""Our side against one peer: the peer's fastest set-up, equality, then both in turns, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, final

from affinage.bench.equality import Answer, Equality, equality
from affinage.bench.results import Cell, Measured
from affinage.bench.sides import EXACT, OURS, Kind, candidates
from affinage.bench.wire import SideError, Talk
from affinage.bench.work import Work, write_work

__all__ = ["TRIAL", "Comparison", "ComparisonError", "Reply", "Start", "fastest", "opened", "our_part"]

Start = Callable[[], Talk]
"""Starts a worker that has opened no side yet."""
Reply = dict[str, Any]

TRIAL = 2
"""Timed repetitions of each set-up of a tuned peer, after one for warming up."""


class ComparisonError(Exception):
    """The comparison itself is at fault: unequal sides, or ours does not run; its text is the reason."""


@final
@dataclass
class Comparison:
    """One work, to be compared with any peer."""

    kind: Kind
    work: Work
    variant: str
    """What the cells of this work are called: questions per template, or the style of the answers."""
    folder: Path
    """Where workers read the work and leave gradients."""
    start: Start
    judged: Work
    """What equality is judged on."""
    answer: Callable[[Talk, Path], Answer]
    """Has a side that was opened with it compute its answer; the path is for a file on the way."""
    repeat: Callable[[Talk, int], Reply]
    """Has a side do one repetition; the reply holds `seconds`, `tokens`, `padded`, in training also `batch`."""
    warm: Sequence[int]
    """Repetitions that are not timed, before those that are."""
    timed: Sequence[int]
    questions: int
    """In a repetition."""
    trial: Work
    """What the set-ups of a tuned peer are tried on."""
    chosen: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fastest set-up per peer, as far as it is known; shared by the works of one method."""
    _known: dict[str, Answer] = field(default_factory=dict)
    """Our answers by type and that in float64, as far as they are known: they are the same for every peer."""

    def cell(self, peer: str) -> Cell:
        """What comes of it, a failure included."""
        options: Mapping[str, Any] = {}
        try:
            options = self._set_up(peer)
            return self._compared(peer, options)
        except SideError as error:
            state = f"does not run: {error}"
        except ComparisonError as error:
            state = f"failed: {error}"
        return Cell(self.work.method, self.variant, peer, options, state, {})

    def _set_up(self, peer: str) -> Mapping[str, Any]:
        """The peer's fastest set-up."""
        if peer not in self.chosen:
            self._ours("float32")
            options = candidates(peer, self.work.method, self.work.model.dtype)
            self.chosen[peer] = (
                options[0] if len(options) == 1 else fastest(self.start, peer, self._written("trial", self.trial), options, self.repeat)
            )
        return self.chosen[peer]

    def _ours(self, dtype: str) -> Answer:
        """Our answer; the first one writes the start that every side copies."""
        if dtype not in self._known:
            with our_part():
                self._known[dtype] = self._answer(OURS[self.kind], dtype, {})
        return self._known[dtype]

    def _in_float64(self) -> Answer:
        """The reference's answer."""
        if "float64" not in self._known:
            side, options = EXACT[self.kind]
            try:
                self._known["float64"] = self._answer(side, "float32", options)
            except SideError as error:
                raise ComparisonError(f"float32 is too far apart to judge, and float64 does not run: {error}") from None
        return self._known["float64"]

    def _answer(self, side: str, dtype: str, options: Mapping[str, Any]) -> Answer:
        """What a side computes with the model in a type."""
        model = self.judged.model.model_copy(update={"dtype": dtype})
        work = self._written(f"judged-{dtype}", self.judged.model_copy(update={"model": model}))
        with opened(self.start, side, work, options) as talk:
            return self.answer(talk, self.folder / "gradients.safetensors")

    def _written(self, name: str, work: Work) -> Path:
        return write_work(self.folder / f"{name}.json", work)

    def _compared(self, peer: str, options: Mapping[str, Any]) -> Cell:
        """Equality first, then time.

        Raises:
            ComparisonError: unequal sides or batches, or ours does not run.
            SideError: the peer does not run.
        """
        near = self._equality(peer, options)
        if near.fault:
            raise ComparisonError(f"not equal: {near.fault}")
        work = self._written("timed", self.work)
        with ExitStack() as stack:
            with our_part():
                here = stack.enter_context(opened(self.start, OURS[self.kind], work))
            there = stack.enter_context(opened(self.start, peer, work, options))
            self._turns(here, there, self.warm)
            first, second = self._turns(here, there, self.timed)
            with our_part():
                ours = _measured(here, first, self.questions)
            theirs = _measured(there, second, self.questions)
        return Cell(self.work.method, self.variant, peer, options, "measured", near.as_dict(), ours, theirs)

    def _equality(self, peer: str, options: Mapping[str, Any]) -> Equality:
        """How near the two are, in float32 and in the type that is timed."""
        # Autocast to float32 is none, and torch refuses it.
        plain = {name: value for name, value in options.items() if name != "autocast"}
        ours, theirs = self._ours("float32"), self._answer(peer, "float32", plain)
        near = equality(ours, theirs)
        exact = self._in_float64() if near.rounded else None
        dtype = self.judged.model.dtype
        if dtype == "float32":
            return equality(ours, theirs, exact=exact)
        return equality(ours, theirs, (self._ours(dtype), self._answer(peer, dtype, options)), exact)

    def _turns(self, ours: Talk, theirs: Talk, turns: Sequence[int]) -> tuple[list[Reply], list[Reply]]:
        """Both sides' replies, repetition by repetition; who begins changes from one to the next."""
        first: list[Reply] = []
        second: list[Reply] = []
        for place, turn in enumerate(turns):
            for side in (0, 1) if place % 2 == 0 else (1, 0):
                if side == 0:
                    with our_part():
                        first.append(self.repeat(ours, turn))
                else:
                    second.append(self.repeat(theirs, turn))
            if first[-1].get("batch") != second[-1].get("batch"):
                raise ComparisonError(f"repetition {turn}: the two sides worked on different batches")
        return first, second


def fastest(start: Start, peer: str, work: Path, options: Sequence[Mapping[str, Any]], repeat: Callable[[Talk, int], Reply]) -> Mapping[str, Any]:
    """The set-up of a peer that is fastest by the median of a few repetitions.

    Args:
        start: starts a worker.
        peer: its name.
        work: the file of what is tried.
        options: set-ups; one that does not run is left out.
        repeat: has the side do one repetition; the reply holds `seconds`.

    Raises:
        SideError: none of them runs.
    """
    taken: list[tuple[float, Mapping[str, Any]]] = []
    reason = SideError("no set-up to try")
    for each in options:
        try:
            with opened(start, peer, work, each) as talk:
                seconds = [float(repeat(talk, i)["seconds"]) for i in range(TRIAL + 1)][1:]
        except SideError as error:  # one set-up fewer; where none is left, the last one's reason is the cell's
            reason = error
        else:
            taken.append((median(seconds), each))
    if not taken:
        raise reason
    return min(taken, key=lambda pair: pair[0])[1]


@contextmanager
def opened(start: Start, side: str, work: Path, options: Mapping[str, Any] | None = None) -> Iterator[Talk]:
    """A side with its model loaded, in a worker of its own that ends with the block.

    Args:
        start: starts a worker.
        side: its name.
        work: the file that it reads.
        options: its set-up.
    """
    talk = start()
    try:
        talk.ask("open", side=side, work=work, options=dict(options or {}))
        yield talk
    finally:
        talk.close()


@contextmanager
def our_part() -> Iterator[None]:
    """What our own side cannot do fails the bench, where a peer's failure is a finding."""
    try:
        yield
    except SideError as error:
        raise ComparisonError(f"affinage does not run: {error}") from None


def _measured(talk: Talk, replies: Sequence[Reply], questions: int) -> Measured:
    """What a side took in the repetitions, and its memory."""
    memory = talk.ask("memory")
    return Measured(
        seconds=tuple(float(reply["seconds"]) for reply in replies),
        questions=questions,
        tokens=sum(int(reply["tokens"]) for reply in replies),
        padded=sum(int(reply["padded"]) for reply in replies),
        resident=int(memory["resident"]),
        device=None if memory["device"] is None else int(memory["device"]),
    )
