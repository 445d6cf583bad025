"""Our side of a study's bench: cohorts over one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import final

import torch

from affinage import adapters
from affinage.backbone import load
from affinage.bench.sides.base import stopwatch, write_gradients
from affinage.bench.sides.ours import ADAPTER, encoded
from affinage.bench.sides.start import by_peft_name, start_adapter
from affinage.bench.study.side import StudySide, Taken
from affinage.bench.study.work import Lesson, StudyWork, pool
from affinage.bench.work import batch_digest
from affinage.methods import Adapter, registry
from affinage.records import Encoded
from affinage.scoring import answer_branch
from affinage.store import RunFolder
from affinage.train import Batch, Member, StepRecord, batches, cohort_losses, train_cohort

__all__ = ["OurStudy"]

_STATE = 4
"""Float32 values per trained value: itself, its gradient and AdamW's two moments."""


@final
@dataclass
class _Log:
    """What the steps of a cohort said."""

    nodes: dict[int, int] = field(default_factory=dict)
    """By step: of all members together, as each of them is told."""
    losses: dict[int, float] = field(default_factory=dict)
    """By lesson: the last."""

    def told(self, lesson: int, record: StepRecord) -> None:
        """One step of one adapter."""
        self.nodes[record.step] = record.nodes
        self.losses[lesson] = record.loss


@final
class OurStudy(StudySide):
    """The cohorts of `affinage study`: the same training with log and checkpoints, the same saving; testing left out.

    Args:
        work: the adapters and their cohorts.
    """

    def __init__(self, work: StudyWork) -> None:
        self._work = work
        self._backbone = load(work.lessons[0].work.model)
        self.device, self.threads = str(self._backbone.device), torch.get_num_threads()

    def train(self, number: int, folder: Path) -> Taken:
        """Trains a cohort; each adapter is saved in `folder/K/adapter`."""
        cohort = self._work.cohorts[number]
        lessons = [self._work.lessons[place] for place in cohort]
        log = _Log()
        with stopwatch(self.device) as clock:
            members = [self._member(place, folder / str(place), log) for place in cohort]
            first = lessons[0].work
            checkpoint = folder / f"cohort-{number}.safetensors"
            train_cohort(
                self._backbone, members, first.training, prompt=first.prompt, checkpoint=checkpoint, nodes_per_pack=self._work.nodes_per_pack
            )
        nodes = list(log.nodes.values())
        losses = [log.losses[place] for place in cohort]
        digests = [digest for lesson in lessons for digest in _digests(lesson)]
        return Taken(clock.seconds, sum(nodes), sum(nodes), losses, digests, nodes, _bytes(members[0].adapter))

    def gradients(self, places: Sequence[int], paths: Sequence[Path]) -> list[float]:
        """Each computed in its cohort and its packs.

        The starts are saved beside their tensors, as what the trained adapters are compared with.
        """
        losses = []
        for place, path in zip(places, paths, strict=True):
            cohort = next(cohort for cohort in self._work.cohorts if place in cohort)
            started = [self._start(self._work.lessons[member]) for member in cohort]
            given = [Batch(adapter, next(_stream(self._work.lessons[member]))) for member, adapter in zip(cohort, started, strict=True)]
            found, _ = cohort_losses(self._backbone, given, "answer", "total", self._work.nodes_per_pack)
            own = cohort.index(place)
            write_gradients(path, {name: value.grad for name, value in by_peft_name(started[own]).items() if value.grad is not None})
            losses.append(found[own])
        for lesson in {lesson.start: lesson for lesson in self._work.lessons}.values():
            self._save(self._start(lesson), lesson, lesson.work.start / ADAPTER)
        return losses

    def _start(self, lesson: Lesson) -> Adapter:
        return start_adapter(lesson.work, self._backbone, number=lesson.start)

    def _member(self, place: int, folder: Path, log: _Log) -> Member:
        lesson = self._work.lessons[place]
        adapter = self._start(lesson)
        return Member(
            adapter,
            [encoded(question) for question in pool(lesson.work)],
            lesson.seed,
            RunFolder(folder),
            on_step=lambda record: log.told(place, record),
            on_done=lambda: self._save(adapter, lesson, RunFolder(folder).adapter),
        )

    def _save(self, adapter: Adapter, lesson: Lesson, folder: Path) -> None:
        work = lesson.work
        settings = registry.get(work.method).settings.model_validate(work.settings).model_dump(mode="json")
        seen = frozenset(question.template for question in pool(work))
        start = ("bench", lesson.start)
        card = adapters.AdapterCard(work.method, settings, lesson.culture, "", seen, start, work.prompt, self._backbone.identity, "")
        adapters.save(adapter, folder, card)


def _stream(lesson: Lesson) -> Iterator[list[Encoded]]:
    """The batches that our training draws."""
    return batches([encoded(question) for question in pool(lesson.work)], lesson.work.training, lesson.seed, 0)


def _digests(lesson: Lesson) -> list[str]:
    return [batch_digest(answer_branch(each).ids for each in batch) for batch in islice(_stream(lesson), len(lesson.work.batches))]


def _bytes(adapter: Adapter) -> int:
    return adapter.parameter_count() * _STATE * torch.float32.itemsize
