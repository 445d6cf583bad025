"""A side's process: `python -m affinage.bench.worker` reads requests on standard input and answers on what was its standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from affinage.bench.memory import forget_peaks, peak_memory
from affinage.bench.sides import load_side
from affinage.bench.sides.base import EvaluationSide, TrainingSide
from affinage.bench.wire import work_off
from affinage.bench.work import read_work

__all__ = ["Desk"]


@final
class Desk:
    """Does what requests ask, with the side that the first of them opened."""

    def __init__(self) -> None:
        self._side: TrainingSide | EvaluationSide | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request.

        Args:
            request: `do` is `open` (side, work, options), `step` (index, gradients), `products` (indices, rounds), `scores` (count), `run` or
                `memory`.
        """
        match request:
            case {"do": "open", "side": str(name), "work": str(work), "options": dict(options)}:
                self._side = load_side(name, read_work(Path(work)), options)
                forget_peaks(self._side.device, resident=False)
                return {"device": self._side.device, "threads": self._side.threads}
            case {"do": "step", "index": int(index), "gradients": gradients} if isinstance(self._side, TrainingSide):
                return self._side.step(index, None if gradients is None else Path(gradients)).as_dict()
            case {"do": "products", "indices": list(indices), "rounds": int(rounds)} if isinstance(self._side, TrainingSide):
                return self._side.products(indices, rounds)
            case {"do": "scores", "count": int(count)} if isinstance(self._side, EvaluationSide):
                return {"scores": self._side.scores(count)}
            case {"do": "run"} if isinstance(self._side, EvaluationSide):
                return self._side.run().as_dict()
            case {"do": "memory"} if self._side is not None:
                return peak_memory(self._side.device)
        raise ValueError(f"a request that no open side can answer: {sorted(request)}")


if __name__ == "__main__":
    work_off(Desk().answer)
