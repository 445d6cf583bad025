"""The held-out measure: one piece of code for whoever trained the adapter, read from PEFT's file of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import final

import torch
from safetensors.torch import load_file

from affinage import adapters
from affinage.backbone import Doors, load
from affinage.bench.sides.ours import encoded
from affinage.bench.work import Work
from affinage.methods import Adapter, registry
from affinage.pack import greedy_packs, pack
from affinage.scoring import answer_branch, branch_logprobs, option_branches, option_scores

__all__ = ["Judge"]


@final
class Judge:
    """Held-out loss and accuracy.

    Args:
        work: model, method, settings, prompt, and the held-out questions.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._backbone = load(work.model)
        self._questions = [encoded(question) for question in work.questions]
        # The options' own branches first, as their score reads them; then the answer with its ending, as training reads it.
        self._items = [(*option_branches(question, work.prompt.score), answer_branch(question)) for question in self._questions]
        self._packs = greedy_packs(self._items, work.nodes_per_pack)
        self.device, self.threads = str(self._backbone.device), torch.get_num_threads()

    def judged(self, folder: Path | None) -> dict[str, float]:
        """The values of a `curves.Standing`; `accuracy` and `choice` by the options' scores, `loss` over right answers with their endings.

        Args:
            folder: of an adapter in PEFT's format; None for the untouched model.

        Raises:
            ValueError: the loss is not finite.
        """
        adapter = None if folder is None else self._read(folder)
        loss, choice, right = 0.0, 0.0, 0
        for chosen in self._packs:
            branches = [branch for i in chosen for branch in self._items[i]]
            packed = pack(branches if adapter is None else [adapter.place(branch) for branch in branches])
            with torch.no_grad(), self._backbone.logits(packed, [Doors() if adapter is None else adapter.doors()]) as logits:
                sums = torch.split(branch_logprobs(logits, packed, len(branches)), [len(self._items[i]) for i in chosen])
            for i, own in zip(chosen, sums, strict=True):
                loss -= float(own[-1])
                scores = option_scores(self._questions[i], own[:-1], self._work.prompt.score)
                answer = self._questions[i].rendered.mcq.answer
                choice -= float(scores.log_softmax(0)[answer])
                right += int(scores.argmax()) == answer
        if not math.isfinite(loss + choice):
            raise ValueError("the held-out loss is not finite")
        tokens = sum(len(item[-1].ids) - item[-1].first for item in self._items)
        return {"loss": loss / tokens, "accuracy": right / len(self._questions), "choice": choice / len(self._questions)}

    def _read(self, folder: Path) -> Adapter:
        """The adapter from PEFT's tensors."""
        method = registry.get(self._work.method)
        settings = method.settings.model_validate(self._work.settings)
        tensors = method.from_peft(settings, self._backbone.shape, load_file(folder / adapters.TENSORS))
        return method.restore(settings, self._backbone.shape, tensors).to(self._backbone.device)
