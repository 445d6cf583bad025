"""A process of this bench: `python -m affinage.bench.held_out.worker` trains one adapter of one side, or measures adapters of both."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, final

from affinage.bench.held_out.judge import Judge
from affinage.bench.held_out.side import JUDGE, OURS, TRL, LearningSide
from affinage.bench.wire import serve
from affinage.bench.work import read_work

__all__ = ["COMMAND", "LossDesk"]

COMMAND = (sys.executable, "-m", "affinage.bench.held_out.worker")
"""Starts a worker."""

_PLACES = {OURS: "ours:OurLearning", TRL: "sft:SftLearning", JUDGE: "judge:Judge"}


@final
class LossDesk:
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
                self._side = getattr(import_module(f"affinage.bench.held_out.{module}"), kind)(read_work(Path(work)), **options)
                return {"device": self._side.device, "threads": self._side.threads}
            case {"do": "learn", "steps": int(steps)} if isinstance(self._side, LearningSide):
                return self._side.learn(steps).as_dict()
            case {"do": "export", "folder": str(folder)} if isinstance(self._side, LearningSide):
                self._side.export(Path(folder))
                return {}
            case {"do": "judge", "folder": folder} if isinstance(self._side, Judge):
                return self._side.judged(None if folder is None else Path(folder))
        raise ValueError(f"a request that no open side can answer: {sorted(request)}")


def main() -> None:
    """Answers until standard input ends. What libraries print goes to standard error, so that it cannot be taken for a reply."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, replies, LossDesk().answer)
    replies.flush()
    os._exit(0)  # a training's thread may still wait for its next step


if __name__ == "__main__":
    main()
