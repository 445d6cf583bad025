"""Our side: the functions that `affinage train` and `affinage evaluate` call, on the work's token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch

from affinage import adapters
from affinage.backbone import Backbone, load
from affinage.bench.needed import needed
from affinage.bench.products import timed_products
from affinage.bench.sides.base import EvaluationSide, Pass, Step, TrainingSide, stopwatch, write_gradients
from affinage.bench.sides.start import by_peft_name, start_adapter
from affinage.bench.sides.update import Update
from affinage.bench.work import Question, Work, batch_digest
from affinage.evaluate import evaluate
from affinage.methods import Adapter, registry
from affinage.pack import greedy_packs, pack
from affinage.records import MCQ, Encoded, Rendered
from affinage.scoring import answer_branch, option_branches
from affinage.train import Batch, cohort_losses

__all__ = ["OurEvaluation", "OurTraining", "encoded"]

ADAPTER = "adapter"
"""Folder of the saved adapter inside the start's; PEFT loads it too."""


def encoded(question: Question) -> Encoded:
    """The question as our functions take it; texts that nothing reads are left empty."""
    count = len(question.options)
    mcq = MCQ(question.id, question.template, "", "", "", ("",) * count, ("",) * count, question.answer)
    return Encoded(Rendered(mcq, "", ("",) * count, "", tuple(range(count))), question.context, question.options, question.scored)


@final
class OurTraining(TrainingSide):
    """The steps of `affinage train`, without its log and checkpoints.

    Args:
        work: what is trained on.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._backbone = load(work.model)
        self._adapter = start_adapter(work, self._backbone)
        self._update = Update(by_peft_name(self._adapter), work.training, len(work.batches))
        self._batches = [[encoded(question) for question in batch] for batch in work.batches]
        self.device, self.threads = str(self._backbone.device), torch.get_num_threads()

    def step(self, index: int, gradients: Path | None = None) -> Step:
        """Pack, forward, backward, clip, step; the loss is the mean over tokens as that of the peers is."""
        batch = self._batches[index]
        tokens = sum(len(answer_branch(each).ids) - len(each.context_ids) for each in batch)
        weights = dict.fromkeys((each.rendered.mcq.template_id for each in batch), len(batch) / tokens)
        with stopwatch(self.device) as clock:
            self._update.begin(index)
            (loss,), nodes = cohort_losses(self._backbone, [Batch(self._adapter, batch, weights)], "answer", "total")
            kept = None if gradients is None else self._update.gradients()
            self._update.finish()
        if gradients is not None and kept is not None:
            write_gradients(gradients, kept)
        return Step(clock.seconds, loss, nodes, nodes, batch_digest(answer_branch(each).ids for each in batch))

    def products(self, indices: Sequence[int], rounds: int) -> dict[str, Any]:
        """Of these batches; the adapter goes on learning meanwhile."""

        def counted(index: int) -> dict[str, int]:
            return needed(self._backbone, self._adapter, self._batches[index]).as_dict()

        return timed_products(self, counted, self._backbone.dtype, indices, rounds)


@final
class OurEvaluation(EvaluationSide):
    """`affinage evaluate` with the adapter as it was saved.

    Args:
        work: what is tested.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._backbone = load(work.model)
        self._adapter = _saved(work, self._backbone)
        self._questions = [encoded(question) for question in work.questions]
        self._nodes = self._count_nodes()
        self.device, self.threads = str(self._backbone.device), torch.get_num_threads()

    def scores(self, count: int) -> list[list[float]]:
        """As the reports read them, the ending left out."""
        return self._scored(self._questions[:count])

    def run(self) -> Pass:
        """All questions, packs made anew."""
        with stopwatch(self.device) as clock:
            self._scored(self._questions)
        return Pass(clock.seconds, self._nodes, self._nodes)

    def _scored(self, questions: Sequence[Encoded]) -> list[list[float]]:
        scores = evaluate(self._backbone, self._adapter, questions, prompt=self._work.prompt, nodes_per_pack=self._work.nodes_per_pack)
        return [list(score.logprob) for score in scores]

    def _count_nodes(self) -> int:
        """Nodes of all packs of a pass."""
        items = [option_branches(question, "total") for question in self._questions]
        place = (lambda branch: branch) if self._adapter is None else self._adapter.place
        packs = greedy_packs(items, self._work.nodes_per_pack)
        return sum(pack([place(branch) for i in chosen for branch in items[i]]).nodes for chosen in packs)


def _saved(work: Work, backbone: Backbone) -> Adapter | None:
    """The adapter at its start, saved and loaded again, as a test finds it; None for the untouched model."""
    if work.method == "none":
        return None
    folder = work.start / ADAPTER
    if not (folder / adapters.CARD).exists():
        settings = registry.get(work.method).settings.model_validate(work.settings).model_dump(mode="json")
        card = adapters.AdapterCard(work.method, settings, "", "", frozenset(), ("bench", 0), work.prompt, backbone.identity, "")
        adapters.save(start_adapter(work, backbone), folder, card)
    return adapters.load(folder, backbone)
