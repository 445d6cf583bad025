"""A process of a study's bench: `python -m affinage.bench.study.worker` trains all of our adapters, or one of a peer's.

What a peer's own script would not import or read is timed apart (`own` in the reply to `open`), to be taken off its time.
"""

# ruff: noqa: PLC0415  (a side imports what it needs when it is opened, so that it can be timed)

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from affinage.bench.wire import work_off

if TYPE_CHECKING:
    from affinage.bench.memory import Allocations
    from affinage.bench.study.side import StudySide

__all__ = ["COMMAND", "OURS", "PEERS", "StudyDesk"]

COMMAND = (sys.executable, "-m", "affinage.bench.study.worker")
"""Starts a worker."""
OURS = "affinage"
PEERS = ("peft-loop-tuned", "peft-loop")
"""Names of the sides, the default peer first."""


@final
class StudyDesk:
    """Does what requests ask, with the side that the first of them opened."""

    def __init__(self) -> None:
        self._side: StudySide | None = None
        self._allocations: Allocations | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request.

        Args:
            request: `do` is `open` (side, work, options), `gradients` (places, paths), `train` (number, folder), `forget` (peaks of memory so
                far; on a CPU torch's allocations are counted from here on, which takes time) or `memory` (peaks since then).
        """
        match request:
            case {"do": "open", "side": "affinage", "work": str(work)}:
                return self._opened(*_ours(Path(work)))
            case {"do": "open", "side": str(peer), "work": str(work), "options": dict(options)}:
                return self._opened(*_peer(peer, Path(work), options))
        if self._side is None:
            raise ValueError(f"nothing was opened that could answer: {sorted(request)}")
        match request:
            case {"do": "gradients", "places": list(places), "paths": list(paths)}:
                return {"losses": self._side.gradients(places, [Path(path) for path in paths])}
            case {"do": "train", "number": int(number), "folder": str(folder)}:
                return self._side.train(number, Path(folder)).as_dict()
            case {"do": "forget"}:
                return self._forgotten(self._side.device)
            case {"do": "memory"}:
                return self._memory(self._side.device)
        raise ValueError(f"a request that this process cannot answer: {sorted(request)}")

    def _forgotten(self, device: str) -> dict[str, Any]:
        """Peaks of this process now, from which the next `memory` counts."""
        from affinage.bench.memory import Allocations, forget_peaks, peak_memory

        forget_peaks(device, resident=True)
        peaks = peak_memory(device)
        self._allocations = Allocations() if device == "cpu" else None
        return peaks

    def _memory(self, device: str) -> dict[str, Any]:
        """Peaks of this process since `forget`. `allocated`: torch's in main memory, null on CUDA, which counts its own; read once."""
        from affinage.bench.memory import peak_memory

        # Before the counting ends, for that takes memory itself.
        peaks = peak_memory(device)
        counted, self._allocations = self._allocations, None
        return peaks | {"allocated": counted.peak() if counted else None}

    def _opened(self, side: StudySide, own: float) -> dict[str, Any]:
        self._side = side
        return {"device": side.device, "threads": side.threads, "own": own}


def _ours(path: Path) -> tuple[StudySide, float]:
    """Our side; all that it imports is its own to pay."""
    from affinage.bench.study.ours import OurStudy
    from affinage.bench.study.work import read_study

    return OurStudy(read_study(path)), 0.0


def _peer(name: str, path: Path, options: dict[str, Any]) -> tuple[StudySide, float]:
    """A peer's side, and the seconds that only this bench needed."""
    for library in ("torch", "transformers", "peft"):
        import_module(library)
    began = time.perf_counter()
    from affinage.bench.study.peft_lesson import PeftLesson
    from affinage.bench.work import read_work

    work = read_work(path)
    own = time.perf_counter() - began
    return PeftLesson(name, work, options), own


if __name__ == "__main__":
    work_off(StudyDesk().answer)
