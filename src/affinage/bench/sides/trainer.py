"""Hugging Face Trainer over PEFT, with its defaults; and the recording that TRL's trainer, its heir, shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

from affinage.bench.sides.base import Step, TrainingSide, stopwatch, write_gradients
from affinage.bench.sides.gate import Gate
from affinage.bench.sides.peft_model import IGNORED, adapted, base_model, device_of, tokenizer_of, unpadded, virtual_tokens
from affinage.bench.work import Work, batch_digest
from affinage.records import UserError

__all__ = ["Gated", "HubTrainer", "arguments", "on_cpu"]


def arguments(work: Work) -> dict[str, Any]:
    """What the bench fixes in a trainer's arguments: the work's batches, schedule, decay and clipping, no files; the rest is its default."""
    training = work.training
    return {
        "output_dir": str(work.start / "trainer"),
        "per_device_train_batch_size": len(work.batches[0]),
        "max_steps": len(work.batches),
        "learning_rate": training.rate,
        "lr_scheduler_type": training.schedule,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.clip or 0.0,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu(work),
    }


def on_cpu(work: Work) -> bool:
    """Whether a trainer has to be kept from the GPU.

    Raises:
        UserError: it would take another GPU than the work names, or more than one, each with a batch of its own.
    """
    device, there = device_of(work), torch.cuda.device_count()
    if device != "cpu" and (there > 1 or device not in {"cuda", "cuda:0"}):
        todo = "Set CUDA_VISIBLE_DEVICES to one of them and `model.device` to cuda."
        raise UserError("a peer's trainer", f"{device} of {there} GPUs, all of which it would take", "one visible GPU", todo)
    return device == "cpu"


@final
class _Turn(TrainerCallback):  # type: ignore[misc]
    """Stops a trainer before its first step and after each."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first step's data is fetched."""
        self._gate.pause()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimiser's step."""
        self._gate.pause()


@final
class Gated:
    """A trainer that goes step by step; its `step` is that of a side.

    Args:
        work: what is trained on.
        kind: the trainer's class.
        trained: the trained tensors by name.
        values: the trainer's arguments.
    """

    def __init__(self, work: Work, kind: type[Any], trained: dict[str, Tensor], **values: Any) -> None:
        self._work, self._trained = work, trained
        self._device, self._virtual = device_of(work), virtual_tokens(work)
        self._gate = Gate()
        self._loss: Tensor | None = None
        self._inputs: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] | None = None
        self._kept = False
        self._next = 0
        self.trainer = _recording(kind, self)(**values, callbacks=[_Turn(self._gate)])
        threads = torch.get_num_threads()

        def run() -> None:
            torch.set_num_threads(threads)  # a number that each thread has of its own
            self.trainer.train()

        self._gate.begin(run)

    def note(self, inputs: dict[str, Tensor], loss: Tensor) -> None:
        """Told by the trainer after a backward pass, before clipping."""
        self._inputs, self._loss = inputs, loss
        if self._kept:
            self._gradients = {name: torch.zeros_like(value) if value.grad is None else value.grad.clone() for name, value in self._trained.items()}

    def step(self, index: int, gradients: Path | None) -> Step:
        """The trainer's next step, from one callback to the next: fetching and padding the batch is part of it.

        Raises:
            ValueError: another step than the next was asked for.
        """
        if index != self._next:
            raise ValueError(f"step {index} was asked for, the trainer stands before step {self._next}")
        self._next += 1
        self._kept = gradients is not None
        with stopwatch(self._device) as clock:
            self._gate.go()
        assert self._loss is not None
        if gradients is not None and self._gradients is not None:
            write_gradients(gradients, self._gradients)
        ids = self._inputs["input_ids"]
        mask = self._inputs["attention_mask"]
        rows = len(ids) * self._virtual
        digest = batch_digest(unpadded(ids, mask))
        return Step(clock.seconds, float(self._loss), int(mask.sum()) + rows, ids.numel() + rows, digest)


def _recording(kind: type[Any], gated: Gated) -> type[Any]:
    """The trainer's class with one addition: it tells what each step's batch and loss were."""

    class Recording(kind):  # type: ignore[misc]
        """Notes what went through a step."""

        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
            """The trainer's own."""
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
            gated.note({name: inputs[name] for name in ("input_ids", "attention_mask")}, loss)
            return loss

    return Recording


@final
class HubTrainer(TrainingSide):
    """Trainer over PEFT.

    Args:
        work: what is trained on.
    """

    def __init__(self, work: Work) -> None:
        model, trained = adapted(work, base_model(work))
        tokenizer = tokenizer_of(work)
        rows = [
            {
                "input_ids": list(question.trained),
                "attention_mask": [1] * len(question.trained),
                "labels": [IGNORED] * len(question.context) + list(question.options[question.answer]),
            }
            for batch in work.batches
            for question in batch
        ]
        self._gated = Gated(
            work,
            Trainer,
            trained,
            model=model,
            args=TrainingArguments(**arguments(work)),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(tokenizer),
        )
        self.device, self.threads = device_of(work), torch.get_num_threads()

    def step(self, index: int, gradients: Path | None = None) -> Step:
        """The trainer's next."""
        return self._gated.step(index, gradients)
