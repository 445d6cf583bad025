"""A process of a bench that measures learning: `python -m affinage.bench.learning.worker` trains one adapter, or measures adapters."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, final

from affinage.bench.learning.judge import Judge
from affinage.bench.learning.side import JUDGE, OURS, TRL, LearningSide
from affinage.bench.wire import work_off
from affinage.bench.work import read_work

__all__ = ["COMMAND", "LearningDesk"]

COMMAND = (sys.executable, "-m", "affinage.bench.learning.worker")
"""Starts a worker."""

_PLACES = {OURS: "ours:OurLearning", TRL: "sft:SftLearning", JUDGE: "judge:Judge"}


@final
class LearningDesk:
    """Does what requests ask, with the side that the first of them opened."""

    def __init__(self) -> None:
        self._side: LearningSide | Judge | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request.

        Args:
            request: `do` is `open` (side, work, options), `learn` (steps), `export` (folder) or `judge` (folder; null for the untouched model).
        """
        match request:
            case {"do": "open", "side": str(name), "work": str(work), "options": dict(options)}:
                module, _, kind = _PLACES[name].partition(":")
                self._side = getattr(import_module(f"affinage.bench.learning.{module}"), kind)(read_work(Path(work)), **options)
                return {"device": self._side.device, "threads": self._side.threads}
            case {"do": "learn", "steps": int(steps)} if isinstance(self._side, LearningSide):
                return self._side.learn(steps).as_dict()
            case {"do": "export", "folder": str(folder)} if isinstance(self._side, LearningSide):
                self._side.export(Path(folder))
                return {}
            case {"do": "judge", "folder": folder} if isinstance(self._side, Judge):
                return self._side.judged(None if folder is None else Path(folder))
        raise ValueError(f"a request that no open side can answer: {sorted(request)}")


if __name__ == "__main__":
    work_off(LearningDesk().answer)
