"""Our side: the function behind `affinage train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch

from affinage import adapters
from affinage.backbone import load
from affinage.bench.learning.side import Learned, LearningSide
from affinage.bench.sides.base import stopwatch
from affinage.bench.sides.gate import Gate
from affinage.bench.sides.ours import encoded
from affinage.bench.work import Work, read_work
from affinage.methods import registry
from affinage.records import Encoded
from affinage.store import RunFolder
from affinage.train import StepRecord, train

__all__ = ["OurLearning"]


@final
class OurLearning(LearningSide):
    """`affinage train`: the function itself, its log and checkpoints included.

    Args:
        work: model, method, settings, training and questions; its `start` is the run's folder.
        seed: of the start and of the order.
        epochs: files of works whose questions are those of each epoch, where the options' order is fresh in each.
    """

    def __init__(self, work: Work, seed: int, epochs: Sequence[str] = ()) -> None:
        backbone = load(work.model)
        method = registry.get(work.method)
        settings = method.settings.model_validate(work.settings)
        key = (work.method, "bench", 0, seed)
        self._adapter = method.build(settings, backbone, key).to(backbone.device)
        seen = frozenset(question.template for question in work.questions)
        self._card = adapters.AdapterCard(work.method, work.settings, "", "bench", seen, key, work.prompt, backbone.identity, "")
        self._gate = Gate()
        self._nodes = 0
        self.device, self.threads = str(backbone.device), torch.get_num_threads()

        def again(epoch: int) -> list[Encoded]:
            return [encoded(question) for question in read_work(Path(epochs[epoch])).questions]

        def run() -> None:
            torch.set_num_threads(self.threads)  # a number that each thread has of its own
            self._gate.pause()
            train(
                backbone,
                self._adapter,
                [encoded(question) for question in work.questions],
                work.training,
                prompt=work.prompt,
                seed=seed,
                folder=RunFolder(work.start),
                again=again if epochs else None,
                on_step=self._note,
            )

        self._gate.begin(run)

    def _note(self, record: StepRecord) -> None:
        self._nodes = record.nodes
        self._gate.pause()

    def learn(self, steps: int) -> Learned:
        """From one line of the log to the next."""
        seconds, nodes = 0.0, 0
        for _ in range(steps):
            with stopwatch(self.device) as clock:
                self._gate.go()
            seconds += clock.seconds
            nodes += self._nodes
        return Learned(seconds, nodes)

    def export(self, folder: Path) -> None:
        """An adapter's folder as a study's runs have it."""
        adapters.save(self._adapter, folder, self._card)
