"""What an analysis is: a finished study in, long-form tables out.

A new analysis is one new file in this folder that adds its `Analysis` to `analyses`; nothing else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import polars as pl

from affinage.analysis.settings import AnalysisSettings
from affinage.analysis.subject import Subject
from affinage.registry import Registry
from affinage.store import AnalysisFolder, canonical_digest, read_frame, write_table

__all__ = ["Analysis", "Progress", "Told", "analyses"]


@dataclass(frozen=True, slots=True)
class Told:
    """How far an analysis is."""

    analysis: str
    what: str
    """The piece of work that was just ended or found, in words."""
    done: int
    """Pieces that are there."""
    total: int
    """Pieces that were announced."""


@final
@dataclass
class Progress:
    """Tells how far an analysis is, and keeps each piece of work that took long, so that a stopped analysis continues behind the last one."""

    name: str
    """Of the analysis."""
    version: int
    """Of the analysis; pieces of another version are not read."""
    folder: AnalysisFolder
    tell: Callable[[Told], None] = lambda told: None
    done: int = 0
    total: int = 0
    kept: set[str] = field(default_factory=set)
    """Names of the pieces that were asked for; others are left over from another state of the study."""

    def expect(self, pieces: int) -> None:
        """Announces so many pieces of work more."""
        self.total += pieces

    def unit(self, what: str, key: Sequence[object], make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """A piece of work: read where it was done before, else done and kept.

        Pieces that a piece asks for while it is made are kept until it is there itself.

        Args:
            what: the piece in words, for who waits.
            key: everything that determines it, as plain values. A run's path stands for its result; name `settings.limit` where it has an effect.
            make: does it.

        Raises:
            UserError: the place cannot be written, or a kept piece is damaged.
        """
        name = canonical_digest([self.version, *key])[:16]
        file = self.folder.unit(name)
        if file.exists():
            frame = read_frame(file)
        else:
            before = set(self.kept)
            frame = make()
            write_table(file, frame)
            for inside in self.kept - before:
                self.folder.unit(inside).unlink()
            self.kept = before
        self.kept.add(name)
        self.done += 1
        self.tell(Told(self.name, what, self.done, max(self.total, self.done)))
        return frame


@final
@dataclass(frozen=True, slots=True)
class Analysis:
    """One way of looking at a study's adapters."""

    name: str
    """Names its folder, and stands behind `--only`."""
    help: str
    """One sentence for `affinage analyse --help`."""
    run: Callable[[Subject, Progress], Mapping[str, pl.DataFrame]]
    """Study -> tables by name, long-form; empty ones are left out."""
    version: int = 1
    """Raised when the tables change their meaning: what older versions wrote is then made again."""
    reads: tuple[str, ...] = ("limit",)
    """Fields of `AnalysisSettings` that it reads."""

    def values(self, settings: AnalysisSettings) -> dict[str, object]:
        """The settings that it reads, as JSON holds them."""
        return settings.model_dump(mode="json", include=set(self.reads))


analyses: Registry[Analysis] = Registry("analysis")
"""Every analysis by name."""
