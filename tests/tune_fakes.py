"""A search without a model: what an adapter gets right depends on its rate and steps alone. Runs as a program, to be killed.

A trained adapter answers a share of the questions rightly, the same share of every culture's: the part of its training that is done, times how near
its rate is to `BEST`. The share is taken from a hash of the template, so who answers more answers the same and others.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from affinage import seeds
from affinage.config import MethodConfig, StudyConfig, TrainingConfig
from affinage.evaluate import refuse_seen
from affinage.methods.spaces import Choice, Space, Span
from affinage.records import Encoded, ItemScore, UserError
from affinage.store import cut_log, read_json, write_json
from affinage.store.log import append_log
from affinage.study import Engine
from affinage.tune import Outcome, SearchConfig, tune
from study_fakes import CLEAN, Fake, Settings, call_at_each_write, study

BEST = 1e-2
"""The rate at which everything is learned."""

DIVERGES = 0.09
"""From this rate on the loss is not finite after the first step."""

STEPS = 8

SPACES: dict[str, Space] = {
    "prompt-tuning": {
        "training.rate": Span(1e-4, 1e-1),
        "settings.length": Span(4, 64, whole=True),
        "settings.start": Choice(("random", "vocabulary")),
    },
    "lora": {"training.rate": Span(1e-5, 1e-1), "settings.rank": Choice((4, 8, 16))},
}

DEFAULTS: dict[str, dict[str, Any]] = {"prompt-tuning": {"length": 16, "start": "random"}, "lora": {"rank": 8}}


def quality(rate: float) -> float:
    """Share of the questions that a whole training at this rate gets right."""
    return math.exp(-(math.log10(rate / BEST) ** 2))


@dataclass
class Learner:
    """An adapter: how much it knows."""

    knows: float = 0.0
    origin: str = ""
    seen: frozenset[str] = frozenset()


@dataclass
class Workshop:
    """What the engine was asked for, and where it shall stop."""

    steps: dict[str, int] = field(default_factory=dict)
    """Trial's folder -> steps of its first culture, over all processes' attempts in this object."""
    rates: list[float] = field(default_factory=list)
    """Of each training that was begun."""
    loads: int = 0

    def resolve(self, method: MethodConfig, training: TrainingConfig) -> Any:
        known = DEFAULTS.get(method.name)
        if known is None:
            raise UserError("method", repr(method.name), "a known method", "Known: lora, prompt-tuning.")
        written = {name: getattr(training, name) for name in training.model_fields_set}
        made = Fake().resolve(method, training)
        made.training = TrainingConfig.model_validate({"rate": 1e-4, **written, **method.training})
        made.settings, made.build = Settings({**known, **method.settings}), lambda backbone, key: Learner()
        return made

    def train(self, backbone: Any, members: Sequence[Any], training: TrainingConfig, *, prompt: Any, checkpoint: Path, **packs: Any) -> None:
        state: dict[str, Any] = read_json(checkpoint) if checkpoint.exists() else {"step": 0}
        if not state["step"]:
            self.rates.append(training.rate)
        assert training.steps is not None
        for member in members:
            cut_log(member.folder.log, state["step"])
            member.adapter.knows = quality(training.rate) * state["step"] / training.steps
        for step in range(state["step"] + 1, training.steps + 1):
            for member in members:
                if training.rate > DIVERGES and step == 2:
                    member.on_failed(UserError(f"training step {step}", "a loss of nan", "a finite number", "Lower the rate."))
                member.adapter.knows = quality(training.rate) * step / training.steps
                append_log(member.folder.log, {"step": step})
            for member in members:
                member.on_step(SimpleNamespace(step=step, total=training.steps))
            name = str(members[0].folder.path)
            self.steps[name] = self.steps.get(name, 0) + 1
            write_json(checkpoint, {"step": step})

    @staticmethod
    def evaluate(backbone: Any, adapter: Learner | None, encoded: list[Encoded], refused: list[Any], **rest: Any) -> list[ItemScore]:
        refuse_seen(adapter, (each.rendered.mcq.template_id for each in encoded), "")  # type: ignore[arg-type]
        knows = 0.0 if adapter is None else adapter.knows
        scores = []
        for each in encoded:
            mcq = each.rendered.mcq
            right = seeds.uniform("known", mcq.template_id) < knows
            best = mcq.answer if right else (mcq.answer + 1) % 3
            logprob = tuple(0.0 if option == best else -1.0 for option in range(3))
            scores.append(ItemScore(mcq.mcq_id, mcq.template_id, mcq.culture, mcq.answer, (0, 1, 2), logprob, (1,) * 3, (1,) * 3))
        return scores

    def engine(self) -> Engine:
        """These functions as an engine."""
        fake = Fake()

        def load(config: Any) -> Any:
            self.loads += 1
            return fake.load(config)

        return replace(fake.engine(), load=load, resolve=self.resolve, train=self.train, evaluate=self.evaluate)


def searched(questions: Path, **changes: Any) -> StudyConfig:
    """One fold of two, two methods, two cultures in lockstep, eight steps."""
    values = {"splits": {"kind": "folds", "folds": 2, "count": 1, "development": False}, "training": {"steps": STEPS}, "starts": 1}
    return study(questions, **{"cohort": 2, "methods": [{"name": "prompt-tuning"}, {"name": "lora"}], **values, **changes})


def run(questions: Path, out: Path, workshop: Workshop | None = None, config: StudyConfig | None = None, **values: Any) -> Outcome:
    """A search of five whole trainings per method, half of the training side to choose by."""
    given = {"trials": None if "seconds" in values else 5, "share": 0.5, **values}
    engine = (workshop or Workshop()).engine()
    asked = config or searched(questions)
    return tune(asked, out, SearchConfig(**given), engine=engine, spaces=SPACES.__getitem__, standing=CLEAN, poll=0.05, stale_after=6.0)


def _main(questions: str, out: str, kill_at: str) -> None:
    """Runs a search and is killed at the write of that number (0: never)."""
    number = int(kill_at)
    call_at_each_write(lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None)
    run(Path(questions), Path(out))


if __name__ == "__main__":
    _main(*sys.argv[1:])
