"""Finished trainings on disk, so that a bench which was stopped goes on where it was: a folder, a file for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affinage.bench.learning.curves import Curve
from affinage.records import UserError
from affinage.store import leaf_differences, read_json, write_json

__all__ = ["Cells"]

_SETTING = "setting.json"
_SHOWN = 3
"""Differences that a message names."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The folder; a training that broke or was stopped is not in it and runs again."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, setting: Mapping[str, Any]) -> Cells:
        """The folder, new or with trainings of the same setting.

        Args:
            folder: where they are.
            setting: all that they have in common, as plain values.

        Raises:
            UserError: it holds trainings of another setting, which must not stand beside those of this one, or it cannot be written.
        """
        file = folder / _SETTING
        if file.exists():
            differing = list(leaf_differences(read_json(file), setting))
            if differing:
                told = "; ".join(f"{name}: {_said(there)} there, {_said(here)} now" for name, there, here in differing[:_SHOWN])
                more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
                todo = "Give another --name, or remove the folder to train all of it anew."
                raise UserError(str(folder), f"trainings of another setting ({told}{more})", "the same setting", todo)
        else:
            write_json(file, setting)
        return cls(folder)

    def curve(self, side: str, seed: int) -> Curve | None:
        """A training that an earlier run finished.

        Raises:
            UserError: its file cannot be read.
        """
        file = self._file(side, seed)
        return Curve.of(read_json(file)) if file.exists() else None

    def keep(self, curve: Curve) -> None:
        """Writes a training that came to its end."""
        write_json(self._file(curve.side, curve.seed), curve.as_dict())

    def _file(self, side: str, seed: int) -> Path:
        return self.folder / f"{side}-{seed}.json"


def _said(value: object) -> object:
    """A value of a setting, for a message."""
    return "nothing" if value is None else value
