"""TRL's SFTTrainer as it comes: it loads the model, puts the adapter on, draws the batches and steps by its own defaults."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from datasets import Dataset
from peft import PromptTuningConfig, TaskType
from trl import SFTConfig, SFTTrainer

from affinage.bench.learning.side import Learned, LearningSide
from affinage.bench.sides.peft_model import device_of, place_of, tokenizer_of
from affinage.bench.sides.trainer import Gated, on_cpu
from affinage.bench.work import Work
from affinage.store import cores

__all__ = ["SftLearning"]


@final
class SftLearning(LearningSide):
    """SFTTrainer with a soft prompt.

    What a study states is set: vectors, rate, batch, epochs or steps, schedule. The rest is TRL's and PEFT's choice: float32 weights under
    bfloat16 autocast, gradient checkpointing, clipping at 1, a normal start, its own order.

    Args:
        work: model, number of vectors, training and questions; its `start` is a folder for TRL's files.
        seed: of the start and of the order.
    """

    def __init__(self, work: Work, seed: int) -> None:
        torch.set_num_threads(work.model.threads or cores())
        training = work.training
        rows = [
            {"input_ids": list(question.trained), "completion_mask": [0] * len(question.context) + [1] * len(question.options[question.answer])}
            for question in work.questions
        ]
        config = SFTConfig(
            output_dir=str(work.start / "trainer"),
            per_device_train_batch_size=training.batch_size,
            num_train_epochs=training.epochs,
            max_steps=-1 if training.steps is None else training.steps,
            learning_rate=training.rate,
            lr_scheduler_type=training.schedule,
            seed=seed,
            completion_only_loss=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=on_cpu(work),
            model_init_kwargs={"revision": work.model.revision} if work.model.revision else None,
        )
        self._gated = Gated(
            work,
            SFTTrainer,
            {},
            model=str(place_of(work)),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer_of(work),
            peft_config=PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=int(work.settings["length"])),
        )
        self._next = 0
        self.device, self.threads = device_of(work), torch.get_num_threads()

    def learn(self, steps: int) -> Learned:
        """From one of the trainer's callbacks to the next."""
        done = [self._gated.step(self._next + place, None) for place in range(steps)]
        self._next += steps
        return Learned(sum(step.seconds for step in done), sum(step.tokens for step in done))

    def export(self, folder: Path) -> None:
        """PEFT's own files."""
        self._gated.trainer.model.save_pretrained(str(folder), save_embedding_layers=False)
