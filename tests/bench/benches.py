"""What the bench's tests share: sides in this process, sides that follow a script, and work that fits the tiny model."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from affinage.bench.learning.runner import Limits
from affinage.bench.learning.side import JUDGE, OURS
from affinage.bench.learning.worker import LearningDesk
from affinage.bench.material import Material, material
from affinage.bench.wire import SideError
from affinage.bench.worker import Desk
from affinage.config import StudyConfig
from tiny import questions, write_questions

METHODS = ("prompt-tuning", "prefix-tuning", "lora")
LIMITS = Limits(steps=4, seconds=1e9, every=2)
"""Of a training in a bench of learning: measured before it and after 1, 2 and 4 steps."""
SCRIPTS = Path(__file__).resolve().parents[2] / "bench"


def script(name: str) -> ModuleType:
    """A script of the folder `bench` as a module; its name says so, since a package `coverage` exists too."""
    known = f"script_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[known] = importlib.util.module_from_spec(spec)  # its dataclasses look their own module up
        sys.path.append(str(SCRIPTS))  # what scripts import from one another
        spec.loader.exec_module(sys.modules[known])
        sys.path.remove(str(SCRIPTS))
    return sys.modules[known]


class Near:
    """A worker's desk in this process; requests and replies go through JSON as they do on the way to another."""

    def __init__(self) -> None:
        self._desk = Desk()

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        request = json.loads(json.dumps({"do": do, **values}, default=str))
        try:
            reply: dict[str, Any] = json.loads(json.dumps(self._desk.answer(request)))
        except Exception as error:
            raise SideError(f"{type(error).__name__}: {error}") from error
        return reply

    def close(self) -> None:
        del self._desk


class Scripted:
    """A side that computes nothing: its gradient, times and batches are given by (side, options, type)."""

    def __init__(self, play: Mapping[str, Any], log: list[str]) -> None:
        self._play, self._log = play, log
        self._side = ""
        self._options: dict[str, Any] = {}

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        if do == "open":
            self._side, self._options = values["side"], values["options"]
            self._log.append(f"open {self._side} {json.loads(Path(values['work']).read_text())['model']['dtype']} {self._options}")
            if self._play.get("broken") == self._side:
                raise SideError("ValueError: out of order")
            return {"device": "cpu", "threads": 1}
        if do == "memory":
            return {"resident": 10**9, "device": None}
        if values["gradients"] is not None:
            path = Path(values["gradients"])
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"a": np.array([1.0, self._play.get("gradient", {}).get(self._side, 2.0)], np.float32)}, path)
        self._log.append(f"{self._side} {values['index']}")
        seconds = self._play["seconds"].get(self._side, 1.0)
        taken = seconds(self._options) if callable(seconds) else seconds
        batch = self._play.get("batch", {}).get(self._side, "same")
        tokens = 10 if self._side == "affinage" else 30
        return {"seconds": taken, "loss": 1.0, "tokens": tokens, "padded": tokens, "batch": batch}

    def close(self) -> None:
        self._log.append(f"close {self._side}")


def scripted(log: list[str], **play: Any) -> Callable[[], Scripted]:
    """Starts sides of one script."""
    return lambda: Scripted(play, log)


def made(model: Path, folder: Path, **model_values: Any) -> Material:
    """Invented questions for the tiny model."""
    path = write_questions(folder / "questions.parquet", questions("Atlantis", 20, rows=3))
    config = StudyConfig.model_validate(
        {
            "model": {"id": str(model), "dtype": "float32", "device": "cpu", "threads": 1, **model_values},
            "data": {"source": "table", "path": str(path), "cultures": ["Atlantis"]},
            "training": {"batch_size": 6},
        }
    )
    return material(config)


def learning(model: Path, folder: Path, **values: Any) -> Material:
    """The same questions for a bench that measures learning, on the development side."""
    config = made(model, folder).config
    return material(StudyConfig.model_validate({**config.model_dump(exclude_unset=True), "splits": {"side": "development"}, **values}))


Script = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""Answers a request of a side in a worker's place, or None to have it answered."""


class Twin:
    """A worker of a bench of learning in this process; a peer is our own loop with the peer's settings.

    Args:
        log: gets a line for each that opens and closes.
        script: may take a request over.
        named: what a side is called, from the request that opens it; its own name where nothing else is said.
    """

    def __init__(self, log: list[str], script: Script, named: Callable[[dict[str, Any]], str] = lambda request: str(request["side"])) -> None:
        self._desk, self._log, self._script, self._named, self._side = LearningDesk(), log, script, named, ""

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        request = json.loads(json.dumps({"do": do, **values}, default=str))
        if do == "open":
            self._side = self._named(request)
            self._log.append(f"open {self._side} {request['options']}")
            request["side"] = request["side"] if request["side"] == JUDGE else OURS
        answer = self._script(self._side, request)
        return self._desk.answer(request) if answer is None else answer

    def close(self) -> None:
        self._log.append(f"close {self._side}")
