"""What an analysis of a study's adapters leaves on disk, for the report, which computes nothing with a model."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from affinage.records import UserError
from affinage.store.files import read_json, write_json
from affinage.store.folder import StudyFolder
from affinage.store.scores import write_table

__all__ = ["AnalysisFolder", "AnalysisRecord", "analysis_folder", "read_analysis", "read_analysis_record", "read_frame", "write_analysis"]

FORMAT = 1
"""Version of `analysis.json`."""

_TODO = "Remove the analysis's folder and run `affinage analyse` again."


@dataclass(frozen=True, slots=True)
class AnalysisFolder:
    """The files of one analysis."""

    path: Path

    @property
    def state(self) -> Path:
        """`analysis.json`: written last, so a folder that has it is whole."""
        return self.path / "analysis.json"

    def table(self, name: str) -> Path:
        """`<name>.parquet`."""
        return self.path / f"{name}.parquet"

    @property
    def units(self) -> Path:
        """`units/`: pieces of work that took long, kept until they are asked for again."""
        return self.path / "units"

    def unit(self, name: str) -> Path:
        """`units/<name>.parquet`."""
        return self.units / f"{name}.parquet"


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """The content of `analysis.json`."""

    name: str
    inputs: str
    """Digest of everything that determines the tables: version of the analysis, finished runs, settings that it reads."""
    runs: tuple[str, ...]
    """Paths of the runs that were finished when it was made."""
    settings: Mapping[str, Any]
    """Values of the command that it reads."""
    tables: tuple[str, ...]
    provenance: Mapping[str, Any]
    seconds: float
    """How long it took, from its first line to its last; kept units were made earlier."""


def analysis_folder(study: StudyFolder, name: str) -> AnalysisFolder:
    """`<study>/analysis/<name>/`."""
    return AnalysisFolder(study.path / "analysis" / name)


def write_analysis(folder: AnalysisFolder, record: AnalysisRecord, tables: Mapping[str, pl.DataFrame]) -> None:
    """Puts an analysis on disk: the old record away first, the new one last, so that nobody reads half of each.

    Raises:
        UserError: as `write_atomically`.
    """
    folder.state.unlink(missing_ok=True)
    for old in folder.path.glob("*.parquet"):
        if old.stem not in tables:
            old.unlink()
    for name, frame in tables.items():
        write_table(folder.table(name), frame)
    write_json(folder.state, {"format": FORMAT, **asdict(record)})


def read_analysis_record(folder: AnalysisFolder) -> AnalysisRecord | None:
    """The record of an analysis; None where there is none, or not a whole one of this version.

    Raises:
        UserError: it is damaged.
    """
    if not folder.state.exists():
        return None
    value = read_json(folder.state)
    if value.pop("format", None) != FORMAT:
        return None
    try:
        record = AnalysisRecord(**{**value, "runs": tuple(value["runs"]), "tables": tuple(value["tables"])})
    except (KeyError, TypeError) as error:
        raise UserError(str(folder.state), f"a damaged record ({error})", "an analysis as affinage writes it", _TODO) from None
    return record if all(folder.table(name).is_file() for name in record.tables) else None


def read_analysis(study: StudyFolder, name: str) -> tuple[AnalysisRecord, dict[str, pl.DataFrame]] | None:
    """An analysis of a study with its tables; None where it was not made.

    Args:
        study: the study's folder.
        name: of the analysis.

    Raises:
        UserError: a file of it is damaged.
    """
    folder = analysis_folder(study, name)
    record = read_analysis_record(folder)
    if record is None:
        return None
    return record, {table: read_frame(folder.table(table)) for table in record.tables}


def read_frame(path: Path) -> pl.DataFrame:
    """A table of an analysis.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return pl.read_parquet(io.BytesIO(path.read_bytes()))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(str(path), f"a damaged file ({error})", "a whole Parquet file", _TODO) from None
