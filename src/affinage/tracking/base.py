"""What a tracker is: a place outside of the study's own files that its runs are told to while they train."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from affinage.records import UserError
from affinage.registry import Registry

__all__ = ["Facts", "Kind", "Tracker", "open_tracker", "trackers"]

Facts = Mapping[str, str | int | float]
"""What is known of a run before it begins: method, cultures, split, start, settings; flat, dotted names."""


class Tracker(ABC):
    """A tracker in use. Several runs may be open at once: adapters are trained in lockstep."""

    @abstractmethod
    def begin(self, run: str, facts: Facts) -> None:
        """Opens a run.

        Args:
            run: its path below the study's folder.
            facts: what is known of it.
        """

    @abstractmethod
    def measure(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Notes numbers of one step of an open run.

        Args:
            run: as it was begun.
            step: steps done, this one counted.
            values: by name.
        """

    @abstractmethod
    def end(self, run: str, values: Mapping[str, float], failure: str = "") -> None:
        """Closes an open run.

        Args:
            run: as it was begun.
            values: its final numbers, by name.
            failure: why it failed; empty where it did not.
        """

    @abstractmethod
    def close(self) -> None:
        """Puts on disk what is still in memory; open runs stay unfinished."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One tracker by name."""

    name: str
    what: str
    """One sentence: what it writes, and how that is looked at."""
    needs: tuple[str, ...]
    """Modules that the extra of the same name installs."""
    open: Callable[[Path, str], Tracker]
    """Folder that it may write into and the study's name -> the tracker in use; writes nothing yet."""
    before: Callable[[], None] = lambda: None
    """Called before its modules are imported."""


trackers: Registry[Kind] = Registry("tracker")
"""Every tracker by name; a module of this package registers its own when imported."""


def open_tracker(name: str, folder: Path, study: str) -> Tracker:
    """A tracker in use.

    Args:
        name: as `tracking` in a study's configuration has it, not `none`.
        folder: that it may write into; made when the first run begins.
        study: the study's name.

    Raises:
        UserError: no such tracker, or what it needs is not installed.
    """
    kind = trackers.get(name)
    kind.before()
    for module in kind.needs:
        try:
            importlib.import_module(module)
        except ImportError as error:
            todo = f'Install it (`pip install "affinage[{name}]"`), or take `tracking: none`.'
            raise UserError(f"tracking: {name}", f"no {module} ({error})", f"{module}, which the extra `{name}` installs", todo) from None
    return kind.open(folder, study)
