"""PEFT in a plain torch loop, as it comes and at its best."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from affinage.bench.sides.base import Step, TrainingSide, stopwatch, write_gradients
from affinage.bench.sides.peft_model import IGNORED, adapted, base_model, device_of, padded, unpadded, virtual_tokens
from affinage.bench.sides.update import Update
from affinage.bench.work import Work, batch_digest

__all__ = ["PeftLoop", "TunedPeftLoop"]


class _Loop(TrainingSide):
    """Batch by batch: pad, forward, backward, clip, step.

    Args:
        work: what is trained on.
        attention: an attention of transformers; None for its own choice.
        precise: compute in float64.
    """

    def __init__(self, work: Work, attention: str | None = None, precise: bool = False) -> None:
        self._work = work
        self.model, trained = adapted(work, base_model(work, attention))
        if precise:
            self.model.double()
        self.model.train()
        self._update = Update(trained, work.training, len(work.batches))
        self._virtual = virtual_tokens(work)
        self.device, self.threads = device_of(work), torch.get_num_threads()

    @abstractmethod
    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean over the answers' tokens."""

    def step(self, index: int, gradients: Path | None = None) -> Step:
        """Padding is part of the step, as packing is of ours."""
        with stopwatch(self.device) as clock:
            batch = padded(self._work.batches[index], self.device)
            self._update.begin(index)
            loss = self.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            kept = None if gradients is None else self._update.gradients()
            self._update.finish()
            value = float(loss.detach())
        if gradients is not None and kept is not None:
            write_gradients(gradients, kept)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        rows = len(ids) * self._virtual
        return Step(clock.seconds, value, int(mask.sum()) + rows, ids.numel() + rows, batch_digest(unpadded(ids, mask)))


@final
class PeftLoop(_Loop):
    """As it comes: labels go in, the model's own loss comes out, over the logits of every token."""

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The model's own."""
        loss: Tensor = self.model(**batch).loss
        return loss


@final
class TunedPeftLoop(_Loop):
    """At its best: the output layer sees the tokens that predict an answer, nothing else; decoder layers are compiled where ours are.

    Args:
        work: what is trained on.
        attention: `sdpa` or `eager`.
        autocast: have LoRA's own products done in the work's type, as ours are; PEFT does them in float32.
        precise: compute in float64, for a reference.
    """

    def __init__(self, work: Work, attention: str, autocast: bool = False, precise: bool = False) -> None:
        super().__init__(work, attention, precise)
        self._autocast, self._precise = autocast, precise
        if work.model.compile and not precise:
            for layer in self.model.get_base_model().get_decoder().layers:
                layer.compile(dynamic=True)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy at the answers, in float32 at least."""
        labels = batch["labels"]
        row, place = torch.nonzero(labels[:, 1:] != IGNORED, as_tuple=True)
        kind = self.device.partition(":")[0]
        chosen = _read_at(self.model.get_base_model().get_output_embeddings(), row, place + self._virtual)
        with chosen, torch.autocast(kind, dtype=getattr(torch, self._work.model.dtype), enabled=self._autocast):
            logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        return nn.functional.cross_entropy(logits[0] if self._precise else logits[0].float(), labels[row, place + 1])


@contextmanager
def _read_at(output: nn.Module, row: Tensor, place: Tensor) -> Iterator[None]:
    """Has the output layer see hidden states [B, T, H] at (row, place) only, as [1, S, H]; what scales or caps its result still does."""

    def choose(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][row, place][None], *args[1:])

    handle = output.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
