"""TensorBoard: an event file per run; `tensorboard --logdir` reads them."""

# ruff: noqa: PLC0415  (an optional library, imported where it is used)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, final

from affinage.tracking.base import Facts, Kind, Tracker, trackers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard"]


@final
class TensorBoard(Tracker):
    """Event files below a folder, in the study's own order of folders.

    Args:
        folder: `tensorboard --logdir` of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def begin(self, run: str, facts: Facts) -> None:
        """Opens an event file; a run that is continued gets a second one, and TensorBoard shows both as one."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self._folder / run.removeprefix("runs/")))
        writer.add_text("facts", "\n".join(f"    {name}: {value}" for name, value in facts.items()))
        self._writers[run] = writer

    def measure(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Adds scalars."""
        for name, value in values.items():
            self._writers[run].add_scalar(name, value, step)

    def end(self, run: str, values: Mapping[str, float], failure: str = "") -> None:
        """Adds the final numbers and closes the file."""
        writer = self._writers.pop(run)
        for name, value in values.items():
            writer.add_scalar(name, value)
        if failure:
            writer.add_text("failure", failure)
        writer.close()

    def close(self) -> None:
        """Closes every file."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _open(folder: Path, study: str) -> TensorBoard:
    return TensorBoard(folder)


trackers.add("tensorboard", Kind("tensorboard", "Event files; look at them with `tensorboard --logdir DIR`.", ("tensorboard",), _open))
