"""A study of many adapters: our cohorts in one process against a process of PEFT's for each adapter, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from safetensors.numpy import load_file

from affinage.bench.comparison import ComparisonError, Reply, Start, fastest, opened, our_part
from affinage.bench.equality import Answer, Equality, distance, equality, gradient_answer
from affinage.bench.machine import describe
from affinage.bench.sides import EXACT, candidates
from affinage.bench.sides.ours import ADAPTER
from affinage.bench.study.memory import measured_rows
from affinage.bench.study.result import Side, Sides, StudyResult
from affinage.bench.study.work import StudyWork, study_work, write_study
from affinage.bench.study.worker import COMMAND, OURS
from affinage.bench.wire import Process, SideError, Talk
from affinage.bench.work import write_work
from affinage.config import StudyConfig
from affinage.store import RunFolder

__all__ = ["study"]

_TENSORS = "adapter_model.safetensors"
"""Of an adapter's folder, by our hand and by PEFT's."""


def _process() -> Talk:
    return Process(COMMAND)


def study(
    config: StudyConfig,
    *,
    peer: str,
    method: str,
    adapters: int,
    steps: int,
    repetitions: int,
    memory: bool,
    command: str,
    start: Start = _process,
    trial: Start = Process,
    on_event: Callable[[str], None] = lambda event: None,
    on_result: Callable[[StudyResult], object] = lambda result: None,
) -> StudyResult:
    """Trains the same adapters both ways, then measures what another adapter in a cohort takes.

    Args:
        config: model, data, splits, prompt and training; what it says of cohorts and packs holds, else what a plan would settle.
        peer: a name of `worker.PEERS`.
        method: a name of `material.SETTINGS`.
        adapters: how many; of the first cultures, then of the same from further starts.
        steps: of each.
        repetitions: of the whole.
        memory: whether to measure small cohorts' memory too.
        command: as it was typed, for the record.
        start: starts a worker of this bench.
        trial: starts a worker of the other benches, in which the peer's set-ups are tried.
        on_event: told of each part before it begins.
        on_result: given what is known so far.

    Raises:
        UserError: model or data cannot be read, or there are too few questions.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        work = study_work(config, method, adapters, steps, folder)
        result = StudyResult(command, describe(config.model), _worked(config, work), method, peer, state="measured")
        run = _Run(peer, work, folder, start, trial, on_event)
        try:
            near = run.equality()
            result = replace(result, options=dict(run.options), equality=near.as_dict())
            if near.fault:
                raise ComparisonError(f"not equal: {near.fault}")
            for repetition in range(repetitions):
                on_event(f"repetition {repetition + 1} of {repetitions}")
                sides = run.repetition(repetition)
                result = replace(result, repetitions=(*result.repetitions, sides))
                on_result(result)
        except SideError as error:
            result = replace(result, state=f"does not run: {error}")
        except ComparisonError as error:
            result = replace(result, state=f"failed: {error}")
        if memory:
            rows = measured_rows(work, folder / "memory", start, OURS, on_event)
            result = replace(result, memory=tuple(rows))
        on_result(result)
    return result


def _worked(config: StudyConfig, work: StudyWork) -> dict[str, str]:
    """What was trained, in words."""
    lesson, training = work.lessons[0].work, work.lessons[0].work.training
    cultures = list(dict.fromkeys(each.culture for each in work.lessons))
    settings = ", ".join(f"{name} {value}" for name, value in lesson.settings.items())
    return {
        "model": f"{config.model.id} in {config.model.dtype}",
        "data": f"{config.data.source}, {', '.join(cultures)}; {len(work.lessons)} adapters, {work.lessons[-1].start + 1} from each culture at most",
        "method": f"{lesson.method} ({settings})",
        "prompt": f"{config.prompt.style}, options {config.prompt.options}",
        "steps": f"{len(lesson.batches)} of {training.batch_size} questions, {training.questions_per_template} per template",
        "cohorts": f"of {', '.join(str(len(cohort)) for cohort in work.cohorts)}, packs of {work.nodes_per_pack or 0:,} nodes at most",
    }


@dataclass
class _Tally:
    """What a side has taken so far in a repetition."""

    loading: list[float] = field(default_factory=list)
    taken: list[Reply] = field(default_factory=list)
    memory: list[Reply] = field(default_factory=list)

    @property
    def digests(self) -> list[str]:
        """Of the batches so far."""
        return [digest for taken in self.taken for digest in taken["digests"]]

    def side(self) -> Side:
        """The whole."""
        devices = [int(each["device"]) for each in self.memory if each["device"] is not None]
        return Side(
            loading=tuple(self.loading),
            training=tuple(float(taken["seconds"]) for taken in self.taken),
            tokens=sum(int(taken["tokens"]) for taken in self.taken),
            padded=sum(int(taken["padded"]) for taken in self.taken),
            losses=tuple(loss for taken in self.taken for loss in taken["losses"]),
            digests=tuple(self.digests),
            resident=max(int(each["resident"]) for each in self.memory),
            device=max(devices, default=None),
        )


@final
@dataclass
class _Run:
    """One study on its way."""

    peer: str
    work: StudyWork
    folder: Path
    start: Start
    trial: Start
    on_event: Callable[[str], None]
    options: Mapping[str, Any] = field(default_factory=dict)
    """The peer's fastest set-up, once it is known."""

    def equality(self) -> Equality:
        """How near the gradients of the first and of the last adapter's first batches are; finds the peer's fastest set-up on the way.

        Raises:
            ComparisonError: ours does not run, or no float64 can judge.
            SideError: the peer does not run.
        """
        dtype = self.work.lessons[0].work.model.dtype
        self.on_event("equality in float32")
        ours = self._ours("float32")  # it writes the starts that the peer copies
        self.on_event(f"set-ups of {self.peer}")
        self.options = self._fastest(dtype)
        # Autocast to float32 is none, and torch refuses it.
        plain = {name: value for name, value in self.options.items() if name != "autocast"}
        theirs = self._theirs("float32", self.peer, plain)
        exact = None
        if equality(ours, theirs).rounded:
            try:
                exact = self._theirs("float32", *EXACT["train"])
            except SideError as error:
                raise ComparisonError(f"float32 is too far apart to judge, and float64 does not run: {error}") from None
        if dtype == "float32":
            return equality(ours, theirs, exact=exact)
        self.on_event(f"equality in {dtype}")
        return equality(ours, theirs, (self._ours(dtype), self._theirs(dtype, self.peer, self.options)), exact)

    def repetition(self, number: int) -> Sides:
        """All adapters on both sides, cohort by cohort in turns; who begins changes.

        Raises:
            ComparisonError: ours does not run, or the two had different batches.
            SideError: the peer does not run.
        """
        folder = self.folder / f"repetition-{number}"
        path = write_study(self.folder / "timed", self.work)
        here, there = _Tally(), _Tally()
        with ExitStack() as stack:
            with our_part():
                talk = self._loaded(stack, OURS, path, {}, here)
            for cohort, places in enumerate(self.work.cohorts):
                for ours in (True, False) if (number + cohort) % 2 == 0 else (False, True):
                    if ours:
                        self.on_event(f"cohort {cohort + 1} of {len(self.work.cohorts)}")
                        with our_part():
                            here.taken.append(talk.ask("train", number=cohort, folder=folder / "ours"))
                    else:
                        for place in places:
                            self._alone(place, folder / "theirs", there)
                if here.digests != there.digests:
                    raise ComparisonError(f"cohort {cohort}: the two sides worked on different batches")
            with our_part():
                here.memory.append(talk.ask("memory"))
        return Sides(here.side(), there.side(), tuple(self._apart(place, folder) for place in range(len(self.work.lessons))))

    def _alone(self, place: int, folder: Path, there: _Tally) -> None:
        """One adapter in the peer's process, which ends with it."""
        self.on_event(f"PEFT, adapter {place + 1} of {len(self.work.lessons)}")
        with ExitStack() as stack:
            talk = self._loaded(stack, self.peer, self.folder / "timed" / f"lesson-{place}.json", self.options, there)
            there.taken.append(talk.ask("train", number=0, folder=folder / str(place)))
            there.memory.append(talk.ask("memory"))

    def _loaded(self, stack: ExitStack, side: str, work: Path, options: Mapping[str, Any], tally: _Tally) -> Talk:
        """A side in a new process; noted are the seconds until its model was loaded, without those that only the bench needs."""
        began = time.perf_counter()
        talk = self.start()
        stack.callback(talk.close)
        reply = talk.ask("open", side=side, work=work, options=dict(options))
        tally.loading.append(time.perf_counter() - began - float(reply["own"]))
        return talk

    def _apart(self, place: int, folder: Path) -> float:
        """How far the two sides' trained tensors are from one another, as a part of how far the peer's are from the start (norms)."""
        start = load_file(self.work.lessons[place].work.start / ADAPTER / _TENSORS)
        ours = load_file(RunFolder(folder / "ours" / str(place)).adapter / _TENSORS)
        theirs = load_file(folder / "theirs" / str(place) / _TENSORS)
        if not set(start) == set(ours) == set(theirs):
            raise ComparisonError(f"adapter {place}: the two sides saved different tensors ({', '.join(sorted(set(ours) ^ set(theirs))[:3])})")
        moved = {name: value - start[name] for name, value in theirs.items()}
        return distance(Answer({name: value - start[name] for name, value in ours.items()}), Answer(moved))

    def _ours(self, dtype: str) -> Answer:
        """Our gradients with the model in a type."""
        path = write_study(self.folder / dtype, self.work.in_type(dtype))
        with our_part(), opened(self.start, OURS, path) as talk:
            return self._gradients(talk, self._judged, "ours")

    def _theirs(self, dtype: str, peer: str, options: Mapping[str, Any]) -> Answer:
        """A peer's, each adapter in a process of its own."""
        answers = []
        for place in self._judged:
            with opened(self.start, peer, self.folder / dtype / f"lesson-{place}.json", options) as talk:
                answers.append(self._gradients(talk, [0], f"theirs-{place}"))
        values = {name.replace("batch 0", f"batch {place}"): value for place, each in enumerate(answers) for name, value in each.values.items()}
        return Answer(values, tuple(loss for each in answers for loss in each.losses))

    @property
    def _judged(self) -> list[int]:
        """The first adapter and the last."""
        return sorted({0, len(self.work.lessons) - 1})

    def _gradients(self, talk: Talk, places: Sequence[int], name: str) -> Answer:
        paths = [self.folder / f"{name}-{place}.safetensors" for place in places]
        losses = talk.ask("gradients", places=list(places), paths=[str(path) for path in paths])["losses"]
        return gradient_answer(zip(paths, losses, strict=True))

    def _fastest(self, dtype: str) -> Mapping[str, Any]:
        """The peer's, by a few steps of the first adapter."""
        lesson = self.work.lessons[0].work
        options = candidates(self.peer, lesson.method, dtype)

        def step(talk: Talk, index: int) -> Reply:
            return talk.ask("step", index=index % len(lesson.batches), gradients=None)

        if len(options) == 1:
            return options[0]
        return fastest(self.trial, self.peer, write_work(self.folder / "trial.json", lesson), options, step)
