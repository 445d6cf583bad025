"""A study without a model: questions whose words are numbers, and an engine whose adapters are counters. Runs as a program, to be killed.

An adapter's tensor is one integer. Its start is 1000 * start index; a training step adds the batch's size. So an adapter's value, and
every score, is mental arithmetic, and a step that was lost or made twice shows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl

from affinage.config import MethodConfig, ModelConfig, StudyConfig, TrainingConfig, validated
from affinage.records import BackboneShape, Encoded, ItemScore, Rendered, UserError
from affinage.store import Checkout, RunFolder, append_log, cut_log, files, read_json, write_json
from affinage.study import Engine, costs, run

CULTURES = ("Spain", "Mexico", "Iran")
CLEAN = Checkout("0" * 40, False)
STEPS = 5


def write_questions(path: Path, templates: int = 24) -> Path:
    """One question per culture and template; no two templates share a word."""
    rows = [
        {
            "mcq_id": f"T{template:02}_{culture}",
            "template_id": f"T{template:02}",
            "culture": culture,
            "topic": "food",
            "question": f"word{template}a word{template}b word{template}c in {culture}?",
            "options": [f"{name.lower()}{template % 7}" for name in CULTURES],
            "option_cultures": list(CULTURES),
            "answer": number,
            "language": "en",
        }
        for template in range(templates)
        for number, culture in enumerate(CULTURES)
    ]
    pl.DataFrame(rows).write_parquet(path)
    return path


def study(questions: Path, *, cohort: int = 1, **changes: Any) -> StudyConfig:
    """Two folds, two starts, two methods, two of the three cultures."""
    values: dict[str, Any] = {
        "model": {"id": "fake", "dtype": "float32", "threads": 1, "cohort": cohort, "nodes_per_pack": 1000},
        "data": {"source": "table", "path": str(questions), "cultures": ["Spain", "Iran"]},
        "splits": {"kind": "folds", "folds": 2, "count": 2, "development": False},
        "methods": [{"name": "prompt-tuning"}, {"name": "lora", "settings": {"rank": 4}}],
        "training": {"steps": STEPS, "checkpoint_seconds": 0.0},
        "starts": 2,
    }
    return validated(StudyConfig, {**values, **changes}, "test")


@dataclass(frozen=True)
class Settings:
    """Stands for a method's settings."""

    values: dict[str, Any]

    def model_dump(self, mode: str = "json") -> dict[str, Any]:
        return dict(self.values)


@dataclass(frozen=True)
class Adapter:
    """One integer."""

    value: list[int]


@dataclass
class Fake:
    """What an engine was asked for, and where it shall fail."""

    steps: list[str] = field(default_factory=list)
    """Per training step its run's folder."""
    encoded: list[str] = field(default_factory=list)
    """Per encoding the first question's id."""
    loads: int = 0
    digest: str = "d" * 64
    template: str = "t"
    fail: Callable[[RunFolder], bool] = lambda folder: False
    """Runs whose training stops after two steps."""

    @property
    def tokens(self) -> Any:
        return SimpleNamespace(template_digest=self.template, tokenizer_digest="k", arguments={}, encode_all=self.encode_all)

    def encode_all(self, questions: list[Any], prompt: Any, *, seed: int, asked: str = "one") -> tuple[list[Encoded], list[Any]]:
        self.encoded.append(questions[0].mcq_id)
        encoded = [Encoded(Rendered(mcq, "", ("",) * 3, "", (0, 1, 2)), (0,), ((1,),) * 3, (1,) * 3) for mcq in questions]
        return encoded[1:], [SimpleNamespace(mcq=questions[0], reason="its first question is refused")]

    @property
    def identity(self) -> Any:
        return SimpleNamespace(as_dict=lambda: {"id": "fake", "revision": "", "digest": self.digest})

    def resolve(self, method: MethodConfig, training: TrainingConfig) -> Any:
        if method.name not in {"prompt-tuning", "lora"}:
            raise UserError("method", repr(method.name), "a known method", "Known: lora, prompt-tuning.")
        merged = TrainingConfig.model_validate({**training.model_dump(), **method.training})
        settings = Settings({"rank": 8, **method.settings})
        build = lambda backbone, key: Adapter([1000 * key[2]])  # noqa: E731
        made = SimpleNamespace(label=method.label or method.name, name=method.name, settings=settings, training=merged, build=build)
        made.alone, made.after_context, made.taught, made.settled = False, False, (), lambda cultures, culture: made
        return made

    def load(self, config: ModelConfig) -> Any:
        self.loads += 1
        return SimpleNamespace(device="fake device", tokens=self.tokens, identity=self.identity)

    def train(self, backbone: Any, members: list[Any], training: TrainingConfig, *, prompt: Any, checkpoint: Path, **packs: Any) -> None:
        """Counters in lockstep; one checkpoint for all of them."""
        start: dict[str, Any] = {"step": 0, "values": [member.adapter.value[0] for member in members], "out": []}
        state: dict[str, Any] = read_json(checkpoint) if checkpoint.exists() else start
        out = set(state["out"])
        for place, (member, value) in enumerate(zip(members, state["values"], strict=True)):
            cut_log(member.folder.log, state["step"])
            if place not in out:
                member.adapter.value[0] = value
        for place, member in enumerate(members):
            if state["step"] == STEPS and place not in out:
                member.on_done()
        for step in range(state["step"] + 1, STEPS + 1):
            for place, member in enumerate(members):
                if place in out:
                    continue
                if step == 3 and self.fail(member.folder):
                    out.add(place)
                    member.on_failed(UserError("training step 3, questions a, b", "a loss of nan", "a finite number", "Lower the rate."))
                    continue
                self.steps.append(member.folder.path.name)
                member.adapter.value[0] += len(member.encoded)
                append_log(member.folder.log, {"step": step, "loss": 1 / step})
                member.on_step(SimpleNamespace(step=step))
            if len(out) < len(members) and (step % 2 == 0 or step == STEPS):
                write_json(checkpoint, {"step": step, "values": [member.adapter.value[0] for member in members], "out": sorted(out)})
        for place, member in enumerate(members):
            if place not in out and state["step"] < STEPS:
                member.on_done()

    @staticmethod
    def member(adapter: Adapter, encoded: Any, seed: int, folder: RunFolder, *rest: Any) -> Any:
        _, on_step, on_done, on_failed = rest
        return SimpleNamespace(adapter=adapter, encoded=encoded, folder=folder, on_step=on_step, on_done=on_done, on_failed=on_failed)

    @staticmethod
    def save(adapter: Adapter, folder: Path, card: dict[str, Any]) -> None:
        plain = {name: value for name, value in card.items() if name not in {"prompt", "backbone"}}
        write_json(folder / "affinage.json", {**plain, "seen": sorted(card["seen"]), "value": adapter.value[0]})

    @staticmethod
    def restore(folder: Path, backbone: Any) -> Adapter:
        return Adapter([read_json(folder / "affinage.json")["value"]])

    @staticmethod
    def evaluate(backbone: Any, adapter: Adapter | None, encoded: list[Encoded], refused: list[Any], **rest: Any) -> list[ItemScore]:
        value = -1 if adapter is None else adapter.value[0]
        rest["on_progress"](len(encoded))
        mcqs = [(each.rendered.mcq, "scored") for each in encoded] + [(each.mcq, each.reason) for each in refused]
        return [
            ItemScore(m.mcq_id, m.template_id, m.culture, m.answer, (0, 1, 2), (float(value), 0.0, 0.0), (1,) * 3, (1,) * 3, state=state)
            for m, state in mcqs
        ]

    def engine(self) -> Engine:
        """These functions as an engine."""
        shape = BackboneShape(1, 1, 1, 1, 1)
        functions: dict[str, Any] = {
            "describe": lambda config: (shape, self.identity),
            "tokens": lambda config: self.tokens,
            "resolve": self.resolve,
            "load": self.load,
            "member": self.member,
            "train": self.train,
            "total_steps": lambda training, questions: training.steps,
            "adapter_of": lambda method, shape: costs.Adapter(),
            "first_batches": lambda *_, members, **__: [[]] * members,
            "training_step": lambda sides, *_, **__: costs.Step((costs.Counts(100 * len(sides), 4, 9, 9, 9, 1, 16),), 16 * len(sides)),
            "reading_step": lambda *_, **__: costs.Step((), 16, (costs.Counts(100, 1, 9, 9, 9, 1, 16),)),
            "testing_step": lambda *_, **__: costs.Step((costs.Counts(100, 4, 9, 9, 9, 1, 16),), 16),
            "measure": lambda shape, model: costs.given_rates(1.0),
            "free_memory": lambda model: ("cpu", 1 << 30),
            "device_name": lambda device: "cpu",
            "save": self.save,
            "restore": self.restore,
            "card": lambda **fields: fields,
            "evaluate": self.evaluate,
        }
        return Engine(**cast(Any, functions))


def contents(out: Path) -> dict[str, Any]:
    """Everything in a study's folder that must be the same however often it was interrupted."""
    kept: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name.startswith("claim-") or path.name == "costs.jsonl" or not path.is_file():
            continue
        if path.name == "run.json":
            kept[name] = {key: value for key, value in json.loads(path.read_text()).items() if key not in {"provenance"}}
        else:
            kept[name] = path.read_bytes()
    return kept


def call_at_each_write(call: Callable[[int], None]) -> None:
    """From now on, counts every point before and after a file takes its place, and every line of a log."""
    count = 0
    force, write = files._force, os.write

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            call(count)
            return function(*arguments)

        return inner

    files._force = counted(force)
    os.write = counted(write)


def _main(questions: str, out: str, kill_at: str, cohort: str = "1") -> None:
    """Runs the study and is killed at the write of that number (0: never)."""
    import signal  # noqa: PLC0415

    number = int(kill_at)
    call_at_each_write(lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None)
    outcome = run(study(Path(questions), cohort=int(cohort), starts=1), Path(out), engine=Fake().engine(), standing=CLEAN, poll=0.05, stale_after=6.0)
    sys.exit(0 if outcome.complete else 1)


if __name__ == "__main__":
    _main(*sys.argv[1:])
