"""The peer's side of a study's bench: a process with a model and one adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from affinage.bench.sides import load_side
from affinage.bench.sides.base import stopwatch, write_gradients
from affinage.bench.sides.peft_loop import PeftLoop, TunedPeftLoop
from affinage.bench.sides.peft_model import padded, virtual_tokens
from affinage.bench.sides.update import Update
from affinage.bench.study.side import StudySide, Taken
from affinage.bench.work import Question, Work, batch_digest

__all__ = ["PeftLesson"]


@final
class PeftLesson(StudySide):
    """One adapter with PEFT in a torch loop, its loss divided by questions as ours is.

    Args:
        peer: a name of `worker.PEERS`.
        work: of the lesson.
        options: the loop's set-up.
    """

    def __init__(self, peer: str, work: Work, options: Mapping[str, Any]) -> None:
        self._work = work
        loop = load_side(peer, work, options)
        assert isinstance(loop, PeftLoop | TunedPeftLoop)
        self._loop = loop
        trained = {name: value for name, value in self._loop.model.named_parameters() if value.requires_grad}
        self._update = Update(trained, work.training, len(work.batches))
        self.device, self.threads = self._loop.device, self._loop.threads

    def train(self, number: int, folder: Path) -> Taken:
        """Trains the adapter and saves it in `folder`."""
        loss = 0.0
        with stopwatch(self.device) as clock:
            for index in range(len(self._work.batches)):
                loss = self._learn(index)
                self._update.finish()
            self._loop.model.save_pretrained(folder)
        tokens = _tokens(self._work)
        digests = [batch_digest(question.trained for question in batch) for batch in self._work.batches]
        return Taken(clock.seconds, sum(map(sum, tokens)), sum(max(batch) * len(batch) for batch in tokens), [loss], digests)

    def gradients(self, places: Sequence[int], paths: Sequence[Path]) -> list[float]:
        """Of the one adapter."""
        losses = []
        for path in paths:
            losses.append(self._learn(0))
            write_gradients(path, self._update.gradients())
        return losses

    def _learn(self, index: int) -> float:
        """Gradients of a batch; its loss, the mean over questions of the sum over their answers' tokens."""
        batch = self._work.batches[index]
        self._update.begin(index)
        loss = self._loop.loss(padded(batch, self.device)) * (_answered(batch) / len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())


def _answered(batch: Iterable[Question]) -> int:
    """Tokens of the right answers."""
    return sum(len(question.options[question.answer]) for question in batch)


def _tokens(work: Work) -> list[list[int]]:
    """Per batch the lengths of its rows, virtual tokens included."""
    return [[len(question.trained) + virtual_tokens(work) for question in batch] for batch in work.batches]
